//! The new user's script: an empty folder outside of the project, the dependency line of the pages, and their programs against real servers;
//! then a service with all that the client offers, whose brokers are killed, and which ends when it is told to.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use rmq_client::{Client, Message, ReceivedMessage, TopicSpec};
use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::dev::Dev;
use rmq_e2e::{foreign, process};
use rustix::process::{Pid, Signal, kill_process};

/// For what a program waits of a cluster that is there, on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);
/// `drain_within` of the service is 2 s, and the rest of an end 2 s.
const ENDS_WITHIN: Duration = Duration::from_secs(6);

fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("e2e/ lies in the project")
}

fn read(file: &str) -> String {
    let text = std::fs::read_to_string(root().join(file));
    text.unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The first block of a page that begins with this info string.
fn block(page: &str, info: &str) -> String {
    let text = read(page);
    let fence = format!("```{info}");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&fence));
    assert!(lines.next().is_some(), "{page} has no block {info:?}");
    let mut block = String::new();
    for line in lines.take_while(|line| *line != "```") {
        block.push_str(line);
        block.push('\n');
    }
    block
}

/// The programs, built once. Their folder is made anew by each run; what cargo built stays for the next one.
struct Programs {
    folder: PathBuf,
    target: PathBuf,
}

impl Programs {
    fn get() -> &'static Self {
        static BUILT: OnceLock<Programs> = OnceLock::new();
        BUILT.get_or_init(Self::build)
    }

    fn build() -> Self {
        let cache = foreign::cache_dir("new-user");
        // One for each checkout, so that two do not meet.
        let mut checkout = std::hash::DefaultHasher::new();
        root().hash(&mut checkout);
        let folder = cache.join(format!("programs-{:x}", checkout.finish()));
        let _ = std::fs::remove_dir_all(&folder);
        let write = |file: &str, text: String| {
            let path = folder.join(file);
            let parent = path.parent().expect("a file lies in a folder");
            std::fs::create_dir_all(parent).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        let package = |name: &str| {
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n")
        };
        // Beside the checkout, as the pages have it.
        let here = |manifest: String| {
            assert!(manifest.contains("\"../rmq/client\""), "{manifest}");
            manifest.replace("../rmq", &root().display().to_string())
        };
        let members =
            "[workspace]\nresolver = \"3\"\nmembers = [\"readme\", \"billing\", \"service\"]\n";
        write("Cargo.toml", members.to_owned());
        // The versions that everything else is tested with.
        write("Cargo.lock", read("Cargo.lock"));
        let readme = package("readme") + &block("README.md", "toml");
        write("readme/Cargo.toml", here(readme));
        let program = block("README.md", "rust");
        assert!(program.contains("rmq://localhost:9876"), "{program}");
        let url = "&std::env::var(\"RMQ_URL\").expect(\"a cluster\")";
        let program = program.replace("\"rmq://localhost:9876\"", url);
        write("readme/src/main.rs", program);
        write(
            "billing/Cargo.toml",
            here(block("docs/start/rust.md", "toml")),
        );
        write("billing/src/main.rs", block("docs/start/rust.md", "rust"));
        write("service/Cargo.toml", here(read("e2e/new-user/Cargo.toml")));
        write("service/src/main.rs", read("e2e/new-user/src/main.rs"));
        let target = cache.join("target");
        // The pages' programs have the features that their manifests ask for, not those of the service.
        for packages in [&["readme", "billing"][..], &["service"]] {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build
                .args(["build", "--quiet"])
                .args(packages.iter().flat_map(|name| ["-p", *name]))
                .current_dir(&folder)
                .env("CARGO_TARGET_DIR", &target)
                .env("CARGO_PROFILE_DEV_DEBUG", "0");
            foreign::build(&mut build).unwrap_or_else(|error| panic!("{error}"));
        }
        Self { folder, target }
    }

    fn start(&self, name: &str, url: &str) -> Program {
        let mut child = Command::new(self.target.join("debug").join(name))
            .env("RMQ_URL", url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            let _ = stderr.read_to_string(&mut log);
            log
        });
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Program {
            child,
            lines,
            log: Some(log),
        }
    }
}

