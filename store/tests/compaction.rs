//! Compaction topics: whatever happens to disk, process and members, the newest message of each key can be read at its offset, and nothing that
//! was never there.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{ASYNC, Clock, LIMITS, Random, acked, config, copy, follow, message, open};
use rmq_protocol::message::{LogPosition, QueueOffset, property, tag_hash};
use rmq_store::fs::{Crash, SimulatedDisk};
use rmq_store::{
    AllMessages, Boundary, EntryFilter, FlushMode, Follower, Master, NewMessage, ReadStatus, Store,
    StoreConfig, Temperature, compacted,
};

const QUEUES: [(&str, i32); 3] = [("t", 0), ("t", 1), ("u", 0)];

/// A message, and the steps of the disk at its acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    key: String,
    body: Vec<u8>,
    steps: usize,
}

/// What was sent to each queue, by offset; where its topic began anew.
#[derive(Default)]
struct History {
    sent: BTreeMap<(&'static str, i32), Vec<Sent>>,
    /// Offset from which on the queue counts, and the steps of the disk.
    deleted: BTreeMap<(&'static str, i32), (i64, usize)>,
}

impl History {
    fn send(&mut self, store: &Master, disk: &SimulatedDisk, queue: usize, key: &str, bytes: u64) {
        let (topic, id) = QUEUES[queue];
        let sent = self.sent.entry((topic, id)).or_default();
        let mut body = format!("{key} {} ", sent.len()).into_bytes();
        match bytes {
            0 => body.clear(),
            _ => body.resize(body.len().max(bytes as usize), b'.'),
        }
        let queue = store.queue(topic, id).expect("a queue");
        let text = format!("TAGS\u{1}of-{key}\u{2}KEYS\u{1}{key}\u{2}");
        let text = compacted(&text);
        let appended = store
            .append(&NewMessage {
                tag_hash: tag_hash(&format!("of-{key}")),
                ..message(&queue, &body, text.as_bytes(), key)
            })
            .expect("appended");
        assert_eq!(appended.queue_offset, QueueOffset(sent.len() as i64));
        acked(store, appended.end);
        sent.push(Sent {
            key: key.to_owned(),
            body,
            steps: disk.steps(),
        });
    }

    fn delete(&mut self, store: &Master, disk: &SimulatedDisk, topic: &str) {
        common::acts::delete(store, topic);
        for (queue, sent) in &self.sent {
            if queue.0 == topic {
                let deleted = (sent.len() as i64, disk.steps());
                self.deleted.insert(*queue, deleted);
            }
        }
    }

    /// What a store has that knows everything that was acknowledged after so many steps, and maybe more.
    fn check(&self, store: &Store, steps: usize, what: &str) {
        for (queue, sent) in &self.sent {
            let found = all(store, *queue);
            let offsets: Vec<i64> = found.keys().copied().collect();
            let deleted = self.deleted.get(queue).copied().unwrap_or((0, 0));
            for (offset, (key, body, position)) in &found {
                let was = &sent[*offset as usize];
                let what = format!("{what}: {queue:?} {offset} in {offsets:?}");
                assert!((key, body) == (&was.key, &was.body), "{what}: {key}");
                if deleted.1 <= steps {
                    assert!(*offset >= deleted.0, "{what}: it was deleted");
                }
                // What is not in the log any more is kept because it is the newest as far as the tables know, and has a body.
                let is_copy = *position < store.positions().min;
                assert!(!is_copy || !body.is_empty(), "{what}");
            }
            let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
            for (offset, sent) in sent
                .iter()
                .enumerate()
                .filter(|(_, sent)| sent.steps <= steps)
            {
                newest.insert(&sent.key, offset as i64);
            }
            for (key, offset) in newest {
                // Something that was not acknowledged may have come after it.
                let later = found
                    .range(offset + 1..)
                    .any(|(_, (other, ..))| other == key);
                let has_body = !sent[offset as usize].body.is_empty();
                let counts = offset >= deleted.0 && has_body && !later;
                let is_gone = !counts
                    || sent[offset as usize + 1..]
                        .iter()
                        .any(|later| later.key == key && later.body.is_empty());
                assert!(
                    is_gone || found.contains_key(&offset),
                    "{what}: {queue:?}: {key} at {offset} is missing in {offsets:?}"
                );
            }
        }
    }

    /// As [`check`](Self::check), of a store that knows everything: of what is not in the log any more only the newest of each key is left.
    fn check_all(&self, store: &Store, what: &str) {
        self.check(store, usize::MAX, what);
        for (queue, sent) in &self.sent {
            for (offset, (key, _, position)) in all(store, *queue) {
                let later = sent[offset as usize + 1..].iter();
                let is_newest = later.clone().all(|later| later.key != key);
                let is_copy = position < store.positions().min;
                assert!(
                    is_newest || !is_copy,
                    "{what}: {queue:?}: {key} at {offset} is not the newest"
                );
            }
        }
    }
}

type Found = BTreeMap<i64, (String, Vec<u8>, u64)>;

/// The messages of a queue from its beginning: key, body and log position by offset.
fn all(store: &Store, (topic, id): (&str, i32)) -> Found {
    let mut found = Found::new();
    let Some(queue) = store.find_queue(topic, id).expect("looked up") else {
        return found;
    };
    let mut at = queue.min_offset();
    while at < queue.max_offset() {
        let limits = rmq_store::ReadLimits {
            messages_max: 7,
            ..LIMITS
        };
        let outcome = store.read(
            &queue,
            QueueOffset(at),
            limits,
            &AllMessages,
            Temperature::MayWait,
        );
        for record in &outcome.records {
            let view = record.view().expect("a record");
            let key = view.property(property::KEYS).expect("a key").to_owned();
            let value = (key, view.body().to_vec(), view.position().0);
            let offset = view.queue_offset().0;
            assert!(offset >= at, "{offset} is before {at}");
            assert!(found.insert(offset, value).is_none(), "twice: {offset}");
        }
        assert!(outcome.next_offset > at, "{outcome:?}");
        at = outcome.next_offset;
    }
    found
}

fn settings(flush: FlushMode, clock: &Clock) -> StoreConfig {
    StoreConfig {
        index_run_bytes: 8 << 10,
        retention_ms: 1_000,
        ..config("store", flush, clock)
    }
}

/// A random step of a master.
fn act(
    random: &mut Random,
    master: &Master,
    disk: &SimulatedDisk,
    history: &mut History,
    clock: &Clock,
) {
    clock.advance(1 + random.below(50) as i64);
    match random.below(40) {
        0 => history.delete(master, disk, ["t", "u"][random.below(2) as usize]),
        1..=3 => master.checkpoint().expect("sealed"),
        4..=7 => {
            let removed = master.run_retention(clock.now());
            removed.expect("expired");
        }
        8 => clock.advance(900),
        _ => {
            let key = format!("k{}", random.below(6));
            let bytes = match random.below(6) {
                0 => 0,
                _ => 1 + random.below(12_000),
            };
            history.send(master, disk, random.below(3) as usize, &key, bytes);
        }
    }
}

fn cases() -> u64 {
    let cases = std::env::var("RMQ_CASES").ok();
    cases.map_or(40, |cases| cases.parse().expect("a number"))
}

#[test]
fn the_newest_of_each_key_survives_starts_and_crashes() {
    for seed in 0..cases() {
        let mut random = Random(seed);
        let clock = Clock::at(1_000_000);
        let flush = if random.chance(2) {
            FlushMode::Sync
        } else {
            ASYNC
        };
        let mut disk = SimulatedDisk::new();
        let mut history = History::default();
        let mut master = open(settings(flush, &clock), disk.clone()).expect("opens");
        for step in 0..150 {
            act(&mut random, &master, &disk, &mut history, &clock);
            let what = format!("seed {seed}, step {step}");
            history.check(&master, usize::MAX, &what);
            if random.chance(12) {
                match random.below(2) {
                    0 => master.close().expect("closed"),
                    _ => {
                        master.abandon();
                        let crash = match flush {
                            FlushMode::Sync => Crash::PowerLoss,
                            FlushMode::Async { .. } => Crash::Kill,
                        };
                        disk = disk.after_crash(disk.steps(), crash);
                    }
                }
                drop(master);
                master = open(settings(flush, &clock), disk.clone()).expect("opens");
                history.check(&master, usize::MAX, &what);
            }
        }
        master.checkpoint().expect("sealed");
        history.check_all(&master, &format!("seed {seed}"));
        master.abandon();
    }
}

#[test]
fn nothing_is_lost_after_a_crash_at_any_step() {
    let clock = Clock::at(1_000_000);
    let disk = SimulatedDisk::new();
    let mut history = History::default();
    let mut random = Random(7);
    let master = open(settings(FlushMode::Sync, &clock), disk.clone()).expect("opens");
    for round in 0..60_u64 {
        let key = format!("k{}", random.below(5));
        let bytes = if round % 9 == 8 { 0 } else { 6_000 };
        history.send(&master, &disk, (round % 3) as usize, &key, bytes);
        clock.advance(100);
        if round % 7 == 6 {
            master.run_retention(clock.now()).expect("expired");
        }
        if round == 40 {
            history.delete(&master, &disk, "u");
        }
    }
    master.close().expect("closed");
    let removed = master.positions().min;
    assert!(removed > 0, "segments went");
    for steps in 0..=disk.steps() {
        let left = disk.after_crash(steps, Crash::PowerLoss);
        let what = format!("a crash after {steps} of {} steps", disk.steps());
        let again = || {
            open(settings(FlushMode::Sync, &clock), left.clone())
                .unwrap_or_else(|error| panic!("{what}: {error}"))
        };
        let master = again();
        history.check(&master, steps, &what);
        // It goes on: what is left to expire does.
        master.run_retention(clock.now() + 10_000).expect("expired");
        history.check(&master, steps, &what);
        master.abandon();
        drop(master);
        let master = again();
        history.check(&master, steps, &what);
        master.abandon();
    }
}

#[test]
fn members_end_with_the_same() {
    for seed in 0..cases() / 2 {
        let mut random = Random(seed);
        let clock = Clock::at(1_000_000);
        let (disk, mut other) = (SimulatedDisk::new(), SimulatedDisk::new());
        let mut history = History::default();
        let master = open(settings(FlushMode::Sync, &clock), disk.clone()).expect("opens");
        let mut follower = follow(settings(FlushMode::Sync, &clock), other.clone());
        for step in 0..150 {
            act(&mut random, &master, &disk, &mut history, &clock);
            if random.chance(5) && master.positions().min <= follower.positions().appended {
                bring_up(&master, &follower);
                history.check(&follower, usize::MAX, &format!("seed {seed}, step {step}"));
                if random.chance(2) {
                    follower.run_retention(clock.now()).expect("expired");
                }
            }
            if random.chance(20) {
                other = common::end_somehow(follower, other, FlushMode::Sync, &mut random);
                follower = follow(settings(FlushMode::Sync, &clock), other.clone());
            }
        }
        if master.positions().min > follower.positions().appended {
            continue;
        }
        master.run_retention(clock.now()).expect("expired");
        bring_up(&master, &follower);
        follower.run_retention(clock.now()).expect("expired");
        assert_eq!(master.positions().min, follower.positions().min);
        let stores: [&Store; 2] = [&master, &follower];
        for store in stores {
            store.checkpoint().expect("sealed");
            history.check_all(store, &format!("seed {seed}"));
        }
        for queue in QUEUES {
            let [ours, theirs] = stores.map(|store| all(store, queue));
            let offsets = |found: &Found| found.keys().copied().collect::<Vec<_>>();
            assert_eq!(offsets(&ours), offsets(&theirs), "seed {seed}: {queue:?}");
            assert!(ours == theirs, "seed {seed}: {queue:?} differs");
        }
        // The follower continues as the master.
        master.close().expect("closed");
        let master = follower.promote(9).expect("promoted");
        master.replicated(None);
        for _ in 0..30 {
            act(&mut random, &master, &other, &mut history, &clock);
            history.check(&master, usize::MAX, &format!("seed {seed}, promoted"));
        }
        master.abandon();
    }
}

/// Brings a follower to where its master is.
fn bring_up(master: &Master, follower: &Follower) {
    let end = copy(master, follower, 1 << 14, u64::MAX);
    follower.confirm(end).expect("confirmed");
    follower.master_begins(LogPosition(master.positions().min));
}

#[test]
fn readers_miss_nothing_while_segments_go() {
    let clock = Clock::at(1_000_000);
    let disk = SimulatedDisk::new();
    let mut history = History::default();
    let master = open(settings(ASYNC, &clock), disk.clone()).expect("opens");
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    for key in &keys {
        history.send(&master, &disk, 0, key, 4_000);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let readers = [(); 2].map(|()| {
        let (store, is_over) = (Store::clone(&master), Arc::clone(&is_over));
        let keys = keys.clone();
        std::thread::spawn(move || {
            let mut rounds = 0;
            while !is_over.load(Ordering::Acquire) || rounds == 0 {
                let found = all(&store, QUEUES[0]);
                for key in &keys {
                    assert!(
                        found.values().any(|(found, ..)| found == key),
                        "{key} is missing in {:?}",
                        found.keys()
                    );
                }
                rounds += 1;
            }
        })
    });
    let mut random = Random(3);
    for round in 0..400 {
        let key = &keys[random.below(20) as usize];
        history.send(&master, &disk, 0, key, 4_000);
        clock.advance(200);
        if round % 10 == 0 {
            master.run_retention(clock.now()).expect("expired");
        }
    }
    is_over.store(true, Ordering::Release);
    for reader in readers {
        reader.join().expect("nothing was missing");
    }
    assert!(master.positions().min > 0);
    master.abandon();
}

/// Messages of one key.
struct Of(&'static str);

impl EntryFilter for Of {
    fn by_tag(&self, hash: i64) -> bool {
        hash == tag_hash(self.0)
    }
}

#[test]
fn what_is_kept_is_found_by_tag_and_time_and_only_where_the_disk_may_be_asked() {
    let clock = Clock::at(1_000_000);
    let disk = SimulatedDisk::new();
    let mut history = History::default();
    let master = open(settings(FlushMode::Sync, &clock), disk.clone()).expect("opens");
    for n in 0..12 {
        history.send(&master, &disk, 0, &format!("k{}", n % 4), 20_000);
        clock.advance(1_000);
    }
    master.run_retention(clock.now() + 1_000).expect("expired");
    let queue = master.queue("t", 0).expect("a queue");
    let found = all(&master, QUEUES[0]);
    let offsets: Vec<i64> = found.keys().copied().collect();
    assert_eq!(offsets, [8, 9, 10, 11]);
    let begins = master.positions().min;
    let copies = found.values().filter(|(.., position)| *position < begins);
    assert!(copies.count() >= 1, "{begins}: {offsets:?}");
    assert_eq!(queue.min_offset(), 8);
    let read = |from: i64, filter: &dyn EntryFilter, temperature| {
        master.read(&queue, QueueOffset(from), LIMITS, filter, temperature)
    };
    assert_eq!(
        read(7, &AllMessages, Temperature::MayWait).status,
        ReadStatus::OffsetTooSmall
    );
    let in_memory = read(8, &AllMessages, Temperature::HotOnly);
    assert_eq!(in_memory.status, ReadStatus::Cold);
    assert_eq!(in_memory.next_offset, 8);
    for (tag, offset) in [("of-k0", 8), ("of-k3", 11)] {
        let outcome = read(8, &Of(tag), Temperature::MayWait);
        let views = outcome.records.iter().map(|record| record.view());
        let offsets: Vec<i64> = views
            .map(|view| view.expect("one").queue_offset().0)
            .collect();
        assert_eq!(offsets, [offset], "{tag}: {outcome:?}");
    }
    let none = read(8, &Of("of-others"), Temperature::MayWait);
    assert_eq!((none.status, none.next_offset), (ReadStatus::NoMatch, 12));
    // The ninth message, of offset 8, was sent after eight seconds.
    let at = |ms: i64, boundary| {
        master
            .offset_by_time(&queue, ms, boundary)
            .expect("found")
            .0
    };
    assert_eq!(at(0, Boundary::Lower), 8);
    assert_eq!(at(1_008_000, Boundary::Lower), 8);
    assert_eq!(at(1_008_001, Boundary::Lower), 9);
    assert_eq!(at(1_011_000, Boundary::Lower), 11);
    assert_eq!(at(1_009_000, Boundary::Upper), 9);
    assert_eq!(at(2_000_000, Boundary::Lower), 12);
    assert_eq!(master.earliest_store_time(&queue), Some(1_008_000));
    master.abandon();
}
