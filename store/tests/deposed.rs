//! A master that is deposed is closed, or given up, and its store is opened as a follower in the same process at once, while other threads
//! still have the old master and do with it what they can. Budget: 5 s.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use common::acts::{KEYS, QUEUES};
use common::{ASYNC, Clock, acked, config, copy, follow, message, open, state};
use rmq_protocol::message::LogPosition;
use rmq_store::fs::{RealFs, SimulatedDisk};
use rmq_store::{Change, FlushMode, Follower, Master, Store, StoreConfig};

fn settings(dir: &Path, flush: FlushMode, clock: &Clock) -> StoreConfig {
    StoreConfig {
        background: true,
        ..config(dir, flush, clock)
    }
}

fn send(master: &Master, key: &str, bytes: usize) -> LogPosition {
    let queue = master.queue("t", 0).expect("a queue");
    let body = vec![b'x'; bytes];
    let properties = format!("KEYS\u{1}{key}\u{2}");
    let appended = master.append(&message(&queue, &body, properties.as_bytes(), key));
    appended.expect("appended").end
}

/// Does everything that somebody may do who has not heard of it yet. Says so after each round, until `stop`.
fn linger(master: &Master, shared: LogPosition, stop: &AtomicBool, rounds: &Sender<()>) {
    while !stop.load(Ordering::Acquire) {
        let Ok(queue) = master.queue("t", 1) else {
            // The tables are closed.
            let _ = rounds.send(());
            continue;
        };
        if let Ok(appended) = master.append(&message(&queue, b"late", b"", "")) {
            assert!(!matches!(master.try_settle(appended.end), Some(Ok(()))));
            master.settle(appended.end, Box::new(|outcome| assert!(outcome.is_err())));
            master.flush(appended.end, Box::new(|_| ()));
        }
        // Each of them may fail, and writes nothing once the store is closed.
        let _ = master
            .settings()
            .put(&[Change::set(common::KV, "late", "x")]);
        let _ = master.write_out();
        let _ = master.checkpoint();
        let _ = master.run_retention(0);
        let _ = master.rows(common::ORDERED, b"", None, 10);
        let _ = master.begin_epoch(1);
        let _ = master.snapshot();
        master.replicated(Some(shared));
        let _ = rounds.send(());
    }
}

fn deposed(flush: FlushMode, is_given_up: bool) {
    let clock = Clock::at(1_000_000);
    let dir = tempfile::tempdir().expect("a folder");
    let config = || settings(dir.path(), flush, &clock);
    let (master, _) = Master::open(config(), Arc::new(RealFs)).expect("opens");
    for key in ["k0", "k1"] {
        acked(&master, send(&master, key, 20_000));
    }
    let shared = LogPosition(master.positions().confirmed);
    // Another member has it, and is elected.
    let winner = follow(common::config("store", flush, &clock), SimulatedDisk::new());
    copy(&master, &winner, 1 << 15, u64::MAX);
    winner.confirm(shared).expect("confirmed");
    master.replicated(Some(shared));
    let winner = winner.promote(2).expect("promoted");
    winner.replicated(None);
    for key in ["k2", "k3", "k0"] {
        acked(&winner, send(&winner, key, 30_000));
    }
    let end = winner.settings().put(&[Change::set(common::KV, "k", "v")]);
    acked(&winner, end.expect("put"));

    let stop = Arc::new(AtomicBool::new(false));
    let (rounds, done) = channel();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (master, stop, rounds) = (master.clone(), Arc::clone(&stop), rounds.clone());
            std::thread::spawn(move || linger(&master, shared, &stop, &rounds))
        })
        .collect();
    let some_rounds = || (0..8).for_each(|_| done.recv().expect("a round"));
    some_rounds();
    master.fence("epoch 2 has begun");
    match is_given_up {
        true => master.abandon(),
        false => master.close().expect("closed"),
    }
    let (follower, report) = Follower::open(config(), Arc::new(RealFs)).expect("opens at once");
    assert!(report.damaged.is_empty(), "{report:?}");
    follower.truncate_to(shared).expect("nobody has seen it");
    follower.begin_epoch(2, shared).expect("it begins");
    some_rounds();
    copy(&winner, &follower, 1 << 15, u64::MAX);
    let end = LogPosition(follower.positions().written);
    follower.confirm(end).expect("confirmed");
    follower.checkpoint().expect("sealed");
    some_rounds();
    stop.store(true, Ordering::Release);
    for thread in threads {
        thread.join().expect("it lingers and ends");
    }
    drop(master);
    let whole = |store: &Store| state(store, &QUEUES, &KEYS);
    assert!(whole(&winner) == whole(&follower));
    follower.close().expect("closed");
    drop(follower);
    let (follower, report) = Follower::open(config(), Arc::new(RealFs)).expect("opens");
    assert!(
        report.damaged.is_empty() && report.rebuilt.is_empty(),
        "{report:?}"
    );
    follower.confirm(end).expect("confirmed");
    assert!(whole(&winner) == whole(&follower), "after a start");
    follower.close().expect("closed");
    winner.abandon();
}

