//! The machine stops after every step the store takes on its disk: what was acknowledged is there, nothing was invented, offsets are
//! dense, the index says what the log says, and the store goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc;

use rmq_protocol::message::{LogPosition, QueueOffset};
use rmq_store::fs::{Crash, SimulatedDisk};
use rmq_store::{
    AllMessages, Change, FlushMode, KeyKind, Master, QueueRef, ReadLimits, ReadStatus, StoreConfig,
    Temperature,
};

mod common;

use common::{ASYNC, CONSUMER_OFFSETS, message, tables};

const LIMITS: ReadLimits = ReadLimits {
    messages_max: 50,
    bytes_max: 1 << 20,
    scan_entries_max: 1_000,
};

fn config(flush: FlushMode, clock: &Arc<AtomicI64>) -> StoreConfig {
    let clock = Arc::clone(clock);
    StoreConfig {
        segment_bytes: 64 << 10,
        index_run_bytes: 16 << 10,
        flush,
        retention_ms: 1_000_000,
        background: false,
        now_ms: Arc::new(move || clock.fetch_add(1, Ordering::Relaxed)),
        tables: tables(),
        ..StoreConfig::new("store")
    }
}

/// A body, and the steps of the disk at its acknowledgement.
type Sent = (Vec<u8>, usize);

/// What was appended, and after how many steps of the disk it was acknowledged.
#[derive(Default)]
struct History {
    /// Per queue, by offset.
    queues: BTreeMap<(String, i32), Vec<Sent>>,
    /// Acknowledged settings: steps, number of values of `key` so far.
    settings: Vec<(usize, u64)>,
    /// Steps after which the first offsets of queues may be gone.
    removed: Option<usize>,
    /// Steps after which topic "gone" was deleted, and from which offset on it has messages again.
    deleted: Option<(usize, usize)>,
}

fn wait_acked(store: &Master, end: LogPosition) {
    let (done, acked) = mpsc::channel();
    store.settle(
        end,
        Box::new(move |outcome| done.send(outcome).expect("somebody waits")),
    );
    acked
        .recv()
        .expect("it is called")
        .expect("it is acknowledged");
}

struct Work {
    disk: SimulatedDisk,
    store: Master,
    history: History,
    clock: Arc<AtomicI64>,
    count: u64,
}

impl Work {
    fn send(&mut self, topic: &str, id: i32, bytes: usize) {
        let queue = self.store.queue(topic, id).expect("a queue");
        self.count += 1;
        let body: Vec<u8> = format!("{topic}/{id} {} ", self.count)
            .into_bytes()
            .into_iter()
            .chain(std::iter::repeat_n(b'.', bytes))
            .collect();
        let keys = format!("n{}", self.count);
        let properties = format!("KEYS\u{1}{keys}\u{2}");
        let appended = self
            .store
            .append(&message(&queue, &body, properties.as_bytes(), &keys))
            .expect("appended");
        wait_acked(&self.store, appended.end);
        let messages = self
            .history
            .queues
            .entry((topic.to_owned(), id))
            .or_default();
        assert_eq!(appended.queue_offset, QueueOffset(messages.len() as i64));
        messages.push((body, self.disk.steps()));
    }

    fn set(&mut self, value: u64) {
        let change = Change::set(CONSUMER_OFFSETS, "key", value.to_string().into_bytes());
        let end = self.store.settings().put(&[change]).expect("put");
        wait_acked(&self.store, end);
        self.history.settings.push((self.disk.steps(), value));
    }

    fn seal(&self) {
        self.store.checkpoint().expect("sealed");
    }
}

