//! `rmq-ctl dev` as a user runs it: the real process, its streams, its exit codes.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rmq_ports::Port;
use serde_json::Value;

/// A running `rmq-ctl dev`; killed when dropped, so a failing test leaves nothing behind.
struct Dev {
    child: Child,
    ready: Value,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rmq-ctl"));
    command
        .arg("dev")
        .args(args)
        .stdin(Stdio::null())
        .env_remove("RMQ_LOG");
    command
}

fn start(args: &[&str]) -> Dev {
    start_at("0", args)
}

/// The same with a port of the broker that the test has chosen.
fn start_at(broker_port: &str, args: &[&str]) -> Dev {
    let mut all = vec!["--port", "0", "--broker-port", broker_port, "--print-json"];
    all.extend(args);
    let mut child = command(&all)
        .stdout(Stdio::piped())
        .spawn()
        .expect("rmq-ctl starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("stdout is piped"))
        .read_line(&mut line)
        .expect("stdout is UTF-8");
    let ready = serde_json::from_str(&line)
        .unwrap_or_else(|error| panic!("one line of JSON, got {line:?}: {error}"));
    Dev { child, ready }
}

impl Dev {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process is ours and still there");
    }

    fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::INT);
        let status = self.child.wait().expect("it can be waited for");
        let mut rest = String::new();
        self.child
            .stdout
            .take()
            .expect("stdout is piped")
            .read_to_string(&mut rest)
            .expect("UTF-8");
        assert_eq!(
            rest, "",
            "stdout carries the one line of JSON and nothing else"
        );
        status
    }

    fn address(&self, pointer: &str) -> String {
        self.ready
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} in {}", self.ready))
            .to_owned()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Already ended when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn says_where_it_is_in_one_line_and_stops_on_interrupt() {
    let dev = start(&["--tmp", "--topics", "orders,payments"]);
    for pointer in ["/nameServer", "/brokers/0/address"] {
        let address = dev.address(pointer);
        std::net::TcpStream::connect(&address)
            .unwrap_or_else(|error| panic!("{pointer} {address}: {error}"));
    }
    assert!(!dev.address("/brokers/0/name").is_empty());
    assert!(dev.stop().success());
}

/// Without the option there is no such port; with it, each server's is on loopback and said in both forms.
#[test]
fn management_ports_are_opened_when_they_are_asked_for() {
    let dev = start(&["--tmp"]);
    for pointer in ["/nameServerManagement", "/brokers/0/management"] {
        assert_eq!(dev.ready.pointer(pointer), None, "{}", dev.ready);
    }
    assert!(dev.stop().success());

    let dev = start(&["--tmp", "--management"]);
    for (pointer, family) in [
        ("/nameServerManagement/0", "rocketmq_nameserver_brokers 1"),
        ("/brokers/0/management", "rocketmq_broker_permission{"),
    ] {
        let address: std::net::SocketAddr = dev.address(pointer).parse().expect("an address");
        assert!(address.ip().is_loopback(), "{address}");
        let mut stream = std::net::TcpStream::connect(address).expect("it is open");
        let request = b"GET /metrics HTTP/1.0\r\n\r\n";
        std::io::Write::write_all(&mut stream, request).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        assert!(answer.contains(family), "{answer}");
    }
    assert!(dev.stop().success());

    let mut child = command(&["--tmp", "--port", "0", "--broker-port", "0", "--management"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rmq-ctl starts");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut said = String::new();
    for line in lines {
        said.push_str(&line.expect("text"));
        said.push('\n');
        if said.contains("Ctrl-C stops it") {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
            break;
        }
    }
    assert!(child.wait().expect("it ends").success());
    assert_eq!(said.matches("/metrics (").count(), 2, "{said}");
}

#[test]
fn a_second_start_beside_a_running_one_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().to_str().expect("UTF-8");
    let first = start(&["--data", data]);
    let second = command(&["--data", data, "--port", "0", "--broker-port", "0"])
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(6));
    assert!(second.stdout.is_empty());
    let stderr = String::from_utf8(second.stderr).expect("UTF-8");
    assert!(stderr.contains("already running"), "{stderr}");
    assert!(stderr.contains(&first.address("/nameServer")), "{stderr}");
    assert!(stderr.contains(&first.child.id().to_string()), "{stderr}");
    assert!(first.stop().success());
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let refused = command(&["--tmp", "--port", &port, "--broker-port", "0"])
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(6));
    let stderr = String::from_utf8(refused.stderr).expect("UTF-8");
    assert!(stderr.contains(&format!("127.0.0.1:{port}")), "{stderr}");
}

