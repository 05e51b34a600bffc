//! `rmq-namesrv` as a process: options, exit codes, signals, bad peers, the management port.

#![allow(clippy::print_stderr)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rmq-namesrv"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Ends with the test, whatever its result.
struct Process {
    child: Child,
    addr: SocketAddr,
    management: Option<SocketAddr>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut all = vec!["--listen", "127.0.0.1:0"];
        if !args.contains(&"--management") {
            all.extend(["--management", ""]);
        }
        all.extend(args);
        let mut child = command(&all).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
        let mut addr_after = |prefix: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let addr = line.trim().strip_prefix(prefix);
            let addr = addr.unwrap_or_else(|| panic!("{line:?}"));
            addr.parse().unwrap()
        };
        Self {
            addr: addr_after("listening on "),
            management: args
                .contains(&"--management")
                .then(|| addr_after("management on ")),
            child,
        }
    }

    fn signal(mut self, signal: rustix::process::Signal) -> Option<i32> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request for cluster information, as JSON; the answer's text.
fn ask(stream: &mut TcpStream) -> String {
    let header = br#"{"code":106,"flag":0,"language":"JAVA","opaque":1,"version":513}"#;
    let mut frame = (4 + header.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
    frame.extend_from_slice(header);
    stream.write_all(&frame).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

#[test]
fn both_signals_end_it_well() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let process = Process::start(&[]);
        let mut idle = connect(process.addr);
        assert!(ask(&mut idle).contains("clusterAddrTable"));
        assert_eq!(process.signal(signal), Some(0));
        assert_eq!(
            idle.read(&mut [0; 1]).unwrap(),
            0,
            "its connections are closed"
        );
    }
}

#[test]
fn settings_come_in_order_and_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("n.yaml");
    std::fs::write(
        &file,
        "brokersMax: 1\ntopicsMax: 1\nkvBytesMax: 1\nlisten: a:1\n",
    )
    .unwrap();
    let output = command(&[
        "--config",
        file.to_str().unwrap(),
        "--set",
        "kvBytesMax=3",
        "--listen",
        "b:2",
        "--print-config",
    ])
    .env("RMQ_NAMESRV_TOPICS_MAX", "2")
    .env("RMQ_NAMESRV_KV_BYTES_MAX", "2")
    .output()
    .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "brokersMax: 1",
        "topicsMax: 2",
        "kvBytesMax: 3",
        "listen: \"b:2\"",
    ] {
        assert!(
            text.lines().any(|printed| printed == line),
            "{line} in {text}"
        );
    }
}

/// Each setting has a variable that the help names and the program takes, and the help names no other.
#[test]
fn the_help_names_every_variable() {
    let said = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let help = said(&mut command(&["--help"]));
    let printed = said(&mut command(&["--print-config"]));
    let mut variables =
        std::collections::BTreeSet::from(["RMQ_LOG", "RMQ_LOG_FORMAT"].map(str::to_owned));
    for setting in printed.lines().filter(|line| !line.starts_with('#')) {
        let (key, value) = setting.split_once(": ").unwrap();
        let mut variable = "RMQ_NAMESRV_".to_owned();
        for letter in key.chars() {
            if letter.is_ascii_uppercase() {
                variable.push('_');
            }
            variable.push(letter.to_ascii_uppercase());
        }
        let value = value.trim_matches('"');
        let again = said(command(&["--print-config"]).env(&variable, value));
        assert_eq!(again, printed, "{variable}");
        variables.insert(variable);
    }
    let named: std::collections::BTreeSet<String> = help
        .split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .filter(|word| word.starts_with("RMQ_") && !word.ends_with('_'))
        .map(str::to_owned)
        .collect();
    assert_eq!(named, variables);
    assert!(
        printed.contains("management: \"127.0.0.1:9878\""),
        "whoever is on this machine only: {printed}"
    );
}

