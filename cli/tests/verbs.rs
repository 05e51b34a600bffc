//! The verbs as a user runs them: the real program against a real cluster, its streams and exit codes.

mod common;

use std::sync::OnceLock;

use common::{Dev, Run, program};
use serde_json::Value;

/// All of it runs against one cluster, one step after the other: each step's state is the next one's ground.
#[test]
fn a_day_with_topics_messages_and_groups() {
    let dev = Dev::start();
    topics(&dev);
    messages(&dev);
    groups(&dev);
    forms(&dev);
    others(&dev);
}

fn topics(dev: &Dev) {
    let created = dev
        .run(&["create", "topic", "orders", "--queues", "4"])
        .ok();
    assert_eq!(created, "topic/orders created\n");
    dev.run(&["create", "topic", "orders"])
        .fails(6, &["exists already", "rmq-ctl describe topic orders"]);
    let same = dev
        .run(&["create", "topic", "orders", "--if-not-exists"])
        .ok();
    assert_eq!(same, "topic/orders unchanged\n");
    let dry = dev.run(&["create", "topic", "payments", "--dry-run"]).ok();
    assert!(dry.contains("would be created"), "{dry}");
    let names = dev.run(&["get", "topics", "-o", "name"]).ok();
    assert_eq!(
        names, "topic/orders\ntopic/rmq-dev-self-check\n",
        "system topics are hidden, a dry run made nothing"
    );
    let all = dev.run(&["get", "topics", "--all", "-o", "name"]).ok();
    assert!(all.lines().count() > 1, "{all}");
    let table = dev.run(&["get", "topics", "orders"]).ok();
    let cells: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        cells,
        [vec!["NAME", "QUEUES", "PERM"], vec!["orders", "4", "rw"]]
    );
    assert!(!table.contains('\u{1b}'), "no colour in a pipe");
    dev.run(&["get", "topics", "order"])
        .fails(3, &["there is no topic \"order\"", "orders"]);
    dev.run(&["describe", "topic", "ordres"]).fails(
        3,
        &[
            "error[RMQ-E017]: topic \"ordres\" has no route",
            "asked:",
            "cause:",
            "close match",
            "rmq-ctl create topic ordres",
            "rmq-ctl explain RMQ-E017",
        ],
    );
    let described = dev.run(&["describe", "topic", "orders"]).ok();
    assert!(
        described.contains("Settings") && described.contains("Queues"),
        "{described}"
    );
}

/// What a Java client writes of a message that it sent.
fn traces(dev: &Dev) {
    dev.run(&["create", "topic", "traces", "--queues", "1"])
        .ok();
    let record =
        "Pub|1700000000000|r|shop|orders|ID|paid|order-17|10.0.0.1:10911|11|7|0|OFFSETID|true";
    let record = record.replace('|', "\u{1}") + "\u{2}";
    dev.run(&["send", "traces", &record, "--key", "order-17"])
        .ok();
    let trace = |id, form| dev.run(&["trace", id, "--trace-topic", "traces", "-o", form]);
    let table = trace("order-17", "table").ok();
    let row = ["2023-11-14 22:13:20", "sent", "shop", "7", "ok"];
    assert!(row.iter().all(|cell| table.contains(cell)), "{table}");
    let steps = trace("order-17", "jsonpath={.items[*].messageId}").ok();
    assert_eq!(steps, "ID\n");
    let none = trace("order-18", "table");
    assert!(
        none.err.contains("no client has written a trace"),
        "{}",
        none.err
    );
}

