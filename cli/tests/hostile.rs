//! Servers that lie: every text, number and shape of an answer may be anything. No command panics, hangs, or prints what steers a terminal.

mod common;

use std::sync::Arc;

use common::servers::{findings, only, run};
use rmq_client::{GroupSpec, Message, TopicSpec};
use rmq_testing::TestCluster;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Steers a terminal, and begins a line.
const HOSTILE: &str = "x\u{1b}]0;owned\u{7}\u{1b}[2J\r\u{8}\u{9b}5m\u{202e}\nforged %s %n";

/// What is wrong with the answers.
#[derive(Debug, Clone)]
enum Lie {
    /// Every text, and names that others chose.
    Texts,
    /// Every number, in texts too.
    Numbers(Value),
    /// The body is cut.
    Cut,
    /// The body is this.
    Body(Vec<u8>),
    /// A refusal with a text.
    Refused,
}

fn lies() -> Vec<Lie> {
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    vec![
        Lie::Texts,
        Lie::Numbers(json!(i64::MIN)),
        Lie::Numbers(json!(i64::MAX)),
        Lie::Numbers(json!(-1)),
        Lie::Numbers(json!(1e308)),
        Lie::Cut,
        Lie::Body(Vec::new()),
        Lie::Body(b"null".to_vec()),
        Lie::Body(deep),
        Lie::Body(HOSTILE.as_bytes().to_vec()),
        Lie::Refused,
    ]
}

impl Lie {
    fn name(&self) -> String {
        match self {
            Self::Body(body) => format!("a body of {} bytes", body.len()),
            other => format!("{other:?}"),
        }
    }

    fn change(&self, value: &mut Value) {
        match (self, value) {
            (Self::Texts, Value::String(text)) => text.push_str(HOSTILE),
            (Self::Numbers(number), value @ Value::Number(_)) => *value = number.clone(),
            // Figures are numbers in texts.
            (Self::Numbers(number), Value::String(text)) => {
                let is_figure = |part: &str| part.parse::<f64>().is_ok();
                if text.split([' ', ',', ':']).any(is_figure) {
                    *text = format!("{number} {number} {number}");
                }
            }
            (_, Value::Array(items)) => items.iter_mut().for_each(|item| self.change(item)),
            (_, Value::Object(fields)) => {
                for (mut name, mut value) in std::mem::take(fields) {
                    self.change(&mut value);
                    // Names of fields that we know stay; these are names that others chose.
                    if matches!(self, Self::Texts) && name.contains(['-', '@', '%', ' ']) {
                        name.push_str(HOSTILE);
                    }
                    fields.insert(name, value);
                }
            }
            _ => {}
        }
    }

    fn body(&self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Cut => return body[..body.len() / 2].to_vec(),
            Self::Body(body) => return body.clone(),
            Self::Refused => return Vec::new(),
            Self::Texts | Self::Numbers(_) => {}
        }
        if let Ok(mut value) = serde_json::from_slice(body) {
            self.change(&mut value);
            return value.to_string().into_bytes();
        }
        // Lines NAME=VALUE, records, or JSON that only fastjson reads.
        match (self, std::str::from_utf8(body)) {
            (Self::Numbers(number), Ok(text)) if text.contains('=') => text
                .lines()
                .map(|line| match line.split_once('=') {
                    Some((name, value)) if value.parse::<f64>().is_ok() => {
                        format!("{name}={number}\n")
                    }
                    _ => format!("{line}\n"),
                })
                .collect::<String>()
                .into_bytes(),
            (Self::Texts, Ok(text)) if text.contains('=') => {
                text.replace('\n', "\u{1b}[2J\u{7}\n").into_bytes()
            }
            _ => body.to_vec(),
        }
    }

    fn header(&self, header: &[u8]) -> Vec<u8> {
        let Ok(mut header) = serde_json::from_slice::<Value>(header) else {
            return header.to_vec();
        };
        match self {
            Self::Refused => {
                header["code"] = json!(1);
                header["remark"] = json!(HOSTILE);
            }
            Self::Texts | Self::Numbers(_) => self.change(&mut header["extFields"]),
            Self::Cut | Self::Body(_) => {}
        }
        header.to_string().into_bytes()
    }
}

/// A server before a real one: answers are changed on their way, and the address of one server in them.
struct Liar {
    address: String,
    task: AbortHandle,
}

type How = (Option<Lie>, Option<(String, String)>);

impl Liar {
    async fn start(upstream: String, how: How) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let how = Arc::new(how);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(&upstream).await else {
                    continue;
                };
                tokio::spawn(carry(client, server, Arc::clone(&how)));
            }
        });
        Self {
            address,
            task: task.abort_handle(),
        }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until one side ends.
async fn carry(client: TcpStream, mut server: TcpStream, how: Arc<How>) {
    let (mut client_in, mut client_out) = client.into_split();
    let (mut server_in, mut server_out) = server.split();
    let answers = async {
        while let Ok(frame) = changed(&mut server_in, &how).await {
            if client_out.write_all(&frame).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut client_in, &mut server_out) => {}
        () = answers => {}
    }
}

