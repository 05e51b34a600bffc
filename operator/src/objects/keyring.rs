//! The keys of servers of a cluster with `spec.authentication`: the Secret that has them, its files in the pods, and the settings that name
//! the files. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{KeyToPath, SecretVolumeSource, Volume, VolumeMount};
use kube::ResourceExt;
use rmq_crds::{NameServer, Scalar};

use super::names;
use super::pod;
use crate::conditions::Verdict;

/// The super user that the operator signs its requests as.
pub(crate) const OPERATOR: &str = "operator.json";
/// The super user that brokers sign their requests as.
pub(crate) const BROKER: &str = "broker.json";
/// The key that brokers store passwords with.
pub(crate) const SEAL: &str = "users.key";
/// Further users of name servers.
const USERS: &str = "users.json";

const FOLDER: &str = "/etc/rmq-access";
const USERS_FOLDER: &str = "/etc/rmq-users";

/// Readable for the servers' group, and for nobody else.
const MODE: i32 = 0o440;

/// The Secret with the keys of the cluster. None: the cluster has none.
pub(crate) fn secret(object: &NameServer) -> Option<String> {
    let authentication = object.spec.authentication.as_ref()?;
    let named = authentication.secret_name.clone();
    Some(named.unwrap_or_else(|| names::access(&object.name_any())))
}

/// The Secret that brokers of the cluster mount. A Secret that nobody has seen would keep their pods from starting.
pub(crate) fn of_brokers(object: &NameServer) -> Result<Option<String>, Verdict> {
    let wanted = secret(object);
    let status = object.status.as_ref();
    let seen = status.and_then(|status| status.access_secret.as_ref());
    match &wanted {
        Some(name) if seen != Some(name) => Err(Verdict::progressing(
            "WaitingForKeys",
            format!(
                "Secret {name} with the keys of the cluster is not there yet; kubectl describe nameserver {} says why",
                object.name_any()
            ),
        )),
        _ => Ok(wanted),
    }
}

/// The volume of a Secret, and where it is mounted.
fn mounted(name: &str, secret: &str, folder: &str, files: &[&str]) -> (Volume, VolumeMount) {
    let items = files.iter().map(|file| KeyToPath {
        key: (*file).to_owned(),
        path: (*file).to_owned(),
        mode: None,
    });
    let volume = Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(MODE),
            items: Some(items.collect()),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    (volume, pod::mount(name, folder, true))
}

/// The keys in the pods of brokers.
pub(crate) fn of_broker_pods(secret: &str) -> (Volume, VolumeMount) {
    mounted("access", secret, FOLDER, &[OPERATOR, BROKER, SEAL])
}

/// The keys in the pods of name servers, which store no passwords.
pub(crate) fn of_name_server_pods(secret: &str, users: Option<&str>) -> Vec<(Volume, VolumeMount)> {
    let own = mounted("access", secret, FOLDER, &[OPERATOR, BROKER]);
    let users = users.map(|users| mounted("users", users, USERS_FOLDER, &[USERS]));
    [own].into_iter().chain(users).collect()
}

fn path(folder: &str, file: &str) -> Scalar {
    Scalar::Text(format!("{folder}/{file}"))
}

fn users_of_servers() -> BTreeMap<String, Scalar> {
    BTreeMap::from([
        (
            "initAuthenticationUserFile".to_owned(),
            path(FOLDER, OPERATOR),
        ),
        (
            "innerClientAuthenticationCredentialsFile".to_owned(),
            path(FOLDER, BROKER),
        ),
    ])
}

/// The settings of brokers with keys.
pub(crate) fn broker_settings() -> BTreeMap<String, Scalar> {
    let seal = ("userSecretsKeyFile".to_owned(), path(FOLDER, SEAL));
    users_of_servers().into_iter().chain([seal]).collect()
}

/// The settings of name servers that ask for signatures. `broker` is the user that brokers sign as: nobody else registers brokers.
pub(crate) fn name_server_settings(
    authorizes: bool,
    has_users: bool,
    broker: &str,
) -> BTreeMap<String, Scalar> {
    let mut settings = users_of_servers();
    let mut set = |key: &str, value| settings.insert(key.to_owned(), value);
    set("authenticationEnabled", Scalar::Bool(true));
    set("authorizationEnabled", Scalar::Bool(authorizes));
    set("brokerIdentities", Scalar::Text(format!("*={broker}")));
    if has_users {
        set("usersFile", path(USERS_FOLDER, USERS));
    }
    settings
}

#[cfg(test)]
mod tests {
    use rmq_crds::{NameServerAuthentication, NameServerStatus};

    use super::*;

    #[test]
    fn brokers_wait_for_the_secret_that_the_name_server_has_seen() {
        let mut object: NameServer = crate::yaml::case("name-server-small");
        let name = object.name_any();
        assert_eq!(of_brokers(&object), Ok(None));
        object.spec.authentication = Some(NameServerAuthentication {
            enabled: false,
            secret_name: None,
            users_secret_name: None,
        });
        let wanted = format!("{name}-access");
        let waits = of_brokers(&object).expect_err("nobody has seen it");
        assert!(waits.progressing && waits.message.contains(&wanted));
        object.status = Some(NameServerStatus {
            access_secret: Some(wanted.clone()),
            ..NameServerStatus::default()
        });
        assert_eq!(of_brokers(&object), Ok(Some(wanted)));
    }
}
