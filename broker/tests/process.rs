//! The program `rmq-broker`: its settings, its lines, its end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use bytes::BytesMut;
use rmq_protocol::frame::{self, HeaderEncoding};
use rmq_protocol::header::CommandHead;
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

/// Each setting has a variable that the help names and the program takes, and the help names no other.
#[test]
fn the_help_names_every_variable() {
    let (code, help, _) = output(program().arg("--help"));
    assert_eq!(code, Some(0));
    let named = |text: &str| -> std::collections::BTreeSet<String> {
        text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
            .filter(|word| word.starts_with("RMQ_") && !word.ends_with('_'))
            .map(str::to_owned)
            .collect()
    };
    let (_, printed, _) = output(program().arg("--print-config"));
    let settings = printed.lines().filter(|line| !line.starts_with('#'));
    let mut variables: std::collections::BTreeSet<String> =
        ["RMQ_LOG", "RMQ_LOG_FORMAT"].map(str::to_owned).into();
    for setting in settings {
        let (key, value) = setting.split_once(": ").expect("KEY: VALUE");
        let mut variable = "RMQ_BROKER_".to_owned();
        for letter in key.chars() {
            if letter.is_ascii_uppercase() {
                variable.push('_');
            }
            variable.push(letter.to_ascii_uppercase());
        }
        let value = value.trim_matches('"');
        let (code, again, stderr) = output(program().arg("--print-config").env(&variable, value));
        assert_eq!((code, &again), (Some(0), &printed), "{variable}: {stderr}");
        variables.insert(variable);
    }
    assert_eq!(named(&help), variables);
    assert!(help.contains("NO_COLOR"), "{help}");
    let (_, short, _) = output(program().arg("-h"));
    assert!(
        short.contains("RMQ_LOG") && short.contains("RMQ_BROKER_*"),
        "{short}"
    );
}

/// The lines of a log in JSON: each is an object with the names that are promised.
fn objects(log: &str) -> Vec<serde_json::Value> {
    let lines = log.lines().map(|line| {
        let object: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        for name in ["timestamp", "level", "target", "message"] {
            assert!(object[name].is_string(), "{name} in {line}");
        }
        object
    });
    lines.collect()
}

#[test]
fn a_log_in_json_is_json_from_the_start_to_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = ["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"];
    for (args, environment) in [(&["--log", "json"][..], "text"), (&[], "json")] {
        let mut child = program()
            .args(ports)
            .args(args)
            .env("RMQ_LOG_FORMAT", environment)
            .arg("--data")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut log = String::new();
        let ready = loop {
            let line = lines.next().expect("it gets ready").expect("text");
            log.push_str(&line);
            log.push('\n');
            if line.contains("broker ready") {
                break objects(&line).remove(0);
            }
        };
        for key in ["addr", "management"] {
            let addr = ready[key].as_str().expect("an address");
            TcpStream::connect(addr).expect("it listens there");
        }
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
        for line in lines {
            log.push_str(&line.expect("text"));
            log.push('\n');
        }
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
        let said = objects(&log);
        let last = &said[said.len() - 1];
        assert!(last["after_ms"].is_u64(), "{last}");
        assert!(
            last["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("stopped after "))
        );
        assert!(said.iter().any(|line| line["signal"] == "SIGTERM"), "{log}");
        let mut rest = String::new();
        child
            .stdout
            .take()
            .expect("piped")
            .read_to_string(&mut rest)
            .expect("text");
        assert_eq!(rest, "", "one stream of objects");
    }
    let (code, _, stderr) = output(program().args(["--log", "json", "--set", "flush=never"]));
    assert_eq!(code, Some(2));
    let said = objects(&stderr);
    assert!(
        said[0]["message"]
            .as_str()
            .is_some_and(|text| text.contains("flush")),
        "{stderr}"
    );
}

