//! The program `rmq-broker`: its settings, its lines, its end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rmq-broker"));
    // The settings of whoever runs the tests do not count.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RMQ_")) {
        command.env_remove(name);
    }
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn printed_settings_are_explained_and_can_be_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, first, _) = output(
        program()
            .args([
                "--print-config",
                "--set",
                "flush=sync",
                "--name-servers",
                "a:1;b:2",
            ])
            .args([
                "--listen",
                "127.0.0.1:0",
                "--data",
                "/somewhere",
                "--advertise",
                "one.example",
            ])
            .env("RMQ_BROKER_BROKER_NAME", "7"),
    );
    assert_eq!(code, Some(0));
    for part in [
        "flush: \"sync\"",
        "nameServers: \"a:1;b:2\"",
        "brokerName: \"7\"",
        "advertise: \"one.example\"",
    ] {
        assert!(first.contains(part), "{part} in {first}");
    }
    let keys = first.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(
        first.lines().filter(|line| line.starts_with("# ")).count(),
        keys,
        "every key is explained"
    );
    let file = folder.path().join("broker.yaml");
    std::fs::write(&file, &first).expect("written");
    let (code, second, _) = output(program().arg("--print-config").arg("--config").arg(&file));
    assert_eq!((code, second), (Some(0), first));
}

#[test]
fn wrong_settings_are_named_all_at_once() {
    let (code, stdout, stderr) = output(
        program()
            .args(["--set", "brokerNam=x", "--set", "retentionHours=soon"])
            .env("RMQ_BROKER_FLUSH", "never"),
    );
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    for part in [
        "brokerNam",
        "brokerName",
        "retentionHours",
        "RMQ_BROKER_FLUSH",
    ] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
}

struct Running {
    child: Child,
    lines: Vec<String>,
}

impl Running {
    fn start(data: &Path) -> Self {
        let mut child = program()
            .args([
                "--listen",
                "127.0.0.1:0",
                "--management",
                "127.0.0.1:0",
                "--set",
                "segmentBytes=1048576",
            ])
            .arg("--data")
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("piped");
        let lines = BufReader::new(stdout)
            .lines()
            .take(2)
            .map(|line| line.expect("a line"))
            .collect();
        Self { child, lines }
    }

    fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        self.child.wait().expect("it ends").code()
    }
}

#[test]
fn it_says_where_it_listens_and_ends_cleanly_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let running = Running::start(folder.path());
        let [clients, management] = &running.lines[..] else {
            panic!("{:?}", running.lines)
        };
        let addr = clients
            .strip_prefix("listening on ")
            .expect("the first line");
        std::net::TcpStream::connect(addr).expect("clients can connect");
        let management = management
            .strip_prefix("management on ")
            .expect("the second line");
        let mut stream = std::net::TcpStream::connect(management).expect("probes can connect");
        std::io::Write::write_all(&mut stream, b"GET /readyz HTTP/1.0\r\n\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        assert_eq!(running.stop(), Some(0));
    }
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    let (code, _, stderr) = output(
        program()
            .args(["--listen", &addr, "--management", "", "--data"])
            .arg(folder.path()),
    );
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&addr), "{stderr}");
}
