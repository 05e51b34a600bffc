//! Subscription groups: their settings at this broker.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rmq_protocol::bodies::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupTable};
use rmq_protocol::names::{self, NameError};
use rmq_store::{Change, SettingsError, Store, Table};

use crate::attributes::{self, AttributeError};
use crate::stats::{self, ByQueue, Counted, Flow};

/// A group and what it has been given since the broker started.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) config: SubscriptionGroupConfig,
    /// Topics that it may not read.
    pub(crate) forbidden: BTreeMap<String, i32>,
    pub(crate) counters: Arc<GroupCounters>,
}

#[derive(Debug, Default)]
pub(crate) struct GroupCounters {
    given: RwLock<HashMap<Box<str>, Arc<GivenCounters>, foldhash::fast::RandomState>>,
    pub(crate) dead_letters: AtomicU64,
}

/// What a group has been given of one topic, and has given back.
#[derive(Debug, Default)]
pub(crate) struct GivenCounters {
    pub(crate) got: Flow,
    /// Milliseconds and number of the pulls of each queue that found messages.
    pub(crate) get_took: ByQueue<2>,
    pub(crate) sent_back: Counted,
    pub(crate) given_up: Counted,
}

impl GroupCounters {
    /// Those of a topic, without allocating once they are there.
    pub(crate) fn given(&self, topic: &str) -> Arc<GivenCounters> {
        if let Some(given) = self.given.read().get(topic) {
            return Arc::clone(given);
        }
        Arc::clone(self.given.write().entry(topic.into()).or_default())
    }

    /// Messages and bytes by topic, sorted.
    pub(crate) fn by_topic(&self) -> BTreeMap<String, (u64, u64)> {
        let given = self.given.read();
        given
            .iter()
            .map(|(topic, given)| {
                let got = (
                    given.got.total(stats::MESSAGES),
                    given.got.total(stats::BYTES),
                );
                (topic.to_string(), got)
            })
            .collect()
    }

    /// Those of a topic, when there are any.
    pub(crate) fn of(&self, topic: &str) -> Option<Arc<GivenCounters>> {
        self.given.read().get(topic).cloned()
    }

    /// Forgets a topic that is gone.
    pub(crate) fn forget(&self, topic: &str) {
        self.given.write().remove(topic);
    }
}

impl Group {
    pub(crate) fn name(&self) -> &str {
        &self.config.group_name
    }

    /// Whether the group may read the topic (code 353 forbids it).
    pub(crate) fn may_read(&self, topic: &str) -> bool {
        self.forbidden.get(topic).is_none_or(|bits| *bits & 1 == 0)
    }
}

/// Why a group cannot be had or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    #[error("the broker has {0} groups, the limit (groupsMax); delete some")]
    TooMany(usize),
    #[error("Group {0} not exist!")]
    Unknown(String),
    #[error(transparent)]
    Store(#[from] SettingsError),
}

/// All groups of this broker.
pub(crate) struct Groups {
    store: Store,
    table: RwLock<HashMap<Arc<str>, Arc<Group>, foldhash::fast::RandomState>>,
    max: usize,
    version: Mutex<DataVersion>,
    /// Whether an unknown group that pulls is made; it can change.
    pub(crate) auto_create: AtomicBool,
}

/// What the store keeps of a group.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    config: SubscriptionGroupConfig,
    #[serde(default)]
    forbidden: BTreeMap<String, i32>,
}

