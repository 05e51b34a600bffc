//! One wrong byte anywhere in a closed store: at most the message it hits is missing, it is reported, and nothing wrong is served.

mod common;

use std::path::{Path, PathBuf};

use common::{Clock, LIMITS, TOPICS, config, message, open};
use rmq_protocol::message::QueueOffset;
use rmq_store::fs::{Crash, Fs, SimulatedDisk};
use rmq_store::{AllMessages, Change, FlushMode, Master, OpenError, Temperature};

const MESSAGES: i64 = 12;

fn body(n: i64) -> Vec<u8> {
    format!("message {n} ").repeat(20).into_bytes()
}

fn store() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let clock = Clock::at(1_000);
    let store = open(config("store", FlushMode::Sync, &clock), disk.clone()).expect("opens");
    let queue = store.queue("t", 0).expect("a queue");
    for n in 0..MESSAGES {
        let body = body(n);
        store
            .append(&message(&queue, &body, b"TAGS\x01A\x02", ""))
            .expect("appended");
        if n == MESSAGES / 2 {
            let change = Change::set(TOPICS, "t", "value");
            store.settings().put(&[change]).expect("put");
            let end = store.positions().appended;
            let (done, acked) = std::sync::mpsc::channel();
            let end = rmq_protocol::message::LogPosition(end);
            store.settle(
                end,
                Box::new(move |outcome| done.send(outcome).expect("waited for")),
            );
            acked.recv().expect("called").expect("acknowledged");
            store.checkpoint().expect("written");
        }
    }
    store.close().expect("closed");
    disk
}

/// The store with one byte changed.
fn flipped(disk: &SimulatedDisk, path: &Path, at: u64) -> SimulatedDisk {
    let copy = disk.after_crash(disk.steps(), Crash::PowerLoss);
    let file = copy.open(path).expect("it is there");
    let mut byte = [0];
    file.read_at(at, &mut byte).expect("read");
    file.write_at(at, &[byte[0] ^ (1 << (at % 8))])
        .expect("written");
    file.sync().expect("synced");
    copy
}

/// Which messages are served; each must be the right one.
fn served(store: &Master) -> Vec<i64> {
    let queue = store.queue("t", 0).expect("a queue");
    let mut from = queue.min_offset();
    let mut found = Vec::new();
    while from < queue.max_offset() {
        let outcome = store.read(
            &queue,
            QueueOffset(from),
            LIMITS,
            &AllMessages,
            Temperature::MayWait,
        );
        for record in &outcome.records {
            let view = record.view().expect("a record");
            assert!(
                view.body() == body(view.queue_offset().0),
                "offset {} has another body",
                view.queue_offset()
            );
            assert!(
                view.check_record_crc() == Ok(true),
                "offset {} is not intact",
                view.queue_offset()
            );
            found.push(view.queue_offset().0);
        }
        assert!(outcome.next_offset > from, "{outcome:?}");
        from = outcome.next_offset;
    }
    found
}

fn reopen(disk: SimulatedDisk) -> Result<Master, OpenError> {
    open(config("store", FlushMode::Sync, &Clock::at(2_000)), disk)
}

#[test]
fn in_the_log() {
    let disk = store();
    let path = PathBuf::from("store/log/00000000000000000000");
    let store = reopen(disk.after_crash(disk.steps(), Crash::PowerLoss)).expect("opens");
    let end = store.positions().appended;
    assert_eq!(served(&store), (0..MESSAGES).collect::<Vec<_>>());
    store.abandon();
    for at in (0..end).step_by(3) {
        let store =
            reopen(flipped(&disk, &path, at)).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        let found = served(&store);
        assert!(found.len() as i64 >= MESSAGES - 1, "byte {at}: {found:?}");
        if (found.len() as i64) < MESSAGES {
            assert_eq!(store.damage().len(), 1, "byte {at}");
        }
        assert_eq!(
            store.value(TOPICS, "t").as_deref(),
            Some(&b"value"[..]),
            "byte {at}"
        );
        assert_eq!(
            store.queue("t", 0).expect("a queue").max_offset(),
            MESSAGES,
            "byte {at}: no offset is given away again"
        );
        store.abandon();
    }
}

