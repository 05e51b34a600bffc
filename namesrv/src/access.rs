//! Who sends a request to the name server, and whether they may. Its users are those of its configuration: it keeps nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_access::{Accounts, Acl, Gate, Refusals, Secret, User, UserKind, user_of};
use rmq_config::{HiddenText, NameServerConfig};
use rmq_protocol::bodies::{AclInfo, UserInfo};
use rmq_protocol::signature::ACCESS_KEY_FIELD;
use rmq_transport::{Exchange, Identity};
use serde::Deserialize;

/// Bytes of the file with users.
const USERS_BYTES_MAX: u64 = 16 << 20;

/// What is checked, and what came of it.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) gate: Gate,
    pub(crate) refusals: Refusals,
    owners: Owners,
}

/// The file with further users.
#[derive(Deserialize)]
struct UsersFile {
    #[serde(default)]
    users: Vec<UserInfo>,
    #[serde(default)]
    acls: Vec<AclInfo>,
}

impl Access {
    /// As the configuration wants it; `None`: nobody is asked who they are.
    ///
    /// # Errors
    /// Users that cannot be read. No password is in the text.
    pub(crate) fn of(config: &NameServerConfig) -> Result<Option<Self>, String> {
        if !config.authentication {
            return Ok(None);
        }
        let accounts = Accounts::default();
        for (key, text, file) in [
            (
                "initAuthenticationUser",
                &config.init_user,
                &config.init_user_file,
            ),
            (
                "innerClientAuthenticationCredentials",
                &config.inner_credentials,
                &config.inner_credentials_file,
            ),
        ] {
            if let Some(user) = configured(key, text, file)? {
                accounts.configure(user);
            }
        }
        if !config.users_file.as_os_str().is_empty() {
            read_users(&config.users_file, &accounts)
                .map_err(|why| format!("usersFile {}: {why}", config.users_file.display()))?;
        }
        if accounts.is_empty() {
            return Err(
                "authenticationEnabled without a user: nobody could ask anything; set initAuthenticationUser, innerClientAuthenticationCredentials or usersFile".to_owned(),
            );
        }
        // Lists that cannot be understood were refused before.
        let codes = |text: &str| text.parse().unwrap_or_default();
        Ok(Some(Self {
            gate: Gate {
                accounts: Arc::new(accounts),
                authorizes: config.authorization,
                unsigned: codes(&config.authentication_whitelist),
                unruled: codes(&config.authorization_whitelist),
                // A name server serves any cluster: rights on Cluster:*.
                cluster: "*".to_owned(),
            },
            refusals: Refusals::new(config.authentication_failures_per_second),
            owners: Owners {
                named: config.broker_identity_list().into_iter().collect(),
                first: Mutex::default(),
            },
        }))
    }

    /// Whether this user may register members of a broker group. Who may is its owner from now on, while it `is_registered`.
    ///
    /// # Errors
    /// Another user's group: the text says whose.
    pub(crate) fn own(
        &self,
        group: &str,
        user: Option<&str>,
        is_registered: bool,
    ) -> Result<(), String> {
        let Some(user) = user else {
            // The code is on the white list.
            return Ok(());
        };
        let named = &self.owners.named;
        if let Some(owner) = named.get(group).or_else(|| named.get("*")) {
            return match owner == user {
                true => Ok(()),
                false => Err(format!(
                    "the broker group {group} is registered by user {owner} alone (brokerIdentities), and not by {user}"
                )),
            };
        }
        let mut first = self.owners.first.lock();
        match first.get(group) {
            Some(owner) if owner != user && is_registered => Err(format!(
                "the broker group {group} was registered by user {owner} first, and not by {user}; it is free when no member of it is registered"
            )),
            Some(owner) if owner == user => Ok(()),
            _ => {
                first.insert(group.to_owned(), user.to_owned());
                Ok(())
            }
        }
    }

    /// Forgets whose a broker group was that has no member any more.
    pub(crate) fn disown(&self, is_registered: impl Fn(&str) -> bool) {
        self.owners
            .first
            .lock()
            .retain(|group, _| is_registered(group));
    }
}

/// Whose the broker groups are.
#[derive(Debug)]
struct Owners {
    /// As the configuration says.
    named: HashMap<String, String>,
    /// Who registered the others first.
    first: Mutex<HashMap<String, String>>,
}

fn configured(key: &str, text: &HiddenText, path: &Path) -> Result<Option<User>, String> {
    let text = text.or_file(path).map_err(|why| format!("{key}: {why}"))?;
    let user = text.map(|text| User::of_configuration(text.reveal()));
    user.transpose().map_err(|error| format!("{key}: {error}"))
}

