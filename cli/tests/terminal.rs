//! `rmq-ctl` on a terminal, as a person sits at it: colour, width, questions, watching, and the full screen.

mod common;

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Dev;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// A program on a terminal of its own, and the screen as a person sees it.
struct Terminal {
    _master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    raw: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(dev: &Dev, columns: u16, args: &[&str]) -> Self {
        let rows = 40;
        let pair = native_pty_system()
            .openpty(PtySize {
                rows,
                cols: columns,
                pixel_width: 0,
                pixel_height: 0,
            })
            .expect("a terminal");
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_rmq-ctl"));
        command.args(args);
        command.args(["--nameserver", &dev.name_server]);
        command.env("TERM", "xterm-256color");
        for name in ["NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "RMQ_LOG", "CI"] {
            command.env_remove(name);
        }
        let child = pair.slave.spawn_command(command).expect("it starts");
        drop(pair.slave);
        let mut output = pair.master.try_clone_reader().expect("a reader");
        let keys = pair.master.take_writer().expect("a writer");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let raw = Arc::new(Mutex::new(Vec::new()));
        let (drawn, kept) = (Arc::clone(&screen), Arc::clone(&raw));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading ends with the program.
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                drawn.lock().unwrap().process(&buffer[..read]);
                kept.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self {
            _master: pair.master,
            child,
            keys,
            screen,
            raw,
        }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw.lock().unwrap()).into_owned()
    }

    /// Waits until the screen is as wanted.
    fn shows(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.screen().contains(what) {
            assert!(
                Instant::now() < deadline,
                "{what:?} is not on the screen:\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("it reads");
        self.keys.flush().expect("it reads");
    }

    /// Waits for the end; all that was printed, and the exit code.
    fn end(mut self) -> (u32, String) {
        let status = self.child.wait().expect("it ends");
        // The reader gets the rest and then the end of the terminal.
        let mut before = usize::MAX;
        while before != self.raw().len() {
            before = self.raw().len();
            std::thread::sleep(Duration::from_millis(30));
        }
        (status.exit_code(), self.raw())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn errors_are_coloured_and_tables_fit() {
    let dev = Dev::start();
    let (code, text) = Terminal::start(&dev, 100, &["describe", "topic", "nothing"]).end();
    assert_eq!(code, 3);
    assert!(
        text.contains("\u{1b}[1m\u{1b}[31merror[RMQ-E017]"),
        "{text:?}"
    );
    let (_, plain) = Terminal::start(
        &dev,
        100,
        &["describe", "topic", "nothing", "--color", "never"],
    )
    .end();
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    dev.run(&["create", "topic", &"long-name-".repeat(10)]).ok();
    let narrow = Terminal::start(&dev, 40, &["get", "topics", "-o", "wide"]);
    let screen = Arc::clone(&narrow.screen);
    let (code, _) = narrow.end();
    assert_eq!(code, 0);
    let contents = screen.lock().unwrap().screen().contents();
    assert!(
        contents.contains("NAME") && contents.contains("QUEUES"),
        "{contents}"
    );
    // Ids are never cut where a program reads them.
    let (_, names) = Terminal::start(&dev, 40, &["get", "topics", "-o", "name"]).end();
    let joined: String = names.split_whitespace().collect();
    assert!(joined.contains(&"long-name-".repeat(10)), "{names}");
}

#[test]
fn destruction_is_asked_for() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "1"]).ok();
    let mut terminal = Terminal::start(&dev, 100, &["delete", "topic", "t"]);
    terminal.shows("[yes/no]");
    terminal.types("no\n");
    let (code, text) = terminal.end();
    assert_eq!(code, 2, "{text}");
    dev.run(&["send", "t", "hello"]).ok();
    dev.run(&["create", "group", "g"]).ok();
    dev.run(&[
        "offsets", "reset", "g", "-t", "t", "--to", "earliest", "--yes",
    ])
    .ok();
    // Unread messages would be lost: the name has to be typed.
    let mut terminal = Terminal::start(&dev, 100, &["delete", "topic", "t"]);
    terminal.shows("Type the name");
    terminal.types("yes\n");
    assert_eq!(terminal.end().0, 2);
    let mut terminal = Terminal::start(&dev, 100, &["delete", "topic", "t"]);
    terminal.shows("1 of them not consumed yet");
    terminal.types("t\n");
    let (code, text) = terminal.end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("topic/t deleted"), "{text}");
}