#[test]
fn the_messages_are_there_at_the_next_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().to_str().expect("UTF-8");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");

    let first = start(&["--data", data, "--topics", "orders"]);
    let name_server = first.address("/nameServer");
    let queue = runtime.block_on(send(&name_server, "kept"));
    assert!(first.stop().success());

    // Killed this time: what was acknowledged must be there all the same.
    let second = start(&["--data", data]);
    let name_server = second.address("/nameServer");
    assert_eq!(runtime.block_on(bodies(&name_server, queue)), ["kept"]);
    let queue = runtime.block_on(send(&name_server, "kept too"));
    second.signal(rustix::process::Signal::KILL);
    drop(second);

    let third = start(&["--data", data]);
    let found = runtime.block_on(bodies(&third.address("/nameServer"), queue));
    assert_eq!(
        found.last().map(String::as_str),
        Some("kept too"),
        "{found:?}"
    );
    assert!(third.stop().success());
    assert!(Path::new(data).join("dev.lock").exists());
}

/// Where a message went: topic, broker, queue, and its offset.
type Place = (rmq_client::Queue, i64);

async fn send(name_server: &str, body: &str) -> Place {
    let client = rmq_client::Client::connect(format!("rmq://{name_server}"))
        .await
        .expect("connected");
    let receipt = client
        .producer()
        .send(rmq_client::Message::new("orders", body.to_owned()))
        .await
        .expect("stored");
    let place = (receipt.queue().clone(), receipt.queue_offset());
    client.shutdown().await;
    place
}

async fn bodies(name_server: &str, place: Place) -> Vec<String> {
    let client = rmq_client::Client::connect(format!("rmq://{name_server}"))
        .await
        .expect("connected");
    client
        .wait_for_route("orders", std::time::Duration::from_secs(10))
        .await
        .expect("the topic is still there");
    let (queue, offset) = place;
    let options = rmq_client::PullOptions::default();
    let pulled = client
        .pull(&queue, offset, &options)
        .await
        .expect("readable");
    let bodies = pulled
        .messages
        .iter()
        .map(|message| String::from_utf8(message.body().to_vec()).expect("UTF-8"))
        .collect();
    client.shutdown().await;
    bodies
}

/// Every example of the resources starts, each alone and all full ones together.
#[test]
fn manifests_start_as_many_servers_as_they_say() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/examples");
    let file = |name: &str| examples.join(name).display().to_string();
    let count = |dev: &Dev, list: &str| dev.ready[list].as_array().map_or(0, Vec::len);
    for (name, name_servers, brokers) in [
        ("nameserver-small.yaml", 2, 1),
        ("nameserver-full.yaml", 3, 1),
        ("brokergroup-small.yaml", 1, 1),
        ("brokergroup-full.yaml", 1, 1),
        ("topic-small.yaml", 1, 1),
        ("topic-full.yaml", 1, 2),
        ("subscriptiongroup-small.yaml", 1, 1),
        ("subscriptiongroup-full.yaml", 1, 1),
    ] {
        let dev = start(&["--tmp", "-f", &file(name)]);
        let found = (count(&dev, "nameServers"), count(&dev, "brokers"));
        assert_eq!(found, (name_servers, brokers), "{name}: {}", dev.ready);
        assert!(dev.stop().success(), "{name}");
    }
    let full: Vec<String> = ["nameserver", "brokergroup", "topic", "subscriptiongroup"]
        .map(|kind| file(&format!("{kind}-full.yaml")))
        .to_vec();
    let mut args = vec!["--tmp"];
    for file in &full {
        args.extend(["-f", file]);
    }
    let dev = start(&args);
    assert_eq!((count(&dev, "nameServers"), count(&dev, "brokers")), (3, 1));
    let topics = Command::new(env!("CARGO_BIN_EXE_rmq-ctl"))
        .args([
            "get",
            "topics",
            "-o",
            "name",
            "--nameserver",
            &dev.address("/nameServer"),
        ])
        .output()
        .expect("it runs");
    let topics = String::from_utf8_lossy(&topics.stdout).into_owned();
    assert!(topics.contains("topic/Shop_Orders"), "{topics}");
    assert!(dev.stop().success());
}

#[test]
fn old_clients_find_the_fast_port() {
    let port = Port::hold_with(&[-2]).expect("two ports");
    let dev = start_at(&port.number().to_string(), &["--tmp"]);
    let fast = ("127.0.0.1", port.number() - 2);
    std::net::TcpStream::connect(fast).expect("the fast port answers");
    assert!(dev.stop().success());
}