fn messages(dev: &Dev) {
    let sent = dev
        .run(&[
            "send",
            "orders",
            "hello",
            "--key",
            "k1",
            "--tag",
            "paid",
            "-H",
            "tenant=a",
            "--ordered-by",
            "x",
        ])
        .ok();
    let id = sent.split_whitespace().next().expect("an id").to_owned();
    assert_eq!(id.len(), 32, "{sent}");
    let lines = dev.run_with(&["send", "orders"], "one\ntwo\nthree").ok();
    assert_eq!(lines.lines().count(), 3);
    let by_sql = |expression| {
        let words = [
            "tail", "orders", "--last", "100", "--sql", expression, "-o", "body",
        ];
        dev.run(&words)
    };
    assert_eq!(by_sql("tenant = 'a'").ok().trim(), "hello");
    let refused = by_sql("tenant =").err;
    assert!(
        refused.contains("at character 9, the end: expected a value"),
        "{refused}"
    );
    let bodies = dev.run(&["tail", "orders", "-o", "body"]).ok();
    let mut bodies: Vec<&str> = bodies.lines().collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["hello", "one", "three", "two"]);

    let json = dev
        .run(&["tail", "orders", "--tag", "paid", "-o", "jsonl"])
        .ok();
    let message: Value = serde_json::from_str(&json).expect("one line of JSON");
    assert_eq!(message["body"], "hello");
    assert_eq!(message["keys"], serde_json::json!(["k1"]));
    assert_eq!(message["properties"]["tenant"], "a");
    // What tail prints, send takes.
    dev.run(&["create", "topic", "copy", "--queues", "1"]).ok();
    dev.run_with(&["send", "copy", "--jsonl"], &json).ok();
    let copied = dev
        .run(&["tail", "copy", "--format", "%q@%o %k %g %v|\\n"])
        .ok();
    assert_eq!(copied, "0@0 k1 paid hello|\n");

    dev.run(&["send", "copy", "{{count}}", "--template", "--count", "50"])
        .ok();
    let last = dev.run(&["tail", "copy", "--last", "2", "-o", "body"]).ok();
    assert_eq!(last, "49\n50\n");
    assert_eq!(
        dev.run(&[
            "tail", "copy", "--last", "100", "--grep", "hel", "-o", "body"
        ])
        .ok(),
        "hello\n"
    );
    assert_eq!(
        dev.run(&["tail", "copy", "--since", "1h", "--max", "3", "-o", "body"])
            .ok(),
        "hello\n1\n2\n"
    );
    assert_eq!(
        dev.run(&["tail", "copy", "--until", "1h"]).ok(),
        "",
        "nothing is that old"
    );
    dev.run(&["tail", "copy", "--queue", "9"])
        .fails(3, &["has no queue \"9\""]);
    dev.run(&["tail", "nothing"]).fails(3, &["RMQ-E017"]);
    dev.run_with(&["send", "copy", "--jsonl"], "{\"key\":\"x\"}")
        .fails(2, &["line 1 is no message", "body"]);
    dev.run(&["send", "copy", ""]).fails(2, &["no body"]);

    let found = dev
        .run(&[
            "find",
            "message",
            &id,
            "-t",
            "orders",
            "-o",
            "jsonpath={.items[*].body}",
        ])
        .ok();
    assert_eq!(found, "hello\n");
    let by_key = dev
        .run(&[
            "find", "message", "-t", "orders", "--key", "k1", "-o", "name",
        ])
        .ok();
    assert_eq!(by_key, format!("message/{id}\n"));
    traces(dev);
    let place = dev
        .run(&[
            "find",
            "message",
            "-t",
            "copy",
            "--offset",
            "broker-a/0@3",
            "-o",
            "jsonpath={.items[0].body}",
        ])
        .ok();
    assert_eq!(place, "3\n");
    dev.run(&["find", "message", "-t", "copy", "--key", "nobody"])
        .fails(3, &["no such message"]);
    dev.run(&["find", "message", "-t", "copy", "--offset", "x"])
        .fails(2, &["BROKER/QUEUE@OFFSET"]);
    let queues = dev
        .run(&[
            "get",
            "queues",
            "-t",
            "copy",
            "-o",
            "custom-columns=Q:.id,N:.messages",
            "--no-headers",
        ])
        .ok();
    assert_eq!(queues.split_whitespace().collect::<Vec<_>>(), ["0", "51"]);
}

fn groups(dev: &Dev) {
    dev.run(&["create", "group", "billing", "--max-attempts", "3"])
        .ok();
    let names = dev.run(&["get", "groups", "-o", "name"]).ok();
    assert!(names.lines().any(|line| line == "group/billing"), "{names}");
    let described: Value = serde_json::from_str(
        &dev.run(&["describe", "group", "billing", "-o", "json"])
            .ok(),
    )
    .expect("JSON");
    assert_eq!(described["apiVersion"], "rmq-ctl/v1");
    assert_eq!(described["settings"][0]["config"]["retryMaxTimes"], 3);
    dev.run(&["lag", "billing"]).ok();
    dev.run(&["lag"]).ok();
    dev.run(&["lag", "biling"])
        .fails(3, &["there is no group", "rmq-ctl lag billing"]);
    assert_eq!(
        dev.run(&["get", "clients", "-g", "billing", "-o", "name"])
            .ok(),
        ""
    );
    dev.run(&["delete", "group", "billing"])
        .fails(2, &["RMQ-E002", "--yes"]);
    dev.run(&["delete", "group", "billing", "--yes"]).ok();
    dev.run(&["delete", "group", "billing", "--yes"])
        .fails(3, &["there is no group"]);
    let dry = dev.run(&["delete", "topic", "copy", "--dry-run"]).ok();
    assert!(dry.contains("51 messages"), "{dry}");
    dev.run(&["delete", "topic", "copy"])
        .fails(2, &["not confirmed"]);
    dev.run(&["delete", "topic", "copy", "--yes"]).ok();
    dev.run(&["delete", "topic", "copy", "--yes"])
        .fails(3, &["RMQ-E017"]);
}

