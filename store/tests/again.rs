//! A disk that fails for one life: what it gives again is served again, and no offset that may have been given is given a second time.
//! Budget: 6 s.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use common::{CONSUMER_OFFSETS, Clock, KV, acked, config, message, offsets, open};
use rmq_protocol::message::{LogPosition, QueueOffset};
use rmq_store::fs::{Crash, FaultyFs, Fs, SimulatedDisk};
use rmq_store::{
    AllMessages, Change, FlushMode, KeyKind, Master, RecoveryReport, StoreConfig, Temperature,
};

const PAGE: u64 = 4096;
const SEGMENT: u64 = 64 << 10;
const LOG: &str = "store/log/00000000000000000000";

/// What was acknowledged: body by topic and offset.
type Stored = BTreeMap<(&'static str, i64), String>;

fn settings() -> StoreConfig {
    StoreConfig {
        retention_ms: 1 << 40,
        ..config("store", FlushMode::Sync, &Clock::at(1_000))
    }
}

fn reopen(fs: impl Fs) -> (Master, RecoveryReport) {
    Master::open(settings(), Arc::new(fs)).expect("opens")
}

fn send(store: &Master, stored: &mut Stored, topic: &'static str, body: &str) -> i64 {
    let queue = store.queue(topic, 0).expect("a queue");
    let keys = "k";
    let appended = store
        .append(&message(&queue, body.as_bytes(), b"KEYS\x01k\x02", keys))
        .expect("appended");
    acked(store, appended.end);
    let offset = appended.queue_offset.0;
    assert!(
        stored.insert((topic, offset), body.to_owned()).is_none(),
        "offset {offset} of {topic} is given twice"
    );
    offset
}

fn set(store: &Master, key: &str, value: &str) {
    let change = Change::set(CONSUMER_OFFSETS, key, value.as_bytes().to_vec());
    let end = store.settings().put(&[change]).expect("put");
    acked(store, end);
}

fn delete(store: &Master, topic: &str) {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(store.delete_queues(topic))
        .expect("deleted");
}

/// A life without faults, killed at its end: two queues, one of which ends early, settings, and a deletion.
fn life(is_sealed: bool) -> (SimulatedDisk, Stored, i64) {
    let disk = SimulatedDisk::new();
    let (store, _) = reopen(disk.clone());
    let mut stored = Stored::new();
    let mut deleted = 0;
    for number in 0..60 {
        let body = format!("{number} ").repeat(50 + number % 7 * 40);
        send(&store, &mut stored, ["a", "b"][number % 2], &body);
        if number < 50 {
            send(&store, &mut stored, "silent", &body);
        }
        if number < 20 {
            deleted = 1 + send(&store, &mut stored, "gone", &body);
        }
        set(&store, "last", &number.to_string());
        set(&store, &format!("once-{number}"), "yes");
        if number == 30 {
            delete(&store, "gone");
            stored.retain(|(topic, _), _| *topic != "gone");
        }
        if is_sealed && number % 20 == 10 {
            store.checkpoint().expect("written");
        }
    }
    store.abandon();
    let disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
    (disk, stored, deleted)
}

/// `last`: the newest value of a setting that each life changes.
fn check(store: &Master, stored: &Stored, deleted: i64, last: &str, what: &str) {
    for topic in ["a", "b", "silent", "gone"] {
        let queue = store.queue(topic, 0).expect("a queue");
        let wanted: Vec<i64> = stored
            .keys()
            .filter(|(of, _)| *of == topic)
            .map(|(_, offset)| *offset)
            .collect();
        let found: Vec<i64> = offsets(store, &queue, queue.min_offset());
        assert_eq!(found, wanted, "{what}: {topic}");
        for offset in found {
            let outcome = store.read(
                &queue,
                QueueOffset(offset),
                common::LIMITS,
                &AllMessages,
                Temperature::MayWait,
            );
            let view = outcome.records[0].view().expect("a record");
            let is_right = view.body() == stored[&(topic, offset)].as_bytes();
            assert!(is_right, "{what}: {topic} at {offset}");
        }
        let by_key = store.find_by_key(topic, "k", KeyKind::Key, 1_000, 0, i64::MAX);
        assert!(by_key.count() >= wanted.len(), "{what}: {topic} by key");
    }
    let gone = store.queue("gone", 0).expect("a queue");
    assert!(gone.min_offset() >= deleted, "{what}: {gone:?}");
    let value = |key: &str| store.value(CONSUMER_OFFSETS, key);
    assert_eq!(value("last").as_deref(), Some(last.as_bytes()), "{what}");
    for number in 0..60 {
        assert!(
            value(&format!("once-{number}")).is_some(),
            "{what}: {number}"
        );
    }
}

#[test]
fn a_page_that_cannot_be_read_in_one_life_is_served_in_the_next() {
    for is_sealed in [false, true] {
        let (disk, stored, deleted) = life(is_sealed);
        let (store, _) = reopen(disk.after_crash(disk.steps(), Crash::PowerLoss));
        let used = store.positions().appended;
        check(&store, &stored, deleted, "59", "without a fault");
        store.abandon();
        let segments = used.div_ceil(SEGMENT);
        for number in 0..used / PAGE {
            let (segment, at) = (number * PAGE / SEGMENT * SEGMENT, number * PAGE % SEGMENT);
            let what = format!("sealed {is_sealed}, page {number} of {segments} segments");
            let disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
            let mut stored = stored.clone();
            let faulty = FaultyFs::new(Arc::new(disk.clone()));
            faulty.set_bad(
                &format!("store/log/{segment:020}"),
                at..at + (1 + number % 3) * PAGE,
            );
            let (store, report) = reopen(faulty.clone());
            // Where the records were in the index already, nobody has read the page.
            let was_met = !report.damaged.is_empty();
            assert!(was_met || is_sealed, "{what}");
            for topic in ["a", "b", "silent", "gone"] {
                send(
                    &store,
                    &mut stored,
                    topic,
                    &format!("second life of {topic}"),
                );
            }
            let last = match number % 2 {
                0 => "59",
                _ => {
                    set(&store, "last", "newer");
                    "newer"
                }
            };
            match number % 3 {
                0 => store.abandon(),
                1 => {
                    store.checkpoint().expect("written");
                    store.abandon();
                }
                _ => store.close().expect("closed"),
            }
            drop(store);
            faulty.clear_bad();
            for start in 0..2 {
                let (store, report) = reopen(faulty.clone());
                let what = format!("{what}, start {start}");
                // Behind the end of the first life nothing was written, and that is not known any more.
                let is_behind = report.damaged.iter().all(|range| range.from >= used);
                assert!(is_behind, "{what}: {report:?}");
                // Known to the index all the time, or brought in now; never at each start.
                assert!(start == 0 || report.read_again.is_empty(), "{what}");
                check(&store, &stored, deleted, last, &what);
                store.close().expect("closed");
            }
        }
    }
}

#[test]
fn what_is_brought_in_again_survives_a_crash_at_each_step() {
    let (disk, mut stored, deleted) = life(false);
    let faulty = FaultyFs::new(Arc::new(disk.clone()));
    faulty.set_bad(LOG, 5 * PAGE..7 * PAGE);
    let (store, report) = reopen(faulty);
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    for topic in ["a", "silent", "gone"] {
        send(&store, &mut stored, topic, "more");
    }
    store.close().expect("closed");
    drop(store);
    let begun = disk.steps();
    let (store, report) = reopen(disk.clone());
    assert_eq!(report.read_again.len(), 1, "{report:?}");
    store.abandon();
    for steps in begun..=disk.steps() {
        for crash in [Crash::Kill, Crash::PowerLoss] {
            let what = format!("{crash:?} at step {steps}");
            let (store, report) = reopen(disk.after_crash(steps, crash));
            assert_eq!(report.damaged, [], "{what}");
            check(&store, &stored, deleted, "59", &what);
            store.abandon();
        }
    }
}

#[test]
fn rows_that_messages_have_removed_do_not_come_back() {
    let disk = SimulatedDisk::new();
    let (store, _) = reopen(disk.clone());
    // What ends a message names its position, and 0 names nothing.
    set(&store, "first", "yes");
    let mut there: Vec<u64> = Vec::new();
    for number in 0..80 {
        let queue = store.queue("numbered", 0).expect("a queue");
        let body = format!("{number} ").repeat(60);
        let appended = store
            .append(&message(&queue, body.as_bytes(), b"", ""))
            .expect("appended");
        acked(&store, appended.end);
        there.push(appended.position.0);
        if number % 2 == 0 {
            let key = there[number % there.len()].to_string();
            let change = Change::set(KV, key, "changed");
            let end = store.settings().put(&[change]).expect("put");
            acked(&store, end);
        }
        if number % 3 > 0 {
            let removed = there.remove(number % there.len());
            let queue = store.queue("ends", 0).expect("a queue");
            let mut ends = message(&queue, b"ends", b"", "");
            ends.prepared_position = removed as i64;
            let appended = store.append(&ends).expect("appended");
            acked(&store, appended.end);
        }
    }
    let used = store.positions().appended;
    store.abandon();
    let wanted: BTreeSet<String> = there.iter().map(u64::to_string).collect();
    for number in 0..used / PAGE {
        let (segment, at) = (number * PAGE / SEGMENT * SEGMENT, number * PAGE % SEGMENT);
        let disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
        let faulty = FaultyFs::new(Arc::new(disk));
        faulty.set_bad(&format!("store/log/{segment:020}"), at..at + PAGE);
        let (store, report) = reopen(faulty.clone());
        assert!(!report.damaged.is_empty(), "page {number}");
        store.close().expect("closed");
        drop(store);
        faulty.clear_bad();
        let (store, _) = reopen(faulty);
        let found = store.values(KV).into_iter().map(|(key, _)| key);
        assert_eq!(found.collect::<BTreeSet<_>>(), wanted, "page {number}");
        store.close().expect("closed");
    }
}

#[test]
fn offsets_that_nobody_can_read_are_not_given_again() {
    let (disk, stored, _) = life(false);
    let (store, _) = reopen(disk.after_crash(disk.steps(), Crash::PowerLoss));
    let used = store.positions().appended;
    store.abandon();
    // Everything from somewhere in the last segment on, for good; tables and index know nothing of it.
    let segment = used / SEGMENT * SEGMENT;
    let pages = (used - segment).div_ceil(PAGE);
    for from in 0..pages {
        for has_zeros in [false, true] {
            let disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
            let path = format!("store/log/{segment:020}");
            let faulty = FaultyFs::new(Arc::new(disk.clone()));
            let what = format!("from page {from} of {pages}, zeros {has_zeros}");
            let mut given = stored.clone();
            let (store, _) = reopen(disk.clone());
            let acked_end = store.positions().appended;
            // Real damage, or a disk that does not answer.
            store.close().expect("closed");
            drop(store);
            for name in disk.list(Path::new("store/index")).expect("listed") {
                disk.lose(&Path::new("store/index").join(name));
            }
            if has_zeros {
                let file = disk.open(Path::new(&path)).expect("there");
                let len = acked_end - segment - from * PAGE;
                file.zero_range(from * PAGE, len).expect("written");
            } else {
                faulty.set_bad(&path, from * PAGE..pages * PAGE);
            }
            for round in 0..3 {
                let (store, report) = reopen(faulty.clone());
                assert!(!report.damaged.is_empty(), "{what}, {round}");
                for topic in ["a", "b", "silent"] {
                    // It says so when one is given twice.
                    send(&store, &mut given, topic, "new");
                }
                match round {
                    0 => store.abandon(),
                    1 => store.close().expect("closed"),
                    _ => {
                        store.checkpoint().expect("written");
                        store.abandon();
                    }
                }
            }
            // The gap takes no memory, and readers pass over it.
            let (store, _) = reopen(faulty);
            for topic in ["a", "b", "silent"] {
                let queue = store.queue(topic, 0).expect("a queue");
                let found = offsets(&store, &queue, queue.min_offset());
                assert_eq!(found.last(), Some(&(queue.max_offset() - 1)), "{what}");
            }
            store.abandon();
        }
    }
}

#[test]
fn one_wrong_byte_above_the_watermark_costs_its_message_only() {
    let disk = SimulatedDisk::new();
    let (store, _) = reopen(disk.clone());
    let mut stored = Stored::new();
    let mut last = 0;
    for number in 0..12 {
        last = store.positions().appended;
        send(
            &store,
            &mut stored,
            ["a", "b"][number % 2],
            &format!("{number} ").repeat(40),
        );
    }
    let end = store.positions().appended;
    store.abandon();
    // The watermark is a slot that is older by all of it.
    disk.lose(Path::new("store/watermark"));
    let file = Path::new(LOG);
    for at in (0..end).step_by(7) {
        let copy = disk.after_crash(disk.steps(), Crash::PowerLoss);
        let file = copy.open(file).expect("there");
        let mut byte = [0];
        file.read_at(at, &mut byte).expect("read");
        file.write_at(at, &[byte[0] ^ (1 << (at % 8))])
            .expect("written");
        let mut given = stored.clone();
        for start in 0..3 {
            let what = format!("byte {at}, start {start}");
            let (store, report) = reopen(copy.clone());
            let found: usize = ["a", "b"]
                .map(|topic| {
                    let queue = store.queue(topic, 0).expect("a queue");
                    offsets(&store, &queue, 0).len()
                })
                .iter()
                .sum();
            if at < last {
                // The host that sent it, say, is in no checksum that matters here: it is served, or one is missing and told.
                let [hole] = report.damaged[..] else {
                    panic!("{what}: {report:?}");
                };
                assert!(hole.from <= at && at < hole.to, "{what}: {hole:?}");
                assert_eq!((found, report.cut_bytes), (11 + 2 * start, 0), "{what}");
                for topic in ["a", "b"] {
                    send(&store, &mut given, topic, "new");
                }
            } else if start == 0 {
                // Nothing follows the last one: it cannot be told from one that was never written as a whole.
                assert_eq!((found, report.damaged.len()), (11, 0), "{what}");
                assert!(report.cut_bytes > 0, "{what}");
            }
            store.abandon();
        }
    }
}

#[test]
fn a_full_disk_does_not_give_offsets_again() {
    let (disk, stored, _) = life(false);
    let (store, _) = reopen(disk.after_crash(disk.steps(), Crash::PowerLoss));
    let used = store.positions().appended;
    store.abandon();
    let segment = used / SEGMENT * SEGMENT;
    let faulty = FaultyFs::new(Arc::new(disk.clone()));
    faulty.set_bad(&format!("store/log/{segment:020}"), 0..used - segment);
    faulty.plan(rmq_store::fs::Fault {
        operation: rmq_store::fs::Operation::Create,
        path_contains: "store/damage".to_owned(),
        after: 0,
        times: usize::MAX,
        kind: std::io::ErrorKind::StorageFull,
    });
    let (store, _) = reopen(faulty.clone());
    let queue = store.queue("a", 0).expect("a queue");
    let refused = store.append(&message(&queue, b"x", b"", ""));
    let text = refused.expect_err("read-only").to_string();
    assert!(text.contains("store/damage"), "{text}");
    // What can be read is read.
    assert!(!offsets(&store, &queue, 0).is_empty());
    store.abandon();
    drop((queue, store));
    faulty.clear();
    let mut given = stored;
    let store = open(settings(), faulty).expect("opens");
    for topic in ["a", "b", "silent"] {
        send(&store, &mut given, topic, "new");
    }
    let end = LogPosition(store.positions().appended);
    acked(&store, end);
    store.abandon();
}
