//! Tasks of a day on call: manifests, settings, consuming, dead letters, waiting, checking. The real program, a real cluster.

mod common;

use common::{Dev, Run, program};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn manifests_are_applied_compared_and_exported() {
    let dev = Dev::start();
    let manifest = "\
apiVersion: rmq.rs/v1alpha1
kind: Topic
metadata: {name: orders}
spec: {queues: 4, messageType: Normal}
---
apiVersion: rmq.rs/v1alpha1
kind: SubscriptionGroup
metadata: {name: billing}
spec: {retry: {maxAttempts: 3}}
---
apiVersion: rmq.rs/v1alpha1
kind: BrokerGroup
metadata: {name: a}
spec: {}
";
    let differs = dev.run_with(&["diff", "-f", "-"], manifest);
    assert_eq!(differs.code, 1, "{}", differs.err);
    assert!(differs.out.contains("topic/orders"), "{}", differs.out);
    let dry = dev.run_with(&["apply", "-f", "-", "--dry-run"], manifest);
    assert!(
        dry.err.contains("BrokerGroup is for the operator"),
        "{}",
        dry.err
    );
    assert_eq!(
        dry.ok(),
        "topic/orders would be created\ngroup/billing would be created\n"
    );
    let client_run = dev.run_with(&["apply", "-f", "-", "--dry-run=client"], manifest);
    assert!(client_run.ok().contains("no server was asked"));
    let applied = dev.run_with(&["apply", "-f", "-"], manifest).ok();
    assert_eq!(applied, "topic/orders created\ngroup/billing created\n");
    let again = dev.run_with(&["apply", "-f", "-"], manifest).ok();
    assert_eq!(again, "topic/orders unchanged\ngroup/billing unchanged\n");
    assert_eq!(dev.run_with(&["diff", "-f", "-"], manifest).code, 0);

    // What is exported is what is there, and can be applied.
    let exported = dev
        .run(&["export", "-n", "shop", "--name-server-ref", "rmq"])
        .ok();
    assert!(
        exported.contains("namespace: shop") && exported.contains("messageType: Normal"),
        "{exported}"
    );
    let unchanged = dev
        .run_with(&["apply", "-f", "-", "-n", "shop"], &exported)
        .ok();
    assert!(
        unchanged.lines().all(|line| line.ends_with("unchanged")),
        "{unchanged}"
    );
    let passed_over = dev.run_with(&["apply", "-f", "-", "-n", "other"], &exported);
    assert!(
        passed_over.err.contains("is of namespace shop"),
        "{}",
        passed_over.err
    );

    // Taking something away from clients needs a yes.
    let fewer = manifest.replace("queues: 4", "queues: 2");
    dev.run_with(&["apply", "-f", "-"], &fewer)
        .fails(2, &["queues 4 -> 2", "RMQ-E002"]);
    let fewer = dev.run_with(&["apply", "-f", "-", "--yes"], &fewer).ok();
    assert!(fewer.contains("topic/orders configured"), "{fewer}");
    dev.run_with(
        &["apply", "-f", "-"],
        "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: a}\nspec: {queus: 1}\n",
    )
    .fails(2, &["stdin, document 1", "queus"]);
    // Two objects for one topic: neither `apply` nor `diff` nor `dev` takes them, across files too.
    let folder = tempfile::tempdir().expect("a folder");
    let topic = |object: &str, queues: u8| {
        format!(
            "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {{name: {object}}}\nspec: {{topicName: orders, queues: {queues}}}\n"
        )
    };
    let (one, other) = (folder.path().join("1.yaml"), folder.path().join("2.yaml"));
    std::fs::write(&one, topic("a", 4)).expect("a file");
    std::fs::write(&other, topic("b", 8)).expect("a file");
    let both = [one.display().to_string(), other.display().to_string()];
    let places = both.each_ref().map(|path| format!("{path}, document 1"));
    let says = ["topic \"orders\" is there twice", &places[0], &places[1]];
    let all = folder.path().display().to_string();
    dev.run(&["apply", "-f", &all, "--yes"]).fails(2, &says);
    dev.run(&["apply", "-f", &both[0], "-f", &both[1], "--dry-run=client"])
        .fails(2, &says);
    dev.run(&["diff", "-f", &all]).fails(2, &says);
    let started = program().args(["dev", "--tmp", "-f", &all]).output();
    Run::new(&["dev"], started.expect("it runs")).fails(2, &says);
    dev.run_with(&["apply", "-f", "-"], "# nothing\n")
        .fails(2, &["there is no object in -"]);
    let list = format!(
        "\u{feff}apiVersion: v1\nkind: List\nitems:\n- {}",
        topic("a", 2).replace('\n', "\n  ")
    );
    let list = dev.run_with(&["diff", "-f", "-"], &list);
    assert_eq!(list.code, 1, "{}", list.err);
    // Names of exported objects do not move when a topic comes.
    let names = |dev: &Dev| {
        let exported = dev.run(&["export", "topics"]).ok();
        let names = exported.lines().filter(|line| line.starts_with("  name: "));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    dev.run(&["create", "topic", "a-b"]).ok();
    let before = names(&dev);
    dev.run(&["create", "topic", "A_B"]).ok();
    let after = names(&dev);
    assert!(
        before.iter().all(|name| after.contains(name)),
        "{before:?} {after:?}"
    );
    assert_eq!(after.len(), before.len() + 1);
    dev.run(&["apply", "-f", "/nowhere.yaml"])
        .fails(1, &["RMQ-E040", "/nowhere.yaml"]);
    let errors = dev.run(&["diff", "-f", "/nowhere.yaml"]);
    assert!(
        errors.code > 1,
        "an error is not a difference: {}",
        errors.code
    );
    // Good objects of a file are done, the bad one is named.
    let partly = format!(
        "{manifest}---\napiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {{name: x}}\nspec: {{brokerGroups: [nobody]}}\n"
    );
    dev.run_with(&["apply", "-f", "-", "--yes"], &partly)
        .fails(7, &["no broker \"nobody\"", "topic/x"]);
}

#[test]
fn settings_are_changed_with_a_preview() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "2"]).ok();
    dev.run(&["create", "group", "g"]).ok();
    let set = dev.run(&["set", "topic", "t", "queues=4", "message-type=fifo"]);
    assert!(
        set.err.contains("BEFORE") && set.err.contains("queues"),
        "{}",
        set.err
    );
    assert_eq!(set.ok(), "topic/t configured\n");
    assert_eq!(
        dev.run(&["set", "topic", "t", "queues=4"]).ok(),
        "topic/t unchanged\n"
    );
    dev.run(&["set", "topic", "t", "perm=r"])
        .fails(2, &["permission ReadWrite -> ReadOnly", "--yes"]);
    dev.run(&["set", "topic", "t", "perm=r", "--yes"]).ok();
    dev.run(&["send", "t", "x"]).fails(
        4,
        &[
            "RMQ-E020",
            "no queue that can be written",
            "rmq-ctl doctor t",
        ],
    );
    dev.run(&["set", "topic", "t", "perm=rw"]).ok();
    dev.run(&["set", "topic", "t", "qeues=4"])
        .fails(2, &["known settings", "queues"]);
    dev.run(&["set", "topic", "t", "queues=many"])
        .fails(2, &["between 1 and 1024"]);
    dev.run(&["set", "topic", "nobody", "queues=4"])
        .fails(3, &["RMQ-E017"]);
    dev.run(&["set", "group", "g", "max-attempts=2", "consume=false"])
        .fails(2, &["consume true -> false"]);
    dev.run(&[
        "set",
        "group",
        "g",
        "max-attempts=2",
        "consume=false",
        "--yes",
    ])
    .ok();
    let group = json(&dev.run(&["describe", "group", "g", "-o", "json"]).ok());
    assert_eq!(group["settings"][0]["config"]["consumeEnable"], false);
    assert_eq!(group["settings"][0]["config"]["retryMaxTimes"], 2);
    assert!(
        group["problems"][0]
            .as_str()
            .unwrap_or_default()
            .contains("switched off"),
        "{group}"
    );
    let dry = dev
        .run(&[
            "set",
            "broker",
            "broker-a",
            "brokerPermission=4",
            "--dry-run",
        ])
        .ok();
    assert!(dry.contains("from \"6\" to \"4\""), "{dry}");
    dev.run(&["set", "broker", "broker-a", "brokerPermision=4"])
        .fails(2, &["no setting", "brokerPermission"]);
    dev.run(&["set", "broker", "broker-a", "brokerPermission=4", "--yes"])
        .ok();
    dev.run(&["health"])
        .fails(10, &["RMQ-E050", "takes no messages"]);
    dev.run(&["set", "broker", "broker-a", "brokerPermission=6", "--yes"])
        .ok();
    dev.run(&["health"])
        .fails(10, &["1 of 1 may not consume: g at broker-a"]);
    dev.run(&["set", "group", "g", "consume=true"]).ok();
    assert!(dev.run(&["health"]).ok().contains("takes messages"));
    dev.run(&["set", "kv", "APP", "mode=fast"]).ok();
    dev.run(&["delete", "kv", "APP", "mode", "--yes"]).ok();
    dev.run(&["delete", "kv", "APP", "mode", "--yes"])
        .fails(3, &["no value"]);
    dev.run(&["set", "topic", "t", "order-conf=broker-a:4"])
        .ok();
    let topic = json(&dev.run(&["describe", "topic", "t", "-o", "json"]).ok());
    assert_eq!(topic["orderConf"], "broker-a:4");
}