fn forms(dev: &Dev) {
    let json: Value =
        serde_json::from_str(&dev.run(&["get", "brokers", "-o", "json"]).ok()).expect("JSON");
    assert_eq!(
        (json["apiVersion"].as_str(), json["kind"].as_str()),
        (Some("rmq-ctl/v1"), Some("BrokerList"))
    );
    let yaml = dev.run(&["get", "clusters", "-o", "yaml"]).ok();
    assert!(yaml.contains("kind: ClusterList"), "{yaml}");
    let name_servers = dev.run(&["get", "nameservers"]).ok();
    assert!(name_servers.contains("answers"), "{name_servers}");
    dev.run(&["get", "topics", "-o", "tables"])
        .fails(2, &["known forms"]);
    dev.run(&["get", "topics", "-o", "jsonpath={.nothing}"])
        .fails(3, &["nothing lies at"]);
    dev.run(&["get", "queues"]).fails(2, &["--topic"]);
}

fn others(dev: &Dev) {
    let explained = dev.run(&["explain", "e017"]).ok();
    assert!(
        explained.contains("RMQ-E017") && explained.contains("What to do"),
        "{explained}"
    );
    dev.run(&["explain", "E999"])
        .fails(3, &["there is no code"]);
    let all = dev.run(&["explain"]).ok();
    assert!(all.lines().count() > 10);
    assert!(
        dev.run(&["-v", "get", "clusters"])
            .err
            .contains("--nameserver"),
        "-v says who named the cluster"
    );
}

#[test]
fn contexts_are_kept_and_used() {
    let home = HOME.get_or_init(|| tempfile::tempdir().expect("a folder"));
    let config = |args: &[&str]| {
        let output = program()
            .arg("config")
            .args(args)
            .env("XDG_CONFIG_HOME", home.path())
            .current_dir(home.path())
            .output()
            .expect("it runs");
        Run::new(args, output)
    };
    config(&["current-context"]).fails(2, &["RMQ-E003", "there is no current context"]);
    config(&["set-context", "prod"]).fails(2, &["--nameserver"]);
    config(&["set-context", "prod", "--nameserver", "http://x"]).fails(2, &["rmq://"]);
    config(&["set-context", "prod", "--nameserver", "127.0.0.1:1"]).ok();
    config(&["set-context", "test", "--nameserver", "127.0.0.1:2"]).ok();
    assert_eq!(config(&["current-context"]).ok(), "prod\n");
    config(&["use-context", "test"]).ok();
    let listed = config(&["get-contexts"]).ok();
    let table = "CURRENT  NAME  PLACE\n         prod  127.0.0.1:1\n*        test  127.0.0.1:2\n";
    assert_eq!(listed, table);
    config(&["use-context", "none"]).fails(2, &["known contexts: prod, test"]);
    // Nothing listens there: the error says where it looked and who said so.
    let unreachable = program()
        .args(["get", "topics", "--timeout", "2"])
        .env("XDG_CONFIG_HOME", home.path())
        .current_dir(home.path())
        .output()
        .expect("it runs");
    Run::new(&["get", "topics"], unreachable)
        .fails(5, &["RMQ-E010", "127.0.0.1:2", "context \"test\""]);
    config(&["delete-context", "test"]).ok();
    config(&["current-context"]).fails(2, &["no current context"]);
    std::fs::write(home.path().join("rmq/config.yaml"), "contexts: 5\n").expect("writable");
    config(&["view"]).fails(2, &["RMQ-E003", "config.yaml"]);
}

static HOME: OnceLock<tempfile::TempDir> = OnceLock::new();