/// A small life: messages, settings, sealed and merged runs, rolled segments, a deletion, retention, a clean stop.
fn life(flush: FlushMode) -> (SimulatedDisk, History) {
    let disk = SimulatedDisk::new();
    let clock = Arc::new(AtomicI64::new(1_000_000));
    let (store, _) = Master::open(config(flush, &clock), Arc::new(disk.clone())).expect("opens");
    let mut work = Work {
        disk,
        store,
        history: History::default(),
        clock,
        count: 0,
    };
    for round in 0..24 {
        for n in 0..3 {
            work.send(["a", "b", "gone"][n], (round % 2) as i32, 2_000 + 100 * n);
        }
        work.set(round);
        if round % 3 == 2 {
            work.seal();
        }
        if round == 10 {
            tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime")
                .block_on(work.store.delete_queues("gone"))
                .expect("deleted");
            work.history.deleted = Some((
                work.disk.steps(),
                work.history.queues[&("gone".to_owned(), 0)].len(),
            ));
        }
        if round == 20 {
            work.clock.fetch_add(1_001_000, Ordering::Relaxed);
            work.send("a", 0, 10);
            work.history.removed = Some(work.disk.steps());
        }
        if round == 23 {
            let removed = work
                .store
                .run_retention(work.clock.load(Ordering::Relaxed))
                .expect("runs");
            assert!(removed.segments >= 1, "{removed:?}");
        }
    }
    work.store.close().expect("closed");
    (work.disk, work.history)
}

/// Opens what a crash after `steps` has left, and checks it.
fn check(disk: &SimulatedDisk, history: &History, flush: FlushMode, steps: usize, crash: Crash) {
    let what = format!(
        "{flush:?}, {crash:?} after step {steps} of {}",
        disk.steps()
    );
    let left = disk.after_crash(steps, crash);
    let clock = Arc::new(AtomicI64::new(10_000_000));
    let open = || {
        Master::open(config(flush, &clock), Arc::new(left.clone()))
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    let (store, report) = open();
    // What the power took in the middle of what was not synced is told, and what lies behind it is kept.
    let may_lack = matches!(crash, Crash::Torn { .. });
    let has_hole = !report.damaged.is_empty();
    assert!(may_lack || !has_hole, "{what}: {report:?}");
    let promised = match flush == FlushMode::Sync || crash == Crash::Kill {
        true => Promised::Acknowledged,
        false if !has_hole => Promised::Prefix,
        false => Promised::Right,
    };
    check_content(&store, history, steps, promised, &what);
    // It goes on, and what is appended now is found after another crash.
    let queue = store.queue("a", 0).expect("a queue");
    let before = queue.max_offset();
    let appended = store
        .append(&message(&queue, b"after", b"", ""))
        .expect("appended");
    wait_acked(&store, appended.end);
    let offset = appended.queue_offset.0;
    let follows = offset == before || (has_hole && offset > before);
    assert!(follows, "{what}: {offset} after {before}");
    store.abandon();
    drop(store);
    let (store, _) = open();
    let outcome = store.read(
        &store.queue("a", 0).expect("a queue"),
        appended.queue_offset,
        LIMITS,
        &AllMessages,
        Temperature::MayWait,
    );
    assert_eq!(
        outcome.records[0].view().expect("a record").body(),
        b"after",
        "{what}"
    );
    store.abandon();
}

/// What must be there after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promised {
    /// Everything that was acknowledged, and what follows it without a gap.
    Acknowledged,
    /// Some of it from the beginning on, without a gap.
    Prefix,
    /// What is there is right.
    Right,
}

