//! The table of subscription groups: key = the group's name, value = its settings (apache/rocketmq `SubscriptionGroupConfig`) and the topics
//! that it may not read, as JSON.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use rmq_protocol::bodies::{DataVersion, SubscriptionGroupConfig};
use rmq_store::{Applied, Apply, Change, ReadError};

use super::ids::GROUPS;
use super::rows::{Keyed, Rows};
use crate::quota::{ColdLimit, ColdReads, Quota};
use crate::stats::{self, ByQueue, Counted, Flow};

/// A group and what it has been given since the broker started.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) config: SubscriptionGroupConfig,
    /// Topics that it may not read.
    pub(crate) forbidden: BTreeMap<String, i32>,
    /// Made when something is first counted: most groups of a large broker are idle.
    counters: OnceLock<Arc<GroupCounters>>,
    /// How much its members may be given; most groups have none.
    pub(crate) quota: Option<Arc<Quota>>,
    /// How much they may have read from the disk.
    pub(crate) cold: Option<Arc<ColdLimit>>,
}

#[derive(Debug, Default)]
pub(crate) struct GroupCounters {
    given: RwLock<HashMap<Box<str>, Arc<GivenCounters>, foldhash::fast::RandomState>>,
    pub(crate) dead_letters: AtomicU64,
    pub(crate) cold: ColdReads,
}

/// What a group has been given of one topic, and has given back.
#[derive(Debug, Default)]
pub(crate) struct GivenCounters {
    pub(crate) got: Flow,
    /// Milliseconds and number of the pulls of each queue that found messages.
    pub(crate) get_took: ByQueue<2>,
    pub(crate) sent_back: Counted,
    pub(crate) given_up: Counted,
    pub(crate) pulls: Pulls,
}

/// Where the last pull of each queue came to: the offset of the next one. Not kept over a restart, as in the original
/// (`broker/…/offset/ConsumerOffsetManager.java`, `pullOffsetTable`).
#[derive(Debug, Default)]
pub(crate) struct Pulls(Mutex<Vec<i64>>);

/// No pull came.
const NONE: i64 = -1;

impl Pulls {
    pub(crate) fn came_to(&self, queue_id: i32, offset: i64) {
        let Ok(at) = usize::try_from(queue_id) else {
            return;
        };
        let mut pulls = self.0.lock();
        if pulls.len() <= at {
            pulls.resize(at + 1, NONE);
        }
        if let Some(pull) = pulls.get_mut(at) {
            *pull = offset;
        }
    }

    pub(crate) fn of(&self, queue_id: i32) -> Option<i64> {
        let at = usize::try_from(queue_id).ok()?;
        let pull = *self.0.lock().get(at)?;
        (pull != NONE).then_some(pull)
    }
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

    /// What the group has been given; `None` when nothing was counted.
    pub(crate) fn counted(&self) -> Option<&GroupCounters> {
        self.counters.get().map(|counters| &**counters)
    }

    /// Where to count what the group is given.
    pub(crate) fn counters(&self) -> &Arc<GroupCounters> {
        self.counters.get_or_init(Arc::default)
    }

    /// Whether a message that a member gives back goes to the dead letters at once, as the group has no retry queues. Such a group is not
    /// made any more; the original loses the message.
    pub(crate) fn gives_up_at_once(&self) -> bool {
        self.config.retry_queue_nums <= 0
    }

    /// Whether the group may read the topic (code 353 forbids it).
    pub(crate) fn may_read(&self, topic: &str) -> bool {
        self.forbidden.get(topic).is_none_or(|bits| *bits & 1 == 0)
    }
}

impl Keyed for Group {
    fn key(&self) -> &str {
        self.name()
    }
}

/// What the log keeps of a group.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    config: SubscriptionGroupConfig,
    #[serde(default)]
    forbidden: BTreeMap<String, i32>,
}

/// The change that gives a group its settings.
///
/// # Errors
/// They cannot be written as JSON.
pub(crate) fn set(group: &Group) -> serde_json::Result<Change> {
    let stored = Stored {
        config: group.config.clone(),
        forbidden: group.forbidden.clone(),
    };
    let json = serde_json::to_vec(&stored)?;
    Ok(Change::set(GROUPS, group.name(), json))
}

/// The change that removes a group.
pub(crate) fn remove(name: &str) -> Change {
    Change::remove(GROUPS, name)
}

