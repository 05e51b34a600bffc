//! Errors of the disk: the first failed write or sync makes the store read-only with its reason, a full disk refuses writes until
//! there is room again, and nothing acknowledged is lost by either.

#[path = "../common/mod.rs"]
mod common;
mod full_disk;

use std::io::ErrorKind;
use std::sync::mpsc;

use common::{Clock, TOPICS, config, message, offsets, open, send};
use rmq_protocol::message::{LogPosition, QueueOffset};
use rmq_store::fs::{Crash, Fault, FaultyFs, Operation, SimulatedDisk};
use rmq_store::{
    AllMessages, AppendError, Change, FlushMode, Master, ReadStatus, StoreConfig, StoreHealth,
    Temperature,
};

fn fault(
    operation: Operation,
    path_contains: &str,
    after: usize,
    times: usize,
    kind: ErrorKind,
) -> Fault {
    Fault {
        operation,
        path_contains: path_contains.to_owned(),
        after,
        times,
        kind,
    }
}

/// A store whose calls of the disk can be told to fail.
fn on_a_faulty_disk(disk: SimulatedDisk, clock: &Clock) -> (FaultyFs, Master) {
    let faulty = FaultyFs::new(std::sync::Arc::new(disk));
    let config = config("store", FlushMode::default(), clock);
    let store = open(config, faulty.clone()).expect("opens");
    (faulty, store)
}

fn acked(store: &Master, end: LogPosition) -> Result<(), AppendError> {
    let (done, outcome) = mpsc::channel();
    store.settle(
        end,
        Box::new(move |acked| done.send(acked).expect("somebody waits")),
    );
    outcome.recv().expect("it is called")
}