fn read_users(path: &Path, accounts: &Accounts) -> Result<(), String> {
    let failed = |error| format!("it cannot be read: {error}");
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > USERS_BYTES_MAX {
        return Err(format!(
            "it has {length} bytes, and {USERS_BYTES_MAX} are allowed"
        ));
    }
    let text = Secret::new(std::fs::read_to_string(path).map_err(failed)?);
    // What the reader of JSON says may be a password.
    let file: UsersFile = serde_json::from_str(text.reveal()).map_err(|error| {
        format!(
            "line {} is not JSON as {{\"users\":[…],\"acls\":[…]}}",
            error.line()
        )
    })?;
    for info in &file.users {
        let name = info.username.as_deref().unwrap_or_default();
        let user = User::described(name, info, None);
        let user = user.map_err(|error| format!("user {name:?}: {error}"))?;
        accounts.configure(user);
    }
    for info in &file.acls {
        let subject = info.subject.as_deref().unwrap_or_default();
        let user = user_of(subject).map_err(|error| error.to_string())?;
        match accounts.get(user) {
            Some(account) if account.user.kind == UserKind::Normal => {}
            Some(_) => continue,
            None => {
                return Err(format!(
                    "there are rules of user {user:?}, and no such user"
                ));
            }
        }
        let acl = Acl::read(info).map_err(|error| format!("rules of user {user:?}: {error}"))?;
        accounts.set_acl(user, Some(acl));
    }
    Ok(())
}

/// The user that a request names: by its access key, or by the certificate of its connection.
pub(crate) fn named_user(exchange: &Exchange<'_>) -> Option<String> {
    let key = exchange.header.fields.get(ACCESS_KEY_FIELD);
    match key.filter(|key| !key.is_empty()) {
        Some(key) => Some(key.to_cow().into_owned()),
        None => certificate_of(exchange).map(ToOwned::to_owned),
    }
}

/// The subject of the certificate of a connection.
pub(crate) fn certificate_of<'e>(exchange: &'e Exchange<'_>) -> Option<&'e str> {
    match exchange.peer.identity() {
        Identity::Certificate(subject) => Some(subject),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(inner: &str) -> NameServerConfig {
        NameServerConfig {
            authentication: true,
            inner_credentials: HiddenText::new(inner.to_owned()),
            ..NameServerConfig::default()
        }
    }

    const INNER: &str = r#"{"accessKey":"inner","secretKey":"hidden"}"#;

    #[test]
    fn a_group_belongs_to_who_is_named_or_came_first() {
        let mut config = config(INNER);
        config.broker_identities = "a=ann".to_owned();
        let access = Access::of(&config).expect("users").expect("checks");
        assert_eq!(access.own("a", Some("ann"), true), Ok(()));
        let error = access.own("a", Some("inner"), false).expect_err("ann's");
        assert!(error.contains("brokerIdentities"), "{error}");
        assert_eq!(access.own("b", Some("inner"), false), Ok(()));
        assert_eq!(access.own("b", Some("inner"), true), Ok(()));
        assert!(access.own("b", Some("ann"), true).is_err());
        access.disown(|_| false);
        assert_eq!(access.own("b", Some("ann"), true), Ok(()));
    }

    #[test]
    fn all_other_groups_can_belong_to_one_user() {
        let mut config = config(INNER);
        config.broker_identities = "*=inner, a=ann".to_owned();
        let access = Access::of(&config).expect("users").expect("checks");
        assert_eq!(access.own("a", Some("ann"), false), Ok(()));
        assert!(access.own("a", Some("inner"), false).is_err());
        assert_eq!(access.own("b", Some("inner"), false), Ok(()));
        assert!(access.own("b", Some("ann"), false).is_err());
    }

    #[test]
    fn users_come_from_settings_and_files() {
        assert!(Access::of(&config("")).is_err());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.json");
        let mut config = config(INNER);
        config.users_file.clone_from(&path);
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        write(
            r#"{"users":[{"username":"ann","password":"hidden"}],
               "acls":[{"subject":"User:ann","policies":[{"entries":[{"resource":"Topic:*","actions":["List"],"decision":"Allow"}]}]}]}"#,
        );
        let access = Access::of(&config).expect("users").expect("checks");
        let ann = access.gate.accounts.get("ann").expect("ann");
        assert_eq!(ann.acl.len(), 1);
        for wrong in [
            "ann:hidden",
            r#"{"users":[{"username":"ann"}]}"#,
            r#"{"acls":[{"subject":"User:bob","policies":[]}]}"#,
        ] {
            write(wrong);
            let error = Access::of(&config).expect_err(wrong);
            assert!(
                error.starts_with("usersFile") && !error.contains("hidden"),
                "{error}"
            );
        }
    }
}
