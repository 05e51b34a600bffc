//! Files that somebody removed, and names that a power cut takes back: never a silent hole.

mod common;

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use common::{Clock, config, message, offsets, open};
use rmq_store::fs::{Crash, Fs, SimulatedDisk};
use rmq_store::{FlushMode, Master, OpenError, StoreConfig};

fn settings() -> StoreConfig {
    StoreConfig {
        retention_ms: 1 << 40,
        ..config("store", FlushMode::Sync, &Clock::at(1_000))
    }
}

/// Sends one large message and waits until it is acknowledged; its offset.
fn send(store: &Master) -> i64 {
    let queue = store.queue("t", 0).expect("a queue");
    let appended = store
        .append(&message(&queue, &[b'x'; 20_000], b"", ""))
        .expect("appended");
    let (done, acked) = mpsc::channel();
    store.settle(
        appended.end,
        Box::new(move |outcome| done.send(outcome).expect("waited for")),
    );
    acked.recv().expect("called").expect("acknowledged");
    appended.queue_offset.0
}

fn readable(store: &Master) -> Vec<i64> {
    offsets(store, &store.queue("t", 0).expect("a queue"), 0)
}

/// A closed store of several segments with runs, and how many messages it has.
fn closed() -> (SimulatedDisk, i64) {
    let disk = SimulatedDisk::new();
    let store = open(settings(), disk.clone()).expect("opens");
    let messages = 11;
    for _ in 0..messages {
        send(&store);
    }
    store.close().expect("closed");
    (disk, messages)
}

fn names(disk: &SimulatedDisk, folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("store").join(folder);
    let mut names = disk.list(&folder).expect("listed");
    names.sort();
    names.iter().map(|name| folder.join(name)).collect()
}

#[test]
fn the_first_segment_is_missed_at_each_start_until_retention_passes_it() {
    let (disk, messages) = closed();
    let segments = names(&disk, "log");
    disk.lose(&segments[0]);
    for start in 0..3 {
        let (store, report) =
            Master::open(settings(), std::sync::Arc::new(disk.clone())).expect("opens");
        let [missing] = report.damaged[..] else {
            panic!("start {start}: {report:?}");
        };
        assert_eq!((missing.from, missing.to), (0, 64 << 10), "start {start}");
        assert_eq!(store.damage(), report.damaged);
        let left = readable(&store);
        assert_eq!(
            left,
            (messages - left.len() as i64..messages).collect::<Vec<_>>()
        );
        assert!((left.len() as i64) < messages, "{left:?}");
        store.close().expect("closed");
    }
    // What was restored is served again, and is no damage any more.
    let (whole, _) = closed();
    let bytes = whole.read(&segments[0], 1 << 20).expect("read");
    let restored = disk.create(&segments[0]).expect("made");
    restored.write_at(0, &bytes).expect("written");
    let (store, report) = Master::open(settings(), std::sync::Arc::new(disk)).expect("opens");
    assert_eq!(report.damaged, []);
    assert_eq!(readable(&store), (0..messages).collect::<Vec<_>>());
}

#[test]
fn every_other_missing_file_is_told_or_refused() {
    let (disk, messages) = closed();
    let segments = names(&disk, "log");
    for path in &segments[1..] {
        let copy = disk.after_crash(disk.steps(), Crash::PowerLoss);
        copy.lose(path);
        let spare = path == segments.last().expect("some");
        match open(settings(), copy) {
            Err(OpenError::NotWhole { problem, .. }) => {
                assert!(problem.contains("restore"), "{problem}");
            }
            Ok(store) => {
                assert!(spare, "{}", path.display());
                assert_eq!(readable(&store).len() as i64, messages);
            }
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    for path in names(&disk, "index") {
        let copy = disk.after_crash(disk.steps(), Crash::PowerLoss);
        copy.lose(&path);
        let (store, report) = Master::open(settings(), std::sync::Arc::new(copy)).expect("opens");
        assert_eq!(readable(&store).len() as i64, messages);
        let tables = path.file_name().is_some_and(|name| name == "tables");
        assert!(
            tables || !report.rebuilt.is_empty(),
            "{}: {report:?}",
            path.display()
        );
    }
}

/// The first life is killed after each of its steps, the second acknowledges more, and then the power goes: everything acknowledged is
/// there, also where the first life had not yet synced the names that the second relied on.
#[test]
fn what_a_later_life_acknowledges_rests_on_no_name_that_a_power_cut_takes_back() {
    let disk = SimulatedDisk::new();
    let store = open(settings(), disk.clone()).expect("opens");
    let mut acknowledged = Vec::new();
    for _ in 0..5 {
        send(&store);
        acknowledged.push(disk.steps());
    }
    store.checkpoint().expect("written");
    send(&store);
    acknowledged.push(disk.steps());
    store.abandon();
    for steps in 0..=disk.steps() {
        let killed = disk.after_crash(steps, Crash::Kill);
        let second = open(settings(), killed.clone())
            .unwrap_or_else(|error| panic!("killed after {steps}: {error}"));
        let promised = acknowledged.iter().filter(|at| **at <= steps).count() as i64;
        // One message: a new segment would sync the folder.
        let last = send(&second);
        second.abandon();
        let dark = killed.after_crash(killed.steps(), Crash::PowerLoss);
        let third = open(settings(), dark)
            .unwrap_or_else(|error| panic!("killed after {steps}, then dark: {error}"));
        assert!(last >= promised);
        assert_eq!(
            readable(&third),
            (0..=last).collect::<Vec<_>>(),
            "killed after {steps}"
        );
        third.abandon();
    }
}
