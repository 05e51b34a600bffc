//! Broker groups with replicas: what `get brokers`, `broker replication`, `health` and `doctor` say, and what is refused.

mod common;

use std::time::Duration;

use common::servers::{findings, name_server, only, registered, run};
use rmq_testing::TestCluster;
use serde_json::Value;

/// A master and a replica with fixed roles, and their name server.
struct Group(TestCluster);

impl Group {
    async fn start() -> Self {
        let cluster = TestCluster::builder().replicas(1).fixed_roles();
        let group = Self(cluster.start().await);
        group.well().await;
        group
    }

    fn list(&self) -> String {
        self.0.name_server_list()
    }

    /// Waits until all members are in sync.
    async fn well(&self) {
        run(&self.list(), &["health", "--wait=60s"]).await.ok();
    }

    async fn json(&self, line: &[&str]) -> Value {
        let line = [line, &["-o", "json"]].concat();
        serde_json::from_str(&run(&self.list(), &line).await.ok()).unwrap()
    }
}

/// Looks until a finding is there; it says all of this.
async fn finally(list: &str, id: &str, says: &[&str]) {
    let looks = async {
        loop {
            let found = findings(list, &["health"]).await;
            if let Some((_, found)) = found.into_iter().find(|(found, _)| found == id) {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), looks).await;
    let found = found.unwrap_or_else(|_| panic!("{id} is not found"));
    assert!(says.iter().all(|says| found.contains(says)), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_shown_with_roles_and_progress() {
    let group = Group::start().await;
    let brokers = group.json(&["get", "brokers"]).await;
    let items = brokers["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{brokers}");
    for (item, (role, perm)) in items.iter().zip([("master", "rw"), ("replica", "r")]) {
        assert_eq!(item["role"], role, "{item}");
        assert_eq!(item["inSync"], true, "{item}");
        assert_eq!(item["epoch"], items[0]["epoch"], "{item}");
        assert_eq!(item["perm"], perm, "{item}");
        assert_eq!(item["member"], item["id"], "{item}");
        assert!(item["rmqVersion"].is_string(), "{item}");
    }
    let about = group.json(&["broker", "replication", "broker-0"]).await;
    assert_eq!(about["kind"], "BrokerReplication");
    assert_eq!(
        (&about["master"], &about["election"]),
        (&0.into(), &"static".into())
    );
    assert_eq!(about["findings"], Value::Array(Vec::new()), "{about}");
    let members = about["members"].as_array().unwrap();
    assert_eq!(members[1]["lagBytes"], 0, "{about}");
    assert_eq!(members[0]["received"], members[1]["received"], "{about}");
    // By the address of a member too, and again and again.
    let address = group.0.member(0, 0).address();
    let named = group.json(&["broker", "replication", &address]).await;
    assert_eq!(named["name"], "broker-0");
    let epochs = group
        .json(&["broker", "replication", "broker-0", "--epochs"])
        .await;
    assert_eq!(epochs["items"].as_array().unwrap().len(), 2, "{epochs}");
    let line = ["broker", "replication", "broker-9"];
    run(&group.list(), &line)
        .await
        .fails(3, &["RMQ-E018", "broker-0"]);

    let mut settings = insta::Settings::clone_current();
    for (what, with) in [
        (r"127\.0\.0\.1:\d+", "[address]"),
        (r"\b[0-9a-f]{32}\b", "[data]"),
        (r"\b\d{3,}\b", "[position]"),
        (r" {2,}", "  "),
        (r" +\n", "\n"),
    ] {
        settings.add_filter(what, with);
    }
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    for (name, line) in [
        ("get-brokers", &["get", "brokers"] as &[&str]),
        ("get-brokers-schema", &["get", "brokers", "-o", "schema"]),
        (
            "broker-replication",
            &["broker", "replication", "broker-0", "-o", "wide"],
        ),
        (
            "broker-replication-schema",
            &["broker", "replication", "broker-0", "-o", "schema"],
        ),
        (
            "broker-replication-epochs",
            &["broker", "replication", "broker-0", "--epochs"],
        ),
    ] {
        let out = run(&group.list(), line).await.ok();
        settings.bind(|| insta::assert_snapshot!(name, out));
    }
    group.0.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_and_then_the_master_are_away() {
    let group = Group::start().await;
    let list = group.list();
    for verb in ["health", "doctor"] {
        assert_eq!(findings(&list, &[verb]).await, []);
    }
    group.0.member(0, 1).kill().await;
    let says = ["minInSync is 2", "rmq-ctl broker replication broker-0"];
    finally(&list, "broker-minimum", &says).await;
    finally(&list, "member-answers", &["does not answer"]).await;
    group.0.shutdown().await;

    let group = Group::start().await;
    let list = group.list();
    group.0.member(0, 0).kill().await;
    let says = ["start the broker with brokerId 0"];
    finally(&list, "broker-has-master", &says).await;
    let shown = run(&list, &["broker", "replication", "broker-0"])
        .await
        .ok();
    assert!(shown.contains("refused: there is no master"), "{shown}");
    group.0.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_and_name_servers_that_differ() {
    let group = Group::start().await;
    let list = group.list();
    group.0.member(0, 1).jump_clock_ms(-7_200_000);
    only(
        &findings(&list, &["health"]).await,
        "broker-clocks",
        "member 0 is 1h 59m ahead",
    );
    group.0.member(0, 1).jump_clock_ms(7_200_000);
    // Another name server believes in another master.
    let other = name_server().await;
    let address = group.0.member(0, 1).address();
    let stale = registered(&other, "broker-0", &address, 0, "orders").await;
    let both = format!("{list};{}", other.local_addr());
    let found = findings(&both, &["doctor"]).await;
    let torn = found.iter().find(|(id, _)| id == "broker-one-master");
    assert!(torn.unwrap().1.contains(&address), "{found:?}");
    stale.shutdown().await;
    other.shutdown().await;
    group.0.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fixed_roles_are_not_changed() {
    let group = Group::start().await;
    let list = group.list();
    let says = [
        "RMQ-E023",
        "the roles of its members are fixed",
        "failover.md",
    ];
    for line in [
        &["broker", "switchover", "broker-0", "--to", "1", "--yes"] as &[&str],
        &[
            "broker",
            "promote",
            "broker-0",
            "1",
            "--accept-loss",
            "--yes",
        ],
    ] {
        run(&list, line).await.fails(6, &says);
        let dry = [line, &["--dry-run=client"]].concat();
        let dry = run("127.0.0.1:1", &dry).await.ok();
        assert!(dry.contains("no server was asked"), "{dry}");
    }
    // An old master is asked for the same.
    let line = ["broker", "switchover", "broker-9", "--to", "1", "--yes"];
    let near = ["--timeout", "2s"];
    run(&list, &[&line[..], &near[..]].concat())
        .await
        .fails(3, &["RMQ-E018"]);
    group.0.shutdown().await;
}

/// A broker that is alone is as it was: it has a row, and no findings of groups.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_alone() {
    let cluster = rmq_testing::TestCluster::start().await;
    let list = cluster.name_server_list();
    let shown = run(&list, &["broker", "replication", "broker-0"])
        .await
        .ok();
    assert!(shown.contains("static: the roles are fixed"), "{shown}");
    tokio::time::timeout(Duration::from_secs(60), cluster.shutdown())
        .await
        .unwrap();
}