/// The next answer, with its lies.
async fn changed(from: &mut (impl AsyncReadExt + Unpin), how: &How) -> std::io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mark = from.read_u32().await?;
    let mut header = vec![0; (mark & 0x00ff_ffff) as usize];
    from.read_exact(&mut header).await?;
    let mut body = vec![0; length as usize - 4 - header.len()];
    from.read_exact(&mut body).await?;
    let (lie, instead) = how;
    if let Some(lie) = lie {
        (header, body) = (lie.header(&header), lie.body(&body));
    }
    if let Some((from, to)) = instead
        && let Ok(text) = std::str::from_utf8(&body)
    {
        body = text.replace(from, to).into_bytes();
    }
    let mark = (mark & 0xff00_0000) | header.len() as u32;
    let mut frame = ((4 + header.len() + body.len()) as u32)
        .to_be_bytes()
        .to_vec();
    frame.extend_from_slice(&mark.to_be_bytes());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Commands that print what name servers say, and with it what brokers say.
const OF_NAME_SERVERS: &[&[&str]] = &[
    &["health"],
    &["doctor", "t", "-g", "g"],
    &["get", "brokers", "-o", "wide"],
    &["get", "topics", "-o", "wide"],
    &["get", "clusters", "-o", "wide"],
    &["broker", "replication", "broker-0", "-o", "wide"],
    &["broker", "switchover", "broker-0", "--to", "0", "--dry-run"],
    &[
        "broker",
        "promote",
        "broker-0",
        "1",
        "--accept-loss",
        "--dry-run",
    ],
    &["get", "nameservers"],
    &["cluster", "versions"],
    &["describe", "cluster"],
    &["describe", "topic", "t"],
];

/// Commands that print what brokers say.
const OF_BROKERS: &[&[&str]] = &[
    &["get", "groups"],
    &["get", "queues", "-t", "t", "-o", "wide"],
    &["get", "clients", "-g", "g"],
    &["get", "clients", "--producers"],
    &["get", "config-keys", "--broker", "broker-0"],
    &["cluster", "balance-check"],
    &["describe", "group", "g"],
    &["describe", "broker", "broker-0", "-o", "wide"],
    &["describe", "queue", "t/broker-0/0"],
    &["lag", "g"],
    &["offsets", "reset", "g", "-t", "t", "--to", "first"],
    &["offsets", "reset", "g", "-t", "t", "--shift", "-1"],
    &["find", "message", "0102"],
    &["find", "message", "-t", "t", "--key", "k"],
    &["tail", "t", "--last", "1"],
    &["dlq", "ls"],
    &["export"],
];

/// What is wrong with what a command did, if anything.
fn harm(run: &common::Run, is_data: bool) -> Option<String> {
    let text = format!("{}{}", run.out, run.err);
    let steers = |letter: char| {
        // Data for other programs keeps what only looks strange.
        let is_shown = match is_data {
            true => !letter.is_control(),
            false => rmq_texts::is_shown_as_it_is(letter),
        };
        letter != '\n' && !is_shown
    };
    let is_bad = !matches!(run.code, 0..=7 | 10)
        || text.contains("panicked")
        || text.contains(steers)
        || text.lines().any(|line| line.starts_with("forged"));
    is_bad.then(|| format!("exit code {}: {text:?}", run.code))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_may_be_anything() {
    let cluster = TestCluster::start().await;
    let client = cluster.client().await;
    let admin = client.admin();
    let topic = TopicSpec::new("t").queues(1);
    admin.create_topic(&topic).await.unwrap();
    admin.create_group(&GroupSpec::new("g")).await.unwrap();
    let message = Message::new("t", "hello").key("k");
    client.producer().send(message).await.unwrap();
    let queue = rmq_client::Queue::new("t", "broker-0", 0);
    admin.commit_offset("g", &queue, 1).await.unwrap();
    let (real_server, real_broker) = (cluster.name_server_list(), cluster.broker(0).address());
    let mut harms = Vec::new();
    for lie in lies() {
        let broker = Liar::start(real_broker.clone(), (Some(lie.clone()), None)).await;
        let instead = Some((real_broker.clone(), broker.address.clone()));
        let honest = Liar::start(real_server.clone(), (None, instead)).await;
        let lying = Liar::start(real_server.clone(), (Some(lie.clone()), None)).await;
        let of_broker = OF_NAME_SERVERS.iter().chain(OF_BROKERS);
        let of_broker = of_broker.map(|line| (honest.address.as_str(), *line));
        let of_server = OF_NAME_SERVERS.iter();
        let of_server = of_server.map(|line| (lying.address.as_str(), *line));
        let lines: Vec<(&str, &[&str])> = of_broker.chain(of_server).collect();
        for some in lines.chunks(4) {
            let runs = some.iter().map(|(address, line)| async move {
                let line = [*line, &["--timeout", "5s"]].concat();
                (line.join(" "), run(address, &line).await)
            });
            for (line, run) in futures_util::future::join_all(runs).await {
                let harm = harm(&run, line.starts_with("export"));
                harms.extend(harm.map(|harm| format!("{line} ({}): {harm}", lie.name())));
            }
        }
    }
    assert!(harms.is_empty(), "{}", harms.join("\n"));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_version_is_a_finding() {
    let cluster = TestCluster::start().await;
    let list = cluster.name_server_list();
    let same = run(&list, &["cluster", "versions"]).await.ok();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(same.matches(version).count(), 2, "{same}");
    let other = (
        format!("rmqVersion={version}"),
        "rmqVersion=0.0.1".to_owned(),
    );
    let older = Liar::start(list, (None, Some(other))).await;
    let skewed = run(&older.address, &["cluster", "versions"]).await;
    assert!(skewed.out.contains(" 0.0.1 "), "{}", skewed.out);
    skewed.fails(
        10,
        &["the servers' versions differ", "0.0.1 at nameserver/"],
    );
    let found = findings(&older.address, &["doctor"]).await;
    only(&found, "versions", "0.0.1 at nameserver/");
    cluster.shutdown().await;
}
