//! The log feeds the tables: what is applied, in which order, and what is left of it after a crash at any step of the disk.
//! Budget: 20 s.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use common::{ASYNC, KV, ORDERED, Random, TOPICS, acked, message, tables};
use parking_lot::Mutex;
use rmq_store::fs::{Crash, Fs, SimulatedDisk};
use rmq_store::{
    Applied, Apply, Change, FlushMode, Master, ReadError, Row, SettingsError, StoreConfig, Table,
    TableId,
};

const FOLLOWED: TableId = TableId::new(100);

/// A table in memory that remembers what it was told.
#[derive(Default)]
struct Followed {
    told: Mutex<Vec<(String, Option<String>, u64)>>,
}

impl Followed {
    fn value(&self, key: &str) -> Option<String> {
        let told = self.told.lock();
        let newest = told.iter().rev().find(|(other, _, _)| other == key)?;
        newest.1.clone()
    }

    fn values(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for (key, value, _) in self.told.lock().iter() {
            match value {
                Some(value) => drop(values.insert(key.clone(), value.clone())),
                None => drop(values.remove(key)),
            }
        }
        values
    }
}

impl Apply for Followed {
    fn apply(&self, change: &Applied<'_>) -> Result<(), ReadError> {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("text");
        let told = (change.key.to_owned(), change.value.map(text), change.end.0);
        self.told.lock().push(told);
        Ok(())
    }
}

fn open(disk: impl Fs, flush: FlushMode) -> (Master, Arc<Followed>) {
    let followed = Arc::new(Followed::default());
    let mut tables = tables();
    tables.push(Table::applied(FOLLOWED, "followed", followed.clone()));
    let clock = AtomicI64::new(1_000_000);
    let config = StoreConfig {
        segment_bytes: 64 << 10,
        index_run_bytes: 16 << 10,
        flush,
        background: false,
        tables,
        now_ms: Arc::new(move || clock.fetch_add(1, Ordering::Relaxed)),
        ..StoreConfig::new("store")
    };
    let (store, _) = Master::open(config, Arc::new(disk)).expect("opens");
    (store, followed)
}

fn put(store: &Master, changes: &[Change]) {
    let end = store.settings().put(changes).expect("put");
    acked(store, end);
}

fn rows(store: &Master) -> Vec<Row> {
    let rows = store.rows(ORDERED, b"", None, usize::MAX);
    rows.expect("rows")
}

#[test]
fn a_change_is_applied_before_its_writer_is_told_and_in_the_order_of_the_log() {
    const WRITERS: usize = 4;
    const CHANGES: usize = 100;
    for flush in [ASYNC, FlushMode::Sync] {
        let disk = SimulatedDisk::new();
        let (store, followed) = open(disk.clone(), flush);
        let ends: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let writers = (0..WRITERS).map(|writer| {
                let (store, followed) = (&store, &followed);
                scope.spawn(move || {
                    let write = |n: usize| {
                        let (key, value) = (format!("k{writer}"), n.to_string());
                        let change = Change::set(FOLLOWED, key.as_str(), value.clone());
                        let end = store.settings().put(&[change]).expect("put");
                        acked(store, end);
                        assert_eq!(followed.value(&key), Some(value));
                        end.0
                    };
                    (0..CHANGES).map(write).collect()
                })
            });
            let writers: Vec<_> = writers.collect();
            let join = |writer: std::thread::ScopedJoinHandle<'_, _>| writer.join().expect("done");
            writers.into_iter().map(join).collect()
        });
        let told = followed.told.lock().clone();
        assert!(told.is_sorted_by(|a, b| a.2 < b.2), "in log order");
        let mut wanted: Vec<u64> = ends.into_iter().flatten().collect();
        wanted.sort_unstable();
        let have: Vec<u64> = told.iter().map(|(_, _, end)| *end).collect();
        assert_eq!(have, wanted, "each once");
        let last = followed.values();
        store.checkpoint().expect("a checkpoint");
        put(&store, &[Change::set(FOLLOWED, "k0", "behind the tables")]);
        store.abandon();
        drop(store);
        // The rows first, then the log behind them.
        let (store, followed) = open(disk, flush);
        let told = followed.told.lock().clone();
        assert_eq!(told.len(), WRITERS + 1);
        assert!(told.is_sorted_by(|a, b| a.2 <= b.2));
        let mut wanted = last;
        wanted.insert("k0".to_owned(), "behind the tables".to_owned());
        assert_eq!(followed.values(), wanted);
        store.abandon();
    }
}

