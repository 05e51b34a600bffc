//! What groups have done with a message: `find message --groups` and `describe message`. The real program, a real cluster.

mod common;

use common::Dev;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The line of a group.
fn line<'t>(table: &'t str, group: &str) -> &'t str {
    let mut lines = table.lines();
    let is_it = |line: &&str| line.split_whitespace().any(|word| word == group);
    lines
        .find(is_it)
        .unwrap_or_else(|| panic!("no line of {group}: {table}"))
}

#[test]
fn find_says_what_groups_have_done_with_a_message() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "orders", "--queues", "1"])
        .ok();
    let send = |body: &str, tag: &str| {
        let sent = dev.run(&["send", "orders", body, "--tag", tag, "--key", "order-17"]);
        let sent = sent.ok();
        sent.split_whitespace().next().expect("an id").to_owned()
    };
    let first = send("one", "paid");
    let id = send("two", "late");
    let found = |more: &[&str]| {
        let words = [&["find", "message", &*id, "-t", "orders", "--groups"], more].concat();
        dev.run(&words)
    };
    let none = found(&[]);
    assert!(
        none.err.contains("no group consumes the topic"),
        "{}",
        none.err
    );
    none.ok();

    for (group, attempts) in [
        ("done", "16"),
        ("away", "16"),
        ("gives-back", "16"),
        ("gives-up", "0"),
    ] {
        dev.run(&["create", "group", group, "--max-attempts", attempts])
            .ok();
    }
    for (group, offset) in [("done", "2"), ("away", "0")] {
        let place = format!("broker-a/0={offset}");
        dev.run(&["offsets", "set", group, "-t", "orders", &place, "--yes"])
            .ok();
    }
    for group in ["gives-back", "gives-up"] {
        let words = ["consume", "orders", "-g", group, "--from", "first"];
        let more = ["--ack", "none", "--max", "2", "-o", "body"];
        let taken = dev.run(&[&words[..], &more].concat()).ok();
        assert_eq!(taken.lines().count(), 2, "{taken}");
    }
    let table = found(&[]).ok();
    assert!(
        table
            .lines()
            .next()
            .is_some_and(|line| line.contains("GROUP")),
        "{table}"
    );
    for (group, says) in [
        ("done", "consumed  "),
        ("done", "the group is at 2; no member is online now"),
        ("away", "not-online  "),
        (
            "away",
            "no member is online; the group is at 0, one message before it",
        ),
        ("gives-back", "retrying  "),
        ("gives-back", "given back once; attempt 2 is due 20"),
        ("gives-up", "dead-letter  "),
        (
            "gives-up",
            "given up after it was given back once: %DLQ%gives-up/broker-a/0@",
        ),
    ] {
        let line = line(&table, group);
        assert!(line.contains(says), "{group} {says}: {line}");
    }
    let list = json(&found(&["-o", "json"]).ok());
    assert_eq!(list["kind"], "MessageTrackList");
    let of = |group: &str| {
        let items = list["items"].as_array().expect("items");
        let item = items.iter().find(|item| item["group"] == group);
        item.unwrap_or_else(|| panic!("{list}")).clone()
    };
    let away = of("away");
    assert_eq!(away["messageId"], id.as_str());
    assert_eq!((&away["queue"], &away["offset"]), (&0.into(), &1.into()));
    assert_eq!(
        (&away["groupOffset"], &away["behind"]),
        (&0.into(), &1.into())
    );
    assert_eq!(away["isConsumed"], false);
    assert_eq!(of("done")["isConsumed"], true);
    let back = of("gives-back");
    assert_eq!(back["retries"], 1);
    assert!(
        back["retryAt"]
            .as_str()
            .is_some_and(|at| at.starts_with("20")),
        "{back}"
    );
    assert!(
        of("gives-up")["copy"]
            .as_str()
            .is_some_and(|place| place.starts_with("%DLQ%gives-up/"))
    );
    let names = found(&["-o", "jsonpath={.items[*].state}"]).ok();
    assert_eq!(names, "not-online consumed retrying dead-letter\n");

    let described = json(&dev.run(&["describe", "message", &id, "-o", "json"]).ok());
    let groups = described["groups"].as_array().expect("groups");
    let states: Vec<&str> = groups
        .iter()
        .filter_map(|group| group["state"].as_str())
        .collect();
    assert_eq!(
        states,
        ["not-online", "consumed", "retrying", "dead-letter"]
    );
    let described = dev.run(&["describe", "message", &id]).ok();
    assert!(
        line(&described, "gives-up").contains("dead-letter"),
        "{described}"
    );

    // By tag: the newest first messages of each broker, and of no other tag.
    let by_tag = |tag: &str, more: &[&str]| {
        dev.run(&[&["find", "message", "-t", "orders", "--tag", tag], more].concat())
    };
    assert_eq!(
        by_tag("paid", &["-o", "name"]).ok(),
        format!("message/{first}\n")
    );
    let newest = send("three", "paid");
    let one = by_tag("paid", &["--max", "1", "-o", "name"]).ok();
    assert_eq!(one, format!("message/{newest}\n"));
    let tracks = by_tag("paid", &["--groups", "-o", "json"]).ok();
    let tracks = json(&tracks);
    assert_eq!(
        tracks["items"].as_array().map(Vec::len),
        Some(8),
        "{tracks}"
    );
    by_tag("nobody", &[]).fails(3, &["no such message"]);
    let old = by_tag("paid", &["--until", "2020-01-01T00:00:00Z"]);
    old.fails(3, &["no such message"]);
    by_tag("paid", &["--key", "order-17"]).fails(2, &["cannot be used with"]);
    dev.run(&["find", "message", "--tag", "paid"])
        .fails(2, &["--topic"]);
}
