//! What a broker is in its group, as a value that tasks watch.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// The role of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// It takes messages.
    Master {
        /// Counts the masters of the group, from 1.
        epoch: u64,
    },
    /// It is the master, and takes nothing for now: reads continue.
    Closed {
        /// As of a master that takes messages.
        epoch: u64,
        /// Why, for those who ask.
        why: String,
    },
    /// It copies the log of a master, and takes no messages.
    Replica {
        /// The master's `host:port`; `None` while the group has no master.
        of: Option<String>,
    },
}

impl Role {
    pub(crate) fn is_master(&self) -> bool {
        matches!(self, Self::Master { .. })
    }

    /// Whether it is the master of its group, whether or not it takes messages.
    pub(crate) fn leads(&self) -> bool {
        matches!(self, Self::Master { .. } | Self::Closed { .. })
    }

    /// The role as the label of a metric.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Master { .. } | Self::Closed { .. } => "master",
            Self::Replica { .. } => "replica",
        }
    }

    /// The role in RocketMQ's words (apache/rocketmq `BrokerRole`).
    pub(crate) fn broker_role(&self) -> &'static str {
        match self {
            Self::Master { .. } | Self::Closed { .. } => "ASYNC_MASTER",
            Self::Replica { .. } => "SLAVE",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master { epoch } => write!(f, "master, epoch {epoch}"),
            Self::Closed { epoch, why } => write!(
                f,
                "master, epoch {epoch}, which takes nothing for now: {why}"
            ),
            Self::Replica { of: Some(master) } => write!(f, "replica of {master}"),
            Self::Replica { of: None } => f.write_str("replica without a master"),
        }
    }
}

/// The role that a broker has now.
#[derive(Debug)]
pub(crate) struct CurrentRole {
    /// The same as in `role`, for the message path.
    is_master: AtomicBool,
    leads: AtomicBool,
    role: watch::Sender<Role>,
}

impl CurrentRole {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            is_master: AtomicBool::new(role.is_master()),
            leads: AtomicBool::new(role.leads()),
            role: watch::Sender::new(role),
        }
    }

    /// Whether the broker takes messages now. One load: a request may ask.
    pub(crate) fn is_master(&self) -> bool {
        self.is_master.load(Ordering::Acquire)
    }

    /// Whether the broker is the master of its group. One load: a request may ask.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self) -> Role {
        self.role.borrow().clone()
    }

    /// The role as it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// Changes the role: requests see it at once, and tasks start and stop.
    pub(crate) fn set(&self, role: Role) {
        self.is_master.store(role.is_master(), Ordering::Release);
        self.leads.store(role.leads(), Ordering::Release);
        self.role.send_replace(role);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_role_is_seen_by_requests_and_by_watchers() {
        let current = CurrentRole::new(Role::Master { epoch: 1 });
        let mut watched = current.watch();
        assert!(current.is_master());
        assert_eq!(current.get().to_string(), "master, epoch 1");

        let of = Some("10.0.0.7:10911".to_owned());
        current.set(Role::Replica { of });
        assert!(!current.is_master());
        assert!(watched.has_changed().is_ok_and(|changed| changed));
        let seen = watched.borrow_and_update().clone();
        assert_eq!(seen.to_string(), "replica of 10.0.0.7:10911");
        assert_eq!((seen.label(), seen.broker_role()), ("replica", "SLAVE"));

        current.set(Role::Master { epoch: 2 });
        assert!(current.is_master());
        let why = "it hands over".to_owned();
        current.set(Role::Closed { epoch: 2, why });
        assert!(current.leads() && !current.is_master());
        let alone = Role::Replica { of: None };
        assert_eq!(alone.to_string(), "replica without a master");
    }
}