#[test]
fn a_group_consumes_and_its_dead_letters_come_again() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "2"]).ok();
    dev.run(&["create", "group", "g", "--max-attempts", "0"])
        .ok();
    for n in 0..4 {
        dev.run(&["send", "t", &format!("m{n}"), "--key", &format!("k{n}")])
            .ok();
    }
    let got = dev
        .run(&[
            "consume", "t", "-g", "g", "--from", "first", "--max", "3", "-o", "body",
        ])
        .ok();
    assert_eq!(got.lines().count(), 3, "{got}");
    dev.run(&["wait", "group/g", "--for", "lag=1", "--timeout", "10s"])
        .ok();
    // Given back with no attempts left: a dead letter.
    let back = dev
        .run(&[
            "consume", "t", "-g", "g", "--ack", "none", "--max", "1", "-o", "body",
        ])
        .ok();
    assert_eq!(back.lines().count(), 1);
    dev.run(&["wait", "group/g", "--for", "lag=0", "--timeout", "10s"])
        .ok();
    dev.run(&["consume", "t", "-g", "g", "--exit-when-drained"])
        .ok();
    let dead = json(&dev.run(&["dlq", "ls", "-o", "json"]).ok());
    assert_eq!(dead["items"][0]["group"], "g");
    assert_eq!(dead["items"][0]["messages"], 1);
    assert_eq!(dev.run(&["dlq", "show", "g", "-o", "body"]).ok(), back);
    assert_eq!(dev.run(&["dlq", "show", "g", "--key", "nothing"]).ok(), "");
    dev.run(&["dlq", "show", "nobody"])
        .fails(3, &["no group \"nobody\""]);
    let preview = dev.run(&["dlq", "resend", "g"]);
    assert!(
        preview.out.contains("-> %RETRY%g") && preview.err.contains("nothing was sent"),
        "{}{}",
        preview.out,
        preview.err
    );
    dev.run(&["dlq", "resend", "g", "--yes"]).ok();
    let again = dev
        .run(&["consume", "t", "-g", "g", "--max", "1", "-o", "jsonl"])
        .ok();
    let again = json(&again);
    assert_eq!(again["body"].as_str(), Some(back.trim_end()));
    // For everybody: to the topic itself.
    dev.run(&["dlq", "resend", "g", "--to", "topic", "--yes"])
        .ok();
    let all = dev.run(&["tail", "t", "--last", "10", "-o", "body"]).ok();
    assert_eq!(
        all.lines().filter(|line| *line == back.trim_end()).count(),
        2,
        "{all}"
    );
    let exported = dev.run(&["dlq", "export", "g"]).ok();
    dev.run_with(&["send", "t", "--jsonl"], &exported).ok();
    let described = dev.run(&["describe", "queue", "t/broker-a/0"]).ok();
    assert!(
        described.contains("Groups") && described.contains('g'),
        "{described}"
    );
}

