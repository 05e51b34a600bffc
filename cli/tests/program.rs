//! The program beside its verbs: lines of mqadmin, options and streams, completion, a bench, brokers that are drained. The real program, a
//! real cluster.

mod common;

use common::{Dev, Run, program};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_translated_line_does_what_mqadmin_does() {
    let dev = Dev::start();
    let brokers = json(&dev.run(&["get", "brokers", "-o", "json"]).ok());
    let addr = brokers["items"][0]["address"].as_str().expect("an address");
    // The line that is printed is run as it is.
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let words = [&["mqadmin"][..], &words].concat();
        let printed = program().args(&words).output().expect("it runs");
        let printed = Run::new(&words, printed).ok();
        let words: Vec<&str> = printed.trim().split(' ').skip(1).collect();
        dev.run(&words)
    };
    run(&format!(
        "updateTopic -b {addr} -t t -r 8 -w 4 -a +message.type=FIFO"
    ))
    .ok();
    let topic = || {
        let topic = json(&dev.run(&["describe", "topic", "t", "-o", "json"]).ok());
        topic["settings"][0]["config"].clone()
    };
    let is = topic();
    assert_eq!(
        (&is["readQueueNums"], &is["writeQueueNums"]),
        (&8.into(), &4.into())
    );
    assert_eq!(is["attributes"]["message.type"], "FIFO", "{is}");
    run("updateTopic -c DefaultCluster -t t -r 16").ok();
    let is = topic();
    assert_eq!(
        (&is["readQueueNums"], &is["writeQueueNums"]),
        (&16.into(), &8.into())
    );
    assert_eq!(
        is["attributes"]["message.type"], "FIFO",
        "attributes stay: {is}"
    );
    run(&format!("updateTopicPerm -b {addr} -t t -p 6")).ok();
    run("updateTopic -c nobody -t t").fails(3, &["no cluster \"nobody\"", "DefaultCluster"]);
    run("updateTopic -b 10.0.0.1:1 -t t").fails(3, &["no broker \"10.0.0.1:1\""]);
    run("updateSubGroup -g g -c DefaultCluster -s false -q 3 -d false").ok();
    let group = json(&dev.run(&["describe", "group", "g", "-o", "json"]).ok());
    let is = &group["settings"][0]["config"];
    assert_eq!(is["consumeEnable"], false, "{is}");
    assert_eq!(is["consumeBroadcastEnable"], false, "{is}");
    assert_eq!(is["consumeFromMinEnable"], false, "{is}");
    assert_eq!(is["retryQueueNums"], 3, "{is}");
    run(&format!("brokerStatus -b {addr}")).ok();
    run(&format!("getBrokerConfig -b {addr}")).ok();
    run(&format!("brokerConsumeStats -b {addr}")).ok();
    for line in [
        format!("deleteSubGroup -g g -b {addr} -r true"),
        "deleteTopic -t t -c DefaultCluster".to_owned(),
    ] {
        run(&line).fails(2, &["not confirmed"]);
    }
    dev.run(&["delete", "group", "g", "--broker", addr, "--yes"])
        .ok();
    dev.run(&[
        "delete",
        "topic",
        "t",
        "--broker-cluster",
        "DefaultCluster",
        "--yes",
    ])
    .ok();
    let refused = ["mqadmin", "updateTopic", "-t", "t", "-c", "C", "-o", "true"];
    let output = program().args(refused).output().expect("it runs");
    Run::new(&refused, output).fails(2, &["-o has no equivalent", "order-conf"]);
}