#[test]
fn the_first_failed_sync_is_the_last() {
    for nth in 0..12 {
        let disk = SimulatedDisk::new();
        let faulty = FaultyFs::new(std::sync::Arc::new(disk.clone()));
        let clock = Clock::at(1);
        let store = open(config("store", FlushMode::Sync, &clock), faulty.clone()).expect("opens");
        let queue = store.queue("t", 0).expect("a queue");
        faulty.plan(fault(Operation::Sync, "/log/", nth, 1, ErrorKind::Other));
        let mut promised = 0;
        let error = loop {
            let appended = store
                .append(&message(&queue, &[b'x'; 100], b"", ""))
                .expect("appended");
            match acked(&store, appended.end) {
                Ok(()) => promised += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(promised, nth as i64);
        assert!(error.to_string().contains("planned failure"), "{error}");
        // The disk would take the next sync; the store does not ask again.
        match store.health() {
            StoreHealth::ReadOnly { reason } => {
                assert!(reason.contains("syncing the log"), "{reason}")
            }
            health => panic!("{health:?}"),
        }
        assert!(matches!(
            store.append(&message(&queue, b"y", b"", "")),
            Err(AppendError::ReadOnly { .. })
        ));
        assert_eq!(
            queue.max_offset(),
            promised,
            "what was not acknowledged is not visible"
        );
        assert_eq!(
            offsets(&store, &queue, 0).len() as i64,
            promised,
            "reads go on"
        );
        assert!(store.close().is_err());
        drop(store);
        for crash in [Crash::PowerLoss, Crash::Kill] {
            let left = disk.after_crash(disk.steps(), crash);
            let store = open(config("store", FlushMode::Sync, &clock), left).expect("opens");
            let max = store.queue("t", 0).expect("a queue").max_offset();
            assert!(
                max == promised || (crash == Crash::Kill && max == promised + 1),
                "{max}"
            );
            store.abandon();
        }
    }
}

#[test]
fn a_failed_write_makes_the_store_read_only() {
    let (faulty, store) = on_a_faulty_disk(SimulatedDisk::new(), &Clock::at(1));
    let queue = store.queue("t", 0).expect("a queue");
    send(&store, &queue, "k", 10).expect("sent");
    faulty.plan(fault(Operation::Write, "/log/", 0, 1, ErrorKind::Other));
    let error = send(&store, &queue, "k", 10).expect_err("the write fails");
    assert!(error.to_string().contains("planned failure"), "{error}");
    assert!(matches!(
        send(&store, &queue, "k", 10),
        Err(AppendError::ReadOnly { .. })
    ));
    assert_eq!(offsets(&store, &queue, 0), [0]);
    assert!(store.close().is_err());
}

#[test]
fn derived_files_that_cannot_be_written_cost_nothing_but_time() {
    let no_space = ErrorKind::StorageFull;
    let plans = [
        fault(Operation::Create, "tables", 0, 1, no_space),
        fault(Operation::Write, "tables", 0, 3, no_space),
        fault(Operation::Write, "tables", 9, 1, no_space),
        fault(Operation::Create, ".run", 0, 2, no_space),
        fault(Operation::Write, ".run", 1, 1, no_space),
        fault(Operation::Sync, ".run", 0, 1, no_space),
        fault(Operation::Rename, ".run", 0, 1, no_space),
        fault(Operation::Write, "manifest", 0, 1, no_space),
        fault(Operation::Rename, "manifest", 0, 1, no_space),
    ];
    for plan in plans {
        let disk = SimulatedDisk::new();
        let faulty = FaultyFs::new(std::sync::Arc::new(disk.clone()));
        let clock = Clock::at(1);
        let store = open(config("store", FlushMode::Sync, &clock), faulty.clone()).expect("opens");
        let queue = store.queue("t", 0).expect("a queue");
        faulty.plan(plan.clone());
        let mut failures = 0;
        for n in 0..40 {
            let key = format!("k{n}");
            let appended = store
                .append(&message(&queue, &[b'x'; 3_000], b"", &key))
                .expect("appended");
            store
                .settings()
                .put(&[Change::set(TOPICS, format!("t{n}"), "v")])
                .expect("put");
            acked(&store, appended.end).expect("the message path does not notice");
            failures += usize::from(store.checkpoint().is_err());
        }
        assert!(failures >= 1, "{plan:?}");
        store
            .checkpoint()
            .unwrap_or_else(|error| panic!("{plan:?}: {error}"));
        let check = |store: &Master| {
            assert_eq!(
                offsets(store, &store.queue("t", 0).expect("a queue"), 0),
                (0..40).collect::<Vec<_>>(),
                "{plan:?}"
            );
            assert_eq!(store.values(TOPICS).len(), 40, "{plan:?}");
        };
        check(&store);
        assert_eq!(store.health(), StoreHealth::Writable);
        store.close().expect("closed");
        drop(store);
        let store = open(
            config("store", FlushMode::Sync, &clock),
            disk.after_crash(disk.steps(), Crash::PowerLoss),
        )
        .expect("opens");
        check(&store);
        store.abandon();
    }
}

#[test]
fn a_failing_disk_under_derived_files_makes_the_store_read_only() {
    const EIO: i32 = 5;
    let io = ErrorKind::Other;
    let plans = [
        fault(Operation::Create, "tables", 0, 1, io),
        fault(Operation::WriteAt, "tables", 3, 1, io),
        fault(Operation::SetLen, "tables", 0, 1, io),
        fault(Operation::Sync, "tables", 0, 1, io),
        fault(Operation::Sync, "tables", 3, 1, io),
        fault(Operation::SyncDir, "index", 0, 1, io),
        fault(Operation::Create, ".run", 0, 1, io),
        fault(Operation::Write, ".run", 0, 1, io),
        fault(Operation::Sync, ".run", 0, 1, io),
        fault(Operation::Rename, ".run", 0, 1, io),
        fault(Operation::Write, "manifest", 0, 1, io),
        fault(Operation::Rename, "manifest", 0, 1, io),
    ];
    for flush in [FlushMode::Sync, FlushMode::default()] {
        for plan in &plans {
            let disk = SimulatedDisk::new();
            let faulty = FaultyFs::new(std::sync::Arc::new(disk.clone()));
            let clock = Clock::at(1);
            let store = open(config("store", flush, &clock), faulty.clone()).expect("opens");
            let queue = store.queue("t", 0).expect("a queue");
            faulty.plan_errno(plan.clone(), EIO);
            let mut sent = 0;
            let refused = loop {
                let appended = match store.append(&message(&queue, &[b'x'; 3_000], b"", "k")) {
                    Ok(appended) => appended,
                    Err(error) => break error,
                };
                acked(&store, appended.end).expect("the log is fine");
                sent += 1;
                // The second is not tried: the disk is not trusted any more.
                if store.checkpoint().is_err() {
                    assert!(store.checkpoint().is_err(), "{plan:?}");
                }
                assert!(sent < 100, "{plan:?} was never met");
            };
            assert!(matches!(refused, AppendError::ReadOnly { .. }), "{plan:?}");
            let StoreHealth::ReadOnly { reason } = store.health() else {
                panic!("{plan:?}: {:?}", store.health());
            };
            assert!(
                reason.contains("store/index") && reason.contains("os error 5"),
                "{plan:?}: {reason}"
            );
            // Nothing waits for ever, nothing panics, and what is there is read.
            let (done, outcome) = mpsc::channel();
            store.settle(
                LogPosition(u64::MAX),
                Box::new(move |acked| done.send(acked).expect("somebody waits")),
            );
            outcome
                .recv()
                .expect("it is called")
                .expect_err("read-only");
            assert_eq!(offsets(&store, &queue, 0).len(), sent, "{plan:?}");
            assert!(store.close().is_err(), "{plan:?}");
            drop(store);
            for crash in [Crash::PowerLoss, Crash::Kill] {
                if crash == Crash::PowerLoss && flush != FlushMode::Sync {
                    continue;
                }
                let left = disk.after_crash(disk.steps(), crash);
                let store = open(config("store", flush, &clock), left).expect("opens again");
                let queue = store.queue("t", 0).expect("a queue");
                assert_eq!(offsets(&store, &queue, 0).len(), sent, "{plan:?}");
                store.checkpoint().expect("after a restart it works");
                store.abandon();
            }
        }
    }
}

#[test]
fn queues_that_cannot_be_looked_up_are_an_error_and_nobody_else_notices() {
    for flush in [FlushMode::Sync, FlushMode::default()] {
        let disk = SimulatedDisk::new();
        let faulty = FaultyFs::new(std::sync::Arc::new(disk));
        let clock = Clock::at(1);
        let open_again = || open(config("store", flush, &clock), faulty.clone()).expect("opens");
        let store = open_again();
        for topic in ["old", "deleted"] {
            for id in 0..3 {
                let queue = store.queue(topic, id).expect("a queue");
                let appended = store
                    .append(&message(&queue, b"x", b"", ""))
                    .expect("appended");
                acked(&store, appended.end).expect("acknowledged");
            }
        }
        store.close().expect("closed");
        drop(store);
        let store = open_again();
        let known = store.queue("old", 0).expect("a queue");
        // A full disk closes the tables; then they cannot be read any more.
        let full = fault(Operation::Write, "tables", 0, 1, ErrorKind::StorageFull);
        faulty.plan(full);
        let appended = store.append(&message(&known, b"x", b"", ""));
        acked(&store, appended.expect("appended").end).expect("acknowledged");
        store.checkpoint().expect_err("no room");
        assert_eq!(store.health(), StoreHealth::Writable);
        faulty.plan_errno(
            fault(Operation::Read, "tables", 0, usize::MAX, ErrorKind::Other),
            5,
        );
        let mut failed = 0;
        for topic in ["old", "deleted", "new"] {
            for id in 0..3 {
                failed += usize::from(store.queue(topic, id).is_err());
                failed += usize::from(store.find_queue(topic, id).is_err());
            }
            failed += usize::from(store.queues_of(topic).is_err());
        }
        assert_eq!(failed, 3 * 7 - 2, "all but the queue that is in memory");
        assert!(matches!(store.health(), StoreHealth::ReadOnly { .. }));
        let deleted = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(store.delete_queues("deleted"));
        deleted.expect_err("refused");
        let refused = store
            .append(&message(&known, b"x", b"", ""))
            .expect_err("read-only");
        assert!(refused.to_string().contains("tables"), "{refused}");
        assert_eq!(offsets(&store, &known, 0), [0, 1], "what is known is read");
        assert!(store.close().is_err());
        drop(store);
        faulty.clear();
        let store = open_again();
        for (topic, next) in [("old", 1), ("deleted", 1), ("new", 0)] {
            let queue = store.queue(topic, 2).expect("a queue");
            assert_eq!(queue.max_offset(), next, "no offset is given twice");
        }
        store.close().expect("closed");
    }
}

#[test]
fn a_queue_that_is_not_in_memory_is_found_after_a_failed_commit() {
    let disk = SimulatedDisk::new();
    let faulty = FaultyFs::new(std::sync::Arc::new(disk));
    let clock = Clock::at(1);
    let open_again = || {
        open(
            config("store", FlushMode::default(), &clock),
            faulty.clone(),
        )
        .expect("opens")
    };
    let store = open_again();
    for id in 0..3 {
        send(&store, &store.queue("old", id).expect("a queue"), "k", 10).expect("sent");
    }
    store.close().expect("closed");
    drop(store);
    let store = open_again();
    send(&store, &store.queue("new", 0).expect("a queue"), "k", 10).expect("sent");
    faulty.plan(fault(
        Operation::Write,
        "tables",
        1,
        1,
        ErrorKind::StorageFull,
    ));
    assert!(store.checkpoint().is_err());
    let appended = send(&store, &store.queue("old", 0).expect("a queue"), "k", 10).expect("sent");
    assert_eq!(appended.queue_offset.0, 1, "no offset is used twice");
    assert_eq!(store.queues_of("old").expect("a queue").len(), 3);
    store.checkpoint().expect("there is room again");
    store.close().expect("closed");
}

#[test]
fn what_is_not_in_memory_is_read_where_waiting_is_allowed() {
    let faulty = FaultyFs::new(std::sync::Arc::new(SimulatedDisk::new()));
    let config = StoreConfig {
        hot_bytes: 500,
        cold_threads: 1,
        cold_queue_max: 1,
        ..config("store", FlushMode::default(), &Clock::at(1))
    };
    let store = open(config, faulty.clone()).expect("opens");
    let queue = store.queue("t", 0).expect("a queue");
    for n in 0..10 {
        send(&store, &queue, &format!("k{n}"), 300).expect("sent");
    }
    let read = |from, temperature| {
        let outcome = store.read(
            &queue,
            QueueOffset(from),
            common::LIMITS,
            &AllMessages,
            temperature,
        );
        (outcome.status, outcome.records.len(), outcome.next_offset)
    };
    assert_eq!(read(0, Temperature::HotOnly), (ReadStatus::Found, 10, 10));
    faulty.set_cold(true);
    assert_eq!(read(0, Temperature::HotOnly), (ReadStatus::Cold, 0, 0));
    assert_eq!(
        read(9, Temperature::HotOnly),
        (ReadStatus::Found, 1, 10),
        "the newest are hot without a question"
    );
    assert_eq!(read(0, Temperature::MayWait), (ReadStatus::Found, 10, 10));

    // One job runs, one waits, the next is refused.
    let (started, running) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let pool = store.cold_pool();
    pool.spawn(move || {
        started.send(()).expect("somebody waits");
        gate.recv().expect("it goes on");
    })
    .expect("there is a thread");
    running.recv().expect("it runs");
    let (done, result) = mpsc::channel();
    let reader = store.clone();
    pool.spawn(move || {
        let queue = reader.queue("t", 0).expect("a queue");
        let outcome = reader.read(
            &queue,
            QueueOffset(0),
            common::LIMITS,
            &AllMessages,
            Temperature::MayWait,
        );
        done.send(outcome.records.len()).expect("somebody waits");
    })
    .expect("it waits");
    let refused = pool.spawn(|| {}).expect_err("no room");
    assert_eq!(refused.waiting, 1);
    go_on.send(()).expect("it waits");
    assert_eq!(result.recv().expect("it runs"), 10);
    store.close().expect("closed");
    assert!(pool.spawn(|| {}).is_err(), "closed");
}
