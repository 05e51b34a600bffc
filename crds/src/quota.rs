//! Quotas of topics and groups.
#![allow(
    unreachable_pub,
    reason = "the derives make types public that lib.rs exports"
)]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much clients may send to a topic, or be given as members of a group, in a second, at each broker.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Messages of all clients together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub messages_per_second: Option<i64>,
    /// Bytes of all clients together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub bytes_per_second: Option<i64>,
    /// Messages of each client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub client_messages_per_second: Option<i64>,
    /// Bytes of each client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub client_bytes_per_second: Option<i64>,
}

/// One number of a [`Quota`]. The order is that of the names in manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaLimit {
    /// Bytes of all clients together.
    Bytes,
    /// Bytes of each client.
    ClientBytes,
    /// Messages of each client.
    ClientMessages,
    /// Messages of all clients together.
    Messages,
}

impl QuotaLimit {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Bytes,
        Self::ClientBytes,
        Self::ClientMessages,
        Self::Messages,
    ];

    /// As manifests have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytesPerSecond",
            Self::ClientBytes => "clientBytesPerSecond",
            Self::ClientMessages => "clientMessagesPerSecond",
            Self::Messages => "messagesPerSecond",
        }
    }

    /// The attribute of the topic or group at its brokers.
    #[must_use]
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::Bytes => "quota.bytes",
            Self::ClientBytes => "quota.client.bytes",
            Self::ClientMessages => "quota.client.messages",
            Self::Messages => "quota.messages",
        }
    }

    /// The opposite of [`QuotaLimit::attribute`].
    #[must_use]
    pub fn of_attribute(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|limit| limit.attribute() == name)
    }
}

impl Quota {
    /// Where a limit is kept.
    pub const fn limit_mut(&mut self, limit: QuotaLimit) -> &mut Option<i64> {
        match limit {
            QuotaLimit::Bytes => &mut self.bytes_per_second,
            QuotaLimit::ClientBytes => &mut self.client_bytes_per_second,
            QuotaLimit::ClientMessages => &mut self.client_messages_per_second,
            QuotaLimit::Messages => &mut self.messages_per_second,
        }
    }

    /// The value of a limit.
    #[must_use]
    pub const fn limit(&self, limit: QuotaLimit) -> Option<i64> {
        match limit {
            QuotaLimit::Bytes => self.bytes_per_second,
            QuotaLimit::ClientBytes => self.client_bytes_per_second,
            QuotaLimit::ClientMessages => self.client_messages_per_second,
            QuotaLimit::Messages => self.messages_per_second,
        }
    }

    /// As attributes.
    pub fn attributes(&self) -> impl Iterator<Item = (String, String)> + '_ {
        QuotaLimit::ALL.into_iter().filter_map(|limit| {
            let value = self.limit(limit)?;
            Some((limit.attribute().to_owned(), value.to_string()))
        })
    }

    /// Takes the quota out of attributes; `None`: they have none.
    pub fn take_from(attributes: &mut BTreeMap<String, String>) -> Option<Self> {
        let mut quota = Self::default();
        for limit in QuotaLimit::ALL {
            let value = attributes.get(limit.attribute());
            if let Some(value) = value.and_then(|value| value.parse().ok()) {
                attributes.remove(limit.attribute());
                *quota.limit_mut(limit) = Some(value);
            }
        }
        (quota != Self::default()).then_some(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_attributes_and_back() {
        let mut quota = Quota::default();
        for (value, limit) in (1..).zip(QuotaLimit::ALL) {
            *quota.limit_mut(limit) = Some(value);
            assert_eq!(serde_json::json!(quota)[limit.name()], value);
        }
        let mut attributes: BTreeMap<String, String> = quota.attributes().collect();
        assert_eq!(attributes.len(), 4);
        attributes.insert("message.type".to_owned(), "FIFO".to_owned());
        assert_eq!(Quota::take_from(&mut attributes), Some(quota));
        assert_eq!(attributes.len(), 1);
        assert_eq!(Quota::take_from(&mut attributes), None);
    }
}
