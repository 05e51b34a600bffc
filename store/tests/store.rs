//! The store as a whole on the real file system.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

mod common;

use common::{ASYNC, TOPICS, tables};
use rmq_protocol::message::{LogPosition, QueueOffset, tag_hash};
use rmq_store::fs::{FaultyFs, Operation, RealFs};
use rmq_store::{
    AllMessages, AppendError, Change, FlushMode, KeyKind, Master, NewMessage, OpenError, QueueRef,
    ReadLimits, ReadStatus, RecoveryReport, StoreConfig, Temperature,
};

const LIMITS: ReadLimits = ReadLimits {
    messages_max: 1_000,
    bytes_max: 1 << 24,
    scan_entries_max: 10_000,
};

fn open(dir: &Path, flush: FlushMode) -> (Master, RecoveryReport) {
    let config = StoreConfig {
        segment_bytes: 1 << 20,
        index_run_bytes: 256 << 10,
        flush,
        tables: tables(),
        ..StoreConfig::new(dir)
    };
    Master::open(config, Arc::new(RealFs)).expect("it opens")
}

fn message<'a>(
    queue: &'a QueueRef,
    body: &'a [u8],
    properties: &'a [u8],
    keys: &'a str,
) -> NewMessage<'a> {
    NewMessage {
        queue,
        topic: queue.topic(),
        flag: 7,
        sys_flag: 0,
        born_ms: 1,
        born_host: SocketAddr::from(([10, 0, 0, 1], 5)),
        reconsume_times: 0,
        prepared_position: 0,
        body,
        properties,
        tag_hash: tag_hash("A"),
        keys,
        unique_key: "",
        further: &[],
    }
}

fn bodies(store: &Master, queue: &QueueRef, from: i64) -> Vec<String> {
    let outcome = store.read(
        queue,
        QueueOffset(from),
        LIMITS,
        &AllMessages,
        Temperature::MayWait,
    );
    outcome
        .records
        .iter()
        .map(|record| {
            let view = record.view().expect("a record");
            assert!(
                view.check_record_crc().expect("intact"),
                "every record has its checksum"
            );
            view.check_body_crc().expect("intact");
            String::from_utf8(view.body().to_vec()).expect("UTF-8")
        })
        .collect()
}

#[test]
fn what_is_acknowledged_survives_a_kill_in_both_modes() {
    for flush in [FlushMode::default(), FlushMode::Sync] {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, report) = open(dir.path(), flush);
        assert_eq!((report.start, report.end, report.cut_bytes), (0, 0, 0));
        let queue = store.queue("orders", 3).expect("a queue");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        for n in 0..100 {
            let body = format!("message {n}");
            let properties = format!("TAGS\u{1}A\u{2}KEYS\u{1}k{n} all\u{2}");
            let keys = format!("k{n} all");
            let new = message(&queue, body.as_bytes(), properties.as_bytes(), &keys);
            let appended = runtime
                .block_on(store.append_and_wait(&new))
                .expect("stored");
            assert_eq!(appended.queue_offset, QueueOffset(n));
        }
        assert_eq!((queue.min_offset(), queue.max_offset()), (0, 100));
        let expected: Vec<String> = (0..100).map(|n| format!("message {n}")).collect();
        assert_eq!(bodies(&store, &queue, 0), expected);
        assert_eq!(
            store
                .find_by_key("orders", "k42", KeyKind::Key, 10, 0, i64::MAX)
                .count(),
            1
        );
        store.abandon();
        drop(store);

        let (store, report) = open(dir.path(), flush);
        assert!(report.damaged.is_empty());
        assert_eq!(report.replayed_records, 100);
        let queue = store.queue("orders", 3).expect("a queue");
        assert_eq!(bodies(&store, &queue, 0), expected);
        assert_eq!(
            store
                .find_by_key("orders", "k42", KeyKind::Key, 10, 0, i64::MAX)
                .count(),
            1
        );
        store.close().expect("closed");
        drop(store);
        let (store, report) = open(dir.path(), flush);
        assert_eq!(
            report.replayed_records, 0,
            "a closed store has nothing to read again"
        );
        assert_eq!(
            bodies(&store, &store.queue("orders", 3).expect("a queue"), 98),
            expected[98..]
        );
        store.close().expect("closed");
    }
}