#[test]
fn a_watch_draws_in_place_and_marks_what_changed() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "1"]).ok();
    let mut terminal = Terminal::start(&dev, 100, &["get", "queues", "-t", "t", "-w=100ms"]);
    terminal.shows("broker-a");
    dev.run(&["send", "t", "hello"]).ok();
    let deadline = Instant::now() + Duration::from_secs(20);
    // Bold and inverted: the number that changed.
    while !terminal.raw().contains("\u{1b}[1m\u{1b}[7m1\u{1b}[0m") {
        assert!(Instant::now() < deadline, "{:?}", terminal.raw());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(
        terminal.screen().matches("MESSAGES").count(),
        1,
        "drawn in place"
    );
    terminal.types("\u{3}");
    assert_eq!(terminal.end().0, 0, "a watch ends when its reader wants it");
    let mut lag = Terminal::start(&dev, 100, &["lag", "-w=100ms", "--plot"]);
    lag.shows("│");
    lag.types("\u{3}");
    lag.end();
}

#[test]
fn top_shows_the_cluster_and_ends_with_q() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "orders", "--queues", "2"])
        .ok();
    dev.run(&["create", "group", "billing"]).ok();
    let mut top = Terminal::start(&dev, 100, &["top", "--every", "200ms"]);
    for text in [
        "Brokers (1)",
        "broker-a",
        "Topics (",
        "orders",
        "Groups (",
        "billing",
        "? help",
    ] {
        top.shows(text);
    }
    top.types("?");
    top.shows("show names that contain a text only");
    top.types("\u{1b}");
    top.shows("Topics (");
    top.types("\t/orders\r");
    top.shows("Topics (1 of ");
    top.types("\r");
    top.shows("Topic orders");
    top.shows("Settings");
    top.types("\u{1b}");
    top.shows("Topics (1 of ");
    top.types("\u{1b}s");
    dev.run(&["send", "orders", "hello"]).ok();
    // Messages: one.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let screen = top.screen();
        let line = screen
            .lines()
            .find(|line| line.contains("orders"))
            .unwrap_or_default()
            .to_owned();
        if line.split_whitespace().any(|word| word == "1") {
            break;
        }
        assert!(Instant::now() < deadline, "{screen}");
        std::thread::sleep(Duration::from_millis(20));
    }
    top.types("q");
    let (code, text) = top.end();
    assert_eq!(code, 0);
    assert!(
        text.contains("\u{1b}[?1049l"),
        "the screen of before is back"
    );
    // Without a terminal it says what to use instead.
    dev.run(&["top"]).fails(2, &["needs a terminal", "lag -w"]);
}

#[test]
fn a_consumer_asks_what_becomes_of_each_message() {
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "1"]).ok();
    dev.run(&["create", "group", "g"]).ok();
    dev.run_with(&["send", "t"], "one\ntwo").ok();
    let line = [
        "consume", "t", "-g", "g", "--from", "first", "--ack", "ask", "--max", "2",
    ];
    let mut terminal = Terminal::start(&dev, 100, &line);
    terminal.shows("one");
    terminal.types("a\n");
    terminal.shows("two");
    terminal.types("d\n");
    let (code, text) = terminal.end();
    assert_eq!(code, 0, "{text}");
    assert_eq!(dev.run(&["dlq", "show", "g", "-o", "body"]).ok(), "two\n");
    dev.run(&line).fails(2, &["--ack ask needs a terminal"]);
}

/// Steers a terminal in ways that no output of ours does: its title, a bell, blinking, a line written over, a direction turned around.
const HOSTILE: &str = "x\u{1b}]0;owned\u{7}\u{1b}[5m\r\u{8}\u{9b}5m\u{202e}\nforged";

