//! A full disk refuses writes until there is room again, and keeps room for progress.

use std::io::ErrorKind;

use rmq_store::fs::{Crash, Operation, SimulatedDisk};
use rmq_store::{AppendError, Change, FlushMode, StoreHealth};

use super::common::{
    CONSUMER_OFFSETS, Clock, DELAY_PROGRESS, TOPICS, config, message, offsets, open, send,
};
use super::{acked, fault, on_a_faulty_disk};

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let disk = SimulatedDisk::new();
    let clock = Clock::at(1);
    let open_again = |disk: &SimulatedDisk| {
        open(config("store", FlushMode::Sync, &clock), disk.clone()).expect("opens")
    };
    let store = open_again(&disk);
    let queue = store.queue("t", 0).expect("a queue");
    // Room for nothing but what is reserved already.
    disk.set_free(Some(10_000));
    let mut sent = 0;
    let refused = loop {
        match store.append(&message(&queue, &[b'x'; 5_000], b"", "")) {
            Ok(appended) => {
                acked(&store, appended.end).expect("what was taken is kept");
                sent += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, AppendError::Refused { .. }), "{refused}");
    assert!(sent >= 10, "{sent}");
    assert!(matches!(store.health(), StoreHealth::Refusing { .. }));
    assert_eq!(offsets(&store, &queue, 0).len(), sent, "reads go on");
    disk.set_free(None);
    clock.advance(60_000);
    let appended = store
        .append(&message(&queue, &[b'x'; 5_000], b"", ""))
        .expect("there is room again");
    acked(&store, appended.end).expect("acknowledged");
    assert_eq!(store.health(), StoreHealth::Writable);
    assert_eq!(appended.queue_offset.0, sent as i64, "no offset was lost");
    store.close().expect("closed");
    drop(store);
    let store = open_again(&disk);
    assert_eq!(
        offsets(&store, &store.queue("t", 0).expect("a queue"), 0).len(),
        sent + 1
    );
    store.abandon();
}

#[test]
fn room_is_found_again_although_nobody_appends() {
    let disk = SimulatedDisk::new();
    let store = open(
        config("store", FlushMode::default(), &Clock::at(1)),
        disk.clone(),
    )
    .expect("opens");
    let queue = store.queue("t", 0).expect("a queue");
    disk.set_free(Some(10_000));
    while send(&store, &queue, "k", 5_000).is_ok() {}
    assert!(matches!(store.health(), StoreHealth::Refusing { .. }));
    disk.set_free(None);
    // The clock of the store stands still, so no append would look.
    while store.health() != StoreHealth::Writable {
        std::thread::yield_now();
    }
    send(&store, &queue, "k", 5_000).expect("sent");
    store.close().expect("closed");
}

#[test]
fn a_segment_that_cannot_be_made_says_why_and_is_made_later_where_that_can_be() {
    // The error, words of its text, and whether it can pass without a restart.
    let errors = [
        (28, "the disk is full", true),
        (122, "the quota is used up", true),
        (24, "this process has too many open files", true),
        (23, "this machine has too many open files", true),
        (13, "has no right", true),
        (1, "has no right", true),
        (27, "larger than this process or file system allows", true),
        (12, "no memory", true),
        (30, "mounted read-only", false),
        (2, "a folder of the data is gone", false),
        (5, "the disk fails", false),
        (116, "the disk fails", false),
    ];
    let calls = [
        (Operation::Create, "cannot create"),
        (Operation::Allocate, "cannot reserve room for"),
        (Operation::SyncAll, "cannot sync"),
        (Operation::Rename, "cannot rename"),
        (Operation::SyncDir, "cannot sync the folder"),
    ];
    for (errno, words, heals) in errors {
        for (operation, call) in calls {
            let disk = SimulatedDisk::new();
            let clock = Clock::at(1);
            let (faulty, store) = on_a_faulty_disk(disk.clone(), &clock);
            let queue = store.queue("t", 0).expect("a queue");
            let plan = fault(operation, "/log", 0, usize::MAX, ErrorKind::Other);
            faulty.plan_errno(plan, errno);
            let mut sent = 0;
            let refused = loop {
                match send(&store, &queue, "k", 5_000) {
                    Ok(_) => sent += 1,
                    Err(error) => break error,
                }
            };
            let text = refused.to_string();
            let says = |part: &str| assert!(text.contains(part), "{part} is not in: {text}");
            says(call);
            says("store/log");
            says(words);
            says(&std::io::Error::from_raw_os_error(errno).to_string());
            assert_eq!(text.contains("disk is full"), errno == 28, "{text}");
            assert!(
                sent >= if heals { 10 } else { 1 },
                "{sent}: what has room is taken"
            );
            faulty.clear();
            clock.advance(60_000);
            let next = send(&store, &queue, "k", 5_000);
            if heals {
                assert_eq!(next.expect("sent").queue_offset.0, sent, "{text}");
                assert_eq!(store.health(), StoreHealth::Writable);
                sent += 1;
            } else {
                let error = next.expect_err("read-only");
                assert!(matches!(error, AppendError::ReadOnly { .. }), "{error}");
                assert!(error.to_string().contains(words), "{error}");
                assert!(matches!(store.health(), StoreHealth::ReadOnly { .. }));
            }
            assert_eq!(offsets(&store, &queue, 0).len() as i64, sent, "reads go on");
            assert_eq!(store.close().is_ok(), heals, "{text}");
            drop(store);
            let left = disk.after_crash(disk.steps(), Crash::Kill);
            let store =
                open(config("store", FlushMode::default(), &clock), left).expect("opens again");
            let queue = store.queue("t", 0).expect("a queue");
            assert_eq!(offsets(&store, &queue, 0).len() as i64, sent, "{text}");
            store.abandon();
        }
    }
}