#[test]
fn brokers_are_drained_and_checked() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "1"]).ok();
    dev.run(&["broker", "drain", "broker-z", "--yes"])
        .fails(3, &["known brokers: broker-a"]);
    dev.run(&["broker", "drain", "broker-a"])
        .fails(2, &["not confirmed"]);
    dev.run(&["broker", "drain", "broker-a", "--wait=5s", "--yes"])
        .ok();
    dev.run(&["doctor", "t"]).fails(10, &["it is drained"]);
    dev.run(&["broker", "undrain", "broker-a"]).ok();
    dev.run(&["doctor", "t"]).ok();
    dev.run(&["broker", "clean", "broker-a", "--yes"])
        .fails(2, &["--expired-log"]);
    dev.run(&[
        "broker",
        "clean",
        "broker-a",
        "--expired-log",
        "--unused-topics",
        "--yes",
    ])
    .ok();
    assert!(dev.run(&["cluster", "versions"]).ok().contains("broker-a"));
    dev.run(&["cluster", "balance-check"]).ok();
    let whole = dev.run(&["describe", "cluster"]).ok();
    assert!(
        whole.contains("Brokers") && whole.contains("broker-a"),
        "{whole}"
    );
    let server = dev.run(&["describe", "nameserver", &dev.name_server]).ok();
    assert!(server.contains("Settings"), "{server}");
    let keys = dev
        .run(&[
            "get",
            "config-keys",
            "--broker",
            "broker-a",
            "brokerPermission",
            "-o",
            "jsonpath={.items[0].value}",
        ])
        .ok();
    assert_eq!(keys, "6\n");
    dev.run(&[
        "wait",
        "broker/broker-a",
        "--for",
        "registered",
        "--timeout",
        "5s",
    ])
    .ok();
    dev.run(&["wait", "cluster", "--for", "healthy", "--timeout", "5s"])
        .ok();
    dev.run(&["wait", "topic/t", "--for", "exists", "--timeout", "5s"])
        .ok();
    dev.run(&["wait", "topic/t", "--for", "blue"])
        .fails(2, &["known:"]);
}

#[test]
fn a_message_waits_for_its_time_and_is_taken_back() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "reminders"]).ok();
    let handle_of = |sent: String| {
        let handle = sent.split_whitespace().nth(2).map(str::to_owned);
        handle.unwrap_or_else(|| panic!("no handle in {sent}"))
    };
    let first = dev.run(&["send", "reminders", "a", "--delay", "36h"]).ok();
    let id = first.split(' ').next().expect("an id").to_owned();
    let first = handle_of(first);
    let at = dev.run(&["send", "reminders", "b", "--at", "99999999999999"]);
    assert!(
        at.code != 0 && at.err.contains("timerMaxDelaySec"),
        "{}",
        at.err
    );
    let times = ["--delay", "1s", "--at", "now"];
    dev.run(&[&["send", "reminders", "b"], &times[..]].concat())
        .fails(2, &["--at"]);
    let past = dev.run(&["send", "reminders", "c", "--at", "1h ago"]).ok();
    assert_eq!(
        past.split_whitespace().count(),
        2,
        "it does not wait: {past}"
    );
    // They are counted from when the broker leads.
    let waiting = || {
        let listed = dev.run(&["get", "timers", "-o", "jsonpath={.items[0].waiting}"]);
        listed.ok()
    };
    let began = std::time::Instant::now();
    while waiting() != "1\n" {
        assert!(began.elapsed().as_secs() < 30, "{}", waiting());
    }
    let listed = dev.run(&["get", "timers"]).ok();
    assert!(
        listed.contains("reminders") && listed.contains("broker-a"),
        "{listed}"
    );
    assert_eq!(dev.run(&["recall", &first]).ok(), format!("{id}\n"));
    dev.run(&["recall", "nothing"])
        .fails(2, &["recalls nothing"]);
}

