//! The table of rules: key = the user's name, value = the policies as JSON (apache/rocketmq `AclInfo`).

use std::sync::Arc;

use parking_lot::RwLock;
use rmq_access::{Accounts, Acl};
use rmq_protocol::bodies::AclInfo;
use rmq_store::{Applied, Apply, Change, ReadError};

use super::ids::ACLS;
use super::rows::{Keyed, Rows};

/// The rules of one user.
#[derive(Debug)]
pub(crate) struct UserAcl {
    pub(crate) user: String,
    pub(crate) acl: Acl,
}

impl Keyed for UserAcl {
    fn key(&self) -> &str {
        &self.user
    }
}

/// The rules of all users.
#[derive(Default)]
pub(crate) struct AclTable {
    rows: RwLock<Rows<Arc<UserAcl>>>,
    accounts: Arc<Accounts>,
}

impl AclTable {
    /// Whose rules are told to these accounts.
    pub(crate) fn new(accounts: Arc<Accounts>) -> Self {
        Self {
            rows: RwLock::default(),
            accounts,
        }
    }

    /// The rules of a user as they are when everything that was appended is confirmed.
    pub(crate) fn newest(&self, user: &str) -> Option<Arc<UserAcl>> {
        self.rows.read().newest(user).cloned()
    }

    /// A change was appended, and its record ends at `until`.
    pub(crate) fn appended(&self, user: &str, acl: Option<Arc<UserAcl>>, until: u64) {
        self.rows.write().appended(user, acl, until, false);
    }
}

/// The change that sets the rules of a user.
pub(crate) fn set(row: &UserAcl) -> Change {
    Change::set(
        ACLS,
        row.user.as_str(),
        row.acl.to_info(&row.user).to_json(),
    )
}

/// The change that removes them.
pub(crate) fn remove(user: &str) -> Change {
    Change::remove(ACLS, user)
}

fn decode(user: &str, value: &[u8]) -> Option<Arc<UserAcl>> {
    let read = AclInfo::from_json(value).map_err(|error| error.to_string());
    let read = read.and_then(|info| Acl::read(&info).map_err(|error| error.to_string()));
    let acl = read.inspect_err(|error| {
        tracing::error!(
            user,
            "the stored rules of the user cannot be read, and the user has none: {error}"
        );
    });
    Some(Arc::new(UserAcl {
        user: user.to_owned(),
        acl: acl.ok()?,
    }))
}

impl Apply for AclTable {
    fn apply(&self, change: &Applied<'_>) -> Result<(), ReadError> {
        let (key, end) = (change.key, change.end.0);
        // Held until the accounts know: the last change that is told is the last one of the log.
        let mut rows = self.rows.write();
        if !rows.settle(key, end) {
            let acl = change.value.and_then(|value| decode(key, value));
            rows.apply(key, acl, end);
        }
        let acl = rows.get(key).map(|row| row.acl.clone());
        self.accounts.set_acl(key, acl);
        Ok(())
    }
}