impl Groups {
    pub(crate) fn load(store: &Store, auto_create: bool, max: usize, now_ms: i64) -> Self {
        let groups = Self {
            store: store.clone(),
            table: RwLock::default(),
            max,
            version: Mutex::new(DataVersion {
                counter: 0,
                state_version: 0,
                timestamp: now_ms,
            }),
            auto_create: AtomicBool::new(auto_create),
        };
        for name in [
            names::TOOLS_GROUP,
            "CID_ONSAPI_OWNER",
            "CID_ONSAPI_PERMISSION",
            "CID_ONSAPI_PULL",
            "SELF_TEST_C_GROUP",
        ] {
            groups.insert(SubscriptionGroupConfig::new(name), BTreeMap::new());
        }
        for (name, value) in store.settings().scan(Table::Groups) {
            match serde_json::from_slice::<Stored>(&value) {
                Ok(stored) => {
                    groups.insert(stored.config, stored.forbidden);
                }
                Err(error) => tracing::error!(
                    group = name,
                    "stored settings of the group cannot be read and are ignored: {error}"
                ),
            }
        }
        groups
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Group>> {
        self.table.read().get(name).cloned()
    }

    /// The group, made when it is missing and that is allowed.
    pub(crate) fn get_or_create(&self, name: &str, now_ms: i64) -> Result<Arc<Group>, GroupError> {
        if let Some(group) = self.get(name) {
            return Ok(group);
        }
        names::validate_group(name)?;
        if !self.auto_create.load(Ordering::Relaxed) && !names::is_system_group(name) {
            return Err(GroupError::Unknown(name.to_owned()));
        }
        let config = SubscriptionGroupConfig::new(name);
        let change = self.prepare(&config, &BTreeMap::new())?;
        match self.store.settings().put(&[change]) {
            // Nobody waits for it; a pull brings no write that would take it along. What fails here fails the next send,
            // which says so.
            Ok(_) => drop(self.store.write_out()),
            // A full or failed disk must not keep consumers from reading: the defaults are made again after a restart.
            Err(SettingsError::Append(error)) => {
                tracing::warn!(group = name, "a new group is not stored: {error}");
            }
            Err(error) => return Err(error.into()),
        }
        let group = self.insert(config, BTreeMap::new());
        self.changed(now_ms);
        Ok(group)
    }

    /// Creates or changes a group; returns when that is as durable as a message.
    pub(crate) async fn put(
        &self,
        mut config: SubscriptionGroupConfig,
        now_ms: i64,
    ) -> Result<(), GroupError> {
        names::validate_group(&config.group_name)?;
        let known = self.get(&config.group_name);
        let current = known.as_ref().map(|group| &group.config.attributes);
        config.attributes = attributes::change_group(current, &config.attributes)?;
        let forbidden = known
            .map(|group| group.forbidden.clone())
            .unwrap_or_default();
        self.store
            .settings()
            .put_and_wait(&[self.prepare(&config, &forbidden)?])
            .await?;
        self.insert(config, forbidden);
        self.changed(now_ms);
        Ok(())
    }

    /// Allows or forbids a group to read a topic.
    pub(crate) async fn set_readable(
        &self,
        group: &Group,
        topic: &str,
        readable: bool,
        now_ms: i64,
    ) -> Result<(), GroupError> {
        let mut forbidden = group.forbidden.clone();
        if readable {
            forbidden.remove(topic);
        } else {
            forbidden.insert(topic.to_owned(), 1);
        }
        self.store
            .settings()
            .put_and_wait(&[self.prepare(&group.config, &forbidden)?])
            .await?;
        self.insert(group.config.clone(), forbidden);
        self.changed(now_ms);
        Ok(())
    }

    pub(crate) async fn delete(&self, name: &str, now_ms: i64) -> Result<bool, GroupError> {
        if self.get(name).is_none() {
            return Ok(false);
        }
        self.store
            .settings()
            .put_and_wait(&[Change::remove(Table::Groups, name)])
            .await?;
        self.table.write().remove(name);
        self.changed(now_ms);
        Ok(true)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Group>> {
        let mut all: Vec<_> = self.table.read().values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.table.read().len()
    }

    pub(crate) fn table(&self) -> SubscriptionGroupTable {
        let all = self.all();
        SubscriptionGroupTable {
            data_version: *self.version.lock(),
            forbidden_table: all
                .iter()
                .filter(|group| !group.forbidden.is_empty())
                .map(|group| (group.name().to_owned(), group.forbidden.clone()))
                .collect(),
            subscription_group_table: all
                .iter()
                .map(|group| (group.name().to_owned(), group.config.clone()))
                .collect(),
        }
    }

    fn prepare(
        &self,
        config: &SubscriptionGroupConfig,
        forbidden: &BTreeMap<String, i32>,
    ) -> Result<Change, GroupError> {
        if self.len() >= self.max && self.get(&config.group_name).is_none() {
            return Err(GroupError::TooMany(self.max));
        }
        let stored = Stored {
            config: config.clone(),
            forbidden: forbidden.clone(),
        };
        let json = serde_json::to_vec(&stored).map_err(|_| GroupError::TooMany(self.max))?;
        Ok(Change::set(Table::Groups, config.group_name.clone(), json))
    }

    fn insert(
        &self,
        config: SubscriptionGroupConfig,
        forbidden: BTreeMap<String, i32>,
    ) -> Arc<Group> {
        let mut table = self.table.write();
        let counters = table
            .get(config.group_name.as_str())
            .map(|old| Arc::clone(&old.counters))
            .unwrap_or_default();
        let name: Arc<str> = Arc::from(config.group_name.as_str());
        let group = Arc::new(Group {
            config,
            forbidden,
            counters,
        });
        table.insert(name, Arc::clone(&group));
        group
    }

    fn changed(&self, now_ms: i64) {
        let mut version = self.version.lock();
        version.counter += 1;
        version.timestamp = now_ms;
    }
}
