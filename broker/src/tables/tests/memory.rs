//! What a row of a table takes in memory. A broker has tens of thousands of topics and groups, most of them idle.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rmq_config::BrokerConfig;
use rmq_protocol::bodies::{SubscriptionGroupConfig, TopicConfig};
use rmq_store::fs::RealFs;
use rmq_store::{Change, Master, StoreConfig};

use super::{ASYNC, config, tables};
use crate::data::Data;
use crate::light::LightQueues;
use crate::limits::Limits;
use crate::tables::{groups, topics};
use crate::topics::Topics;

/// Rows of the two stores that are compared: what a store takes by itself is in both.
const FEW: usize = 20_000;
const MANY: usize = 60_000;
/// The most bytes that a row of a topic with one queue takes, with its queue, and a row of a group.
const TOPIC_BYTES_MAX: u64 = 537;
const GROUP_BYTES_MAX: u64 = 880;
/// The folder of the store, for the process that measures: one that has not filled the store, so that no freed memory hides what is used.
const DIR: &str = "RMQ_TABLE_MEMORY_DIR";

fn config_in(dir: &Path, tables: &super::Tables) -> StoreConfig {
    StoreConfig {
        dir: dir.to_owned(),
        segment_bytes: 64 << 20,
        index_run_bytes: 8 << 20,
        ..config(tables, ASYNC)
    }
}

/// Fills a store with rows.
fn fill(dir: &Path, rows: usize, change: impl Fn(usize) -> Change) {
    let tables = tables();
    let (store, _) = Master::open(config_in(dir, &tables), Arc::new(RealFs)).expect("opens");
    let changes: Vec<Change> = (0..rows).map(change).collect();
    store.settings().put(&changes).expect("appended");
    store.close().expect("closed");
}

/// What a broker holds of a store in memory, in a process of its own. Prints its anonymous memory, KiB.
#[allow(clippy::print_stdout, reason = "the parent reads the figure")]
fn measure(dir: &Path) {
    let tables = tables();
    let (store, _) = Master::open(config_in(dir, &tables), Arc::new(RealFs)).expect("opens");
    let store = Data::of_master(store);
    let config = BrokerConfig::default();
    let limits = Limits::of(&config);
    let light = Arc::new(LightQueues::new(&store, &config));
    let topics = Topics::open(&store, tables.topics.clone(), limits, &light).expect("queues");
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let figure = status.lines().find(|line| line.starts_with("RssAnon:"));
    let rows = topics.len() + tables.groups.len();
    println!("{} of {rows} rows", figure.expect("it is there"));
    store.close().expect("closed");
}

/// Anonymous memory of a process that has opened the store, bytes.
fn measured(dir: &Path) -> u64 {
    let name = std::thread::current().name().expect("a test").to_owned();
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", &name, "--nocapture"])
        .env(DIR, dir)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let (_, figure) = said.split_once("RssAnon:").expect("the figure");
    let kib = figure.split_whitespace().next().map(str::parse::<u64>);
    kib.expect("a figure").expect("a number") << 10
}

/// What each of many rows takes.
#[allow(clippy::print_stdout, reason = "the figure is asked for")]
fn bytes_a_row(change: impl Fn(usize) -> Change) -> u64 {
    let [few, many] = [FEW, MANY].map(|rows| {
        let dir = tempfile::tempdir().expect("a folder");
        fill(dir.path(), rows, &change);
        measured(dir.path())
    });
    let bytes = many.saturating_sub(few) / (MANY - FEW) as u64;
    println!("{bytes} bytes a row");
    bytes
}

#[test]
fn a_topic_takes_little_memory() {
    if let Some(dir) = std::env::var_os(DIR) {
        return measure(Path::new(&dir));
    }
    let bytes = bytes_a_row(|number| {
        let config = TopicConfig::new(format!("topic-{number:06}"), 1);
        topics::set(&config).expect("JSON")
    });
    assert!((100..=TOPIC_BYTES_MAX).contains(&bytes), "{bytes} bytes");
}

#[test]
fn a_group_takes_little_memory() {
    if let Some(dir) = std::env::var_os(DIR) {
        return measure(Path::new(&dir));
    }
    let table = tables().groups;
    let bytes = bytes_a_row(|number| {
        let config = SubscriptionGroupConfig::new(format!("group-{number:06}"));
        let group = table.group(config, std::collections::BTreeMap::new());
        groups::set(&group).expect("JSON")
    });
    assert!((100..=GROUP_BYTES_MAX).contains(&bytes), "{bytes} bytes");
}