fn decode(name: &str, value: &[u8]) -> Option<Stored> {
    serde_json::from_slice(value)
        .inspect_err(|error| {
            tracing::error!(
                group = name,
                "stored settings of the group cannot be read and are ignored: {error}"
            );
        })
        .ok()
}

/// What is read of a row can be written and read again.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_back(value: &[u8]) {
    let Some(stored) = decode("g", value) else {
        return;
    };
    let json = serde_json::to_vec(&stored).unwrap_or_default();
    let again = decode("g", &json);
    let name = |stored: &Stored| stored.config.group_name.clone();
    assert_eq!(again.as_ref().map(name), Some(name(&stored)));
}

/// The groups of a broker.
pub(crate) struct GroupTable {
    rows: RwLock<Rows<Arc<Group>>>,
    /// What every broker has, and no log holds.
    builtin: Box<[&'static str]>,
    version: Mutex<DataVersion>,
}

impl GroupTable {
    /// With the groups that every broker has.
    pub(crate) fn new(builtin: &[&'static str], now_ms: i64) -> Self {
        let table = Self {
            rows: RwLock::default(),
            builtin: builtin.into(),
            version: Mutex::new(DataVersion {
                counter: 0,
                state_version: 0,
                timestamp: now_ms,
            }),
        };
        for name in builtin {
            let config = SubscriptionGroupConfig::new(*name);
            table.insert(&table.group(config, BTreeMap::new()));
        }
        table
    }

    /// The group, without allocating.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Group>> {
        self.rows.read().get(name).cloned()
    }

    /// The group as it is when everything that was appended is confirmed.
    pub(crate) fn newest(&self, name: &str) -> Option<Arc<Group>> {
        self.rows.read().newest(name).cloned()
    }

    /// Every group, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<Group>> {
        let rows = self.rows.read();
        let mut all: Vec<_> = rows.iter().cloned().collect();
        drop(rows);
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.read().len()
    }

    /// A group with these settings, that continues the counters of the one that there is.
    pub(crate) fn group(
        &self,
        config: SubscriptionGroupConfig,
        forbidden: BTreeMap<String, i32>,
    ) -> Arc<Group> {
        let known = self.newest(&config.group_name);
        // Both count in one place: who has the old group still counts for it.
        let counters = known
            .as_ref()
            .map(|known| Arc::clone(known.counters()).into());
        let (quota, cold) = match &known {
            Some(known) => (known.quota.as_ref(), known.cold.as_ref()),
            None => (None, None),
        };
        Arc::new(Group {
            quota: Quota::of(&config.attributes, quota),
            cold: ColdLimit::of(&config.attributes, cold),
            config,
            forbidden,
            counters: counters.unwrap_or_default(),
        })
    }

    /// A change of a group was appended, and its record ends at `until`. `is_seen`: it counts at once.
    pub(crate) fn appended(
        &self,
        name: &str,
        group: Option<Arc<Group>>,
        until: u64,
        is_seen: bool,
    ) {
        self.rows.write().appended(name, group, until, is_seen);
    }

    /// Sets a group that no log holds.
    pub(crate) fn insert(&self, group: &Arc<Group>) {
        self.rows.write().insert(Arc::clone(group));
    }

    pub(crate) fn version(&self) -> DataVersion {
        *self.version.lock()
    }

    /// Something has changed that tools are told.
    pub(crate) fn changed(&self, now_ms: i64) {
        let mut version = self.version.lock();
        version.counter += 1;
        version.timestamp = now_ms;
    }
}

impl Apply for GroupTable {
    fn apply(&self, change: &Applied<'_>) -> Result<(), ReadError> {
        let (key, end) = (change.key, change.end.0);
        let is_own = self.rows.write().settle(key, end);
        if !is_own || change.value.is_none() {
            let stored = change.value.and_then(|value| decode(key, value));
            let builtin = || {
                let name = self.builtin.iter().find(|name| **name == key)?;
                Some(self.group(SubscriptionGroupConfig::new(*name), BTreeMap::new()))
            };
            let group = stored.map(|stored| self.group(stored.config, stored.forbidden));
            self.rows.write().apply(key, group.or_else(builtin), end);
        }
        if change.is_live() {
            self.changed(change.store_ms);
        }
        Ok(())
    }
}
