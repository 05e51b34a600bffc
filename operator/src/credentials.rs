//! The Secret with the keys of a cluster: made where it is missing, read, and given to the connections, so that servers know who asks.
//!
//! Secrets are read by their names alone, and not watched: the operator has the right to get one that it knows the name of, and not to list
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};
use rmq_access::{SealingKey, Secret, User};
use rmq_crds::NameServer;
use serde_json::json;

use crate::conditions::Verdict;
use crate::context::Context;
use crate::error::Error;
use crate::objects::{keyring, names};
use crate::signer::{Keys, READ_LASTS, Signer};

/// The user that the operator makes for itself.
const OPERATOR_USER: &str = "rmq-operator";
/// The user that it makes for the brokers of a cluster.
const BROKER_USER: &str = "rmq-broker";

/// What a NameServer's look finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// The cluster has no users.
    Open,
    /// The cluster has keys.
    Keyed {
        secret: String,
        /// The user that brokers sign as.
        broker: String,
    },
    /// The keys cannot be used.
    Problem(Verdict),
}

/// The Secret of a cluster, for the look at its NameServer object: made, when the operator has not made or seen it before.
pub(crate) async fn prepare(object: &NameServer, context: &Context) -> Result<Access, Error> {
    let Some(name) = keyring::secret(object) else {
        sign(object, context).await?;
        return Ok(Access::Open);
    };
    let namespace = object.namespace().unwrap_or_default();
    let found = match fetch(context, &namespace, &name).await? {
        Some(found) => found,
        None => {
            if let Some(verdict) = missing(object, &name) {
                return Ok(Access::Problem(verdict));
            }
            make(context, object, &name).await?
        }
    };
    match read(&found) {
        Ok(keys) => {
            let broker = keys.broker.clone();
            remember(object, context, &name, keys);
            Ok(Access::Keyed {
                secret: name,
                broker,
            })
        }
        Err(why) => Ok(Access::Problem(Verdict::stalled(
            "SecretInvalid",
            format!("Secret {name}: {why}"),
        ))),
    }
}

/// Has requests to the servers of this cluster signed, where it has keys.
pub(crate) async fn sign(object: &NameServer, context: &Context) -> Result<(), Error> {
    let addresses = names::name_server_addresses(object);
    let Some(name) = keyring::secret(object) else {
        context.clusters.sign(&addresses, None);
        return Ok(());
    };
    let namespace = object.namespace().unwrap_or_default();
    let key = (namespace.clone(), name.clone());
    let known = context.credentials.read.lock().get(&key).cloned();
    if let Some((at, keys)) = known
        && at.elapsed() < READ_LASTS
    {
        context.clusters.sign(&addresses, Some(&keys.operator));
        return Ok(());
    }
    let Some(found) = fetch(context, &namespace, &name).await? else {
        return Err(Error::NotYet(format!(
            "Secret {name} with the keys of the cluster is not there"
        )));
    };
    let keys = read(&found).map_err(|why| Error::NotYet(format!("Secret {name}: {why}")))?;
    remember(object, context, &name, keys);
    Ok(())
}

fn remember(object: &NameServer, context: &Context, name: &str, keys: Keys) {
    let addresses = names::name_server_addresses(object);
    context.clusters.sign(&addresses, Some(&keys.operator));
    let key = (object.namespace().unwrap_or_default(), name.to_owned());
    let mut read = context.credentials.read.lock();
    read.retain(|_, (at, _)| at.elapsed() < READ_LASTS);
    read.insert(key, (Instant::now(), Arc::new(keys)));
}

/// Whether a user is the operator's or the brokers' own. The cluster's Secret must have been read.
pub(crate) fn is_reserved(object: &NameServer, context: &Context, user: &str) -> bool {
    let Some(name) = keyring::secret(object) else {
        return false;
    };
    let key = (object.namespace().unwrap_or_default(), name);
    let read = context.credentials.read.lock();
    let keys = read.get(&key);
    keys.is_some_and(|(_, keys)| keys.operator.user == user || keys.broker == user)
}

/// Reads a Secret by its name.
pub(crate) async fn fetch(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<SecretObject>, Error> {
    let api: Api<SecretObject> = Api::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(name).await;
    found.map_err(Error::doing(format!("reading Secret \"{name}\"")))
}

/// Why a Secret that is missing is not made.
fn missing(object: &NameServer, name: &str) -> Option<Verdict> {
    let spec = object.spec.authentication.as_ref();
    if spec.is_some_and(|of| of.secret_name.is_some()) {
        return Some(Verdict::stalled(
            "SecretNotFound",
            format!(
                "spec.authentication.secretName: there is no Secret {name} in this namespace; create it with {}, {} and {}, or leave secretName out of a new NameServer, and the operator makes one",
                keyring::OPERATOR,
                keyring::BROKER,
                keyring::SEAL
            ),
        ));
    }
    let status = object.status.as_ref();
    let seen = status.and_then(|status| status.access_secret.as_deref());
    (seen == Some(name)).then(|| {
        Verdict::stalled(
            "SecretLost",
            format!(
                "Secret {name} was there and is gone: brokers have stored passwords with its {}, so the operator makes no other one; create it again from a backup, or as docs/operate/users.md says",
                keyring::SEAL
            ),
        )
    })
}

/// Makes the Secret. It has no owner: stored passwords need its key as long as the volumes of brokers are kept.
async fn make(context: &Context, object: &NameServer, name: &str) -> Result<SecretObject, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let wanted = SecretObject {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.clone()),
            labels: Some(names::labels(
                names::NAME_SERVER,
                &object.name_any(),
                &object.name_any(),
            )),
            ..ObjectMeta::default()
        },
        data: Some(new_keys()),
        type_: Some("Opaque".to_owned()),
        ..SecretObject::default()
    };
    let api: Api<SecretObject> = Api::namespaced(context.client.clone(), &namespace);
    let params = PostParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, &wanted).await {
        Ok(made) => {
            let note = format!("Secret {name} has the keys of the cluster: keep a copy of it");
            context.events.note(object, "KeysMade", note).await;
            Ok(made)
        }
        // Another process was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let found = fetch(context, &namespace, name).await?;
            found.ok_or_else(|| Error::NotYet(format!("Secret {name} comes and goes")))
        }
        Err(error) => Err(Error::doing(format!("making Secret \"{name}\""))(error)),
    }
}