#[test]
fn a_full_disk_keeps_room_for_progress() {
    let offset = |n: i64| {
        Change::set(
            CONSUMER_OFFSETS,
            "t@g",
            bytes::Bytes::copy_from_slice(&n.to_le_bytes()),
        )
    };
    let delay = |n: i64| {
        Change::set(
            DELAY_PROGRESS,
            "1",
            bytes::Bytes::copy_from_slice(&n.to_le_bytes()),
        )
    };
    for flush in [FlushMode::Sync, FlushMode::default()] {
        // Messages fill the log first, or progress alone does.
        for with_messages in [true, false] {
            let disk = SimulatedDisk::new();
            let clock = Clock::at(1);
            let store = open(config("store", flush, &clock), disk.clone()).expect("opens");
            let queue = store.queue("t", 0).expect("a queue");
            disk.set_free(Some(1_000));
            let mut sent = 0;
            while with_messages && send(&store, &queue, "k", 500).is_ok() {
                sent += 1;
            }
            let (mut kept, mut others) = (0, 0);
            let refused = loop {
                let changes = [offset(kept + 1), delay(kept + 1)];
                let checked = store.settings().check_progress(200);
                match store.settings().put(&changes) {
                    Ok(end) => {
                        acked(&store, end).expect("what was taken is kept");
                        kept += 1;
                    }
                    Err(error) => {
                        checked.expect_err("the check says so before");
                        break error;
                    }
                }
                if matches!(store.health(), StoreHealth::Writable) {
                    continue;
                }
                // What is small may fit before the reserve, a few times.
                let topic = Change::set(TOPICS, "new", "v");
                others += usize::from(store.settings().put(&[topic]).is_ok());
                if send(&store, &queue, "k", 1).is_ok() {
                    others += 1;
                    sent += 1;
                }
            };
            assert!(others < 10, "the room is for progress alone: {others}");
            assert!(refused.to_string().contains("disk"), "{refused}");
            assert!(kept > 20, "{kept}");
            store.write_out().expect("nothing has failed");
            if flush == FlushMode::Sync || !with_messages {
                store.close().expect("an ordinary stop");
            } else {
                store.abandon();
            }
            drop(store);
            for crash in [Crash::PowerLoss, Crash::Kill] {
                if crash == Crash::PowerLoss && flush != FlushMode::Sync {
                    continue;
                }
                let left = disk.after_crash(disk.steps(), crash);
                left.set_free(None);
                let store = open(config("store", flush, &clock), left).expect("opens");
                let queue = store.queue("t", 0).expect("a queue");
                assert_eq!(offsets(&store, &queue, 0).len(), sent);
                for (table, key) in [(CONSUMER_OFFSETS, "t@g"), (DELAY_PROGRESS, "1")] {
                    let value = store.value(table, key).expect("kept");
                    assert_eq!(*value, kept.to_le_bytes(), "{flush:?} {crash:?}");
                }
                // With room again everything is taken.
                send(&store, &queue, "k", 500).expect("sent");
                store.close().expect("closed");
            }
        }
    }
}