/// Nothing is left that a thread could wait for: who writes for others ends.
#[test]
fn what_is_given_up_is_not_appended_any_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, _) = open(dir.path(), FlushMode::Sync);
    let queue = store.queue("orders", 0).expect("a queue");
    let appended = store
        .append(&message(&queue, b"given up", b"", ""))
        .expect("appended");
    let before = store.positions();
    assert!(before.appended > before.written);
    store.abandon();
    let after = store.positions();
    assert_eq!(
        [after.appended, after.written],
        [before.written, before.written]
    );
    let (done, told) = std::sync::mpsc::channel();
    store.settle(
        appended.end,
        Box::new(move |settled| done.send(settled.is_err()).expect("waited for")),
    );
    assert!(told.recv().expect("told"), "it is not stored");
}

#[test]
fn segments_roll_and_everything_is_found_in_all_of_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = open(dir.path(), FlushMode::default());
    let queues: Vec<QueueRef> = (0..8)
        .map(|id| store.queue("t", id).expect("a queue"))
        .collect();
    let body = vec![b'x'; 10_000];
    for n in 0..1_000 {
        let keys = format!("key{n}");
        let properties = format!("KEYS\u{1}{keys}\u{2}");
        store
            .append(&message(
                &queues[n % 8],
                &body,
                properties.as_bytes(),
                &keys,
            ))
            .expect("appended");
        if n % 7 == 0 {
            store.write_out().expect("written");
        }
    }
    store.write_out().expect("written");
    assert!(store.stats().segments >= 9, "{:?}", store.stats());
    let check = |store: &Master| {
        for id in 0..8 {
            let queue = store.queue("t", id).expect("a queue");
            let mut from = 0;
            while from < 125 {
                let outcome = store.read(
                    &queue,
                    QueueOffset(from),
                    LIMITS,
                    &AllMessages,
                    Temperature::MayWait,
                );
                assert_eq!(outcome.status, ReadStatus::Found);
                for record in &outcome.records {
                    let view = record.view().expect("a record");
                    assert_eq!(
                        (view.queue_offset(), view.queue_id().0),
                        (QueueOffset(from), id)
                    );
                    assert!(view.check_record_crc().expect("intact"));
                    from += 1;
                }
                assert_eq!(outcome.next_offset, from);
            }
        }
        for n in [0, 1, 500, 998, 999] {
            let found = store.find_by_key("t", &format!("key{n}"), KeyKind::Key, 8, 0, i64::MAX);
            assert_eq!(found.count(), 1, "key{n}");
        }
    };
    check(&store);
    store.close().expect("closed");
    drop(store);
    let (store, _) = open(dir.path(), FlushMode::default());
    check(&store);
    store.abandon();
}

