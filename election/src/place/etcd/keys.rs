//! The two keys of a group, and what is in them.

use etcd_client::{KeyValue, TxnOpResponse};
use serde::de::DeserializeOwned;

use super::config::EtcdConfig;
use crate::place::{PlaceError, Version, Versioned, stored};

/// The keys.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) record: String,
    pub(super) lease: String,
}

impl Keys {
    pub(super) fn of(config: &EtcdConfig) -> Self {
        let folder = format!(
            "{}/{}/{}",
            config.prefix,
            escaped(&config.cluster),
            escaped(&config.group)
        );
        Self {
            record: format!("{folder}/election"),
            lease: format!("{folder}/lease"),
        }
    }
}

/// What a key holds.
pub(super) fn value<T: DeserializeOwned>(kv: &KeyValue) -> Result<Versioned<T>, PlaceError> {
    let value = stored::read(kv.value()).map_err(|problem| {
        let key = String::from_utf8_lossy(kv.key());
        PlaceError::Invalid {
            place: place_of(&key),
            problem: format!(
                "the key holds what this version of rmq cannot read: {problem}. Nothing was changed; to look at it: etcdctl get {key}"
            ),
        }
    })?;
    Ok(Versioned {
        version: version(kv.mod_revision()),
        value,
    })
}

/// A key, for messages.
pub(super) fn place_of(key: &str) -> String {
    format!("etcd key {key}")
}

/// The revision as a version; etcd counts from 1.
pub(super) fn version(revision: i64) -> Version {
    Version(u64::try_from(revision).unwrap_or_default())
}

/// What a `get` found.
pub(super) fn first_of(answer: Option<&TxnOpResponse>) -> Option<KeyValue> {
    match answer {
        Some(TxnOpResponse::Get(got)) => got.kvs().first().cloned(),
        _ => None,
    }
}

/// A name as a part of a key: no two names make the same key.
fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_of_two_groups_are_never_the_same() {
        let key = |cluster: &str, group: &str| {
            let config = EtcdConfig {
                endpoints: Vec::new(),
                prefix: "/rmq".to_owned(),
                cluster: cluster.to_owned(),
                group: group.to_owned(),
                timeout: Duration::ZERO,
                user: None,
                tls: None,
            };
            Keys::of(&config).record
        };
        assert_eq!(key("Default", "broker-a"), "/rmq/Default/broker-a/election");
        assert_ne!(key("a/b", "c"), key("a", "b/c"));
        assert_ne!(key("a%2Fb", "c"), key("a/b", "c"));
    }
}