fn check_content(store: &Master, history: &History, steps: usize, promise: Promised, what: &str) {
    let promised = promise == Promised::Acknowledged;
    let is_dense = promise != Promised::Right;
    for ((topic, id), messages) in &history.queues {
        let queue = store.queue(topic, *id).expect("a queue");
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let acked = messages.iter().filter(|(_, at)| *at <= steps).count() as i64;
        if promised {
            assert!(
                max >= acked,
                "{what}: {queue:?} has lost some of its {acked} acknowledged messages"
            );
        }
        assert!(
            max <= messages.len() as i64,
            "{what}: {queue:?} has more than was sent"
        );
        let deleted = topic == "gone" && history.deleted.is_some_and(|(at, _)| steps >= at);
        let may_begin_later =
            !is_dense || history.removed.is_some_and(|at| steps >= at) || topic == "gone";
        assert!(min == 0 || may_begin_later, "{what}: {queue:?} begins late");
        assert!(
            !(promised && deleted) || min > 0,
            "{what}: {queue:?} was deleted"
        );
        let mut at = min;
        while at < max {
            let outcome = store.read(
                &queue,
                QueueOffset(at),
                LIMITS,
                &AllMessages,
                Temperature::MayWait,
            );
            assert!(
                outcome.status == ReadStatus::Found || !is_dense,
                "{what}: {queue:?} at {at}: {outcome:?}"
            );
            for record in &outcome.records {
                let view = record.view().expect("a record");
                let offset = view.queue_offset().0;
                assert!(offset == at || !is_dense, "{what}: offsets are dense");
                assert!(offset >= at, "{what}: {offset} after {at}");
                assert!(
                    view.body() == messages[offset as usize].0,
                    "{what}: {queue:?} at {offset} has another message"
                );
                at = offset + 1;
            }
            assert!(outcome.next_offset >= at, "{what}: {outcome:?}");
            at = outcome.next_offset;
        }
        if min < max {
            check_key(store, &queue, &messages[max as usize - 1].0, what);
        }
    }
    let value: Option<u64> = store
        .value(CONSUMER_OFFSETS, "key")
        .map(|value| String::from_utf8_lossy(&value).parse().expect("a number"));
    let acked = history
        .settings
        .iter()
        .filter(|(at, _)| *at <= steps)
        .map(|(_, value)| *value)
        .max();
    assert!(
        !promised || value >= acked,
        "{what}: the setting is {value:?}, {acked:?} was acknowledged"
    );
    assert!(
        value <= history.settings.iter().map(|(_, value)| *value).max(),
        "{what}"
    );
}

/// The newest message of a queue is found by its key.
fn check_key(store: &Master, queue: &QueueRef, body: &[u8], what: &str) {
    let number = String::from_utf8_lossy(body)
        .split(' ')
        .nth(1)
        .expect("a number")
        .to_owned();
    let found = store.find_by_key(
        queue.topic(),
        &format!("n{number}"),
        KeyKind::Key,
        10,
        0,
        i64::MAX,
    );
    assert_eq!(found.count(), 1, "{what}: key n{number} of {queue:?}");
}

fn every_step(flush: FlushMode, crashes: &[Crash], stride: usize) {
    let (disk, history) = life(flush);
    let steps = disk.steps();
    let points: Vec<usize> = disk
        .points()
        .iter()
        .flat_map(|(at, _)| [*at, at + 1])
        .collect();
    // Every stride-th step, and the steps before and after each named point.
    let mut at: Vec<usize> = (0..=steps)
        .step_by(stride)
        .chain(points)
        .chain([steps])
        .collect();
    at.sort_unstable();
    at.dedup();
    for steps in at {
        for crash in crashes {
            let crash = match crash {
                Crash::Torn { seed } => Crash::Torn {
                    seed: seed + steps as u64,
                },
                other => *other,
            };
            check(&disk, &history, flush, steps, crash);
        }
    }
}

#[test]
fn sync_flush_loses_nothing_acknowledged_in_any_crash() {
    every_step(
        FlushMode::Sync,
        &[Crash::PowerLoss, Crash::Torn { seed: 1 }],
        3,
    );
}

#[test]
fn a_killed_process_loses_nothing_acknowledged_with_async_flush() {
    every_step(ASYNC, &[Crash::Kill], 3);
}

#[test]
fn async_flush_keeps_what_the_power_left_and_tells_what_it_took() {
    every_step(ASYNC, &[Crash::PowerLoss, Crash::Torn { seed: 2 }], 5);
}

