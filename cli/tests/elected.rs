//! Broker groups that elect their master: another master by a person, and what `health` says of members that are away.

mod common;

use std::time::Duration;

use common::Dev;
use common::servers::{findings, run};
use rmq_testing::client::{Client, Message, TopicSpec};
use rmq_testing::{BrokerHandle, TestCluster};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Three members that elect their master.
struct Group(TestCluster);

impl Group {
    async fn start() -> Self {
        let group = Self(TestCluster::builder().replicas(2).start().await);
        group.well().await;
        group
    }

    fn list(&self) -> String {
        self.0.name_server_list()
    }

    fn member(&self, slot: usize) -> BrokerHandle<'_> {
        self.0.member(0, slot)
    }

    async fn well(&self) {
        run(&self.list(), &["health", "--wait=60s"]).await.ok();
    }

    async fn about(&self) -> Value {
        let line = ["broker", "replication", "broker-0", "-o", "json"];
        serde_json::from_str(&run(&self.list(), &line).await.ok()).unwrap()
    }

    /// The slots of the master and of the others.
    async fn roles(&self) -> (usize, Vec<usize>) {
        let about = self.about().await;
        let master = about["master"].as_u64();
        let master = usize::try_from(master.unwrap_or_else(|| panic!("{about}"))).unwrap();
        (master, (0..3).filter(|slot| *slot != master).collect())
    }

    /// Looks until a finding is there; it says all of this.
    async fn finds(&self, id: &str, says: &[&str]) {
        let mut last = None;
        let looks = async {
            loop {
                let found = findings(&self.list(), &["health"]).await;
                last = found.into_iter().find(|(found, _)| found == id);
                if let Some((_, found)) = &last
                    && says.iter().all(|says| found.contains(says))
                {
                    return;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, looks).await.is_ok();
        assert!(found, "{id} does not say all of {says:?}: {last:?}");
    }

    async fn send(&self, client: &Client, text: &str) {
        let message = || Message::new("orders", text.to_owned());
        let sends = async { while client.producer().send(message()).await.is_err() {} };
        tokio::time::timeout(PATIENCE, sends).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_master_is_asked_for() {
    let group = Group::start().await;
    let list = group.list();
    let about = group.about().await;
    assert_eq!(about["election"], "memory", "{about}");
    assert_eq!(about["phase"], "Stable", "{about}");
    let brokers = run(&list, &["get", "brokers", "-o", "json"]).await.ok();
    let brokers: Value = serde_json::from_str(&brokers).unwrap();
    let items = brokers["items"].as_array().unwrap();
    assert_eq!(items.len(), 3, "{brokers}");
    assert!(items.iter().all(|item| item["inSync"] == true), "{brokers}");

    let (master, others) = group.roles().await;
    let (to, third) = (others[0].to_string(), others[1]);
    let line = ["broker", "switchover", "broker-0", "--to", &to];
    // Nobody agrees without a terminal, and a dry run does nothing.
    run(&list, &line)
        .await
        .fails(2, &["RMQ-E002", "writes stop for less than a second"]);
    let dry = run(&list, &[&line[..], &["--dry-run"]].concat()).await.ok();
    assert!(dry.contains(&format!("make member {to}")), "{dry}");
    assert_eq!(group.roles().await.0, master);
    let done = run(&list, &[&line[..], &["--yes"]].concat()).await.ok();
    let says = format!("broker/broker-0 switched over: member {to} is the master of epoch");
    assert!(
        done.contains(&says) && done.contains("no messages were taken for"),
        "{done}"
    );
    assert_eq!(group.roles().await.0.to_string(), to);
    let again = run(&list, &[&line[..], &["--yes"]].concat()).await.ok();
    assert!(again.contains("unchanged"), "{again}");
    group.well().await;

    // Who is named by an address, and who is none.
    let address = group.member(master).address();
    let back = ["broker", "switchover", &address, "--to", &address, "--yes"];
    run(&list, &back).await.ok();
    assert_eq!(group.roles().await.0, master);
    let line = ["broker", "switchover", "broker-0", "--to", "7", "--yes"];
    run(&list, &line)
        .await
        .fails(3, &["has no member \"7\"", &address]);
    let promote = [
        "broker",
        "promote",
        "broker-0",
        &to,
        "--accept-loss",
        "--yes",
    ];
    run(&list, &promote)
        .await
        .fails(6, &["RMQ-E023", "nothing needs to be lost", "switchover"]);

    // A member that is away cannot take over, and who can is named.
    group.well().await;
    group.member(third).kill().await;
    group
        .finds("member-answers", &["not in the in-sync set"])
        .await;
    let line = [
        "broker",
        "switchover",
        "broker-0",
        "--to",
        &third.to_string(),
        "--yes",
    ];
    let says = [
        "RMQ-E023",
        "is not in sync",
        &format!("in sync: member {to}"),
    ];
    run(&list, &line).await.fails(6, &says);
    group.member(third).start().await;
    group.well().await;
    group.0.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_everything_is_promoted_by_a_person() {
    let group = Group::start().await;
    let list = group.list();
    let client = group.0.client().await;
    let topic = TopicSpec::new("orders").queues(1);
    client.admin().create_topic(&topic).await.unwrap();
    group.send(&client, "everybody has it").await;
    let (master, others) = group.roles().await;
    let (second, left) = (others[0], others[1]);
    let name = left.to_string();
    // It leaves the set, and lacks the next message.
    group.member(left).kill().await;
    group
        .finds("member-answers", &["not in the in-sync set"])
        .await;
    group.send(&client, "two have it").await;
    group.member(second).kill().await;
    group.member(master).kill().await;
    group.member(left).start().await;
    group
        .finds(
            "broker-has-master",
            &["not in the in-sync set", "--accept-loss"],
        )
        .await;

    let line = ["broker", "promote", "broker-0", &name];
    let says = [
        "RMQ-E002",
        "ends at position",
        "does not answer, and may have more",
        "--accept-loss",
    ];
    run(&list, &line).await.fails(2, &says);
    // Nobody types the name without a terminal.
    let line = [&line[..], &["--accept-loss"]].concat();
    run(&list, &line)
        .await
        .fails(2, &["RMQ-E002", "Acknowledged messages may be lost"]);
    let done = run(&list, &[&line[..], &["--yes"]].concat()).await.ok();
    let says = format!("broker/broker-0 promoted: member {name} is the master of epoch");
    assert!(done.contains(&says), "{done}");
    assert!(
        done.contains("messages may be lost from position"),
        "{done}"
    );
    // With minInSync 2 it takes nothing before another member is in sync; what that one had more is cut off.
    group.finds("broker-minimum", &["minInSync is 2"]).await;
    group.member(second).start().await;
    group.member(master).start().await;
    group.well().await;
    group.send(&client, "after").await;
    let left = client.reader("orders").open().await.unwrap().all().await;
    let left: Vec<String> = left
        .unwrap()
        .iter()
        .map(|message| String::from_utf8_lossy(message.body()).into_owned())
        .collect();
    assert_eq!(left, ["everybody has it", "after"]);
    let shown = run(&list, &["broker", "replication", "broker-0"])
        .await
        .ok();
    assert!(shown.contains("may be lost"), "{shown}");
    group.0.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_is_away() {
    let group = Group::start().await;
    let (master, others) = group.roles().await;
    group.member(others[0]).cut_place();
    group.finds("broker-place", &["neither be elected"]).await;
    group.member(others[0]).heal_place();
    group.well().await;
    for slot in 0..3 {
        group.member(slot).cut_place();
    }
    group
        .finds("broker-place", &["failsafe", "this process"])
        .await;
    assert_eq!(group.roles().await.0, master);
    for slot in 0..3 {
        group.member(slot).heal_place();
    }
    group.well().await;
    group.0.shutdown().await;
}

#[test]
fn a_group_with_replicas_is_there_again_at_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().display().to_string();
    for (start, body) in ["first", "second"].into_iter().enumerate() {
        let dev = Dev::start_with(&["--data", &folder, "--replicas", "3"]);
        dev.run(&["health", "--wait=60s"]).ok();
        let brokers = dev.run(&["get", "brokers", "-o", "json"]).ok();
        let brokers: Value = serde_json::from_str(&brokers).expect("JSON");
        let items = brokers["items"].as_array().expect("a list");
        let masters = items.iter().filter(|item| item["role"] == "master");
        assert_eq!((items.len(), masters.count()), (3, 1), "{brokers}");
        let line = [
            "create",
            "topic",
            "orders",
            "--queues",
            "1",
            "--if-not-exists",
        ];
        dev.run(&line).ok();
        dev.run(&["send", "orders", body]).ok();
        let kept = dev.run(&["tail", "orders", "-o", "body"]).ok();
        assert_eq!(kept.lines().count(), start + 1, "{kept}");
    }
}

/// Nobody is woken up by what is as it should be.
#[test]
fn a_start_of_a_group_and_a_planned_switchover_warn_of_nothing() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let writer = log.reopen().expect("the file");
    let dev = Dev::start_logged(&["--tmp", "--replicas", "3"], writer.into());
    dev.run(&["health", "--wait=60s"]).ok();
    let brokers = dev.run(&["get", "brokers", "-o", "json"]).ok();
    let brokers: Value = serde_json::from_str(&brokers).expect("JSON");
    let name = brokers["items"][0]["name"].as_str().expect("a name");
    dev.run(&["create", "topic", "orders"]).ok();
    // A consumer sends its heartbeats to all members.
    let consumes = [
        "consume",
        "orders",
        "-g",
        "billing",
        "--from=first",
        "--max=1",
    ];
    for _ in 0..2 {
        dev.run(&["send", "orders", "the order"]).ok();
        dev.run(&consumes).ok();
        let about = dev.run(&["broker", "replication", name, "-o", "json"]).ok();
        let about: Value = serde_json::from_str(&about).expect("JSON");
        let master = about["master"].as_u64().expect("a master");
        let to = ((master + 1) % 3).to_string();
        let line = ["broker", "switchover", name, "--to", &to, "--yes"];
        dev.run(&line).ok();
        dev.run(&["health", "--wait=60s"]).ok();
    }
    let lines = std::fs::read_to_string(log.path()).expect("text");
    let warnings: Vec<&str> = lines
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
}