#[test]
fn in_the_log_without_its_derived_files() {
    let disk = store();
    for name in disk.list(Path::new("store/index")).expect("listed") {
        disk.lose(&Path::new("store/index").join(name));
    }
    let path = PathBuf::from("store/log/00000000000000000000");
    let end = reopen(disk.after_crash(disk.steps(), Crash::PowerLoss))
        .expect("opens")
        .positions()
        .appended;
    for at in (0..end).step_by(7) {
        let store =
            reopen(flipped(&disk, &path, at)).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        let found = served(&store);
        assert!(found.len() as i64 >= MESSAGES - 1, "byte {at}: {found:?}");
        // Or the settings record was hit.
        let setting = store.value(TOPICS, "t").is_some();
        assert!(setting || found.len() as i64 == MESSAGES, "byte {at}");
        assert_eq!(store.damage().len(), 1, "byte {at}");
        store.abandon();
    }
}

#[test]
fn in_every_derived_file() {
    let disk = store();
    let index = Path::new("store/index");
    let mut files: Vec<PathBuf> = disk
        .list(index)
        .expect("listed")
        .iter()
        .map(|name| index.join(name))
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    files.push(PathBuf::from("store/watermark"));
    for path in files {
        let len = disk.open(&path).expect("it is there").len().expect("known");
        // The tables are mostly unused pages.
        let stride = (len / 150).max(1) as usize;
        for at in (0..len).step_by(stride) {
            let what = format!("byte {at} of {}", path.display());
            let store =
                reopen(flipped(&disk, &path, at)).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(served(&store), (0..MESSAGES).collect::<Vec<_>>(), "{what}");
            assert_eq!(
                store.value(TOPICS, "t").as_deref(),
                Some(&b"value"[..]),
                "{what}"
            );
            assert_eq!(
                store.queue("t", 0).expect("a queue").max_offset(),
                MESSAGES,
                "{what}"
            );
            store.abandon();
        }
    }
}

#[test]
fn in_the_format_line() {
    let disk = store();
    let path = PathBuf::from("store/format");
    let good = disk.read(&path, 100).expect("read");
    for at in 0..good.len() as u64 {
        match reopen(flipped(&disk, &path, at)) {
            Err(error @ (OpenError::Version { .. } | OpenError::FormatDamaged { .. })) => {
                let said = error.to_string();
                let differs = !said.contains("format rmq-store 3, this version");
                assert!(
                    differs && said.contains("store/format"),
                    "byte {at}: {said}"
                );
            }
            Err(error) => panic!("byte {at}: {error}"),
            // The line's end does not matter.
            Ok(store) => assert_eq!(served(&store).len() as i64, MESSAGES),
        }
    }
    // A later version is told from damage, and what is said about damage helps.
    for (line, is_version) in [
        ("rmq-store 4\n", true),
        ("", false),
        ("\0\0\0\0", false),
        ("rmq-store", false),
    ] {
        let copy = disk.after_crash(disk.steps(), Crash::PowerLoss);
        let file = copy.create(&path).expect("made");
        file.write_at(0, line.as_bytes()).expect("written");
        let error = reopen(copy.clone()).expect_err("refused");
        assert_eq!(
            matches!(error, OpenError::Version { .. }),
            is_version,
            "{error}"
        );
        if !is_version {
            assert!(
                error
                    .to_string()
                    .contains("write the line rmq-store 3 into it"),
                "{error}"
            );
            file.write_at(0, b"rmq-store 3\n").expect("written");
            let store = reopen(copy).expect("as it was said");
            assert_eq!(served(&store).len() as i64, MESSAGES);
        }
    }
}

#[test]
fn in_the_file_of_epochs() {
    let disk = store();
    let path = PathBuf::from("store/epochs");
    let len = disk.read(&path, 1_000).expect("read").len() as u64;
    for at in 0..len {
        let copy = flipped(&disk, &path, at);
        let error = reopen(copy.clone()).expect_err("it is not guessed");
        assert!(matches!(error, OpenError::Epochs { .. }), "byte {at}");
        let said = error.to_string();
        assert!(
            said.contains("store/epochs") && said.contains("rmq-store 1 into store/format"),
            "{said}"
        );
        // As it says, for a broker that never had a replica.
        let file = copy.create(Path::new("store/format")).expect("made");
        file.write_at(0, b"rmq-store 1\n").expect("written");
        let store = reopen(copy).expect("as it was said");
        assert_eq!(served(&store).len() as i64, MESSAGES);
        assert_eq!(store.epochs().len(), 1);
    }
}
