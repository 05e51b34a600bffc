//! Whole outputs, compared with what they were: tables, JSON, errors, help. `INSTA_UPDATE=always cargo test -p rmq-ctl` accepts changes.

mod common;

use common::{Dev, program};

/// What differs from run to run: addresses, ids, times, versions, load.
const VARIES: &[(&str, &str)] = &[
    (r"127\.0\.0\.1:\d+", "[address]"),
    (r"localhost:\d+", "[address]"),
    (r"[0-9A-F]{32}", "[id]"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", "[time]"),
    (r#"Ms":\d{10,}"#, "Ms\":[ms]"),
    (r##""__CRC32#":"\d+""##, "[crc]"),
    (r"\b\d+s\b", "[age]"),
    (r"\d+% of", "[n]% of"),
    (r" +\n", "\n"),
];

#[test]
fn outputs_are_as_they_were() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "orders", "--queues", "2"])
        .ok();
    dev.run(&["create", "group", "billing", "--max-attempts", "3"])
        .ok();
    dev.run(&[
        "send",
        "orders",
        "hello",
        "--key",
        "k1",
        "--tag",
        "paid",
        "--ordered-by",
        "a",
    ])
    .ok();
    dev.run(&[
        "offsets", "reset", "billing", "-t", "orders", "--to", "earliest", "--yes",
    ])
    .ok();
    let mut settings = insta::Settings::clone_current();
    for (what, with) in VARIES {
        settings.add_filter(what, *with);
    }
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    let _bound = settings.bind_to_scope();
    for (name, line) in [
        ("get-topics", vec!["get", "topics"]),
        ("get-topics-wide", vec!["get", "topics", "-o", "wide"]),
        ("get-topics-json", vec!["get", "topics", "-o", "json"]),
        ("get-topics-schema", vec!["get", "topics", "-o", "schema"]),
        ("get-groups", vec!["get", "groups"]),
        ("get-queues", vec!["get", "queues", "-t", "orders"]),
        ("get-clusters-yaml", vec!["get", "clusters", "-o", "yaml"]),
        ("describe-topic", vec!["describe", "topic", "orders"]),
        ("describe-group", vec!["describe", "group", "billing"]),
        ("lag", vec!["lag"]),
        ("lag-group", vec!["lag", "billing"]),
        ("health", vec!["health"]),
        ("doctor", vec!["doctor", "orders", "-g", "billing"]),
        ("export", vec!["export"]),
        ("tail-jsonl", vec!["tail", "orders", "-o", "jsonl"]),
        ("error-no-route", vec!["describe", "topic", "ordres"]),
        ("error-unconfirmed", vec!["delete", "topic", "orders"]),
        ("error-usage", vec!["get", "topic", "--nothing"]),
        ("error-check", vec!["lag", "billing", "--fail-above", "0"]),
        ("cheat-lag", vec!["cheat", "lag"]),
        ("explain", vec!["explain", "RMQ-E017"]),
        ("help-lag", vec!["lag", "--help"]),
    ] {
        let run = dev.run(&line);
        let whole = format!(
            "exit {}\n--- stdout\n{}--- stderr\n{}",
            run.code, run.out, run.err
        );
        insta::assert_snapshot!(name, whole);
    }
    let help = program().arg("--help").output().expect("it runs");
    insta::assert_snapshot!("help", String::from_utf8_lossy(&help.stdout));
}
