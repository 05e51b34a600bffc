//! Random changes through everything that changes a table, with restarts, and crashes at each step of the disk: the tables equal the model.
//! Concurrent changes.

mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rmq_config::BrokerConfig;
use rmq_protocol::bodies::{SubscriptionGroupConfig, TopicConfig};
use rmq_protocol::message::LogPosition;
use rmq_store::fs::{Crash, SimulatedDisk};
use rmq_store::{AppendError, FlushMode, Follower, Master, SettingsError, StoreConfig};

use super::delay;
use super::topics::TopicTable;
use super::{Tables, groups::Group};
use crate::data::Data;
use crate::groups::Groups;
use crate::light::LightQueues;
use crate::limits::Limits;
use crate::offsets::ConsumerOffsets;
use crate::topics::{TopicError, Topics};

/// Long enough for no flush by time.
const ASYNC: FlushMode = FlushMode::Async {
    interval_ms: 60_000,
    bytes: 1 << 30,
};

fn tables() -> Tables {
    let system = Topics::system("cluster", "broker", true, 2);
    Tables {
        topics: Arc::new(TopicTable::new(system, 0)),
        groups: Groups::table_with_builtin(0),
        offsets: Arc::default(),
        delay: Arc::default(),
        waiting: Arc::default(),
        half: Arc::default(),
        users: Arc::default(),
        acls: Arc::default(),
    }
}

fn config(tables: &Tables, flush: FlushMode) -> StoreConfig {
    let clock = AtomicI64::new(1_000_000);
    StoreConfig {
        segment_bytes: 64 << 10,
        index_run_bytes: 16 << 10,
        flush,
        background: false,
        tables: tables.declared(),
        now_ms: Arc::new(move || clock.fetch_add(1, Ordering::Relaxed)),
        ..StoreConfig::new("store")
    }
}

/// One life of the tables, and what changes them.
struct Life {
    store: Data,
    tables: Tables,
    topics: Topics,
    groups: Groups,
    offsets: ConsumerOffsets,
}

impl Life {
    fn open(disk: &SimulatedDisk, flush: FlushMode) -> Self {
        let tables = tables();
        let disk = Arc::new(disk.clone());
        let (store, _) = Master::open(config(&tables, flush), disk).expect("opens");
        Self::of(Data::of_master(store), tables)
    }

    /// The tables of a replica, and its way to copy.
    fn follow(disk: &SimulatedDisk) -> (Self, Follower) {
        let tables = tables();
        let disk = Arc::new(disk.clone());
        let (follower, _) = Follower::open(config(&tables, ASYNC), disk).expect("opens");
        (Self::of(Data::of_replica(&follower), tables), follower)
    }

    fn of(store: Data, tables: Tables) -> Self {
        let config = BrokerConfig::default();
        let limits = Limits::of(&config);
        let light = Arc::new(LightQueues::new(&store, &config));
        let topics = Topics::open(&store, tables.topics.clone(), limits, &light).expect("queues");
        Self {
            topics,
            groups: Groups::new(&store, tables.groups.clone(), true, limits, &light),
            offsets: ConsumerOffsets::new(&store, tables.offsets.clone()),
            tables,
            store,
        }
    }

    fn state(&self) -> State {
        State::of(&self.tables)
    }

    fn abandon(self) {
        self.store.abandon();
    }
}

/// What all tables hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct State {
    topics: BTreeMap<String, TopicConfig>,
    groups: BTreeMap<String, (SubscriptionGroupConfig, BTreeMap<String, i32>)>,
    offsets: BTreeMap<String, BTreeMap<i32, i64>>,
    delay: BTreeMap<usize, i64>,
}

const TOPICS: [&str; 3] = ["topic-a", "topic-b", "topic-c"];
const GROUPS: [&str; 3] = ["group-a", "group-b", "group-c"];

