//! Old segments go, with everything that is derived from them; what is newer, and every setting and offset, stays.

mod common;

use common::{Clock, TOPICS, config, offsets, open, send};
use rmq_protocol::message::QueueOffset;
use rmq_store::fs::{RealFs, SimulatedDisk};
use rmq_store::{
    AllMessages, Boundary, Change, FlushMode, KeyKind, OpenError, ReadError, ReadStatus,
    StoreConfig, Temperature,
};

#[test]
fn expired_segments_go_and_the_rest_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::at(1_000_000);
    let config = || config(dir.path(), FlushMode::default(), &clock);
    let store = open(config(), RealFs).expect("opens");
    let (busy, idle) = (
        store.queue("busy", 0).expect("a queue"),
        store.queue("idle", 7).expect("a queue"),
    );
    let first = send(&store, &idle, "first", 100).expect("sent");
    store
        .settings()
        .put(&[Change::set(TOPICS, "idle", "kept")])
        .expect("put");
    for n in 0..200 {
        clock.advance(10);
        send(&store, &busy, &format!("k{n}"), 2_000).expect("sent");
    }
    assert_eq!(
        store.run_retention(clock.now()).expect("runs").segments,
        0,
        "nothing is old enough"
    );
    // Half of the messages are older than the retention of 10 s then.
    let removed = store.run_retention(clock.now() + 9_000).expect("runs");
    assert!(removed.segments >= 2, "{removed:?}");
    let start = store.positions().min;
    assert_eq!(removed.bytes, start);

    let check = |store: &rmq_store::Master| {
        let (busy, idle) = (
            store.queue("busy", 0).expect("a queue"),
            store.queue("idle", 7).expect("a queue"),
        );
        assert_eq!((idle.min_offset(), idle.max_offset()), (1, 1));
        let min = busy.min_offset();
        assert!(min > 50 && min < 190, "{min}");
        assert_eq!(offsets(store, &busy, min), (min..200).collect::<Vec<_>>());
        let outcome = store.read(
            &busy,
            QueueOffset(0),
            common::LIMITS,
            &AllMessages,
            Temperature::MayWait,
        );
        assert_eq!(
            (outcome.status, outcome.min_offset),
            (ReadStatus::OffsetTooSmall, min)
        );
        assert!(matches!(
            store.record_at(first.position),
            Err(ReadError::Removed { .. })
        ));
        let by_key = |key: &str| {
            store
                .find_by_key("busy", key, KeyKind::Key, 10, 0, i64::MAX)
                .count()
        };
        assert_eq!(
            (by_key("k0"), by_key(&format!("k{min}")), by_key("k199")),
            (0, 1, 1)
        );
        assert_eq!(
            store
                .offset_by_time(&busy, 0, Boundary::Lower)
                .expect("found"),
            QueueOffset(min)
        );
        assert_eq!(store.value(TOPICS, "idle").as_deref(), Some(&b"kept"[..]));
        let stats = store.stats();
        assert!(stats.index_runs <= stats.segments, "{stats:?}");
    };
    store.checkpoint().expect("written");
    check(&store);
    store.abandon();
    drop(store);
    let store = open(config(), RealFs).expect("opens");
    check(&store);
    let again = send(
        &store,
        &store.queue("idle", 7).expect("a queue"),
        "again",
        10,
    )
    .expect("sent");
    assert_eq!(
        again.queue_offset,
        QueueOffset(1),
        "offsets of an emptied queue go on"
    );
    store.close().expect("closed");
    drop(store);

    // The log alone no longer says everything: without the tables it does not start as if nothing had been there.
    std::fs::remove_file(dir.path().join("index/tables")).expect("removed");
    match open(config(), RealFs) {
        Err(OpenError::Derived(error)) => {
            assert!(error.to_string().contains("acceptLostSettings"), "{error}")
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it started with settings lost"),
    }
}

#[test]
fn the_active_segment_stays_however_old_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::at(1_000_000);
    let store = open(config(dir.path(), FlushMode::default(), &clock), RealFs).expect("opens");
    let queue = store.queue("t", 0).expect("a queue");
    send(&store, &queue, "k", 10).expect("sent");
    assert_eq!(store.run_retention(i64::MAX).expect("runs").segments, 0);
    assert_eq!(offsets(&store, &queue, 0), [0]);
    store.close().expect("closed");
}

#[test]
fn a_disk_that_is_too_full_gives_up_the_oldest_only_where_that_is_wanted() {
    let total = 1u64 << 40;
    for (ratio, expected) in [(1.0, 0), (0.5, 2)] {
        let disk = SimulatedDisk::default();
        let clock = Clock::at(1_000_000);
        let config = StoreConfig {
            disk_evict_ratio: ratio,
            ..config(std::path::Path::new("data"), FlushMode::default(), &clock)
        };
        let segment = config.segment_bytes;
        let store = open(config, disk.clone()).expect("opens");
        let queue = store.queue("t", 0).expect("a queue");
        while store.stats().segments < 5 {
            send(&store, &queue, "k", 2_000).expect("sent");
        }
        store.checkpoint().expect("written");
        // One and a half segments too much.
        disk.set_free(Some(total / 2 - segment - segment / 2));
        let removed = store.run_retention(clock.now()).expect("runs");
        assert_eq!(removed.segments, expected, "ratio {ratio}");
        assert_eq!(queue.min_offset() > 0, expected > 0);
        store.abandon();
    }
}