#[test]
fn a_deposed_master_is_a_follower_at_once() {
    for flush in [FlushMode::Sync, ASYNC] {
        for is_given_up in [false, true] {
            deposed(flush, is_given_up);
        }
    }
}

/// What was appended and not written when a master is given up is never written, whoever still has it.
#[test]
fn what_was_staged_is_never_written_later() {
    let clock = Clock::at(1_000_000);
    let disk = SimulatedDisk::new();
    let config = || common::config("store", ASYNC, &clock);
    let master = open(config(), disk.clone()).expect("opens");
    let first = send(&master, "k0", 10);
    acked(&master, first);
    let staged = send(&master, "k1", 10);
    let late = master.clone();
    master.abandon();
    let follower = follow(config(), disk.clone());
    // Points are no changes.
    let changes = || disk.steps() - disk.points().len();
    let before = changes();
    assert!(!matches!(late.try_settle(staged), Some(Ok(()))));
    assert!(late.write_out().is_err() || late.positions().written == first.0);
    late.settle(staged, Box::new(|outcome| assert!(outcome.is_err())));
    assert!(late.checkpoint().is_err());
    assert!(late.begin_epoch(9).is_err());
    assert!(late.settle_doubt().is_err());
    drop((late, master));
    assert_eq!(changes(), before, "nothing was done to the disk");
    assert_eq!(follower.positions().written, first.0);
    follower.abandon();
}

/// A master that is about to hand over takes nothing, and what it took before is confirmed and acknowledged.
#[test]
fn a_paused_master_takes_nothing_and_confirms_what_it_has() {
    let clock = Clock::at(1_000_000);
    let dir = tempfile::tempdir().expect("a folder");
    let config = settings(dir.path(), ASYNC, &clock);
    let (master, _) = Master::open(config, Arc::new(RealFs)).expect("opens");
    let begin = LogPosition(master.positions().confirmed);
    master.replicated(Some(begin));
    let end = send(&master, "k0", 100);
    let (told, tells) = channel();
    master.settle(
        end,
        Box::new(move |outcome| told.send(outcome).expect("waits")),
    );
    master.pause("it hands over");
    let queue = master.queue("t", 0).expect("a queue");
    let refused = master
        .append(&message(&queue, b"x", b"", ""))
        .expect_err("paused");
    assert!(refused.to_string().ends_with("it hands over"), "{refused}");
    let setting = Change::set(common::KV, "k", "v");
    master.settings().put(&[setting]).expect_err("paused");
    assert_eq!(master.positions().appended, end.0);
    master.replicated(Some(end));
    tells.recv().expect("told").expect("acknowledged");
    master.resume();
    acked_by_itself(&master, end);
    master.pause("it hands over");
    master.fence("another one is the master");
    master.resume();
    let fenced = master
        .append(&message(&queue, b"x", b"", ""))
        .expect_err("fenced");
    assert!(fenced.to_string().contains("another one"), "{fenced}");
}

fn acked_by_itself(master: &Master, before: LogPosition) {
    master.replicated(None);
    let end = send(master, "k1", 100);
    assert!(end > before);
    acked(master, end);
}