#[test]
fn offsets_are_set_queue_by_queue() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "1"]).ok();
    dev.run(&["create", "group", "g"]).ok();
    dev.run_with(&["send", "t"], "1\n2\n3").ok();
    dev.run(&["offsets", "set", "g", "-t", "t", "broker-a/0=9"])
        .fails(2, &["no offset 9"]);
    let preview = dev.run(&["offsets", "set", "g", "-t", "t", "broker-a/0=1"]);
    assert!(preview.err.contains("nothing was changed"));
    dev.run(&["offsets", "set", "g", "-t", "t", "broker-a/0=1", "--yes"])
        .ok();
    dev.run(&["lag", "g", "--fail-above", "1"])
        .fails(10, &["2 messages behind"]);
    dev.run(&["lag", "g", "--fail-age", "1d"]).ok();
    dev.run(&["wait", "group/g", "--for", "lag=0", "--timeout", "300ms"])
        .fails(5, &["is 2 messages behind", "waited"]);
    let id = dev.run(&["tail", "t", "--max", "1", "-o", "jsonl"]).ok();
    let id = json(&id)["offsetId"].as_str().expect("an id").to_owned();
    // An id with an address that is no registered broker's: nobody there is asked, and only the very message is an answer.
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    stranger.set_nonblocking(true).expect("a socket");
    let port = stranger.local_addr().expect("bound").port();
    let elsewhere = format!("{}{port:08X}{}", &id[..8], &id[16..]);
    for foreign in [&elsewhere, "AC110001000018B40000000000000001"] {
        dev.run(&["find", "message", foreign])
            .fails(3, &["there is no message", "in 5 of 5 topics"]);
        dev.run(&["describe", "message", foreign])
            .fails(3, &["RMQ-E018"]);
    }
    assert!(stranger.accept().is_err(), "the stranger got a connection");
    let about = json(&dev.run(&["describe", "message", &id, "-o", "json"]).ok());
    assert_eq!(about["groups"][0]["isConsumed"], true);
    let listed = dev
        .run(&["get", "messages", &id, "-o", "jsonpath={.items[0].body}"])
        .ok();
    assert_eq!(listed, "1\n");
}