#[test]
fn a_second_opener_is_told_who_holds_it_and_another_format_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = open(dir.path(), FlushMode::default());
    let config = StoreConfig::new(dir.path());
    match Master::open(config.clone(), Arc::new(RealFs)) {
        Err(OpenError::Locked { holder, .. }) => {
            assert!(holder.contains(&std::process::id().to_string()), "{holder}")
        }
        other => panic!("{other:?}"),
    }
    store.close().expect("closed");
    drop(store);
    std::fs::write(dir.path().join("format"), "rmq-store 4\n").expect("written");
    match Master::open(config, Arc::new(RealFs)) {
        Err(OpenError::Version { found, .. }) => assert_eq!(found, "rmq-store 4"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_torn_tail_is_cut_and_damage_below_the_watermark_is_reported_and_skipped() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = open(dir.path(), FlushMode::default());
    let queue = store.queue("t", 0).expect("a queue");
    let ends: Vec<LogPosition> = (0..10)
        .map(|n| {
            store
                .append(&message(&queue, format!("m{n}").as_bytes(), b"", ""))
                .expect("appended")
                .end
        })
        .collect();
    store.write_out().expect("written");
    store.abandon();
    drop(store);
    let log = dir.path().join("log/00000000000000000000");
    let flip = |at: u64| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&log)
            .expect("opens");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 0x10], at).expect("written");
    };
    // Nothing below the watermark yet: a record that is not intact is a torn tail.
    let _ = std::fs::remove_file(dir.path().join("watermark"));
    flip(ends[8].0 + 90);
    let (store, report) = open(dir.path(), FlushMode::default());
    assert_eq!(report.end, ends[8].0);
    assert!(
        report.cut_bytes > 0 && report.damaged.is_empty(),
        "{report:?}"
    );
    assert_eq!(
        bodies(&store, &store.queue("t", 0).expect("a queue"), 0).len(),
        9
    );
    // From here on everything is durable.
    store.close().expect("closed");
    drop(store);
    std::fs::remove_dir_all(dir.path().join("index")).expect("removed");
    flip(ends[3].0 + 90);
    let (store, report) = open(dir.path(), FlushMode::default());
    assert_eq!(report.end, ends[8].0 + report.end - ends[8].0);
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!(report.damaged[0].from, ends[3].0);
    assert_eq!(report.damaged[0].to, ends[4].0);
    assert_eq!(store.damage(), report.damaged);
    let queue = store.queue("t", 0).expect("a queue");
    assert_eq!(
        bodies(&store, &queue, 0),
        ["m0", "m1", "m2", "m3", "m5", "m6", "m7", "m8"]
    );
    assert_eq!(queue.max_offset(), 9);
    store.close().expect("closed");
}

#[test]
fn settings_survive_and_deleted_queues_keep_counting() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = open(dir.path(), FlushMode::Sync);
    let set = |key: &str, value: &'static str| Change::set(TOPICS, key, value.as_bytes());
    runtime
        .block_on(
            store
                .settings()
                .put_and_wait(&[set("a", "1"), set("b", "2")]),
        )
        .expect("stored");
    runtime
        .block_on(
            store
                .settings()
                .put_and_wait(&[Change::remove(TOPICS, "a"), set("b", "3")]),
        )
        .expect("stored");
    let queue = store.queue("gone", 0).expect("a queue");
    runtime
        .block_on(store.append_and_wait(&message(&queue, b"x", b"", "")))
        .expect("stored");
    runtime
        .block_on(store.delete_queues("gone"))
        .expect("deleted");
    store.abandon();
    drop(store);
    let (store, _) = open(dir.path(), FlushMode::Sync);
    assert_eq!(store.value(TOPICS, "a"), None);
    assert_eq!(store.values(TOPICS), [("b".to_owned(), "3".into())]);
    let queue = store.queue("gone", 0).expect("a queue");
    assert_eq!((queue.min_offset(), queue.max_offset()), (1, 1));
    let appended = runtime
        .block_on(store.append_and_wait(&message(&queue, b"y", b"", "")))
        .expect("stored");
    assert_eq!(appended.queue_offset, QueueOffset(1));
    store.close().expect("closed");
    assert!(matches!(
        store.append(&message(&queue, b"z", b"", "")),
        Err(AppendError::Closed)
    ));
}