#[test]
fn quotas_are_set_shown_and_removed() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "orders"]).ok();
    dev.run(&["create", "group", "billing"]).ok();
    assert!(
        dev.run(&["get", "quotas"])
            .err
            .contains("no topic and no group has a quota")
    );
    dev.run(&["set", "quota", "orders", "messages=5"])
        .fails(2, &["topic/NAME"]);
    dev.run(&["set", "quota", "topic/orders", "messages=much"])
        .fails(2, &["messages a second"]);
    dev.run(&["set", "quota", "topic/orders", "speed=5"])
        .fails(2, &["client-messages"]);
    let limits = ["messages=2000", "client-bytes=1MiB"];
    dev.run(&[&["set", "quota", "topic/orders"], &limits[..]].concat())
        .ok();
    dev.run(&["set", "quota", "group/billing", "bytes=4MiB"])
        .ok();
    let listed = json(&dev.run(&["get", "quotas", "-o", "json"]).ok());
    let items = listed["items"].as_array().expect("a list");
    let of = |resource: &str| {
        let mut found = items.iter().filter(|item| item["resource"] == resource);
        found.next().expect("a quota").clone()
    };
    assert_eq!(items.len(), 2, "{listed}");
    assert_eq!(of("topic")["messagesPerSecond"], 2_000);
    assert_eq!(of("topic")["clientBytesPerSecond"], 1 << 20);
    assert_eq!(of("group")["bytesPerSecond"], 4 << 20);
    let exported = dev.run(&["export", "topics"]).ok();
    assert!(exported.contains("messagesPerSecond: 2000"), "{exported}");
    dev.run(&["set", "topic", "orders", "quota.messages="]).ok();
    dev.run(&["set", "quota", "topic/orders", "client-bytes="])
        .ok();
    let listed = dev.run(&["get", "quotas"]).ok();
    assert!(
        listed.contains("billing") && listed.contains("4.0 MiB") && !listed.contains("orders"),
        "{listed}"
    );
}

#[test]
fn a_bench_measures_and_reports() {
    let dev = Dev::start();
    let produced = dev
        .run(&[
            "bench", "produce", "-t", "b", "--count", "500", "--size", "64", "--json",
        ])
        .ok();
    let produced = json(&produced);
    assert_eq!(
        (&produced["messages"], &produced["bytes"]),
        (&500.into(), &32_000.into())
    );
    assert!(produced["latency"]["p99"].as_u64() >= produced["latency"]["p50"].as_u64());
    let consumed = dev.run(&["bench", "consume", "-t", "b", "--csv"]).ok();
    assert!(
        consumed
            .lines()
            .nth(1)
            .is_some_and(|line| line.starts_with("consume,b,500,32000,0,")),
        "{consumed}"
    );
    let latency = dev
        .run(&["bench", "latency", "-t", "b", "--count", "20"])
        .ok();
    assert!(
        latency.contains("20 messages") && latency.contains("p99.9"),
        "{latency}"
    );
    let both = json(
        &dev.run(&[
            "bench", "e2e", "-t", "b", "--count", "50", "--rate", "500", "--json",
        ])
        .ok(),
    );
    assert_eq!(both["messages"], 50);
    // All producers of a bench are gone when it ends.
    dev.run(&["get", "clients", "--producers"]).ok();
}

#[test]
fn house_rules_of_options_and_streams() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t"]).ok();
    // Rule 1: the schema of an item is printed.
    let schema = json(&dev.run(&["get", "topics", "-o", "schema"]).ok());
    assert_eq!(schema["properties"]["name"]["type"], "string");
    assert!(
        json(&dev.run(&["describe", "topic", "t", "-o", "schema"]).ok())["properties"]["queues"]
            .is_object()
    );
    // Rule 6: auto-detection and its order are told with -v; rule 12: -n is a namespace.
    dev.run(&["get", "topics", "-n", "10.0.0.1:9876"])
        .fails(2, &["--nameserver 10.0.0.1:9876"]);
    // Rule 9: times in UTC.
    dev.run(&["send", "t", "x"]).ok();
    let queues = dev
        .run(&["get", "queues", "-t", "t", "-o", "wide", "--utc"])
        .ok();
    assert!(queues.contains("+00:00"), "{queues}");
    // Rule 11: retries say what they do.
    let retried = program()
        .args([
            "get",
            "topics",
            "--nameserver",
            "127.0.0.1:1",
            "--retries",
            "1",
        ])
        .output()
        .expect("it runs");
    Run::new(&["get"], retried).fails(5, &["trying again", "RMQ-E010"]);
    let quiet = program()
        .args(["get", "topics", "--nameserver", &dev.name_server, "--quiet"])
        .output()
        .expect("it runs");
    assert!(quiet.stderr.is_empty());
    let traced = dev.run(&["--trace-rpc", "get", "clusters"]);
    assert!(
        traced.err.contains("GetBrokerClusterInfo(106)"),
        "{}",
        traced.err
    );
    // Rule 10: a watch into a pipe prints again and again.
    let sorted = dev
        .run(&[
            "get",
            "queues",
            "-t",
            "t",
            "--sort-by",
            "messages",
            "-o",
            "name",
        ])
        .ok();
    assert_eq!(sorted.lines().count(), 8);
    dev.run(&["get", "topics", "--sort-by", "nothing"])
        .fails(2, &["known columns"]);
    // Rule 12: as a plugin of kubectl it says so.
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("kubectl-rmq");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rmq-ctl"), &plugin).expect("a link");
    let help = std::process::Command::new(&plugin)
        .args(["get", "--help"])
        .output()
        .expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("Usage: kubectl rmq get"), "{help}");
}

