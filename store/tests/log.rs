//! The files of the log: what is prepared is used, what is missing is noticed, what is visible has been promised.

mod common;

use std::os::unix::fs::FileExt;

use common::{Clock, config, message, offsets, open, send};
use rmq_store::fs::{Crash, RealFs, SimulatedDisk};
use rmq_store::{FlushMode, OpenError, StoreConfig};

const SEGMENT: u64 = 64 << 10;

fn segment(dir: &std::path::Path, base: u64) -> std::path::PathBuf {
    dir.join(format!("log/{base:020}"))
}

#[test]
fn a_segment_prepared_before_a_restart_is_used_after_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::at(1_000_000);
    let config = || config(dir.path(), FlushMode::default(), &clock);
    let store = open(config(), RealFs).expect("opens");
    send(&store, &store.queue("t", 0).expect("a queue"), "k", 2_000).expect("sent");
    store.close().expect("closed");
    drop(store);
    let prepared = segment(dir.path(), SEGMENT);
    std::fs::write(&prepared, vec![0; SEGMENT as usize]).expect("prepared");
    let inode = |path| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).expect("it is there").ino()
    };
    let before = inode(&prepared);

    let store = open(config(), RealFs).expect("opens");
    let queue = store.queue("t", 0).expect("a queue");
    for n in 1..100 {
        send(&store, &queue, &format!("k{n}"), 2_000).expect("sent");
    }
    assert_eq!(inode(&prepared), before, "it was made again");
    let end = store.positions().written;
    store.abandon();
    drop(store);

    let store = open(config(), RealFs).expect("opens");
    assert_eq!(store.positions().written, end);
    assert_eq!(
        offsets(&store, &store.queue("t", 0).expect("a queue"), 0),
        (0..100).collect::<Vec<_>>()
    );
    store.close().expect("closed");
}

#[test]
fn a_store_whose_newest_segment_is_lost_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::at(1_000_000);
    let config = || config(dir.path(), FlushMode::default(), &clock);
    let store = open(config(), RealFs).expect("opens");
    let queue = store.queue("t", 0).expect("a queue");
    for n in 0..100 {
        send(&store, &queue, &format!("k{n}"), 2_000).expect("sent");
    }
    let end = store.positions().written;
    store.close().expect("closed");
    drop(store);
    let mut base = end / SEGMENT * SEGMENT;
    assert!(base > SEGMENT);
    while segment(dir.path(), base).exists() {
        std::fs::remove_file(segment(dir.path(), base)).expect("removed");
        base += SEGMENT;
    }
    match open(config(), RealFs) {
        Err(OpenError::NotWhole { problem, .. }) => {
            assert!(problem.contains(&end.to_string()), "{problem}");
        }
        Err(error) => panic!("{error}"),
        Ok(store) => panic!("it went on at {:?}", store.positions()),
    }
}

#[test]
fn a_damaged_first_record_does_not_keep_older_segments_for_ever() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::at(1_000_000);
    let config = config(dir.path(), FlushMode::default(), &clock);
    let store = open(config, RealFs).expect("opens");
    let queue = store.queue("t", 0).expect("a queue");
    for n in 0..200 {
        send(&store, &queue, &format!("k{n}"), 2_000).expect("sent");
    }
    std::fs::OpenOptions::new()
        .write(true)
        .open(segment(dir.path(), SEGMENT))
        .and_then(|file| file.write_all_at(b"damaged", 100))
        .expect("damaged");
    let removed = store.run_retention(clock.now() + 20_000).expect("runs");
    assert!(removed.segments > 2, "{removed:?}");
    store.close().expect("closed");
}

#[test]
fn with_sync_flush_what_a_restart_shows_outlives_the_power() {
    let clock = Clock::at(1_000_000);
    let disk = SimulatedDisk::new();
    let store = open(config("store", FlushMode::Sync, &clock), disk.clone()).expect("opens");
    let queue = store.queue("t", 0).expect("a queue");
    for n in 0..6 {
        let appended = send(&store, &queue, &format!("k{n}"), 500).expect("sent");
        let (done, acked) = std::sync::mpsc::channel();
        store.settle(
            appended.end,
            Box::new(move |outcome| done.send(outcome).expect("somebody waits")),
        );
        acked.recv().expect("called").expect("acknowledged");
    }
    store.abandon();
    drop(store);
    let mut shown_at_most = 0;
    for steps in 0..=disk.steps() {
        // The process ends, the system goes on: written bytes are there although nothing synced them.
        let disk = disk.after_crash(steps, Crash::Kill);
        let store = open(config("store", FlushMode::Sync, &clock), disk.clone()).expect("opens");
        let shown = store.queue("t", 0).expect("a queue").max_offset();
        shown_at_most = shown_at_most.max(shown);
        store.abandon();
        drop(store);
        let disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
        let store = open(config("store", FlushMode::Sync, &clock), disk).expect("opens");
        assert_eq!(
            store.queue("t", 0).expect("a queue").max_offset(),
            shown,
            "after {steps} steps"
        );
        store.abandon();
    }
    assert_eq!(shown_at_most, 6);
}

#[test]
fn with_sync_flush_no_more_is_staged_than_the_disk_keeps_up_with() {
    const STAGED_MAX: u64 = 32 << 20;
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::at(1_000_000);
    let config = StoreConfig {
        segment_bytes: 128 << 20,
        ..config(dir.path(), FlushMode::Sync, &clock)
    };
    let store = open(config, RealFs).expect("opens");
    let queue = store.queue("t", 0).expect("a queue");
    let body = vec![b'.'; 1 << 20];
    for _ in 0..80 {
        // Nobody asks for a flush.
        let appended = store
            .append(&message(&queue, &body, b"", ""))
            .expect("appended");
        let staged = appended.end.0 - store.positions().written;
        assert!(staged <= STAGED_MAX, "{staged}");
    }
    assert!(store.positions().flushed > STAGED_MAX);
    store.abandon();
}

#[test]
fn store_times_go_on_after_a_restart_until_a_clock_far_behind_is_trusted() {
    let dir = tempfile::tempdir().expect("a folder");
    let store_ms = |clock: i64, trusted: bool, close: bool| {
        let config = config(dir.path(), FlushMode::default(), &Clock::at(clock));
        let store = open(config, RealFs).expect("opens");
        if trusted {
            store.trust_clock(clock);
        }
        let appended = send(&store, &store.queue("t", 0).expect("a queue"), "k", 10).expect("sent");
        if close {
            store.close().expect("closed");
        } else {
            store.abandon();
        }
        appended.store_ms
    };
    assert_eq!(store_ms(1_000_000, false, true), 1_000_000);
    assert_eq!(store_ms(990_000, true, false), 1_000_000, "from the index");
    assert_eq!(store_ms(1_030_000, true, false), 1_030_000);
    assert_eq!(
        store_ms(1_000_000, true, true),
        1_030_000,
        "from the replay"
    );
    assert_eq!(store_ms(90_000_000, false, true), 90_000_000);
    // A machine that starts with its clock at 1970 must not make everything before look old.
    assert_eq!(store_ms(2_000_000, false, true), 90_000_000);
    assert_eq!(store_ms(2_000_000, true, true), 2_000_000, "it was wrong");
}