/// A user's program that runs. It is killed when it is dropped.
struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Program {
    /// The next line that it prints.
    fn line(&mut self) -> String {
        match self.lines.recv_timeout(WITHIN) {
            Ok(line) => line,
            Err(error) => panic!("it prints nothing ({error}): {}", self.ends()),
        }
    }

    /// Kills it; what it has logged.
    fn ends(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log.take().map(std::thread::JoinHandle::join);
        log.and_then(Result::ok).unwrap_or_default()
    }

    /// Asks it to end: how it ended, what it printed last, and what it logged.
    fn stop(mut self, within: Duration) -> (ExitStatus, String, String) {
        let asked = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is ours");
        let printed: Vec<String> = self.lines.iter().collect();
        let status = self.child.wait().expect("it is ours");
        let took = asked.elapsed();
        let log = self.ends();
        assert!(took < within, "it took {took:?} to end: {log}");
        (status, printed.join("\n"), log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.ends();
    }
}

fn dev() -> Dev {
    Dev::start().unwrap_or_else(|error| panic!("{error}"))
}

async fn topics(client: &Client, names: &[&str]) {
    for name in names {
        let topic = TopicSpec::new(*name).queues(4);
        client.admin().create_topic(&topic).await.expect("a topic");
        client.wait_for_route(name, WITHIN).await.expect("a route");
    }
}

/// What a topic has; nothing while it is not there or its broker is down.
async fn messages(client: &Client, topic: &str) -> Vec<ReceivedMessage> {
    let read = async { client.reader(topic).open().await?.all().await };
    read.await.unwrap_or_default()
}

/// Waits until a topic has what is wanted of it.
async fn has(
    client: &Client,
    topic: &str,
    wanted: impl Fn(&[ReceivedMessage]) -> bool,
) -> Vec<ReceivedMessage> {
    let until = Instant::now() + WITHIN;
    loop {
        let messages = messages(client, topic).await;
        if wanted(&messages) {
            return messages;
        }
        assert!(Instant::now() < until, "{topic}: {messages:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn the_program_of_the_readme_prints_its_message_on_a_fresh_cluster() {
    let dev = dev();
    let mut program = Programs::get().start("readme", &dev.url());
    let line = program.line();
    assert!(line.contains("hello"), "{line}");
}

/// A command of a page, and what the page says that it prints: `…` stands for anything.
fn commands(page: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut is_console = false;
    for line in read(page).lines() {
        if let Some(info) = line.strip_prefix("```") {
            is_console = info == "console";
        } else if let (true, Some(command)) = (is_console, line.strip_prefix("$ ")) {
            commands.push((command.to_owned(), String::new()));
        } else if let (true, Some((_, prints))) = (is_console, commands.last_mut()) {
            prints.push_str(line);
        }
    }
    commands
}

/// Whether each part between two `…` is there, in order.
fn is_printed(prints: &str, printed: &str) -> bool {
    let mut rest = printed;
    prints.split('…').all(|part| match rest.find(part.trim()) {
        Some(at) => {
            rest = &rest[at + part.trim().len()..];
            true
        }
        None => false,
    })
}

#[test]
fn the_commands_of_the_first_service_print_what_its_page_says() {
    const PAGE: &str = "docs/start/rust.md";
    const MARK: &str = "@@ended@@";
    let dev = dev();
    let programs = Programs::get();
    let commands = commands(PAGE);
    assert!(!commands.is_empty(), "{PAGE} has no command");
    let mut script = String::from("set -m\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
    for (command, _) in &commands {
        script.push_str(&format!("{command}\necho {MARK} $?\n"));
    }
    let ctl = process::binary("rmq-ctl");
    let tools = ctl.parent().expect("a program lies in a folder").display();
    let home = tempfile::tempdir().expect("a temporary folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let shell = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&programs.folder)
        .env("PATH", format!("{tools}:{path}"))
        .env("NAMESRV_ADDR", dev.name_server())
        .env("XDG_CONFIG_HOME", home.path())
        .env("CARGO_TARGET_DIR", &programs.target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("RMQ_URL")
        .env_remove("RMQ_CONTEXT")
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&shell.stdout),
        String::from_utf8_lossy(&shell.stderr),
    );
    let mut rest = stdout.as_ref();
    for (command, prints) in &commands {
        let (printed, after) = rest.split_once(MARK).unwrap_or((rest, ""));
        let (code, after) = after.split_once('\n').unwrap_or_default();
        assert_eq!(code.trim(), "0", "{command}: {printed} {stderr}");
        assert!(
            is_printed(prints, printed),
            "{command} printed {printed}, not {prints}"
        );
        rest = after;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_service_bills_an_order_and_ends_in_order() {
    let dev = dev();
    let client = Client::connect(dev.url()).await.expect("a cluster");
    topics(&client, &["orders", "bills"]).await;
    let program = Programs::get().start("billing", &dev.url());
    let order = Message::new("orders", "two books");
    client.producer().send(order).await.expect("stored");
    let bills = has(&client, "bills", |bills| !bills.is_empty()).await;
    assert_eq!(bills[0].body(), "bill for two books");
    let (status, _, log) = program.stop(ENDS_WITHIN);
    assert!(status.success(), "{status}: {log}");
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_survives_its_brokers_and_ends_within_its_limit() {
    const ORDERS: u32 = 300;
    let mut cluster = Cluster::start(1, FlushMode::Async);
    let client = cluster.client().await;
    for topic in ["orders", "bills", "notices"] {
        cluster.create_topic(&client, topic, 4).await;
    }
    let url = client.url().to_string();
    // The cluster comes after the service.
    cluster.kill_name_server(0);
    let programs = Programs::get();
    let mut service = programs.start("service", &url);
    cluster.start_name_server(0);
    assert_eq!(service.line(), "ready");
    let producer = client.producer();
    let mut orders = BTreeSet::new();
    for number in 0..ORDERS {
        if number % 100 == 50 {
            cluster.kill_broker();
            cluster.start_broker();
        }
        let order = format!("{{\"number\":{number}}}");
        let sent = producer.send(Message::new("orders", order)).await;
        sent.expect("sends survive a restart");
        orders.insert(number);
    }
    let poison = Message::new("orders", "no order");
    let poison = producer.send(poison).await.expect("stored");
    let number = |bill: &ReceivedMessage| {
        let bill: serde_json::Value = serde_json::from_slice(bill.body()).expect("JSON");
        u32::try_from(bill["order"].as_u64().expect("a number")).expect("a number")
    };
    let all =
        |bills: &[ReceivedMessage]| bills.iter().map(number).collect::<BTreeSet<_>>() == orders;
    let bills = has(&client, "bills", all).await;
    for bill in bills {
        // The hook, the content type, the codec, the trace.
        assert_eq!(bill.property("tenant"), Some("a"));
        assert_eq!(bill.content_type(), Some("application/json"));
        assert_eq!(bill.sys_flag() & 0x701, 0x301);
        assert!(bill.property("traceparent").is_some());
    }
    let letters = has(&client, "%DLQ%billing", |letters| !letters.is_empty()).await;
    let why = letters[0]
        .property("DEAD_LETTER_REASON")
        .unwrap_or_default();
    assert!(why.contains(poison.message_id()), "{why}");
    has(&client, "notices", |notices| notices.len() == 3).await;
    let (status, metrics, log) = service.stop(ENDS_WITHIN);
    assert!(status.success(), "{status}: {log}");
    for series in [
        "rmq_client_sends_total{topic=\"bills\"}",
        "rmq_client_settled_total{group=\"billing\",topic=\"orders\",outcome=\"dead_letter\"} 1",
        "rmq_client_handler_duration_seconds_count{group=\"audit\",topic=\"orders\"}",
        "rmq_client_lag_messages{group=\"billing\",topic=\"orders\"} 0",
    ] {
        assert!(metrics.contains(series), "{series} is not in:\n{metrics}");
    }
    for line in log.lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }

    // With a handler that never comes back, the end says which message was not finished.
    let mut service = programs.start("service", &url);
    assert_eq!(service.line(), "ready");
    let hangs = Message::new("orders", "{\"number\":0,\"hangs\":true}");
    let hangs = producer.send(hangs).await.expect("stored");
    assert_eq!(service.line(), "hangs");
    let (status, _, log) = service.stop(ENDS_WITHIN);
    assert!(!status.success(), "{log}");
    assert!(log.contains(hangs.message_id()), "{log}");
    client.shutdown().await;
}