#[test]
fn what_does_not_fit_is_refused_with_its_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = open(dir.path(), FlushMode::default());
    let queue = store.queue("t", 0).expect("a queue");
    let large = vec![0; (4 << 20) + 1];
    assert!(
        matches!(store.append(&message(&queue, &large, b"", "")), Err(AppendError::BodyTooLarge { bytes, .. }) if bytes == large.len())
    );
    let segment = vec![0; 1 << 20];
    assert!(matches!(
        store.append(&message(&queue, &segment, b"", "")),
        Err(AppendError::RecordTooLarge { .. })
    ));
    let properties = vec![b'p'; 32_748];
    assert!(matches!(
        store.append(&message(&queue, b"", &properties, "")),
        Err(AppendError::PropertiesTooLarge { .. })
    ));
    store.write_out().expect("nothing to write");
    assert_eq!(queue.max_offset(), 0);
    store.close().expect("closed");
}

#[test]
fn damage_in_the_sealed_part_is_reported_and_the_rest_is_served() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = open(dir.path(), FlushMode::default());
    let queue = store.queue("t", 0).expect("a queue");
    let ends: Vec<LogPosition> = (0..10)
        .map(|n| {
            let body = format!("m{n}");
            let appended = store.append(&message(&queue, body.as_bytes(), b"", ""));
            appended.expect("appended").end
        })
        .collect();
    store.close().expect("closed");
    drop(store);
    // Without the watermark, the derived files still say how far the log was durable: nothing below is a torn tail.
    std::fs::remove_file(dir.path().join("watermark")).expect("removed");
    let log = dir.path().join("log/00000000000000000000");
    let mut bytes = std::fs::read(&log).expect("read");
    for end in [ends[3], ends[8]] {
        bytes[end.0 as usize + 90] ^= 0x10;
    }
    std::fs::write(&log, bytes).expect("written");
    let (store, report) = open(dir.path(), FlushMode::default());
    assert_eq!((report.end, report.cut_bytes), (ends[9].0, 0), "{report:?}");
    assert_eq!(report.rebuilt, Vec::<String>::new());
    let queue = store.queue("t", 0).expect("a queue");
    let served = ["m0", "m1", "m2", "m3", "m5", "m6", "m7", "m8"];
    assert_eq!(bodies(&store, &queue, 0), served);
    let damage: Vec<u64> = store.damage().iter().map(|range| range.from).collect();
    assert_eq!(damage, [ends[3].0, ends[8].0]);
    store.abandon();
    drop(store);
    // The same when the derived files must be made again, as far as the log was known to be durable.
    let index = dir.path().join("index");
    for entry in std::fs::read_dir(&index).expect("listed") {
        let path = entry.expect("listed").path();
        if path.extension().is_some_and(|extension| extension == "run") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    let (store, report) = open(dir.path(), FlushMode::default());
    assert_eq!(report.cut_bytes, 0);
    assert_eq!(report.rebuilt.len(), 1, "{report:?}");
    assert_eq!(
        bodies(&store, &store.queue("t", 0).expect("a queue"), 0),
        served
    );
    store.close().expect("closed");
}

#[test]
fn a_start_after_a_kill_reads_no_more_than_was_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let fs = FaultyFs::new(Arc::new(RealFs));
    let config = || StoreConfig {
        segment_bytes: 256 << 20,
        flush: ASYNC,
        tables: tables(),
        ..StoreConfig::new(dir.path())
    };
    let body = vec![b'x'; 64 << 10];
    let mut end = LogPosition(0);
    // The later starts find what the earlier ones have read in memory.
    for life in 1..=3 {
        fs.record();
        let (store, report) = Master::open(config(), Arc::new(fs.clone())).expect("opens");
        let calls = fs.recorded();
        let reads = calls
            .iter()
            .filter(|(call, path)| *call == Operation::Read && path.contains("/log/"))
            .count();
        assert!(reads <= 40, "life {life}: {reads} reads, {report:?}");
        assert!(report.end >= end.0, "{report:?}");
        let queue = store.queue("t", 0).expect("a queue");
        for _ in 0..32 {
            let sent = store.append(&message(&queue, &body, b"", ""));
            end = sent.expect("appended").end;
        }
        store.write_out().expect("written");
        store.abandon();
    }
}
