//! Real processes whose wall clock jumps while they run (Debian package `faketime`): delayed messages come in time, nothing is removed,
//! the name server keeps the broker, clients go on.
//!
//! About 8 s: six jumps, each with a message that is delayed by a second.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rmq_client::{Client, Message, TopicSpec};
use rmq_e2e::foreign::{self, Outcomes};
use rmq_e2e::process::{Process, binary};
use rmq_protocol::bodies::TopicStatsTable;
use rmq_protocol::code::RequestCode;
use rmq_protocol::header::FieldSource;
use rmq_protocol::requests::GetTopicStatsInfo;
use rmq_transport::{Caller, CallerConfig, OwnedFrame, RefuseIncoming, TcpConnector};

const SCENARIOS: &[&str] = &["jumps"];
/// Where the clock stands beside the real one, one after the other, seconds: an hour ahead and back, an hour behind and back, four days
/// ahead and back.
const OFFSETS: [i64; 6] = [3_600, 0, -3_600, 0, 4 * 86_400, 0];
const DELAY: Duration = Duration::from_secs(1);
/// Longest time that a message may take beyond its delay.
const LATE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);
/// Messages that would have expired four days later, each in a segment with at most one other.
const OLD: usize = 20;
const OLD_BYTES: usize = 30_000;

fn main() -> ExitCode {
    foreign::main("clock", SCENARIOS, needs, Box::new(run))
}

/// The library that answers for the system's clock.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let mut folders: Vec<PathBuf> = folders
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    folders.push("/usr/lib".into());
    folders.push("/usr/lib64".into());
    let mut files = folders
        .iter()
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists())
}

fn needs() -> foreign::Needs {
    let missing = "no libfaketimeMT.so.1; on Debian: apt-get install faketime";
    library().map(drop).ok_or_else(|| missing.to_owned())
}

/// A clock of which processes see what this test writes.
struct MovedClock {
    library: PathBuf,
    file: PathBuf,
}

impl MovedClock {
    fn in_folder(folder: &Path) -> Result<Self, String> {
        let clock = Self {
            library: library().ok_or("the library is gone")?,
            file: folder.join("clock"),
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets the clock so many seconds beside the real one, at once for every process.
    fn set(&self, offset: i64) -> Result<(), String> {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{offset:+}\n"))
            .and_then(|()| std::fs::rename(&next, &self.file))
            .map_err(|error| format!("the clock's file: {error}"))
    }

    /// Environment of a process under this clock. The monotonic clock stays the system's, as when an administrator sets the clock.
    fn env(&self) -> [(&'static str, String); 6] {
        let one = || "1".to_owned();
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", one()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", one()),
            ("DONT_FAKE_MONOTONIC", one()),
            ("NO_FAKE_STAT", one()),
        ]
    }
}

/// `rmq-ctl consume` under the moved clock: lines as they come, with the time.
struct Consumer {
    child: Child,
    lines: Receiver<(Instant, String)>,
    /// What was printed, by body.
    seen: BTreeMap<String, Instant>,
}

impl Consumer {
    fn start(clock: &MovedClock, name_server: &str) -> Result<Self, String> {
        let mut child = Command::new(binary("rmq-ctl"))
            .args(["consume", "orders", "-g", "billing", "--from", "first"])
            .args(["--nameserver", name_server])
            .envs(clock.env())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("rmq-ctl: {error}"))?;
        let out = child.stdout.take().ok_or("stdout is piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            lines,
            seen: BTreeMap::new(),
        })
    }

    /// When a message with this body was printed; waits for it.
    fn saw(&mut self, body: &str) -> Result<Instant, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.seen.iter().find(|(line, _)| line.contains(body));
            if let Some((_, at)) = found {
                return Ok(*at);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let (at, line) = self
                .lines
                .recv_timeout(left)
                .map_err(|_| format!("{body} does not come; came: {:?}", self.seen.keys()))?;
            self.seen.entry(line).or_insert(at);
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // Ours, and without anything that is worth saving.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn call(
    caller: &Caller,
    code: RequestCode,
    fields: &(dyn FieldSource + Sync),
) -> Result<OwnedFrame, String> {
    let called = caller.call(code.as_i32(), fields, &[], PATIENCE).await;
    called.map_err(|error| format!("{code}: {error}"))
}

