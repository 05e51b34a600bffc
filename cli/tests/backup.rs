//! Backups as a user takes and restores them: the real program, a real cluster, a broker on the restored folder.

mod common;

use std::path::Path;

use common::servers::{name_server, run};
use common::{Dev, program};
use rmq_broker::{BrokerConfig, BrokerServer, Deps};
use rmq_client::Client;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// The first file below a folder.
fn first_file(folder: &Path) -> std::path::PathBuf {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    match entries[0].is_dir() {
        true => first_file(&entries[0]),
        false => entries[0].clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_copied_checked_and_restored() {
    let dev = Dev::start();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (place, store) = (at("backups"), at("store"));
    dev.run(&["create", "topic", "orders", "--queues", "3"])
        .ok();
    dev.run(&["create", "group", "billing"]).ok();
    dev.run(&["set", "group", "billing", "max-attempts=7", "--yes"])
        .ok();
    let bodies: String = (0..200).map(|number| format!("order {number}\n")).collect();
    dev.run_with(&["send", "orders"], &bodies).ok();

    let take = ["backup", "broker-a", "--to", &place];
    let taken = dev.run(&take);
    assert!(
        taken.out.contains("backup ") && taken.out.contains("from member 0"),
        "{}",
        taken.out
    );
    taken.ok();
    dev.run_with(&["send", "orders"], "one more\n").ok();
    let second = json(
        &dev.run(&[&take[..], &["-o", "json", "--quiet"]].concat())
            .ok(),
    );
    assert_eq!(second["kind"], "Backup");
    assert!(
        second["sentBytes"].as_u64() < second["bytes"].as_u64(),
        "{second}"
    );
    assert!(second["sentBytes"].as_u64().unwrap() < 10_000, "{second}");
    let names = dev.run(&["backup", "list", &place, "-o", "name"]).ok();
    assert_eq!(names.lines().count(), 2, "{names}");
    let wide = dev.run(&["backup", "list", &place, "-o", "wide"]).ok();
    assert!(
        wide.contains("0 (master)") && wide.contains("FROM"),
        "{wide}"
    );
    let verified = dev.run(&["backup", "verify", &place]).ok();
    assert!(verified.contains("2 backups read"), "{verified}");
    let schema = json(&dev.run(&["backup", "verify", &place, "-o", "schema"]).ok());
    assert!(schema["properties"]["faults"].is_object(), "{schema}");

    // What is damaged is named, and not restored.
    let part = first_file(&Path::new(&place).join("broker-a/log"));
    flip(&part);
    let says = part.file_name().unwrap().to_str().unwrap();
    dev.run(&["backup", "verify", &place])
        .fails(10, &["RMQ-E051", says, "checksum is wrong"]);
    let restore = ["restore", "--from", &place, "--store", &store];
    dev.run(&restore).fails(10, &["RMQ-E051", says]);
    flip(&part);

    dev.run(&["backup", "remove", &place, "--keep", "1"])
        .fails(2, &["not confirmed", "--yes"]);
    let removed = dev
        .run(&["backup", "remove", &place, "--keep", "1", "--yes"])
        .ok();
    assert_eq!(removed.lines().count(), 1, "{removed}");
    dev.run(&["backup", "remove", &place, "--keep", "1", "--yes"])
        .ok();

    let restored = dev.run(&restore);
    assert!(restored.err.contains("retentionHours"), "{}", restored.err);
    assert!(restored.ok().contains("restored to"));
    dev.run(&restore).fails(2, &["is not empty"]);
    dev.run(&[
        "restore", "--from", &place, "--backup", "other", "--store", &store,
    ])
    .fails(3, &["there is no backup \"other\""]);
    drop(dev);

    let name_server = name_server().await;
    let list = name_server.local_addr().to_string();
    let config = BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        fast_port: false,
        management: String::new(),
        name_servers: list.clone(),
        data_dir: store.into(),
        ..BrokerConfig::default()
    };
    let broker = BrokerServer::start(config, Deps::default()).await.unwrap();
    broker.registered().await;
    let topics = run(&list, &["get", "topics", "-o", "name"]).await.ok();
    assert!(topics.contains("topic/orders"), "{topics}");
    let groups = run(&list, &["describe", "group", "billing", "-o", "json"])
        .await
        .ok();
    assert!(groups.contains("\"retryMaxTimes\": 7"), "{groups}");
    let client = Client::connect(format!("rmq://{list}")).await.unwrap();
    let messages = client
        .reader("orders")
        .open()
        .await
        .unwrap()
        .all()
        .await
        .unwrap();
    let mut found: Vec<String> = messages
        .iter()
        .map(|message| String::from_utf8_lossy(message.body()).into_owned())
        .collect();
    let mut sent: Vec<String> = bodies.lines().map(str::to_owned).collect();
    sent.push("one more".to_owned());
    found.sort();
    sent.sort();
    assert_eq!(found, sent);
    client.shutdown().await;
    broker.shutdown().await.unwrap();
}

#[test]
fn what_cannot_be_done_says_why() {
    let dev = Dev::start();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    dev.run(&["backup", "list", place]).ok();
    dev.run(&["backup", "verify", place])
        .fails(3, &["there are no backups"]);
    dev.run(&["restore", "--from", place, "--store", place])
        .fails(3, &["rmq-ctl backup GROUP"]);
    dev.run(&["backup", "broker-a"]).fails(2, &["--to"]);
    dev.run(&["backup", "no-such", "--to", place])
        .fails(3, &["there is no broker \"no-such\""]);
    dev.run(&["backup", "broker-a", "--to", place, "--member", "7"])
        .fails(3, &["has no member \"7\""]);
    dev.run(&["backup", "broker-a", "--to", place, "--part-size", "1"])
        .fails(2, &["64KiB"]);
    dev.run(&["backup", "remove", place, "--keep", "0"])
        .fails(2, &["keep"]);
    let help = program().args(["backup", "--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("verify") && help.contains("--rate"), "{help}");
}
