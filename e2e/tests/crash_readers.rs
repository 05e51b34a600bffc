//! SIGKILL while several producers share each queue and readers follow its end: nothing that was acked is lost, nothing that
//! was delivered vanishes, and order holds between producers, too. And the check itself finds faults in a real store.

use std::fs;
use std::path::{Path, PathBuf};

use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::crowd::{Crowd, body};
use rmq_e2e::history::{Key, Violation};

const TOPIC: &str = "readers";
const QUEUES: u16 = 2;
const PRODUCERS_PER_QUEUE: u32 = 3;

async fn cycles(flush: FlushMode, cycles: usize) {
    let mut cluster = Cluster::start(1, flush);
    let client = cluster.client().await;
    cluster.create_topic(&client, TOPIC, QUEUES).await;
    let mut crowd = Crowd::default();
    for cycle in 0..cycles {
        let queues = cluster.queues(&client, TOPIC).await;
        let connect = async || cluster.client().await;
        let working = crowd.start(&queues, PRODUCERS_PER_QUEUE, connect).await;
        working.progress(1 + cycle * 97 % 500).await;
        cluster.kill_broker();
        crowd.finish(working).await;
        cluster.start_broker();
        let queues = cluster.queues(&client, TOPIC).await;
        crowd.read_all(&client, &queues).await;
        let report = crowd.history().check();
        assert!(
            report.violations.is_empty(),
            "cycle {cycle}: {report}\nthe broker's log:\n{}",
            cluster.broker().log()
        );
    }
    let report = crowd.history().check();
    assert!(
        report.unknown_stored + report.unknown_gone > 0,
        "no kill fell into the middle of a send, so nothing was tried: {report}"
    );
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_producers_agree_after_kills_with_sync_flush() {
    cycles(FlushMode::Sync, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_producers_agree_after_kills_with_async_flush() {
    cycles(FlushMode::Async, 8).await;
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

/// Sends a while and stops the broker gently.
async fn fill(cluster: &mut Cluster, crowd: &mut Crowd, messages: usize) {
    let client = cluster.client().await;
    let queues = cluster.queues(&client, TOPIC).await;
    let connect = async || cluster.client().await;
    let working = crowd.start(&queues, 1, connect).await;
    working.progress(messages).await;
    assert_eq!(cluster.take_broker().stop().code(), Some(0));
    crowd.finish(working).await;
    client.shutdown().await;
}

async fn violations(cluster: &mut Cluster, crowd: &Crowd) -> Vec<Violation> {
    cluster.start_broker();
    let client = cluster.client().await;
    let queues = cluster.queues(&client, TOPIC).await;
    crowd.read_all(&client, &queues).await;
    client.shutdown().await;
    crowd.history().check().violations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_goes_back_in_time_is_found() {
    let mut cluster = Cluster::start(1, FlushMode::Sync);
    let client = cluster.client().await;
    cluster.create_topic(&client, TOPIC, QUEUES).await;
    client.shutdown().await;
    let mut crowd = Crowd::default();
    fill(&mut cluster, &mut crowd, 50).await;
    let old = tempfile::tempdir().unwrap();
    copy(&cluster.data(), old.path());
    let before = crowd.history().acked_count();
    assert_eq!(violations(&mut cluster, &crowd).await, []);

    fill(&mut cluster, &mut crowd, 50).await;
    let added = crowd.history().acked_count() - before;
    assert!(added >= 50);
    fs::remove_dir_all(cluster.data()).unwrap();
    copy(old.path(), &cluster.data());
    let found = violations(&mut cluster, &crowd).await;
    let lost = found
        .iter()
        .filter(|one| matches!(one, Violation::Lost { .. }));
    assert_eq!(lost.count(), added, "{found:?}");
    assert!(
        found
            .iter()
            .any(|one| matches!(one, Violation::Vanished { .. }))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_that_changed_on_disk_costs_its_message_only() {
    let mut cluster = Cluster::start(1, FlushMode::Sync);
    let client = cluster.client().await;
    cluster.create_topic(&client, TOPIC, QUEUES).await;
    client.shutdown().await;
    let mut crowd = Crowd::default();
    fill(&mut cluster, &mut crowd, 60).await;

    // In the middle of the body of a message that was acked.
    let victim = Key {
        producer: 0,
        number: 11,
    };
    let wanted = body(victim);
    let mut changed = 0;
    for file in files(&cluster.data()) {
        let mut bytes = fs::read(&file).unwrap();
        let places: Vec<usize> = bytes
            .windows(wanted.len())
            .enumerate()
            .filter(|(_, window)| *window == wanted)
            .map(|(at, _)| at)
            .collect();
        for at in places {
            bytes[at + wanted.len() / 2] ^= 0x10;
            fs::write(&file, &bytes).unwrap();
            changed += 1;
        }
    }
    assert_eq!(changed, 1, "the body lies in the log once");
    let found = violations(&mut cluster, &crowd).await;
    let of_victim = |one: &Violation| match one {
        Violation::Lost { key, offset, .. } | Violation::Vanished { key, offset, .. } => {
            *key == victim && *offset == 11
        }
        Violation::Gap { offset, .. } => *offset == 11,
        _ => false,
    };
    assert!(
        found
            .iter()
            .any(|one| matches!(one, Violation::Lost { .. })),
        "{found:?}"
    );
    assert!(found.iter().all(of_victim), "{found:?}");
}