#[test]
fn a_life_passes_every_named_point() {
    let (disk, _) = life(FlushMode::Sync);
    let seen: std::collections::BTreeSet<&str> =
        disk.points().iter().map(|(_, name)| *name).collect();
    for name in [
        "segment.allocated",
        "segment.created",
        "log.written",
        "log.synced",
        "index.log_durable",
        "index.tables_committed",
        "index.run_written",
        "index.manifest_replaced",
        "index.run_published",
        "index.merge_written",
        "retention.derived",
        "retention.removed",
    ] {
        assert!(seen.contains(name), "{name} is not among {seen:?}");
    }
}

#[test]
fn a_crash_during_recovery_is_recovered_from() {
    let (disk, history) = life(FlushMode::Sync);
    let steps = disk.steps() / 2;
    let left = disk.after_crash(steps, Crash::Torn { seed: 7 });
    let begun = left.steps();
    let clock = Arc::new(AtomicI64::new(10_000_000));
    let (store, _) =
        Master::open(config(FlushMode::Sync, &clock), Arc::new(left.clone())).expect("opens");
    store.abandon();
    drop(store);
    for during in begun..=left.steps() {
        for crash in [
            Crash::PowerLoss,
            Crash::Torn {
                seed: during as u64,
            },
        ] {
            let again = left.after_crash(during, crash);
            let (store, _) = Master::open(config(FlushMode::Sync, &clock), Arc::new(again))
                .unwrap_or_else(|error| panic!("{crash:?} at {during}: {error}"));
            check_content(
                &store,
                &history,
                steps,
                Promised::Acknowledged,
                &format!("{crash:?} at step {during} of recovery"),
            );
            store.abandon();
        }
    }
}

#[test]
fn what_was_cut_never_comes_back_and_what_was_kept_stays() {
    let clock = Arc::new(AtomicI64::new(1_000));
    let disk = SimulatedDisk::new();
    let open = |disk: &SimulatedDisk| {
        Master::open(config(ASYNC, &clock), Arc::new(disk.clone())).expect("opens")
    };
    let append = |store: &Master, body: &[u8]| {
        let queue = store.queue("a", 0).expect("a queue");
        let appended = store
            .append(&message(&queue, body, b"", ""))
            .expect("appended");
        store.write_out().expect("written");
        appended
    };
    let readable =
        |store: &Master| common::offsets(store, &store.queue("a", 0).expect("a queue"), 0);
    let (store, _) = open(&disk);
    let first = append(&store, &[b'0'; 600]).end.0;
    // A closed store has nothing to cut at its next start; what comes after that start has.
    store.close().expect("closed");
    drop(store);
    let (store, _) = open(&disk);
    append(&store, &[b'1'; 600]);
    append(&store, &[b'2'; 600]);
    let steps = disk.steps();
    store.abandon();
    let (mut cut, mut kept) = (0, 0);
    for seed in 0..200 {
        let left = disk.after_crash(steps, Crash::Torn { seed });
        let (store, report) = open(&left);
        let is_cut = report.end == first && report.cut_bytes > 0;
        cut += usize::from(is_cut);
        let mut found = readable(&store);
        if !report.damaged.is_empty() {
            // The last is whole and the one before it is not.
            kept += 1;
            assert_eq!(found, [0, 2], "seed {seed}");
        }
        // As long as the first of the lost ones, so that the next record would begin where the one after that did.
        found.push(append(&store, &[b'x'; 600]).queue_offset.0);
        store.abandon();
        drop(store);
        for _ in 0..2 {
            let (store, again) = open(&left);
            assert_eq!(readable(&store), found, "seed {seed}");
            assert_eq!(again.damaged, report.damaged, "seed {seed}");
            store.abandon();
        }
    }
    assert!(
        cut >= 5 && kept >= 5,
        "{cut} crashes left a part of what is cut, {kept} a later record without the earlier one"
    );
}

#[test]
fn paths_are_below_the_folder() {
    let (disk, _) = life(FlushMode::Sync);
    let left = disk.after_crash(disk.steps(), Crash::PowerLoss);
    use rmq_store::fs::Fs;
    assert!(
        ["store/format", "store/index/manifest"]
            .into_iter()
            .all(|path| left.exists(Path::new(path)).expect("a name"))
    );
}
