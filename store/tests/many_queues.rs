//! 100,000 queues with one message each: files do not grow with queues, start and memory stay small.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::{LIMITS, message};
use rmq_protocol::message::QueueOffset;
use rmq_store::fs::RealFs;
use rmq_store::{AllMessages, Master, StoreConfig, Temperature};

const TOPICS: usize = 10_000;
const QUEUES: i32 = 10;

/// Anonymous memory of this process, bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .expect("it is there");
    line.split_whitespace()
        .nth(1)
        .expect("a number")
        .parse::<u64>()
        .expect("a number")
        * 1024
}

fn files(dir: &Path) -> usize {
    let count = |entry: std::fs::DirEntry| {
        if entry.path().is_dir() {
            files(&entry.path())
        } else {
            1
        }
    };
    std::fs::read_dir(dir)
        .expect("listed")
        .map(|entry| count(entry.expect("listed")))
        .sum()
}

fn open(dir: &Path) -> Master {
    let config = StoreConfig {
        segment_bytes: 64 << 20,
        index_run_bytes: 8 << 20,
        background: false,
        ..StoreConfig::new(dir)
    };
    Master::open(config, std::sync::Arc::new(RealFs))
        .expect("opens")
        .0
}

fn fill(dir: &Path, topics: usize, rounds: usize) -> usize {
    let store = open(dir);
    for _ in 0..rounds {
        for topic in 0..topics {
            let name = format!("topic-{topic}");
            for id in 0..QUEUES {
                let queue = store.queue(&name, id).expect("a queue");
                store
                    .append(&message(&queue, b"one message", b"", ""))
                    .expect("appended");
            }
        }
        store.write_out().expect("written");
    }
    store.close().expect("closed");
    files(dir)
}

/// The folder of the store, for the process that measures: one that has not filled it, so that no freed memory hides what is used.
const DIR: &str = "RMQ_MANY_QUEUES_DIR";

#[test]
fn a_hundred_thousand_queues() {
    if let Some(dir) = std::env::var_os(DIR) {
        return measure(Path::new(&dir));
    }
    let few = tempfile::tempdir().expect("a folder");
    let few_files = fill(few.path(), 10, TOPICS / 10);
    let many = tempfile::tempdir().expect("a folder");
    let many_files = fill(many.path(), TOPICS, 1);
    assert_eq!(
        many_files, few_files,
        "as many bytes in 100 queues take as many files"
    );

    let measured = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "a_hundred_thousand_queues", "--nocapture"])
        .env(DIR, many.path())
        .status()
        .expect("it runs");
    assert!(measured.success());
}

#[allow(clippy::print_stdout, reason = "the figures are asked for")]
fn measure(dir: &Path) {
    let names: Vec<String> = (0..TOPICS).map(|topic| format!("topic-{topic}")).collect();
    let queues = || {
        names
            .iter()
            .flat_map(|name| (0..QUEUES).map(move |id| (name, id)))
    };
    let before = memory();
    let began = Instant::now();
    let store = open(dir);
    let start = began.elapsed();
    let opened = memory();
    let began = Instant::now();
    for (topic, id) in queues() {
        assert_eq!(
            store
                .find_queue(topic, id)
                .expect("a queue")
                .map(|queue| queue.max_offset()),
            Some(1)
        );
    }
    let touched = began.elapsed();
    let per_queue = memory().saturating_sub(opened) / (TOPICS as u64 * QUEUES as u64);
    println!(
        "{} queues: {} files, start {start:?} and {} KiB, all queues touched in {touched:?} with {per_queue} bytes each",
        TOPICS as i32 * QUEUES,
        files(dir),
        opened.saturating_sub(before) >> 10,
    );
    assert!(start.as_secs() < 5, "{start:?}");
    assert!((1..=400).contains(&per_queue), "{per_queue} bytes");
    for (topic, id) in queues().step_by(997) {
        let queue = store.queue(topic, id).expect("a queue");
        let outcome = store.read(
            &queue,
            QueueOffset(0),
            LIMITS,
            &AllMessages,
            Temperature::MayWait,
        );
        assert_eq!(outcome.records.len(), 1, "{queue:?}");
    }
    store.close().expect("closed");
}
