//! Reads from maps, by a reader that cannot wait: how often the system is asked what is in memory, and what is never touched.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{ASYNC, Clock, config, message, open};
use rmq_protocol::message::QueueOffset;
use rmq_store::fs::{FaultyFs, Operation, RealFs};
use rmq_store::{
    AllMessages, Master, QueueRef, ReadLimits, ReadOutcome, ReadStatus, StoreConfig, Temperature,
};

const QUEUES: i32 = 8;
/// As clients ask by default.
const LIMITS: ReadLimits = ReadLimits {
    messages_max: 32,
    bytes_max: 1 << 20,
    scan_entries_max: 2_000,
};

/// A store on files with maps, with so many messages of 1 KB in each of its queues, one queue after the other.
fn store_with(dir: &Path, messages: i32) -> (Master, FaultyFs) {
    let disk = FaultyFs::new(Arc::new(RealFs));
    disk.set_maps(true);
    let config = StoreConfig {
        segment_bytes: 16 << 20,
        index_run_bytes: 1 << 20,
        ..config(dir, ASYNC, &Clock::at(1))
    };
    let store = open(config, disk.clone()).expect("opens");
    for number in 0..messages * QUEUES {
        let queue = queue(&store, number % QUEUES);
        let body = vec![number as u8; 1_000];
        store
            .append(&message(&queue, &body, b"", ""))
            .expect("sent");
    }
    store.write_out().expect("written");
    (store, disk)
}

fn queue(store: &Master, id: i32) -> QueueRef {
    store.queue("t", id).expect("a queue")
}

fn read(store: &Master, queue: &QueueRef, from: i64, temperature: Temperature) -> ReadOutcome {
    store.read(queue, QueueOffset(from), LIMITS, &AllMessages, temperature)
}

#[test]
fn the_system_is_asked_for_stretches_of_the_log_and_not_for_records() {
    const MESSAGES: i32 = 500;
    let dir = tempfile::tempdir().expect("a folder");
    let (store, disk) = store_with(dir.path(), MESSAGES);
    disk.record();
    let (mut reads, mut records) = (0, 0);
    for id in 0..QUEUES {
        let queue = queue(&store, id);
        let mut at = 0;
        while at < queue.max_offset() {
            let outcome = read(&store, &queue, at, Temperature::HotOnly);
            assert_eq!(outcome.status, ReadStatus::Found);
            for record in &outcome.records {
                let view = record.view().expect("a record");
                let number = view.queue_offset().0 as i32 * QUEUES + id;
                assert!(view.body().iter().all(|byte| *byte == number as u8));
            }
            at = outcome.next_offset;
            reads += 1;
            records += outcome.records.len();
        }
    }
    assert_eq!(records, (MESSAGES * QUEUES) as usize);
    let calls = disk.recorded();
    let count = |operation| {
        let of_log = |call: &&(Operation, String)| call.0 == operation && call.1.contains("/log/");
        calls.iter().filter(of_log).count()
    };
    let asked = count(Operation::Residency);
    assert!((1..=reads).contains(&asked), "{asked} of {reads} reads");
    assert_eq!(
        (count(Operation::ReadCached), count(Operation::Read)),
        (0, 0)
    );
    store.close().expect("closed");
}

#[test]
fn what_is_not_in_memory_is_left_to_a_reader_that_may_wait() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, disk) = store_with(dir.path(), 4);
    disk.set_cold(true);
    let queue = queue(&store, 3);
    let cold = read(&store, &queue, 0, Temperature::HotOnly);
    assert_eq!(
        (cold.status, cold.records.len(), cold.next_offset),
        (ReadStatus::Cold, 0, 0)
    );
    let waited = read(&store, &queue, 0, Temperature::MayWait);
    assert_eq!(
        (waited.status, waited.records.len(), waited.next_offset),
        (ReadStatus::Found, 4, 4)
    );
    store.close().expect("closed");
}

/// A bad sector never comes into memory: a map of it is not touched, which would end the process.
#[test]
fn a_bad_sector_costs_its_records_and_no_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, disk) = store_with(dir.path(), 8);
    let queue = queue(&store, 0);
    let place = |offset: usize| {
        let outcome = read(&store, &queue, 0, Temperature::MayWait);
        outcome.records[offset]
            .view()
            .expect("a record")
            .position()
            .0
    };
    let sector = place(5) / 512 * 512;
    disk.set_bad("/log/", sector..sector + 512);
    let hot = read(&store, &queue, 0, Temperature::HotOnly);
    assert_eq!((hot.status, hot.records.len()), (ReadStatus::Found, 5));
    let cold = read(&store, &queue, 5, Temperature::HotOnly);
    assert_eq!((cold.status, cold.next_offset), (ReadStatus::Cold, 5));
    let waited = read(&store, &queue, 5, Temperature::MayWait);
    let offsets: Vec<i64> = waited
        .records
        .iter()
        .map(|record| record.view().expect("a record").queue_offset().0)
        .collect();
    assert_eq!((offsets, waited.next_offset), (vec![6, 7], 8));
    assert_eq!(store.damage().len(), 1);
    store.close().expect("closed");
}
