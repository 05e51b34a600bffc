//! Users and their rules: how they are changed. They are settings: the log feeds the tables, at the master and its replicas alike.

use std::sync::Arc;

use parking_lot::Mutex;
use rmq_access::{
    Account, Accounts, Acl, AclError, PolicyKind, ResourceKey, ResourceKeyError, SealError, User,
    UserError,
};
use rmq_protocol::bodies::{AclInfo, UserInfo};
use rmq_store::SettingsError;

use crate::data::Data;
use crate::limits::Limits;
use crate::tables::acls::{self, AclTable, UserAcl};
use crate::tables::users::{self, UserTable};

/// Bytes of the rules of one user as the log has them.
const ACL_BYTES_MAX: usize = 1 << 20;

/// Why a user or rules cannot be had or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Acl(#[from] AclError),
    #[error(transparent)]
    Resource(#[from] ResourceKeyError),
    #[error("The user is existed: {0}; change it instead (code 3002)")]
    Exists(String),
    #[error("The user is not exist: {0}")]
    Unknown(String),
    #[error("The acl is not exist: user {0} has no rules")]
    NoAcl(String),
    #[error("The acl is not exist: user {user} has no {policy} rule for {resource}")]
    NoEntry {
        user: String,
        policy: &'static str,
        resource: ResourceKey,
    },
    #[error("the broker has {0} users, the limit (usersMax); delete some")]
    TooMany(usize),
    #[error(
        "the rules of user {user} would have {entries} entries, and {max} are allowed (aclEntriesMax)"
    )]
    TooManyEntries {
        user: String,
        entries: usize,
        max: usize,
    },
    #[error(
        "the rules of user {user} would take {bytes} bytes, and {ACL_BYTES_MAX} are allowed: give prefixes instead of names"
    )]
    TooLarge { user: String, bytes: usize },
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] SettingsError),
}

/// How settings were before a change, and are after it.
pub(crate) struct Changed<T> {
    pub(crate) before: Option<T>,
    pub(crate) after: Option<T>,
}

/// All users of this broker.
pub(crate) struct Users {
    store: Data,
    users: Arc<UserTable>,
    acls: Arc<AclTable>,
    /// Held while a change is decided and appended, so that each change builds on the one before it in the log.
    deciding: Mutex<()>,
    limits: Limits,
}

impl Users {
    /// The users of a store that was opened with these tables.
    pub(crate) fn new(
        store: &Data,
        users: Arc<UserTable>,
        acls: Arc<AclTable>,
        limits: Limits,
    ) -> Self {
        Self {
            store: store.clone(),
            users,
            acls,
            deciding: Mutex::default(),
            limits,
        }
    }

    fn accounts(&self) -> &Accounts {
        self.users.accounts()
    }