#[test]
fn an_offset_beyond_the_end_hides_no_lag() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "2"]).ok();
    dev.run(&["create", "topic", "empty", "--queues", "1"]).ok();
    dev.run(&["create", "group", "g"]).ok();
    let numbers: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    dev.run_with(&["send", "t"], &numbers.join("\n")).ok();
    // `rmq-ctl offsets` refuses such an offset; any client can commit one.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = rmq_client::Client::connect(format!("rmq://{}", dev.name_server));
        let client = client.await.expect("it answers");
        let admin = client.admin();
        for (topic, queue, offset) in [("t", 0, 1_000), ("t", 1, 10), ("empty", 0, 5)] {
            let queue = rmq_client::Queue::new(topic, "broker-a", queue);
            admin.commit_offset("g", &queue, offset).await.expect("set");
        }
        client.shutdown().await;
    });
    let lag = 50 - 10;
    let of_group = dev.run(&["lag", "g", "--fail-above", "5"]);
    let says = format!("{lag} messages behind");
    let fault = "t/broker-a/0 ends at 50";
    of_group.fails(10, &[&says, fault, "empty/broker-a/0 ends at 0"]);
    dev.run(&["lag", "--fail-above", "5"])
        .fails(10, &[&says, fault]);
    dev.run(&["lag", "g", "--fail-above", "40"]).ok();
    for (line, path) in [
        (vec!["get", "groups", "g"], "/items/0/lag"),
        (vec!["lag"], "/items/0/lag"),
        (vec!["describe", "queue", "t/broker-a/1"], "/groups/0/lag"),
    ] {
        let shown = json(&dev.run(&[&line[..], &["-o", "json"]].concat()).ok());
        assert_eq!(shown.pointer(path), Some(&lag.into()), "{line:?}: {shown}");
    }
    let queue = json(
        &dev.run(&["describe", "queue", "t/broker-a/0", "-o", "json"])
            .ok(),
    );
    assert_eq!(queue["groups"][0]["lag"], 0, "{queue}");
    assert_eq!(queue["groups"][0]["beyondEnd"], 950, "{queue}");
    let group = dev.run(&["describe", "group", "g"]).ok();
    assert!(group.contains(fault), "{group}");
    assert!(group.contains("40 messages wait"), "{group}");
    for line in [&["doctor", "-g", "g"][..], &["doctor"]] {
        let found = dev.run(line);
        assert!(
            found.out.contains("group-offsets") && found.out.contains(fault),
            "{}",
            found.out
        );
        found.fails(10, &["empty/broker-a/0 ends at 0"]);
    }
    dev.run(&["wait", "group/g", "--for", "lag=39", "--timeout", "300ms"])
        .fails(5, &["is 40 messages behind"]);
    dev.run(&["offsets", "copy", "g", "other", "-t", "t"])
        .fails(2, &["beyond the end", "broker-a/0=50"]);
}