#[test]
fn a_table_that_was_not_declared_is_refused() {
    let (store, _) = open(SimulatedDisk::new(), ASYNC);
    let unknown = Change::set(TableId::new(77), "k", "v");
    let refused = store.settings().put(&[unknown]);
    assert!(matches!(refused, Err(SettingsError::Internal { .. })));
    let own = Change::set(TableId::new(5), "k", "v");
    let refused = store.settings().put(&[own]);
    assert!(matches!(refused, Err(SettingsError::Internal { .. })));
    for key in [&b""[..], b"\xFF"] {
        let refused = store.settings().put(&[Change::set(KV, key, "v")]);
        assert!(matches!(refused, Err(SettingsError::Key { .. })));
    }
    put(&store, &[Change::set(ORDERED, &b"\xFF"[..], "v")]);
    store.abandon();
    let twice = StoreConfig {
        tables: [tables(), tables()].concat(),
        ..StoreConfig::new("other")
    };
    assert!(twice.validate().is_err());
}

/// A deletion of a topic is one record: whatever a crash leaves, a topic that is gone has no messages, and one that is there has all.
#[test]
fn a_crash_leaves_all_of_a_deletion_or_nothing() {
    for flush in [ASYNC, FlushMode::Sync] {
        let disk = SimulatedDisk::new();
        let (store, _) = open(disk.clone(), flush);
        let queue = store.queue("t", 0).expect("a queue");
        put(&store, &[Change::set(TOPICS, "t", "settings")]);
        for n in 0..20 {
            let body = [n; 500];
            let appended = store.append(&message(&queue, &body, b"", ""));
            acked(&store, appended.expect("appended").end);
        }
        store.checkpoint().expect("a checkpoint");
        let begun = disk.steps();
        put(
            &store,
            &[Change::remove(TOPICS, "t"), Change::delete_queues("t")],
        );
        let done = disk.steps();
        store.checkpoint().expect("a checkpoint");
        store.close().expect("closed");
        let mut seen = [0, 0];
        for steps in begun..=disk.steps() {
            for crash in [Crash::Kill, Crash::PowerLoss] {
                let what = format!("{flush:?}, {crash:?} after step {steps}");
                let (store, _) = open(disk.after_crash(steps, crash), flush);
                let is_there = store.value(TOPICS, "t").is_some();
                let queue = store.queue("t", 0).expect("a queue");
                let messages = queue.max_offset() - queue.min_offset();
                assert_eq!(messages, if is_there { 20 } else { 0 }, "{what}");
                assert_eq!(queue.max_offset(), 20, "{what}: offsets continue");
                let promised = flush == FlushMode::Sync || crash == Crash::Kill;
                assert!(!(is_there && promised && steps >= done), "{what}");
                seen[usize::from(is_there)] += 1;
                store.abandon();
            }
        }
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    }
}

/// A state of all tables: by table and key.
type Model = BTreeMap<(TableId, Vec<u8>), Vec<u8>>;

/// Random changes of tables of each kind, several in one record; sealed now and then. Every state that the log went through.
fn life(seed: u64) -> (SimulatedDisk, Vec<(usize, Model)>) {
    let disk = SimulatedDisk::new();
    let (store, _) = open(disk.clone(), ASYNC);
    let mut random = Random(seed);
    let mut model = Model::new();
    let mut states = vec![(0, model.clone())];
    for _ in 0..60 {
        let mut changes = Vec::new();
        for _ in 0..=random.below(3) {
            let table = [KV, FOLLOWED, ORDERED][random.below(3) as usize];
            let key = format!("k{}", random.below(6)).into_bytes();
            if random.below(4) == 0 {
                model.remove(&(table, key.clone()));
                changes.push(Change::remove(table, key));
            } else {
                let value = vec![b'a' + random.below(26) as u8; 1 + random.below(300) as usize];
                model.insert((table, key.clone()), value.clone());
                changes.push(Change::set(table, key, value));
            }
        }
        put(&store, &changes);
        states.push((disk.steps(), model.clone()));
        if random.below(9) == 0 {
            store.checkpoint().expect("a checkpoint");
        }
    }
    store.close().expect("closed");
    (disk, states)
}