impl State {
    fn of(tables: &Tables) -> Self {
        let named = |group: &Arc<Group>| (group.config.clone(), group.forbidden.clone());
        let offsets = tables.offsets.lock();
        Self {
            topics: TOPICS
                .iter()
                .filter_map(|name| {
                    Some(((*name).to_owned(), tables.topics.get(name)?.config.clone()))
                })
                .collect(),
            groups: GROUPS
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), named(&tables.groups.get(name)?))))
                .collect(),
            offsets: offsets
                .iter()
                .map(|(key, offsets)| (key.to_owned(), offsets.clone()))
                .collect(),
            delay: (1..=2)
                .map(|level| (level, tables.delay.next(level)))
                .filter(|(_, next)| *next > 0)
                .collect(),
        }
    }
}

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) % end as u64) as usize
    }

    fn of<'a>(&mut self, names: &[&'a str]) -> &'a str {
        names[self.below(names.len())]
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// One change, at the life and at the model.
fn change(life: &Life, random: &mut Random, model: &mut State) {
    let (topic, group) = (random.of(&TOPICS), random.of(&GROUPS));
    let number = 1 + random.below(4) as i32;
    let key = format!("{topic}@{group}");
    match random.below(12) {
        0 | 1 => {
            let config = TopicConfig::new(topic, number);
            block_on(life.topics.put(config.clone())).expect("put");
            model.topics.insert(topic.to_owned(), config);
        }
        2 => {
            let config = TopicConfig::new(topic, number);
            let made = life.topics.create_now(config).expect("made");
            let entry = model.topics.entry(topic.to_owned());
            assert_eq!(*entry.or_insert(made.config.clone()), made.config);
        }
        3 => {
            let deleted = block_on(life.topics.delete(topic, &life.offsets));
            let was_there = deleted.expect("deleted");
            assert_eq!(was_there, model.topics.remove(topic).is_some());
            let is_other = |key: &String| key.split_once('@').is_some_and(|(of, _)| of != topic);
            model.offsets.retain(|key, _| is_other(key));
        }
        4 => {
            let mut config = SubscriptionGroupConfig::new(group);
            config.retry_max_times = number;
            block_on(life.groups.put(config.clone())).expect("put");
            model.groups.entry(group.to_owned()).or_default().0 = config;
        }
        5 => {
            let made = life.groups.get_or_create(group, 0).expect("made");
            let entry = model.groups.entry(group.to_owned());
            entry.or_insert((made.config.clone(), BTreeMap::new()));
        }
        6 => {
            let is_readable = number == 1;
            let set = block_on(life.groups.set_readable(group, topic, is_readable));
            assert_eq!(set.is_ok(), model.groups.contains_key(group));
            if let Some((_, forbidden)) = model.groups.get_mut(group) {
                match is_readable {
                    true => drop(forbidden.remove(topic)),
                    false => drop(forbidden.insert(topic.to_owned(), 1)),
                }
            }
        }
        7 => {
            let with_offsets = number == 1;
            let offsets = with_offsets.then_some(&life.offsets);
            let was_there = block_on(life.groups.delete(group, offsets)).expect("deleted");
            assert_eq!(was_there, model.groups.remove(group).is_some());
            let is_other = |key: &String| key.split_once('@').is_some_and(|(_, of)| of != group);
            model
                .offsets
                .retain(|key, _| !with_offsets || is_other(key));
        }
        8 => {
            let offset = random.below(1_000) as i64;
            let offsets = &life.offsets;
            offsets.commit(topic, group, number, offset).expect("kept");
            assert_eq!(offsets.get(topic, group, number), Some(offset));
            offsets.save().expect("saved");
            model.offsets.entry(key).or_default().insert(number, offset);
        }
        9 => {
            block_on(life.offsets.reset(topic, group, &[(number, 7)])).expect("reset");
            assert_eq!(life.offsets.take_reset(topic, group, number), Some(7));
            model.offsets.entry(key).or_default().insert(number, 7);
        }
        10 => {
            let (from, topics) = (random.of(&GROUPS), [topic.to_owned()]);
            block_on(life.offsets.clone_group(&topics, from, group)).expect("copied");
            if let Some(copied) = model.offsets.get(&format!("{topic}@{from}")).cloned() {
                model.offsets.insert(key, copied);
            }
        }
        _ => {
            let level = 1 + random.below(2);
            let changes = [delay::set(level, i64::from(number))];
            block_on(
                life.store
                    .settings()
                    .expect("a master")
                    .put_and_wait(&changes),
            )
            .expect("put");
            model.delay.insert(level, i64::from(number));
        }
    }
}

