//! Writers, readers, retention and the background work of the index at the same time.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::{KV, LIMITS, message, tables};
use rmq_protocol::message::QueueOffset;
use rmq_store::fs::{Fault, FaultyFs, Operation, RealFs};
use rmq_store::{
    AllMessages, AppendError, Change, FlushMode, KeyKind, Master, ReadStatus, StoreConfig,
    Temperature,
};

const WRITERS: usize = 3;
const ROUNDS: i64 = 1_500;
const QUEUES: i32 = 5;

/// Reads a queue to `until`, and sees each offset once and in order while runs are written, merged and published.
fn follow(store: &Master, id: i32, until: i64) {
    let queue = store.queue("shared", id).expect("a queue");
    let mut at = 0;
    while at < until {
        let outcome = store.read(
            &queue,
            QueueOffset(at),
            LIMITS,
            &AllMessages,
            Temperature::MayWait,
        );
        match outcome.status {
            ReadStatus::Found => {
                for record in &outcome.records {
                    let view = record.view().expect("a record");
                    assert_eq!(
                        (view.queue_offset(), view.queue_id().0),
                        (QueueOffset(at), id)
                    );
                    at += 1;
                }
                assert_eq!(outcome.next_offset, at);
            }
            ReadStatus::AtEnd | ReadStatus::NoMessageInQueue => thread::yield_now(),
            other => panic!("{other:?} at {at} of {queue:?}"),
        }
    }
}

#[test]
fn readers_see_every_offset_once_while_everything_moves() {
    for flush in [FlushMode::default(), FlushMode::Sync] {
        let dir = tempfile::tempdir().expect("a folder");
        let config = StoreConfig {
            segment_bytes: 1 << 20,
            index_run_bytes: 64 << 10,
            flush,
            tables: tables(),
            ..StoreConfig::new(dir.path())
        };
        let (store, _) = Master::open(config.clone(), std::sync::Arc::new(RealFs)).expect("opens");
        let per_queue = WRITERS as i64 * ROUNDS / i64::from(QUEUES);
        let writing = AtomicBool::new(true);
        let checks = AtomicU64::new(0);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let store = &store;
                    scope.spawn(move || {
                        for n in 0..ROUNDS {
                            let queue = store
                                .queue("shared", (n % i64::from(QUEUES)) as i32)
                                .expect("a queue");
                            let key = format!("{writer}-{n}");
                            let properties = format!("KEYS\u{1}{key}\u{2}");
                            store
                                .append(&message(&queue, &[b'x'; 300], properties.as_bytes(), &key))
                                .expect("appended");
                            if n % 4 == 3 {
                                store.write_out().expect("written");
                            }
                            if n % 100 == 0 {
                                store
                                    .settings()
                                    .put(&[Change::set(KV, format!("w{writer}"), n.to_string())])
                                    .expect("put");
                            }
                        }
                        store.write_out().expect("written");
                    })
                })
                .collect();
            let readers: Vec<_> = (0..QUEUES)
                .map(|id| {
                    scope.spawn({
                        let store = &store;
                        move || follow(store, id, per_queue)
                    })
                })
                .collect();
            scope.spawn(|| {
                while writing.load(Ordering::Relaxed) {
                    let found = store.find_by_key("shared", "0-0", KeyKind::Key, 8, 0, i64::MAX);
                    assert!(found.count() <= 1);
                    checks.fetch_add(1, Ordering::Relaxed);
                }
            });
            writers
                .into_iter()
                .for_each(|writer| writer.join().expect("a writer ends well"));
            readers
                .into_iter()
                .for_each(|reader| reader.join().expect("a reader ends well"));
            writing.store(false, Ordering::Relaxed);
        });
        assert!(checks.load(Ordering::Relaxed) > 0);
        store.close().expect("closed");
        assert!(store.stats().index_runs > 0);
        drop(store);
        let (store, report) = Master::open(config, std::sync::Arc::new(RealFs)).expect("opens");
        assert_eq!(report.replayed_records, 0);
        for id in 0..QUEUES {
            follow(&store, id, per_queue);
        }
        for (writer, n) in [(0, 0), (1, 777), (2, ROUNDS - 1)] {
            assert_eq!(
                store
                    .find_by_key(
                        "shared",
                        &format!("{writer}-{n}"),
                        KeyKind::Key,
                        8,
                        0,
                        i64::MAX
                    )
                    .count(),
                1
            );
        }
        assert_eq!(store.values(KV).len(), WRITERS);
        store.close().expect("closed");
    }
}

/// Writers that never wait for each other: each is told once, and only when its message can be read; also by a disk that fails.
#[test]
fn everybody_who_waits_is_told_once() {
    for fails in [false, true] {
        let faulty = FaultyFs::new(Arc::new(RealFs));
        let dir = tempfile::tempdir().expect("a folder");
        let config = StoreConfig {
            segment_bytes: 1 << 20,
            index_run_bytes: 64 << 10,
            tables: tables(),
            ..StoreConfig::new(dir.path())
        };
        let (store, _) = Master::open(config, Arc::new(faulty.clone())).expect("opens");
        if fails {
            faulty.plan(Fault {
                operation: Operation::Write,
                path_contains: "/log/".to_owned(),
                after: 200,
                times: 1,
                kind: std::io::ErrorKind::Other,
            });
        }
        let told = Arc::new(AtomicU64::new(0));
        let refused = Arc::new(AtomicU64::new(0));
        let asked = AtomicU64::new(0);
        thread::scope(|scope| {
            for writer in 0..4 {
                let (store, told, refused) = (&store, &told, &refused);
                let asked = &asked;
                scope.spawn(move || {
                    let queue = store.queue("shared", writer).expect("a queue");
                    for _ in 0..ROUNDS {
                        let message = message(&queue, &[b'x'; 300], b"", "");
                        let Ok(place) = store.append(&message) else {
                            assert!(fails);
                            return;
                        };
                        asked.fetch_add(1, Ordering::Relaxed);
                        let (queue, told, refused) =
                            (queue.clone(), Arc::clone(told), Arc::clone(refused));
                        let done = move |written: Result<(), AppendError>| {
                            told.fetch_add(1, Ordering::Relaxed);
                            match written {
                                Ok(()) => assert!(queue.max_offset() > place.queue_offset.0),
                                Err(_) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                            }
                        };
                        match store.try_settle(place.end) {
                            Some(settled) => done(settled),
                            None => store.settle(place.end, Box::new(done)),
                        }
                    }
                });
            }
        });
        // All threads have gone: nobody is left who would tell later.
        let asked = asked.load(Ordering::Relaxed);
        assert_eq!(told.load(Ordering::Relaxed), asked);
        assert_eq!(refused.load(Ordering::Relaxed) > 0, fails);
        assert!(fails || asked == 4 * ROUNDS as u64);
        store.abandon();
    }
}