#[test]
fn a_log_in_json_is_json_from_the_start_to_the_end() {
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--management",
        "127.0.0.1:0",
        "--log",
        "json",
    ];
    let mut child = command(&args).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    let mut next = |said: &mut Vec<serde_json::Value>| {
        let line = lines.next()?.unwrap();
        let object: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        for name in ["timestamp", "level", "target", "message"] {
            assert!(object[name].is_string(), "{name} in {line}");
        }
        said.push(object);
        Some(())
    };
    while !said
        .iter()
        .any(|line: &serde_json::Value| line["message"] == "name server ready")
    {
        next(&mut said).expect("it gets ready");
    }
    let ready = &said[said.len() - 1];
    for key in ["addr", "management"] {
        connect(ready[key].as_str().unwrap().parse().unwrap());
    }
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    while next(&mut said).is_some() {}
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let last = &said[said.len() - 1];
    assert!(
        last["message"]
            .as_str()
            .unwrap()
            .starts_with("stopped after "),
        "{last}"
    );
    assert!(last["after_ms"].is_u64(), "{last}");
    let mut rest = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    assert_eq!(rest, "", "one stream of objects");
}

#[test]
fn mistakes_are_named_with_their_exit_code() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (args, code, text) in [
        (
            vec!["--set", "topicMax=1"],
            2,
            "did you mean \"topicsMax\"?",
        ),
        (vec!["--set", "topicsMax"], 2, "expected KEY=VALUE"),
        (vec!["--config", "/nowhere.yaml"], 2, "/nowhere.yaml"),
        (vec!["--frobnicate"], 2, "--frobnicate"),
        (vec!["--listen", taken.as_str()], 1, taken.as_str()),
    ] {
        let output = command(&args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(text), "{args:?}: {stderr}");
    }
}

#[test]
fn bad_peers_are_closed_and_the_others_served() {
    let process = Process::start(&[]);
    let mut good = connect(process.addr);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        &[0, 0, 0, 8, 0, 0, 0, 4, b'{', b'x', b'}', b' '],
    ] {
        let mut bad = connect(process.addr);
        bad.write_all(garbage).unwrap();
        assert!(
            matches!(bad.read(&mut [0; 16]), Ok(0) | Err(_)),
            "{garbage:?}"
        );
    }
    let mut half = connect(process.addr);
    half.write_all(&[0, 0, 1]).unwrap();
    assert!(ask(&mut good).contains("clusterAddrTable"));
}

#[test]
fn the_management_port_tells_how_it_is() {
    let process = Process::start(&["--management", "127.0.0.1:0"]);
    let free = process.management.unwrap();
    ask(&mut connect(process.addr));
    let get = |path: &str| {
        let mut stream = connect(free);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(get("/livez").starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").contains("ok: 0 brokers, 0 topics"));
    assert!(get("/version").contains(env!("CARGO_PKG_VERSION")));
    let metrics = get("/metrics");
    assert!(
        metrics.contains(
            "rocketmq_nameserver_requests_total{request_code=\"GET_BROKER_CLUSTER_INFO\"} 1"
        ),
        "{metrics}"
    );
    assert!(
        metrics.contains("rocketmq_nameserver_brokers 0"),
        "{metrics}"
    );
    let build = concat!(
        "rocketmq_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\"} 1"
    );
    for line in [build, "rocketmq_route_topics 0", "rocketmq_route_entries 0"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let body = metrics.split("\r\n\r\n").nth(1).unwrap();
    let mut problems = rmq_process::scrape_problems(&rmq_namesrv::metric_families(), &[], body);
    // It has no certificate: `tls.rs`.
    problems.retain(|problem| !problem.starts_with("rocketmq_tls_"));
    assert_eq!(problems, Vec::<String>::new(), "{body}");
    assert!(body.contains("rocketmq_connections_limit 20000"), "{body}");
    assert!(get("/nothing").starts_with("HTTP/1.1 404"));
    assert_eq!(process.signal(rustix::process::Signal::TERM), Some(0));
}

/// Prints what it costs when nothing happens; the bound is the one that is promised.
#[test]
fn idle_it_needs_little() {
    let began = std::time::Instant::now();
    let process = Process::start(&["--management", "127.0.0.1:0"]);
    let started = began.elapsed();
    ask(&mut connect(process.addr));
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let anonymous = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    let kib: u64 = anonymous
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .unwrap();
    eprintln!("name server: started in {started:?}, {kib} KiB of anonymous memory when idle");
    assert!(kib <= 15 * 1024, "{kib} KiB");
}