#[test]
fn fewer_queues_say_what_is_left_behind() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "4"]).ok();
    dev.run(&["create", "group", "g"]).ok();
    dev.run_with(&["send", "t"], "1\n2\n3\n4\n5\n6\n7\n8").ok();
    dev.run(&[
        "offsets",
        "set",
        "g",
        "-t",
        "t",
        "broker-a/2=2",
        "broker-a/3=1",
        "--yes",
    ])
    .ok();
    let says = [
        "topic/t: 4 messages in 2 queues can no longer be read",
        "group \"g\" has not consumed 1 of them",
    ];
    dev.run(&["set", "topic", "t", "queues=2"]).fails(2, &says);
    let dry = dev.run(&["set", "topic", "t", "queues=2", "--dry-run"]);
    assert!(
        says.iter().all(|says| dry.err.contains(says)),
        "{}",
        dry.err
    );
    // Fewer to write only: all can be read.
    let shrinks = dev.run(&["set", "topic", "t", "write-queues=2", "--yes"]);
    assert!(
        !shrinks.err.contains("can no longer be read"),
        "{}",
        shrinks.err
    );
    shrinks.ok();
    dev.run(&["offsets", "set", "g", "-t", "t", "broker-a/3=2", "--yes"])
        .ok();
    dev.run(&["set", "topic", "t", "read-queues=3"]).fails(
        2,
        &["topic/t: 2 messages in 1 queues can no longer be read"],
    );
    // Afterwards they are not forgotten.
    dev.run(&["set", "topic", "t", "read-queues=3", "--yes"])
        .ok();
    let says = "topic \"t\": 2 messages lie in queues that are not read any more";
    for line in [&["doctor"][..], &["doctor", "t"]] {
        let found = dev.run(line);
        assert!(found.out.contains(says), "{}{}", found.out, found.err);
        assert_eq!(found.code, 10, "{}", found.err);
    }
    assert!(dev.run(&["lag", "g"]).err.contains(says));
    dev.run(&["set", "topic", "t", "read-queues=4"]).ok();
    dev.run(&["doctor", "t"]).ok();
}

#[test]
fn a_dead_letter_is_shown_with_its_reason_and_sent_again_whole() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "1"]).ok();
    dev.run(&["create", "group", "g"]).ok();
    let send = [
        "send",
        "t",
        "--ordered-by",
        "customer-4",
        "-H",
        "tenant=a",
        "bad",
    ];
    dev.run(&send).ok();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let url = format!("rmq://{}", dev.name_server);
        let client = rmq_client::Client::connect(url).await.expect("a cluster");
        let consumer = client.consumer("g").subscribe("t", "*");
        let consumer = consumer.from(rmq_client::StartFrom::First);
        let mut deliveries = consumer.stream().await.expect("a member");
        let delivery = deliveries.next().await.expect("read").expect("one");
        let given_up = delivery.dead_letter("bad payload: \u{1b}[31m").await;
        given_up.expect("given up");
        deliveries.shutdown().await.expect("ended");
        client.shutdown().await;
    });
    let shown = dev.run(&["dlq", "show", "g"]).ok();
    assert!(shown.contains("given up: \"bad payload:"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let item = json(&dev.run(&["dlq", "show", "g", "-o", "jsonl"]).ok());
    assert!(
        item["properties"]["DEAD_LETTER_REASON"].is_string(),
        "{item}"
    );
    // What the user set goes along, what the system set is made again.
    dev.run(&["dlq", "resend", "g", "--yes"]).ok();
    let again = json(
        &dev.run(&["consume", "t", "-g", "g", "--max", "1", "-o", "jsonl"])
            .ok(),
    );
    assert_eq!(again["properties"]["tenant"], "a", "{again}");
    assert_eq!(
        again["properties"]["__SHARDINGKEY"], "customer-4",
        "{again}"
    );
    assert!(
        again["properties"]["DEAD_LETTER_REASON"].is_null(),
        "{again}"
    );
    // Refused by the client's own words.
    dev.run(&["send", "t", "-H", "UNIQ_KEY=mine", "x"])
        .fails(2, &["UNIQ_KEY"]);
}