    /// The account of a user, of the configuration too.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Account>> {
        self.accounts().get(name)
    }

    /// All accounts, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Account>> {
        self.accounts().all()
    }

    pub(crate) fn len(&self) -> usize {
        self.accounts().len()
    }

    /// The user that the next change builds on.
    fn newest(&self, name: &str) -> Option<Arc<User>> {
        let stored = self.users.newest(name);
        // One of the configuration counts until it is stored.
        stored.or_else(|| Some(Arc::clone(&self.get(name)?.user)))
    }

    /// Creates a user; returns when that is as durable as a message, and counts.
    pub(crate) async fn create(&self, name: &str, info: &UserInfo) -> Result<User, UsersError> {
        let (user, end) = {
            let _deciding = self.deciding.lock();
            if self.newest(name).is_some() {
                return Err(UsersError::Exists(name.to_owned()));
            }
            let max = self.limits.users;
            if self.users.len() >= max {
                return Err(UsersError::TooMany(max));
            }
            let user = User::described(name, info, None)?;
            let end = self.append(&user)?;
            (user, end)
        };
        self.store.settings()?.wait(end).await?;
        Ok(user)
    }

    /// Changes what `info` names of a user; returns as [`create`](Self::create).
    pub(crate) async fn update(
        &self,
        name: &str,
        info: &UserInfo,
    ) -> Result<Changed<User>, UsersError> {
        let (before, after, end) = {
            let _deciding = self.deciding.lock();
            let before = self.newest(name);
            let before = before.ok_or_else(|| UsersError::Unknown(name.to_owned()))?;
            let after = User::described(name, info, Some(&before))?;
            let end = self.append(&after)?;
            (before, after, end)
        };
        self.store.settings()?.wait(end).await?;
        Ok(Changed {
            before: Some((*before).clone()),
            after: Some(after),
        })
    }

    fn append(&self, user: &User) -> Result<rmq_protocol::message::LogPosition, UsersError> {
        let change = self.users.set(user)?;
        let end = self.store.settings()?.put(&[change])?;
        self.users
            .appended(&user.name, Some(Arc::new(user.clone())), end.0);
        Ok(end)
    }

    /// Deletes a stored user with the rules, with one record; returns as [`create`](Self::create). The user, when there was one.
    pub(crate) async fn delete(&self, name: &str) -> Result<Option<Arc<User>>, UsersError> {
        let (user, end) = {
            let _deciding = self.deciding.lock();
            let Some(user) = self.users.newest(name) else {
                return Ok(None);
            };
            let has_acl = self.acls.newest(name).is_some();
            let mut changes = vec![users::remove(name)];
            changes.extend(has_acl.then(|| acls::remove(name)));
            let end = self.store.settings()?.put(&changes)?;
            self.users.appended(name, None, end.0);
            if has_acl {
                self.acls.appended(name, None, end.0);
            }
            (user, end)
        };
        self.store.settings()?.wait(end).await?;
        Ok(Some(user))
    }

    /// Adds the entries of an ACL to the rules of a user, each in the place of one of the same resource; returns as [`create`](Self::create).
    pub(crate) async fn put_acl(
        &self,
        user: &str,
        info: &AclInfo,
    ) -> Result<Changed<Acl>, UsersError> {
        let added = Acl::read(info)?;
        self.change_acl(user, move |acl| {
            acl.merge(added);
            Ok(())
        })
        .await
    }

    /// Deletes the rules of a user, or the one of a resource; returns as [`create`](Self::create).
    pub(crate) async fn delete_acl(
        &self,
        user: &str,
        policy: PolicyKind,
        resource: Option<ResourceKey>,
    ) -> Result<Changed<Acl>, UsersError> {
        self.change_acl(user, move |acl| {
            if acl.is_empty() {
                return Err(UsersError::NoAcl(user.to_owned()));
            }
            match resource {
                None => *acl = Acl::default(),
                Some(resource) if acl.remove(policy, &resource) => {}
                Some(resource) => {
                    return Err(UsersError::NoEntry {
                        user: user.to_owned(),
                        policy: policy.name(),
                        resource,
                    });
                }
            }
            Ok(())
        })
        .await
    }

    async fn change_acl(
        &self,
        user: &str,
        change: impl FnOnce(&mut Acl) -> Result<(), UsersError>,
    ) -> Result<Changed<Acl>, UsersError> {
        let (before, after, end) = {
            let _deciding = self.deciding.lock();
            if self.newest(user).is_none() {
                return Err(UsersError::Unknown(user.to_owned()));
            }
            let before = self.acls.newest(user).map(|row| row.acl.clone());
            let mut acl = before.clone().unwrap_or_default();
            change(&mut acl)?;
            let max = self.limits.acl_entries;
            if acl.len() > max {
                return Err(UsersError::TooManyEntries {
                    user: user.to_owned(),
                    entries: acl.len(),
                    max,
                });
            }
            let row = (!acl.is_empty()).then(|| {
                Arc::new(UserAcl {
                    user: user.to_owned(),
                    acl,
                })
            });
            let changed = match &row {
                Some(row) => {
                    let bytes = row.acl.to_info(user).to_json().len();
                    if bytes > ACL_BYTES_MAX {
                        return Err(UsersError::TooLarge {
                            user: user.to_owned(),
                            bytes,
                        });
                    }
                    acls::set(row)
                }
                None => acls::remove(user),
            };
            let end = self.store.settings()?.put(&[changed])?;
            let after = row.as_ref().map(|row| row.acl.clone());
            self.acls.appended(user, row, end.0);
            (before, after, end)
        };
        self.store.settings()?.wait(end).await?;
        Ok(Changed { before, after })
    }
}
