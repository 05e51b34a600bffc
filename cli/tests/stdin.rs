//! `-` is stdin in every command that reads, and what a signal does to one that waits for it.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use common::{Dev, Run, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn every_command_that_reads_takes_stdin() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "1"]).ok();
    dev.run(&["create", "group", "g", "--max-attempts", "0"])
        .ok();
    // Messages: with `-` as the body, as the file, and without either.
    dev.run_with(&["send", "t", "-"], "1\n2\n").ok();
    dev.run_with(&["send", "t", "-f", "-"], "3").ok();
    dev.run_with(&["send", "t"], "4").ok();
    dev.run_with(&["send", "t", "-", "--jsonl"], "{\"body\":\"5\"}")
        .ok();
    let bodies = dev.run(&["tail", "t", "--last", "9", "-o", "body"]).ok();
    assert_eq!(bodies, "1\n2\n3\n4\n5\n");
    dev.run_with(&["send", "t", "x", "--jsonl"], "")
        .fails(2, &["--jsonl reads lines"]);
    dev.run_with(&["send", "t", "-", "--count", "2"], "x")
        .fails(2, &["--count repeats a body"]);
    // Offsets.
    let moves = "# where it was at noon\nbroker-a/0=3\n\n";
    dev.run_with(&["offsets", "set", "g", "-t", "t", "-", "--yes"], moves)
        .ok();
    let lag = json(&dev.run(&["lag", "g", "-o", "json"]).ok());
    assert!(lag.to_string().contains("\"consumerOffset\":3"), "{lag}");
    dev.run_with(&["offsets", "set", "g", "-t", "t", "-"], "broker-a/0")
        .fails(2, &["is not BROKER/QUEUE=OFFSET"]);
    // Names and ids.
    let names = dev
        .run_with(&["get", "topics", "-", "-o", "name"], "t\n")
        .ok();
    assert_eq!(names, "topic/t\n");
    let all = dev.run(&["tail", "t", "--last", "9", "-o", "custom"]).code;
    assert_eq!(all, 2, "forms of messages are known");
    let ids = dev.run(&["tail", "t", "--format", "%i\\n"]).ok();
    let two: Vec<&str> = ids.lines().take(2).collect();
    for line in [["find", "message", "-"], ["get", "messages", "-"]] {
        let line = [&line[..], &["-o", "jsonpath={.items[*].body}"]].concat();
        assert_eq!(dev.run_with(&line, &two.join("\n")).ok(), "1 2\n");
    }
    // Settings and manifests.
    dev.run_with(&["set", "topic", "t", "-"], "queues=2\n").ok();
    dev.run_with(&["set", "topic", "t", "-"], "queues")
        .fails(2, &["is not NAME=VALUE"]);
    let exported = dev.run(&["export", "topics"]).ok();
    for line in [["apply", "-f", "-"], ["diff", "-f", "-"]] {
        dev.run_with(&line, &exported).ok();
    }
    dev.run_with(&["apply", "-f", "-", "-f", "-"], &exported)
        .fails(2, &["stdin (-) can be read once only"]);
    dev.run_with(&["get", "topics", "-", "-"], "t")
        .fails(2, &["stdin (-) can be read once only"]);
    dev.run_with(&["config", "import", "-"], "")
        .fails(2, &["cannot be read from stdin"]);
    // Dead letters.
    dev.run(&[
        "offsets", "reset", "g", "-t", "t", "--to", "last", "--shift", "1",
    ])
    .fails(2, &[]);
    let dead = [
        "consume", "t", "-g", "g", "--ack", "none", "--max", "2", "-o", "body",
    ];
    dev.run(&["offsets", "reset", "g", "-t", "t", "--shift", "-1", "--yes"])
        .ok();
    assert_eq!(dev.run(&dead).ok(), "3\n4\n");
    let wait = [
        "wait",
        "topic/%DLQ%g",
        "--for",
        "exists",
        "--timeout",
        "10s",
    ];
    dev.run(&wait).ok();
    let letters = dev.run(&["dlq", "export", "g"]).ok();
    let first = json(letters.lines().next().expect("a dead letter"));
    let first = first["id"].as_str().expect("an id").to_owned();
    let shown = dev
        .run_with(&["dlq", "show", "g", "--id", "-", "-o", "name"], &first)
        .ok();
    assert_eq!(shown, format!("message/{first}\n"));
    dev.run_with(&["dlq", "resend", "g", "--id", "-"], &first)
        .ok();
}

#[test]
fn offsets_are_shifted_with_a_preview() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "1"]).ok();
    dev.run(&["create", "group", "g"]).ok();
    dev.run_with(&["send", "t", "-"], "1\n2\n3\n4").ok();
    let reset = |place: &[&str]| {
        let line = ["offsets", "reset", "g", "-t", "t"];
        dev.run(&[&line[..], place].concat())
    };
    reset(&["--shift", "1"]).fails(3, &["no offset in \"t\" to shift from"]);
    reset(&["--to", "last", "--yes"]).ok();
    let preview = reset(&["--shift", "-3"]);
    assert!(
        preview.err.contains("nothing was changed"),
        "{}",
        preview.err
    );
    let row: Vec<&str> = preview
        .out
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(row, ["broker-a", "0", "4", "1", "-3"]);
    // It ends where the queue ends.
    for (place, after) in [
        (["--shift", "-3"], "1"),
        (["--shift", "+2"], "3"),
        (["--shift", "+99"], "4"),
        (["--shift", "-99"], "0"),
        (["--to", "last"], "4"),
        (["--to", "first"], "0"),
    ] {
        let line = [&place[..], &["--yes", "-o", "jsonpath={.items[0].to}"]].concat();
        assert_eq!(reset(&line).ok(), format!("{after}\n"), "{place:?}");
    }
    reset(&["--shift", "0"]).fails(2, &["+100 or -100"]);
    reset(&[]).fails(2, &["--to"]);
}

#[test]
fn the_id_that_send_printed_is_found() {
    let dev = Dev::start();
    for n in 0..20 {
        dev.run(&["create", "topic", &format!("t{n}"), "--queues", "1"])
            .ok();
    }
    let sent = dev.run(&["send", "t13", "hello"]).ok();
    let id = sent.split(' ').next().expect("an id");
    let found = dev.run(&["find", "message", id]);
    assert!(
        found.err.contains("found in topic \"t13\""),
        "{}",
        found.err
    );
    assert!(found.ok().contains("hello"));
    assert!(dev.run(&["describe", "message", id]).ok().contains("hello"));
    dev.run(&["find", "message", id, "--max-topics", "1"])
        .fails(3, &["in 1 of ", "topics were asked", "--max-topics"]);
    dev.run(&["find", "message", &id.replace(&id[24..], "00000000")])
        .fails(3, &["never stored"]);
}

#[test]
fn a_sender_ends_gently_at_the_first_signal() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "1"]).ok();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut sender = program()
            .args(["send", "t", "-", "--nameserver", &dev.name_server])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdin = sender.stdin.take().expect("piped");
        stdin.write_all(b"1\n2\n3\n").expect("it reads");
        // Each is printed when it is stored; stdin stays open and gives nothing more.
        let mut out = BufReader::new(sender.stdout.take().expect("piped")).lines();
        assert_eq!(out.by_ref().take(3).count(), 3);
        kill_process(Pid::from_child(&sender), signal).expect("it runs");
        let ended = Run::new(&["send"], sender.wait_with_output().expect("it ends"));
        assert_eq!(out.count(), 0);
        ended.fails(code, &["stopped by a signal; 3 messages were sent"]);
        drop(stdin);
    }
}
