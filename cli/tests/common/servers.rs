//! Servers in the test's own process, and what `rmq-ctl` finds there.

use rmq_client::Client;
use rmq_client::protocol::bodies::{RegisterBrokerBody, TopicConfig};
use rmq_client::protocol::requests::RegisterBroker;
use rmq_namesrv::{Deps, NameServer, NameServerConfig, RunningNameServer};
use serde_json::Value;

use super::{Run, program};

pub(crate) async fn name_server() -> RunningNameServer {
    let config = NameServerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: String::new(),
        ..NameServerConfig::default()
    };
    NameServer::start(config, Deps::default()).await.unwrap()
}

/// Runs `rmq-ctl` while the servers of this process go on.
pub(crate) async fn run(name_servers: &str, line: &[&str]) -> Run {
    let mut line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
    line.extend(["--nameserver".to_owned(), name_servers.to_owned()]);
    let run = tokio::task::spawn_blocking(move || {
        let output = program().args(&line).output().expect("it runs");
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        Run::new(&line, output)
    });
    run.await.unwrap()
}

/// What a command that looks finds: the ids of the checks that are not fine, and what they say. Its exit code says the same.
pub(crate) async fn findings(name_servers: &str, line: &[&str]) -> Vec<(String, String)> {
    let line = [line, &["-o", "json"]].concat();
    let run = run(name_servers, &line).await;
    let report: Value = serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{}", run.err));
    let checks = report["items"].as_array().unwrap();
    let bad: Vec<(String, String)> = checks
        .iter()
        .filter(|check| check["isFine"] == false)
        .map(|check| {
            let text = |name: &str| check[name].as_str().unwrap().to_owned();
            (text("id"), text("says"))
        })
        .collect();
    assert_eq!(run.code, if bad.is_empty() { 0 } else { 10 }, "{}", run.err);
    bad
}

#[track_caller]
pub(crate) fn only(found: &[(String, String)], id: &str, says: &str) {
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, id, "{found:?}");
    assert!(found[0].1.contains(says), "{found:?}");
}

/// A broker that only exists in the routes; while the client lives, the name server believes in it.
pub(crate) async fn registered(
    name_server: &RunningNameServer,
    broker: &str,
    addr: &str,
    broker_id: i64,
    topic: &str,
) -> Client {
    let server = name_server.local_addr().to_string();
    let client = Client::connect(format!("rmq://{server}")).await.unwrap();
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
    for name in [topic, "another-one"] {
        table.insert(name.to_owned(), TopicConfig::new(name, 4));
    }
    let request = RegisterBroker {
        master_epoch: None,
        broker_id,
        body_crc32: None,
        cluster_name: "DefaultCluster".into(),
        broker_addr: addr.into(),
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        ha_server_addr: Some("".into()),
        compressed: Some(false),
        broker_name: broker.into(),
        zone_name: None,
    };
    client
        .remote(&server)
        .call(&request, &body.to_json())
        .await
        .unwrap();
    client
}