#[test]
fn tables_equal_the_model_through_restarts_and_crashes_at_each_step() {
    let disk = SimulatedDisk::new();
    let mut random = Random(7);
    let mut model = State::default();
    let mut life = Life::open(&disk, ASYNC);
    let mut states = vec![(disk.steps(), model.clone())];
    let begun = disk.steps();
    for _ in 0..120 {
        change(&life, &mut random, &mut model);
        assert_eq!(life.state(), model);
        states.push((disk.steps(), model.clone()));
        match random.below(16) {
            0 => life.store.checkpoint().expect("a checkpoint"),
            1 => {
                life.abandon();
                life = Life::open(&disk, ASYNC);
            }
            2 => {
                life.store.close().expect("closed");
                life.abandon();
                life = Life::open(&disk, ASYNC);
            }
            _ => continue,
        }
        assert_eq!(life.state(), model);
        states.push((disk.steps(), model.clone()));
    }
    life.abandon();
    for steps in begun..=disk.steps() {
        let acked = states.iter().rposition(|(at, _)| *at <= steps);
        let acked = acked.expect("the first state");
        let life = Life::open(&disk.after_crash(steps, Crash::Kill), ASYNC);
        let found = life.state();
        let next = states.get(acked + 1).map(|(_, state)| state);
        assert!(
            found == states[acked].1 || Some(&found) == next,
            "after step {steps}: {found:?}"
        );
        life.abandon();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_changes_of_one_group_all_count() {
    const CHANGES: i32 = 12;
    let disk = SimulatedDisk::new();
    let life = Arc::new(Life::open(&disk, FlushMode::Sync));
    life.groups
        .put(SubscriptionGroupConfig::new("group-a"))
        .await
        .expect("put");
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..CHANGES {
        let then = Arc::clone(&life);
        changes.spawn(async move {
            let topic = format!("topic-{number}");
            then.groups.set_readable("group-a", &topic, false).await
        });
        let then = Arc::clone(&life);
        changes.spawn(async move {
            let mut config = SubscriptionGroupConfig::new("group-a");
            config.retry_max_times = number;
            then.groups.put(config).await
        });
    }
    while let Some(changed) = changes.join_next().await {
        changed.expect("it ran").expect("it is stored");
    }
    let group = life.groups.get("group-a").expect("there");
    assert_eq!(group.forbidden.len(), CHANGES as usize);
    let state = life.state();
    life.store.abandon();
    let again = Life::open(&disk, FlushMode::Sync);
    assert_eq!(again.state(), state);
    again.abandon();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_made_changed_and_deleted_at_once_are_what_the_log_says() {
    let disk = SimulatedDisk::new();
    let life = Arc::new(Life::open(&disk, FlushMode::Sync));
    let mut changes = tokio::task::JoinSet::new();
    for number in 1..=10 {
        for name in TOPICS {
            let then = Arc::clone(&life);
            changes.spawn(async move {
                let config = TopicConfig::new(name, number);
                if number % 3 == 0 {
                    // From the message path: there at once, before anything is flushed.
                    then.topics.create_now(config).map(drop)
                } else if number % 4 == 0 {
                    then.topics.delete(name, &then.offsets).await.map(drop)
                } else {
                    then.topics.put(config).await.map(drop)
                }
            });
        }
    }
    while let Some(changed) = changes.join_next().await {
        changed.expect("it ran").expect("it is stored");
    }
    // Everything that was appended is in the tables.
    let end = LogPosition(life.store.positions().appended);
    life.store.settled(end).await.expect("settled");
    let state = life.state();
    life.store.abandon();
    let again = Life::open(&disk, FlushMode::Sync);
    assert_eq!(again.state(), state);
    again.abandon();
}

/// Copies what the master has and the replica has not, in pieces of random sizes, and confirms a random part of it.
fn copy(random: &mut Random, master: &Life, replica: &Follower, confirm_all: bool) {
    loop {
        let from = LogPosition(replica.positions().appended);
        let piece = master.store.log_piece(from, 1 + random.below(4_096));
        let Some(piece) = piece.expect("it can be read") else {
            break;
        };
        let end = replica.copy(from, &piece.bytes).expect("it fits");
        let stored = replica.try_store(end).expect("nobody else writes");
        stored.expect("stored");
        if confirm_all || random.below(2) == 0 {
            replica.confirm(end).expect("confirmed");
        }
    }
    if confirm_all {
        let end = LogPosition(replica.positions().appended);
        replica.confirm(end).expect("confirmed");
    }
}

#[test]
fn a_replicas_tables_equal_its_masters_whatever_is_changed() {
    let (disk, copied) = (SimulatedDisk::new(), SimulatedDisk::new());
    let mut random = Random(11);
    let mut model = State::default();
    let master = Life::open(&disk, ASYNC);
    let (mut replica, mut follower) = Life::follow(&copied);
    for _ in 0..300 {
        for _ in 0..random.below(5) {
            change(&master, &mut random, &mut model);
        }
        match random.below(12) {
            0 => follower.checkpoint().expect("a checkpoint"),
            1 => {
                replica.abandon();
                (replica, follower) = Life::follow(&copied);
            }
            2 => {
                // What runs ahead of the log is seen, and ends with the process.
                let offsets = &replica.offsets;
                offsets.commit("topic-a", "ahead", 0, 5).expect("kept");
                assert_eq!(offsets.get("topic-a", "ahead", 0), Some(5));
                replica.abandon();
                (replica, follower) = Life::follow(&copied);
                assert_eq!(replica.offsets.get("topic-a", "ahead", 0), None);
            }
            3 => copy(&mut random, &master, &follower, false),
            _ => {
                copy(&mut random, &master, &follower, true);
                assert_eq!(replica.state(), model);
            }
        }
    }
    copy(&mut random, &master, &follower, true);
    assert_eq!((replica.state(), master.state()), (model.clone(), model));
    master.abandon();

    // What a replica is asked to change changes nothing.
    let before = replica.state();
    let refused = block_on(replica.topics.put(TopicConfig::new("topic-new", 1)));
    let error = SettingsError::Append(AppendError::NotMaster);
    assert_eq!(
        refused.err().map(|error| error.to_string()),
        Some(TopicError::Store(error).to_string())
    );
    block_on(replica.groups.put(SubscriptionGroupConfig::new("new"))).expect_err("refused");
    block_on(replica.offsets.reset("topic-a", "group-a", &[(0, 1)])).expect_err("refused");
    assert_eq!(replica.state(), before);

    // A replica that becomes the master changes them.
    let master = follower.promote(2).expect("the master");
    master.replicated(None);
    replica.store.lead(master);
    block_on(replica.topics.put(TopicConfig::new("topic-a", 9))).expect("put");
    let topic = replica.topics.get("topic-a").expect("there");
    assert_eq!(topic.config.read_queue_nums, 9);
    replica.abandon();
}