/// Messages of a topic that can be read.
async fn kept(caller: &Caller, topic: &str) -> Result<i64, String> {
    let request = GetTopicStatsInfo {
        topic: topic.into(),
    };
    let answer = call(caller, RequestCode::GetTopicStatsInfo, &request).await?;
    let table = TopicStatsTable::from_json(answer.body()).map_err(|error| error.to_string())?;
    let queues = table.offset_table.iter();
    Ok(queues
        .map(|(_, queue)| queue.max_offset - queue.min_offset)
        .sum())
}

async fn created(client: &Client, topic: &str) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let spec = TopicSpec::new(topic).queues(1);
    // The broker may not have registered yet.
    while let Err(error) = client.admin().create_topic(&spec).await {
        if Instant::now() > deadline {
            return Err(format!("topic {topic}: {error}"));
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn run(_: &[String]) -> Result<Outcomes, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let outcome = runtime.block_on(jumps());
    Ok(Outcomes::from([("jumps".to_owned(), outcome)]))
}

async fn jumps() -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let clock = MovedClock::in_folder(folder.path())?;
    let log = |name: &str| folder.path().join(name);
    let args = |args: &[&str]| -> Vec<String> { args.iter().map(ToString::to_string).collect() };
    let name_server = Process::start_with(
        "rmq-namesrv",
        &args(&["--listen", "127.0.0.1:0", "--management", ""]),
        &clock.env(),
        &log("namesrv.log"),
    );
    let data = folder.path().join("data").display().to_string();
    let broker_args = args(&[
        "--listen",
        "127.0.0.1:0",
        "--management",
        "",
        "--advertise",
        "127.0.0.1",
        "--name-servers",
        name_server.addr(),
        "--data",
        &data,
        "--set",
        "segmentBytes=65536",
    ]);
    let broker = Process::start_with("rmq-broker", &broker_args, &clock.env(), &log("broker.log"));
    let client = Client::connect(format!("rmq://{}", name_server.addr()))
        .await
        .map_err(|error| error.to_string())?;
    for topic in ["orders", "old"] {
        created(&client, topic).await?;
    }
    let producer = client.producer();
    let send = |message: Message| {
        let producer = &producer;
        async move {
            let sent = producer.send(message).await;
            sent.map_err(|error| format!("a send: {error}"))?;
            Ok::<_, String>(Instant::now())
        }
    };
    for _ in 0..OLD {
        send(Message::new("old", vec![b'x'; OLD_BYTES])).await?;
    }
    let mut consumer = Consumer::start(&clock, name_server.addr())?;
    send(Message::new("orders", "begin")).await?;
    consumer.saw("begin")?;

    let caller = Caller::new(
        broker.addr(),
        Arc::new(TcpConnector),
        CallerConfig::default(),
        Arc::new(RefuseIncoming),
    );
    for (number, offset) in OFFSETS.into_iter().enumerate() {
        let delayed =
            |name: &str| Message::new("orders", format!("{name}-{number};")).delay_level_for(DELAY);
        let before = send(delayed("before")).await?;
        clock.set(offset)?;
        let after = send(delayed("after")).await?;
        send(Message::new("orders", format!("at-once-{number};"))).await?;
        consumer.saw(&format!("at-once-{number};"))?;
        for (name, sent, early) in [("before", before, true), ("after", after, false)] {
            let took = consumer.saw(&format!("{name}-{number};"))? - sent;
            // A clock that is set ahead makes due what waited already.
            if took > DELAY + LATE || (!early && took < DELAY - Duration::from_millis(200)) {
                return Err(format!(
                    "the message {name} the jump to {offset} s came after {took:?}"
                ));
            }
        }
        // The broker was never taken out of the routes: a name server that had dropped it would not know the topic.
        let route = client.refresh_route("orders").await;
        let route = route.map_err(|error| format!("at {offset} s: {error}"))?;
        if route.writable().len() != 1 {
            return Err(format!(
                "at {offset} s the topic has no queue in the routes"
            ));
        }
        let answer = call(&caller, RequestCode::DeleteExpiredCommitlog, &()).await?;
        let header = answer.header();
        let remark = header.remark.as_ref().map(|remark| remark.to_cow());
        if answer.code() == 0 || !remark.as_deref().unwrap_or_default().contains("jumped") {
            return Err(format!(
                "at {offset} s old messages may be removed: {} {remark:?}",
                answer.code()
            ));
        }
        let left = kept(&caller, "old").await?;
        if left != OLD as i64 {
            return Err(format!("at {offset} s {left} of {OLD} messages are left"));
        }
    }
    let said = broker.log();
    let jumps = said.matches("the system's clock jumped").count();
    if jumps < OFFSETS.len() {
        return Err(format!("the broker's log tells of {jumps} jumps:\n{said}"));
    }
    Ok(())
}