#[track_caller]
fn is_harmless(what: &str, printed: &str) {
    for bad in [
        "\u{1b}]",
        "\u{7}",
        "\u{1b}[5m",
        "\u{8}",
        "\u{9b}",
        "\u{202e}",
    ] {
        assert!(!printed.contains(bad), "{what} prints {bad:?}: {printed:?}");
    }
    let lines = printed.replace("\r\n", "\n");
    assert!(
        !lines.contains('\r'),
        "{what} goes back in its line: {printed:?}"
    );
    let forged = lines.lines().any(|line| line.starts_with("forged"));
    assert!(!forged, "{what} lets others begin a line: {printed:?}");
}

#[test]
fn what_others_wrote_steers_no_terminal() {
    use rmq_client::protocol::bodies::{
        ConsumerData, HeartbeatData, ProducerData, SubscriptionData,
    };
    use rmq_client::protocol::requests::HeartBeat;
    use rmq_client::{Client, Message, Queue};
    let dev = Dev::start();
    dev.run(&["create", "topic", "t", "--queues", "1"]).ok();
    dev.run(&["create", "group", "g", "--max-attempts", "0"])
        .ok();
    dev.run(&["set", "kv", "APP", &format!("{HOSTILE}={HOSTILE}")])
        .ok();
    dev.run(&["set", "topic", "t", &format!("order-conf={HOSTILE}")])
        .ok();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // The members live until the end.
    let (id, offset_id, client) = runtime.block_on(async {
        let client = Client::connect(format!("rmq://{}", dev.name_server));
        let client = client.await.expect("it answers");
        for topic in ["t", "%DLQ%g"] {
            if topic != "t" {
                let spec = rmq_client::TopicSpec::new(topic).queues(1);
                let _ = client.admin().create_topic(&spec).await;
            }
            let message = Message::new(topic, HOSTILE)
                .tag(HOSTILE)
                .key(HOSTILE)
                .property("name", HOSTILE);
            client.producer().send(message).await.expect("stored");
        }
        let message = Message::new("t", HOSTILE).tag("a").key("k");
        let receipt = client.producer().send(message).await.expect("stored");
        let heartbeat = HeartbeatData {
            client_id: HOSTILE.to_owned(),
            consumer_data_set: vec![ConsumerData {
                group_name: "g".to_owned(),
                subscription_data_set: vec![SubscriptionData::tags("t", HOSTILE, 1)],
                ..ConsumerData::default()
            }],
            producer_data_set: vec![ProducerData {
                group_name: HOSTILE.to_owned(),
            }],
            ..HeartbeatData::default()
        };
        let info = client.cluster_info().await.expect("it answers");
        let broker = info.broker_addr_table["broker-a"].master().expect("one");
        // Two of them: the duplicate is reported with its id.
        let other = Client::connect(format!("rmq://{}", dev.name_server));
        let other = other.await.expect("it answers");
        for client in [&client, &other] {
            let remote = client.remote(broker);
            let body = heartbeat.to_json();
            let sent = remote.call(&HeartBeat {}, &body).await;
            sent.expect("taken");
        }
        let queue = Queue::new("t", "broker-a", 0);
        let committed = client.admin().commit_offset("g", &queue, 0).await;
        committed.expect("set");
        let ids = (
            receipt.message_id().to_owned(),
            receipt.offset_id().to_owned(),
        );
        (ids.0, ids.1, (client, other))
    });
    let hostile_name = HOSTILE.replace('\n', " ");
    let lines: Vec<Vec<&str>> = vec![
        vec!["tail", "t", "--last", "5"],
        vec!["tail", "t", "--last", "5", "-o", "jsonl"],
        vec!["tail", "t", "--format", "%t %k %g %i %q"],
        vec!["find", "message", &offset_id],
        vec!["find", "message", &offset_id, "-o", "json"],
        vec!["find", "message", &id, "-t", "t"],
        vec!["find", "message", "-t", "t", "--key", &hostile_name],
        vec![
            "find",
            "message",
            "-t",
            "t",
            "--offset",
            "broker-a/0@0",
            "-o",
            "yaml",
        ],
        vec!["get", "messages", &offset_id],
        vec!["get", "clients", "-g", "g", "-o", "wide"],
        vec!["get", "clients", "-g", "g", "-o", "name"],
        vec!["get", "clients", "-g", "g", "-o", "json"],
        vec!["get", "clients", "-g", "g", "-o", "jsonpath={.items[*].id}"],
        vec!["get", "clients", "-g", "g", "-o", "custom-columns=ID:.id"],
        vec!["get", "clients", "--producers"],
        vec!["get", "topics", "-o", "wide"],
        vec!["get", "groups"],
        vec!["get", "brokers", "-o", "wide"],
        vec!["get", "topics", &hostile_name],
        vec!["describe", "topic", "t"],
        vec!["describe", "topic", "t", "-o", "yaml"],
        vec!["describe", "topic", &hostile_name],
        vec!["describe", "group", "g"],
        vec!["describe", "client", HOSTILE, "-g", "g"],
        vec!["describe", "message", &offset_id],
        vec!["describe", "queue", "t/broker-a/0"],
        vec!["describe", "cluster"],
        vec!["describe", "broker", "broker-a"],
        vec!["lag", "g"],
        vec!["lag"],
        vec!["doctor"],
        vec!["doctor", "t", "-g", "g"],
        vec!["health"],
        vec!["dlq", "ls"],
        vec!["dlq", "show", "g"],
        vec!["dlq", "show", "g", "-o", "jsonl"],
        vec!["dlq", "show", "g", "-o", "wide"],
        vec!["dlq", "show", "g", "-o", "yaml"],
        vec!["dlq", "show", "g", "-o", "name"],
        vec!["find", "message", &id],
        vec!["describe", "broker", "broker-a", "-o", "wide"],
        vec!["dlq", "resend", "g"],
        vec!["dlq", "export", "g"],
        vec!["offsets", "set", "g", "-t", "t", "broker-a/0=1", "--yes"],
        vec![
            "offsets",
            "reset",
            "g",
            "-t",
            &hostile_name,
            "--to",
            "latest",
        ],
        vec!["delete", "kv", "APP", HOSTILE, "--dry-run"],
        vec!["delete", "group", "g", "--dry-run"],
        vec!["send", &hostile_name, "x"],
        vec!["explain", HOSTILE],
        vec!["mqadmin", HOSTILE],
        vec!["export"],
        vec!["wait", "group/g", "--for", "lag=0", "--timeout", "300ms"],
        vec!["--trace-rpc", "-vv", "get", "clients", "-g", "g"],
    ];
    // A few at a time: each is a process with a terminal.
    for some in lines.chunks(8) {
        let running: Vec<(String, Terminal)> = some
            .iter()
            .map(|line| (line.join(" "), Terminal::start(&dev, 200, line)))
            .collect();
        for (line, terminal) in running {
            let (_, printed) = terminal.end();
            is_harmless(&line, &printed);
            assert!(!printed.is_empty(), "{line} says something");
        }
    }
    // Bodies are data: their line ends stay, and nothing else of it.
    let (_, body) = Terminal::start(&dev, 200, &["tail", "t", "-o", "body", "--last", "5"]).end();
    is_harmless("tail -o body", &body.replace("\r\nforged", ""));
    // Another program gets them as they are, and tables with one line for each row.
    let piped = dev.run(&["tail", "t", "-o", "body", "--last", "5"]).ok();
    assert_eq!(piped, format!("{HOSTILE}\n{HOSTILE}\n"));
    let table = dev.run(&["get", "clients", "-g", "g"]).ok();
    assert_eq!(table.lines().count(), 3, "{table}");
    let mut top = Terminal::start(&dev, 200, &["top", "--every", "100ms"]);
    top.shows("Groups (");
    top.types("q");
    is_harmless("top", &top.end().1.replace('\r', ""));
    runtime.block_on(async {
        client.0.shutdown().await;
        client.1.shutdown().await;
    });
}