#[test]
fn completion_manual_and_translation() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "orders"]).ok();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish", "nushell"] {
        let script = dev.run(&["completion", shell]).ok();
        assert!(script.contains("rmq-ctl"), "{shell}");
    }
    let bash = dev.run(&["completion", "bash"]).ok();
    let scripts = tempfile::tempdir().expect("a folder");
    let file = scripts.path().join("rmq-ctl.bash");
    std::fs::write(&file, bash).expect("writable");
    let checked = std::process::Command::new("bash")
        .arg("-n")
        .arg(&file)
        .status()
        .expect("bash runs");
    assert!(checked.success());
    // The shell asks for words that begin with "or".
    let cache = tempfile::tempdir().expect("a folder");
    let completed = program()
        .args(["--", "rmq-ctl", "get", "queues", "-t", "or"])
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "4")
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_IFS", "\n")
        .env("NAMESRV_ADDR", &dev.name_server)
        .env("XDG_CACHE_HOME", cache.path())
        .output()
        .expect("it runs");
    let completed = Run::new(&["completion"], completed).ok();
    assert_eq!(completed.trim(), "orders");
    let manual = dev.run(&["manual"]).ok();
    assert!(manual.contains(".TH"), "{manual}");
    let pages = tempfile::tempdir().expect("a folder");
    dev.run(&["manual", "--dir", &pages.path().display().to_string()])
        .ok();
    assert!(pages.path().join("rmq-ctl-offsets-reset.1").is_file());
    let run = |args: &[&str]| Run::new(args, program().args(args).output().expect("it runs"));
    let line = run(&["mqadmin", "consumerProgress", "-n", "a:9876", "-g", "g"]);
    assert!(
        line.out.starts_with("rmq-ctl lag g --nameserver 'a:9876'"),
        "{}",
        line.out
    );
    run(&["mqadmin", "createUser", "-u", "x"]).fails(3, &["no counterpart", "create user"]);
    run(&["mqadmin", "topicLst"]).fails(3, &["topicList"]);
    assert!(dev.run(&["cheat", "lag"]).ok().contains("rmq-ctl lag"));
    dev.run(&["cheat", "nothing"]).fails(3, &["known tasks"]);
}

#[test]
fn a_broker_conf_becomes_settings_of_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broker.conf");
    let text =
        "brokerName=broker-z\nfileReservedTime = 48\ndeleteWhen=04\nflushDiskType=SYNC_FLUSH\n";
    std::fs::write(&file, text).expect("a file");
    let path = file.display().to_string();
    let run = |words: &[&str]| Run::new(words, program().args(words).output().expect("it runs"));
    let migrated = run(&["migrate", "config", &path]);
    assert_eq!(
        migrated.out,
        "# brokerName=broker-z\nbrokerName: \"broker-z\"\n# fileReservedTime=48\nretentionHours: 48\n# flushDiskType=SYNC_FLUSH\nflush: \"sync\"\n"
    );
    for says in [
        "deleteWhen=04 is not taken over: segments are removed",
        "3 settings taken over, 1 keys not",
    ] {
        assert!(migrated.err.contains(says), "{}", migrated.err);
    }
    std::fs::write(&file, "fileReservedTime=never\n").expect("a file");
    let says = &["fileReservedTime", "retentionHours must be"];
    run(&["migrate", "config", &path]).fails(2, says);
    let missing = folder.path().join("none.conf").display().to_string();
    run(&["migrate", "config", &missing]).fails(1, &["cannot read", "none.conf"]);
}