fn new_keys() -> BTreeMap<String, ByteString> {
    let (operator, broker) = (Secret::random(), Secret::random());
    let operator = json!({"username": OPERATOR_USER, "password": operator.reveal()});
    let broker = json!({"accessKey": BROKER_USER, "secretKey": broker.reveal()});
    let seal = SealingKey::random();
    let files = [
        (keyring::OPERATOR, operator.to_string()),
        (keyring::BROKER, broker.to_string()),
        (keyring::SEAL, seal.reveal().to_owned()),
    ];
    let bytes = |(file, text): (&str, String)| (file.to_owned(), ByteString(text.into_bytes()));
    files.into_iter().map(bytes).collect()
}

/// A file of a Secret as text.
pub(crate) fn text<'a>(secret: &'a SecretObject, file: &str) -> Result<&'a str, String> {
    let data = secret.data.as_ref().and_then(|data| data.get(file));
    let data = data.ok_or_else(|| format!("it has no {file}"))?;
    let text = std::str::from_utf8(&data.0).map_err(|_| format!("{file} is no text"))?;
    match text.trim() {
        "" => Err(format!("{file} is empty")),
        text => Ok(text),
    }
}

/// Reads the keys. Errors name the file, and never what it holds.
fn read(secret: &SecretObject) -> Result<Keys, String> {
    let user = |file: &str| {
        let user = User::of_configuration(text(secret, file)?);
        user.map_err(|error| format!("{file}: {error}"))
    };
    let (operator, broker) = (user(keyring::OPERATOR)?, user(keyring::BROKER)?);
    if operator.name == broker.name {
        return Err(format!(
            "{} and {} name one user: brokers and the operator need users of their own",
            keyring::OPERATOR,
            keyring::BROKER
        ));
    }
    let seal = text(secret, keyring::SEAL)?;
    SealingKey::read(seal.as_bytes()).map_err(|error| format!("{}: {error}", keyring::SEAL))?;
    let password = operator.password.as_ref();
    let password = password.ok_or_else(|| format!("{} has no password", keyring::OPERATOR))?;
    Ok(Keys {
        operator: Signer::new(&operator.name, password),
        broker: broker.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(change: impl FnOnce(&mut BTreeMap<String, ByteString>)) -> SecretObject {
        let mut data = new_keys();
        change(&mut data);
        SecretObject {
            data: Some(data),
            ..SecretObject::default()
        }
    }

    #[test]
    fn keys_that_are_made_can_be_read_and_no_two_are_the_same() {
        let [one, other] = [(), ()].map(|()| secret(|_| {}));
        let keys = read(&one).map(|keys| (keys.operator.user, keys.broker));
        let users = (OPERATOR_USER.to_owned(), BROKER_USER.to_owned());
        assert_eq!(keys, Ok(users));
        for file in [keyring::OPERATOR, keyring::BROKER, keyring::SEAL] {
            assert_ne!(text(&one, file), text(&other, file), "{file}");
        }
    }

    #[test]
    fn what_is_wrong_with_keys_is_said_without_them() {
        let set = |file: &'static str, value: &'static str| {
            let wrong = secret(|data| {
                data.insert(file.to_owned(), ByteString(value.into()));
            });
            read(&wrong).map(drop).expect_err(file)
        };
        let planted = set(keyring::OPERATOR, "planted-secret");
        assert!(planted.starts_with("operator.json") && !planted.contains("planted"));
        let planted = set(keyring::SEAL, "planted-secret");
        assert!(planted.contains("openssl") && !planted.contains("planted"));
        assert_eq!(set(keyring::BROKER, " "), "broker.json is empty");
        let same = r#"{"username":"rmq-operator","password":"p"}"#;
        assert!(set(keyring::BROKER, same).contains("one user"));
        let none = secret(|data| data.clear());
        assert_eq!(
            read(&none).map(drop),
            Err("it has no operator.json".to_owned())
        );
    }

    #[test]
    fn a_secret_that_is_gone_is_not_replaced() {
        let mut object: NameServer = crate::yaml::case("name-server-small");
        object.spec.authentication = Some(rmq_crds::NameServerAuthentication {
            enabled: true,
            secret_name: None,
            users_secret_name: None,
        });
        let name = keyring::secret(&object).expect("a name");
        assert_eq!(missing(&object, &name), None, "a new cluster gets one");
        object.status = Some(rmq_crds::NameServerStatus {
            access_secret: Some(name.clone()),
            ..rmq_crds::NameServerStatus::default()
        });
        let reason = |object: &NameServer| missing(object, &name).map(|verdict| verdict.reason);
        assert_eq!(reason(&object), Some("SecretLost"));
        if let Some(of) = &mut object.spec.authentication {
            of.secret_name = Some(name.clone());
        }
        assert_eq!(reason(&object), Some("SecretNotFound"));
    }
}