fn state(store: &Master, followed: &Followed) -> Model {
    let mut model = Model::new();
    for (key, value) in store.values(KV) {
        model.insert((KV, key.into_bytes()), value.to_vec());
    }
    for (key, value) in followed.values() {
        model.insert((FOLLOWED, key.into_bytes()), value.into_bytes());
    }
    for (key, value) in rows(store) {
        model.insert((ORDERED, key), value.to_vec());
    }
    model
}

#[test]
fn tables_are_a_state_of_the_log_after_a_crash_at_each_step() {
    for seed in [1, 2] {
        let (disk, states) = life(seed);
        for steps in 0..=disk.steps() {
            let every_fourth = (steps % 4 == 0).then_some(Crash::PowerLoss);
            for crash in [Crash::Kill].into_iter().chain(every_fourth) {
                let what = format!("seed {seed}, {crash:?} after step {steps}");
                let (store, followed) = open(disk.after_crash(steps, crash), ASYNC);
                let found = state(&store, &followed);
                let acked = states.iter().rposition(|(at, _)| *at <= steps).unwrap_or(0);
                let first = if crash == Crash::Kill { acked } else { 0 };
                // The one change that was on its way may be there.
                let last = (acked + 2).min(states.len());
                let is_one = states[first..last].iter().any(|(_, state)| *state == found);
                assert!(is_one, "{what}: {found:?}");
                store.abandon();
            }
        }
    }
}

#[test]
fn rows_on_disk_are_read_in_order_while_they_change() {
    let (store, _) = open(SimulatedDisk::new(), ASYNC);
    let key = |n: u32| n.to_be_bytes().to_vec();
    let set = |n: u32| Change::set(ORDERED, key(n), n.to_string());
    put(&store, &(0..300).map(set).collect::<Vec<_>>());
    store.checkpoint().expect("a checkpoint");
    // Over the rows of the file: some removed, some changed, some between and behind.
    let removed = (0..300).step_by(3).map(|n| Change::remove(ORDERED, key(n)));
    let changed = (1..300)
        .step_by(3)
        .map(|n| Change::set(ORDERED, key(n), "x"));
    put(&store, &removed.chain(changed).collect::<Vec<_>>());
    put(&store, &(300..310).map(set).collect::<Vec<_>>());
    let wanted: Vec<(Vec<u8>, String)> = (0..310)
        .filter(|n| n % 3 != 0 || *n >= 300)
        .map(|n| match n % 3 {
            1 if n < 300 => (key(n), "x".to_owned()),
            _ => (key(n), n.to_string()),
        })
        .collect();
    for is_sealed in [false, true] {
        if is_sealed {
            store.checkpoint().expect("a checkpoint");
        }
        for batch in [1, 7, 1_000] {
            let (mut found, mut from) = (Vec::new(), Vec::new());
            loop {
                let rows = store.rows(ORDERED, &from, None, batch);
                let rows = rows.expect("rows");
                let Some((last, _)) = rows.last() else { break };
                from = [last.as_slice(), &[0]].concat();
                found.extend(rows);
            }
            let found: Vec<_> = found
                .into_iter()
                .map(|(key, value)| (key, String::from_utf8(value.to_vec()).expect("text")))
                .collect();
            assert_eq!(found, wanted, "{is_sealed} {batch}");
        }
        let part = store
            .rows(ORDERED, &key(10), Some(&key(13)), 100)
            .expect("rows");
        let keys: Vec<_> = part.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [key(10), key(11)]);
        let none = store.rows(ORDERED, &key(5), Some(&key(5)), 100);
        assert_eq!(none.expect("rows"), []);
    }
    // Readers while changes are sealed: a key that never changes is always there, and a moved one is there once.
    std::thread::scope(|scope| {
        let store = &store;
        let writer = scope.spawn(move || {
            for n in 1_000..1_100 {
                put(store, &[Change::remove(ORDERED, key(n - 1)), set(n)]);
                if n % 10 == 0 {
                    store.checkpoint().expect("a checkpoint");
                }
            }
        });
        put(store, &[set(999)]);
        while !writer.is_finished() {
            let rows = store.rows(ORDERED, &key(2), Some(&key(3)), 10);
            assert_eq!(rows.expect("rows").len(), 1);
            let moved = store.rows(ORDERED, &key(1_000), None, 10);
            assert!(moved.expect("rows").len() <= 1);
        }
        writer.join().expect("done");
    });
    store.close().expect("closed");
}

