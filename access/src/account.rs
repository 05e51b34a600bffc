//! What a server knows of its users, ready to be asked by each request.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;

use parking_lot::RwLock;

use crate::acl::Acl;
use crate::rules::Rules;
use crate::user::User;

/// A user with the rules.
#[derive(Debug)]
pub struct Account {
    /// The user.
    pub user: Arc<User>,
    /// The rules as they are written.
    pub acl: Arc<Acl>,
    /// The rules as they are asked.
    pub rules: Arc<Rules>,
}

/// The users of a server. A user of the configuration is there until one of the same name is stored.
#[derive(Debug, Default)]
pub struct Accounts {
    slots: RwLock<HashMap<Box<str>, Slot, RandomState>>,
    /// How often something has changed.
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    stored: Option<Arc<User>>,
    configured: Option<Arc<User>>,
    acl: Arc<Acl>,
    rules: Arc<Rules>,
    account: Option<Arc<Account>>,
}

impl Accounts {
    /// A user of the configuration.
    pub fn configure(&self, user: User) {
        let name = user.name.clone();
        self.change(&name, |slot| slot.configured = Some(Arc::new(user)));
    }

    /// A stored user is so from now on, or is none any more.
    pub fn set_user(&self, name: &str, user: Option<Arc<User>>) {
        self.change(name, |slot| slot.stored = user);
    }

    /// The rules of a user, who need not exist.
    pub fn set_acl(&self, name: &str, acl: Option<Acl>) {
        let acl = acl.unwrap_or_default();
        let rules = Arc::new(Rules::of(&acl));
        self.change(name, |slot| {
            slot.acl = Arc::new(acl);
            slot.rules = rules;
        });
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Slot)) {
        let mut slots = self.slots.write();
        let slot = slots.entry(name.into()).or_default();
        change(slot);
        let user = slot.stored.as_ref().or(slot.configured.as_ref());
        slot.account = user.map(|user| {
            Arc::new(Account {
                user: Arc::clone(user),
                acl: Arc::clone(&slot.acl),
                rules: Arc::clone(&slot.rules),
            })
        });
        if slot.account.is_none() && slot.acl.is_empty() {
            slots.remove(name);
        }
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The account of a user.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Account>> {
        self.slots.read().get(name)?.account.clone()
    }

    /// All accounts, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Account>> {
        let slots = self.slots.read();
        let mut all: Vec<_> = slots
            .values()
            .filter_map(|slot| slot.account.clone())
            .collect();
        drop(slots);
        all.sort_by(|one, other| one.user.name.cmp(&other.user.name));
        all
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let slots = self.slots.read();
        slots.values().filter(|slot| slot.account.is_some()).count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The account that a connection asked with last: most have one for their whole life.
#[derive(Debug, Default)]
pub struct Recent {
    known: Option<(Arc<Account>, u64)>,
}

impl Recent {
    /// The account of a user, without a lock while nothing has changed.
    pub(crate) fn get(&mut self, accounts: &Accounts, name: &str) -> Option<&Arc<Account>> {
        let changes = accounts.changes.load(Ordering::Acquire);
        let is_known = self
            .known
            .as_ref()
            .is_some_and(|(account, at)| *at == changes && account.user.name == name);
        if !is_known {
            self.known = Some((accounts.get(name)?, changes));
        }
        self.known.as_ref().map(|(account, _)| account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::user::UserKind;

    fn user(name: &str, password: &str) -> User {
        let password = Secret::new(password.to_owned());
        User::new(name, password, UserKind::Normal).expect("a user")
    }

    fn password(accounts: &Accounts, recent: &mut Recent, name: &str) -> Option<String> {
        let account = recent.get(accounts, name)?;
        let password = account.user.password.as_ref()?;
        Some(password.reveal().to_owned())
    }

    #[test]
    fn a_stored_user_counts_before_one_of_the_configuration() {
        let accounts = Accounts::default();
        let mut recent = Recent::default();
        accounts.configure(user("ann", "configured"));
        assert_eq!(
            password(&accounts, &mut recent, "ann").as_deref(),
            Some("configured")
        );
        accounts.set_user("ann", Some(Arc::new(user("ann", "stored"))));
        assert_eq!(
            password(&accounts, &mut recent, "ann").as_deref(),
            Some("stored")
        );
        accounts.set_user("bob", Some(Arc::new(user("bob", "b"))));
        assert_eq!(
            password(&accounts, &mut recent, "bob").as_deref(),
            Some("b")
        );
        assert_eq!(accounts.len(), 2);
        accounts.set_user("ann", None);
        accounts.set_user("bob", None);
        assert_eq!(
            password(&accounts, &mut recent, "ann").as_deref(),
            Some("configured")
        );
        assert_eq!(password(&accounts, &mut recent, "bob"), None);
    }

    #[test]
    fn rules_wait_for_their_user() {
        let accounts = Accounts::default();
        let mut acl = Acl::default();
        acl.put(
            crate::PolicyKind::Custom,
            crate::Entry {
                resource: "*".parse().expect("a resource"),
                actions: crate::Actions::ALL,
                networks: Vec::new(),
                decision: crate::Decision::Allow,
            },
        );
        accounts.set_acl("ann", Some(acl));
        assert!(accounts.get("ann").is_none());
        accounts.set_user("ann", Some(Arc::new(user("ann", "a"))));
        assert_eq!(
            accounts.get("ann").map(|account| account.acl.len()),
            Some(1)
        );
        accounts.set_acl("ann", None);
        accounts.set_user("ann", None);
        assert!(accounts.slots.read().is_empty());
    }
}
