//! The table of users: key = the name, value = type, status and password as JSON. The password is sealed when the broker has a key
//! (`userSecretsKeyFile`), and as it is otherwise.

use std::sync::Arc;

use parking_lot::RwLock;
use rmq_access::{Accounts, SealError, SealingKey, Secret, User, UserKind};
use rmq_store::{Applied, Apply, Change, ReadError};
use serde::{Deserialize, Serialize};

use super::ids::USERS;
use super::rows::{Keyed, Rows};

impl Keyed for User {
    fn key(&self) -> &str {
        &self.name
    }
}

/// What the log keeps of a user.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored<'a> {
    is_super: bool,
    enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

/// The users of a broker.
#[derive(Default)]
pub(crate) struct UserTable {
    rows: RwLock<Rows<Arc<User>>>,
    sealing: Option<SealingKey>,
    accounts: Arc<Accounts>,
}

impl UserTable {
    /// Whose passwords are stored with this key, and who are told to these accounts.
    pub(crate) fn new(sealing: Option<SealingKey>, accounts: Arc<Accounts>) -> Self {
        Self {
            rows: RwLock::default(),
            sealing,
            accounts,
        }
    }

    /// The accounts that the table tells.
    pub(crate) fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// The user as the user is when everything that was appended is confirmed.
    pub(crate) fn newest(&self, name: &str) -> Option<Arc<User>> {
        self.rows.read().newest(name).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.read().len()
    }

    /// The change that sets a user.
    ///
    /// # Errors
    /// The password of the user cannot be opened, and so not be stored again.
    pub(crate) fn set(&self, user: &User) -> Result<Change, SealError> {
        Ok(Change::set(USERS, user.name.as_str(), self.encode(user)?))
    }

    fn encode(&self, user: &User) -> Result<Vec<u8>, SealError> {
        let password = user.password.as_ref();
        let password = password.ok_or_else(|| SealError::NoKey(user.name.clone()))?;
        let sealed = match &self.sealing {
            Some(key) => Some(key.seal(&user.name, password)?),
            None => None,
        };
        let stored = Stored {
            is_super: user.kind == UserKind::Super,
            enabled: user.enabled,
            password: sealed.is_none().then(|| password.reveal().into()),
            sealed,
        };
        // Texts and flags are always JSON.
        Ok(serde_json::to_vec(&stored).unwrap_or_default())
    }

    /// A change of a user was appended, and its record ends at `until`.
    pub(crate) fn appended(&self, name: &str, user: Option<Arc<User>>, until: u64) {
        self.rows.write().appended(name, user, until, false);
    }

    fn decode(&self, name: &str, value: &[u8]) -> Option<Arc<User>> {
        let Ok(stored) = serde_json::from_slice::<Stored<'_>>(value) else {
            tracing::error!(
                user = name,
                "the stored user cannot be read, and is ignored"
            );
            return None;
        };
        let opened = match (&stored.sealed, &self.sealing) {
            (None, _) => Ok(stored.password.map(|text| Secret::new(text.into_owned()))),
            (Some(sealed), Some(key)) => key.open(name, sealed).map(Some),
            (Some(_), None) => Err(SealError::NoKey(name.to_owned())),
        };
        let password = opened.unwrap_or_else(|error| {
            tracing::error!(
                user = name,
                "{error}: no request of this user is served (userSecretsKeyFile)"
            );
            None
        });
        let kind = match stored.is_super {
            true => UserKind::Super,
            false => UserKind::Normal,
        };
        Some(Arc::new(User::stored(name, password, kind, stored.enabled)))
    }
}

/// The change that removes a user.
pub(crate) fn remove(name: &str) -> Change {
    Change::remove(USERS, name)
}

impl Apply for UserTable {
    fn apply(&self, change: &Applied<'_>) -> Result<(), ReadError> {
        let (key, end) = (change.key, change.end.0);
        // Held until the accounts know: the last change that is told is the last one of the log.
        let mut rows = self.rows.write();
        if !rows.settle(key, end) {
            let user = change.value.and_then(|value| self.decode(key, value));
            rows.apply(key, user, end);
        }
        self.accounts.set_user(key, rows.get(key).cloned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rmq_protocol::message::LogPosition;

    use super::*;

    fn user(password: &str) -> User {
        let password = Secret::new(password.to_owned());
        User::new("ann", password, UserKind::Normal).expect("a user")
    }

    fn table(key: Option<u8>) -> UserTable {
        let key = key.map(|byte| SealingKey::read(&[byte; 32]).expect("a key"));
        UserTable::new(key, Arc::default())
    }

    fn password_after(table: &UserTable, value: &[u8]) -> Option<String> {
        let applied = Applied::new("ann", Some(value), LogPosition(10));
        table.apply(&applied).expect("applied");
        let account = table.accounts.get("ann").expect("an account");
        let password = account.user.password.as_ref()?;
        Some(password.reveal().to_owned())
    }

    #[test]
    fn passwords_are_sealed_with_a_key_and_plain_without() {
        let plain = table(None).encode(&user("hunter2")).expect("stored");
        assert!(String::from_utf8_lossy(&plain).contains("hunter2"));
        let sealed = table(Some(1)).encode(&user("hunter2")).expect("stored");
        assert!(!String::from_utf8_lossy(&sealed).contains("hunter2"));
        let same = Some("hunter2".to_owned());
        assert_eq!(password_after(&table(None), &plain), same);
        // What was stored before there was a key is read with one too.
        assert_eq!(password_after(&table(Some(1)), &plain), same);
        assert_eq!(password_after(&table(Some(1)), &sealed), same);
        assert_eq!(password_after(&table(Some(2)), &sealed), None);
        assert_eq!(password_after(&table(None), &sealed), None);
    }
}