#[test]
fn rows_that_messages_set_are_there_after_a_crash_at_each_step() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(disk.clone(), ASYNC);
    let queue = store.queue("fed", 0).expect("a queue");
    let mut random = Random(11);
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut positions = Vec::new();
    let begun = disk.steps();
    let mut states = vec![(begun, Vec::new())];
    let mut queue = queue;
    for _ in 0..60 {
        match random.below(8) {
            0..4 => {
                let appended = store
                    .append(&message(&queue, b"waits", b"", ""))
                    .expect("appended");
                acked(&store, appended.end);
                let key = [b"fed", &appended.position.0.to_be_bytes()[..], b"!"].concat();
                model.insert(key, appended.queue_offset.0.to_le_bytes().to_vec());
                positions.push(appended.position.0);
            }
            4 | 5 if !positions.is_empty() => {
                // A message ends what another has begun, and later a change removes both rows in one.
                let position = positions.swap_remove(random.below(positions.len() as u64) as usize);
                let plain = store.queue("t", 0).expect("a queue");
                let mut ends = message(&plain, b"ends", b"", "");
                ends.prepared_position = !(position as i64);
                let appended = store.append(&ends).expect("appended");
                acked(&store, appended.end);
                let ended = [b"ended", &ends.prepared_position.to_be_bytes()[..]].concat();
                model.insert(ended.clone(), Vec::new());
                states.push((disk.steps(), model.clone().into_iter().collect()));
                let key = [b"fed", &position.to_be_bytes()[..], b"!"].concat();
                put(
                    &store,
                    &[
                        Change::remove(ORDERED, key.clone()),
                        Change::remove(ORDERED, ended.clone()),
                    ],
                );
                model.remove(&key);
                model.remove(&ended);
            }
            6 => store.checkpoint().expect("a checkpoint"),
            7 => {
                store.abandon();
                store = open(disk.clone(), ASYNC).0;
                queue = store.queue("fed", 0).expect("a queue");
            }
            _ => continue,
        }
        let state: Vec<(Vec<u8>, Vec<u8>)> = model.clone().into_iter().collect();
        let found: Vec<_> = rows(&store)
            .into_iter()
            .map(|(key, value)| (key, value.to_vec()))
            .collect();
        assert_eq!(found, state);
        states.push((disk.steps(), state));
    }
    assert!(positions.len() > 3);
    store.abandon();
    for steps in begun..=disk.steps() {
        let acked = states.iter().rposition(|(at, _)| *at <= steps);
        let acked = acked.expect("the first state");
        let (store, _) = open(disk.after_crash(steps, Crash::Kill), ASYNC);
        let found: Vec<_> = rows(&store)
            .into_iter()
            .map(|(key, value)| (key, value.to_vec()))
            .collect();
        let last = (acked + 2).min(states.len());
        let is_one = states[acked..last].iter().any(|(_, state)| *state == found);
        assert!(is_one, "after step {steps}: {found:?}");
        store.abandon();
    }
}

#[test]
fn rows_in_memory_follow_messages_and_are_there_after_a_start() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = open(disk.clone(), ASYNC);
    let mut model = BTreeMap::new();
    for round in 0..4 {
        let queue = store.queue("numbered", 0).expect("a queue");
        let kept = store
            .append(&message(&queue, b"kept", b"", ""))
            .expect("appended");
        let removed = store
            .append(&message(&queue, b"removed", b"", ""))
            .expect("appended");
        let row = [
            &b"<"[..],
            &kept.queue_offset.0.to_be_bytes(),
            &kept.store_ms.to_be_bytes(),
            b">",
        ]
        .concat();
        model.insert(kept.position.0.to_string(), row);
        acked(&store, removed.end);
        let removed_key = removed.position.0.to_string();
        assert!(store.value(KV, &removed_key).is_some());
        if round % 2 == 0 {
            store.checkpoint().expect("a checkpoint");
        }
        let plain = store.queue("t", 0).expect("a queue");
        let mut ends = message(&plain, b"ends", b"", "");
        ends.prepared_position = removed.position.0 as i64;
        let ended = store.append(&ends).expect("appended");
        acked(&store, ended.end);
        let found = |store: &Master| -> BTreeMap<String, Vec<u8>> {
            let values = store.values(KV).into_iter();
            values.map(|(key, value)| (key, value.to_vec())).collect()
        };
        assert_eq!(found(&store), model);
        store.abandon();
        drop(store);
        store = open(disk.clone(), ASYNC).0;
        assert_eq!(found(&store), model, "after the start");
    }
    store.close().expect("closed");
}