#[test]
fn a_log_in_text_has_no_colours_in_a_file_and_tells_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).expect("a file");
    let mut running = Running {
        child: program()
            .args(["--listen", "127.0.0.1:0", "--management", "", "--data"])
            .arg(folder.path().join("data"))
            .env("RMQ_LOG", "loud,=")
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .expect("the program starts"),
        lines: Vec::new(),
    };
    let stdout = running.child.stdout.take().expect("piped");
    let listens = BufReader::new(stdout)
        .lines()
        .next()
        .expect("a line")
        .expect("text");
    assert!(listens.starts_with("listening on "), "{listens}");
    assert_eq!(running.stop(), Some(0));
    let said = std::fs::read_to_string(log).expect("the log");
    assert!(!said.contains('\u{1b}'), "{said}");
    for part in [
        "RMQ_LOG=",
        "is not understood",
        "broker ready",
        "stopping",
        "stopped after ",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

struct Running {
    child: Child,
    lines: Vec<String>,
}

impl Running {
    fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, sets: &[&str]) -> Self {
        let mut child = program()
            .args([
                "--listen",
                "127.0.0.1:0",
                "--management",
                "127.0.0.1:0",
                "--set",
                "segmentBytes=1048576",
            ])
            .args(sets.iter().flat_map(|set| ["--set", set]))
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

/// The fields of a send, as of version 2.
fn sent_to(topic: &str) -> [(&str, &str); 11] {
    [
        ("a", "p"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "1"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", ""),
        ("j", "0"),
        ("k", "false"),
    ]
}

/// Sends one message and waits for the answer.
fn send_one(addr: &str) {
    let fields = sent_to("kept");
    let mut out = BytesMut::new();
    let head = CommandHead::request(310, 1);
    frame::encode_frame(
        &mut out,
        HeaderEncoding::Json,
        &head,
        &fields.as_slice(),
        b"x",
    );
    let mut stream = TcpStream::connect(addr).expect("connects");
    stream.write_all(&out).expect("written");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).expect("an answer");
}

/// A start after a kill says what it read again; the first start, and one after a clean stop, have nothing to say.
#[test]
fn a_start_after_a_kill_says_what_recovery_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut told = Vec::new();
    for killed in [true, false, false] {
        let mut child = program()
            .args([
                "--log",
                "json",
                "--listen",
                "127.0.0.1:0",
                "--management",
                "",
            ])
            .arg("--data")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut unclean = None;
        let addr = loop {
            let line = lines.next().expect("it gets ready").expect("text");
            let said = objects(&line).remove(0);
            if said["replayed_records"].is_u64() {
                unclean = Some(said.clone());
            }
            if said["message"] == "broker ready" {
                break said["addr"].as_str().expect("an address").to_owned();
            }
        };
        told.push(unclean);
        send_one(&addr);
        let signal = if killed { Signal::KILL } else { Signal::TERM };
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        // The pipe must not fill up.
        lines.for_each(drop);
        child.wait().expect("it ends");
    }
    let [None, Some(after_kill), None] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(
        after_kill["replayed_records"].as_u64() >= Some(2),
        "topic and message: {after_kill}"
    );
    for field in [
        "replayed_bytes",
        "cut_bytes",
        "damaged_ranges",
        "damaged_bytes",
        "took_ms",
    ] {
        assert!(after_kill[field].is_u64(), "{field} in {after_kill}");
    }
    assert!(after_kill["rebuilt"].is_string(), "{after_kill}");
}

/// Anonymous memory of a process: what no file is behind, and what a control group cannot take back.
fn anonymous_bytes(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a number") * 1_024
}

/// Readers of 4 MiB messages that do not read, and senders that do not finish: as a container of 256 MiB must bear them.
#[test]
fn slow_peers_do_not_make_the_process_grow() {
    const BODY_BYTES: usize = 4 << 20;
    let frame = |code: i32, opaque: i32, fields: &[(&str, &str)], body: &[u8]| {
        let mut out = BytesMut::new();
        let head = CommandHead::request(code, opaque);
        frame::encode_frame(&mut out, HeaderEncoding::Json, &head, &fields, body);
        out
    };
    let folder = tempfile::tempdir().expect("a folder");
    let running = Running::start_with(
        folder.path(),
        &["memoryBytes=67108864", "segmentBytes=67108864"],
    );
    let addr = running.lines[0]
        .strip_prefix("listening on ")
        .expect("the first line");
    let connect = || TcpStream::connect(addr).expect("connects");
    let send = sent_to("big");
    let mut sender = connect();
    for number in 0..8 {
        let message = frame(310, number, &send, &vec![b'x'; BODY_BYTES]);
        sender.write_all(&message).expect("written");
        let mut length = [0; 4];
        sender.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        sender.read_exact(&mut answer).expect("an answer");
    }
    let slow: Vec<TcpStream> = (0..16)
        .map(|_| {
            let mut stream = connect();
            for number in 0..8 {
                let offset = number.to_string();
                let pull = [
                    ("consumerGroup", "g"),
                    ("topic", "big"),
                    ("queueId", "0"),
                    ("queueOffset", offset.as_str()),
                    ("maxMsgNums", "32"),
                    ("sysFlag", "4"),
                    ("commitOffset", "0"),
                    ("suspendTimeoutMillis", "0"),
                    ("subscription", "*"),
                    ("subVersion", "0"),
                    ("expressionType", "TAG"),
                    ("maxMsgBytes", "4194304"),
                ];
                stream
                    .write_all(&frame(11, number, &pull, b""))
                    .expect("written");
            }
            stream
        })
        .collect();
    let large = frame(310, 1, &send, &vec![b'x'; (16 << 20) - 4_096]);
    let part = std::sync::Arc::new(large[..15 << 20].to_vec());
    let unfinished: Vec<_> = (0..16)
        .map(|_| {
            let (part, mut stream) = (std::sync::Arc::clone(&part), connect());
            let timeout = Some(std::time::Duration::from_secs(1));
            stream.set_write_timeout(timeout).expect("set");
            std::thread::spawn(move || {
                // The broker stops to read it.
                let _ = stream.write_all(&part);
                stream
            })
        })
        .collect();
    let mut most = 0;
    while unfinished.iter().any(|thread| !thread.is_finished()) {
        most = most.max(anonymous_bytes(&running.child));
    }
    // What connections hold, what is staged, a buffer for each thread, and the program itself.
    assert!(most < 200 << 20, "{} MiB", most >> 20);
    drop((slow, unfinished));
    assert_eq!(running.stop(), Some(0));
}

/// Secrets that are planted everywhere show nowhere: neither in the log at its loudest, nor in metrics, printed settings, answers and errors.
#[test]
fn secrets_show_nowhere() {
    const SECRETS: [&str; 5] = [
        "planted-root",
        "planted-inner",
        "planted-user",
        "planted-wrong",
        "planted-body",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let user = r#"{"username":"root","password":"planted-root"}"#;
    let inner = r#"{"accessKey":"inner","secretKey":"planted-inner"}"#;
    let (_, printed, _) = output(
        program()
            .arg("--print-config")
            .env("RMQ_BROKER_INIT_AUTHENTICATION_USER", user),
    );
    let (_, _, refused) = output(program().args(["--set", "initAuthenticationUser=planted-wrong"]));
    assert!(refused.contains("initAuthenticationUser"), "{refused}");
    let key = folder.path().join("key");
    std::fs::write(&key, [7; 32]).expect("written");
    let log = folder.path().join("log");
    let mut child = program()
        .args(["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"])
        .args(["--set", "authenticationEnabled=true"])
        .args(["--set", "authorizationEnabled=true", "--data"])
        .arg(folder.path().join("data"))
        .env("RMQ_BROKER_INIT_AUTHENTICATION_USER", user)
        .env("RMQ_BROKER_INNER_CLIENT_AUTHENTICATION_CREDENTIALS", inner)
        .env("RMQ_BROKER_USER_SECRETS_KEY_FILE", &key)
        .env("RMQ_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("the program starts");
    let stdout = child.stdout.take().expect("piped");
    let lines: Vec<String> = BufReader::new(stdout)
        .lines()
        .take(2)
        .map(|line| line.expect("a line"))
        .collect();
    let addr = |line: &String| line.rsplit(' ').next().expect("an address").to_owned();
    let mut shown = vec![printed, refused];
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    shown.extend(runtime.block_on(answers(&addr(&lines[0]))));
    let management = addr(&lines[1]);
    let management = management.trim_start_matches("http://");
    let mut metrics = TcpStream::connect(management).expect("it listens there");
    metrics
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .expect("sent");
    let mut text = String::new();
    metrics.read_to_string(&mut text).expect("text");
    let counted = r#"rocketmq_authentication_failures_total{reason="wrong_signature""#;
    assert!(text.contains(counted), "{text}");
    shown.push(text);
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let log = std::fs::read_to_string(log).expect("the log");
    assert!(log.contains("user created"), "{log}");
    shown.push(log);
    for secret in SECRETS {
        let at = shown.iter().position(|text| text.contains(secret));
        assert_eq!(at, None, "{secret} shows");
    }
}

/// What a broker answers to all kinds of requests with secrets in them.
async fn answers(addr: &str) -> Vec<String> {
    use rmq_protocol::code::RequestCode as Code;
    use rmq_protocol::signature::sign;
    let caller = rmq_transport::Caller::new(
        addr,
        std::sync::Arc::new(rmq_transport::TcpConnector),
        rmq_transport::CallerConfig::default(),
        std::sync::Arc::new(rmq_transport::RefuseIncoming),
    );
    let ann = [("username", "ann")];
    let made = br#"{"password":"planted-user","userType":"Normal"}"#;
    let odd = br#"{"password":{"planted-body":1}}"#;
    let long = format!(r#"{{"password":"{}"}}"#, "planted-body".repeat(100));
    let by_root = "planted-root";
    type Asked<'a> = (Code, &'a [(&'a str, &'a str)], &'a [u8], (&'a str, &'a str));
    let asked: [Asked<'_>; 8] = [
        (Code::AuthCreateUser, &ann, made, ("root", by_root)),
        (Code::AuthCreateUser, &ann, odd, ("root", by_root)),
        (
            Code::AuthUpdateUser,
            &ann,
            long.as_bytes(),
            ("root", by_root),
        ),
        (Code::GetBrokerConfig, &[], b"", ("root", by_root)),
        (Code::GetBrokerRuntimeInfo, &[], b"", ("root", by_root)),
        (Code::GetBrokerConfig, &[], b"", ("root", "planted-wrong")),
        (Code::AuthListUser, &[], b"", ("ann", "planted-user")),
        (
            Code::UpdateBrokerConfig,
            &[],
            b"initAuthenticationUser=planted-body",
            ("root", by_root),
        ),
    ];
    let mut shown = Vec::new();
    for (code, fields, body, (user, password)) in asked {
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let signature = sign(user, password, &fields, body);
        let patience = std::time::Duration::from_secs(20);
        let answer = caller
            .call(code.as_i32(), &(fields, signature), body, patience)
            .await
            .expect("an answer");
        let header = answer.header();
        let remark = header.remark.as_ref().map(ToString::to_string);
        shown.push(format!(
            "{code} {} {remark:?} {:?} {}",
            answer.code(),
            header.fields,
            String::from_utf8_lossy(answer.body())
        ));
    }
    shown
}
