//! `rmq-ctl` against Apache RocketMQ's own name server and broker: the same verbs, the same results; signed where the broker wants that.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rmq_e2e::apache::{self, Apache};
use rmq_e2e::foreign::{self, Outcomes};
use rmq_e2e::process::binary;
use serde_json::Value;

/// One after the other, on one cluster.
const SCENARIOS: &[&str] = &[
    "get", "create", "send", "tail", "describe", "lag", "consume", "apply", "health", "signed",
];

fn main() -> ExitCode {
    foreign::main("ctl_apache", SCENARIOS, apache::needs, Box::new(run))
}

/// `rmq-ctl` with a configuration of its own.
struct Ctl {
    program: PathBuf,
    name_server: String,
    config: tempfile::TempDir,
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ctl {
    fn run(&self, line: &str, stdin: &str) -> Result<Ran, String> {
        use std::io::Write;
        let mut child = Command::new(&self.program)
            .args(line.split(' '))
            .env_remove("RMQ_URL")
            .env_remove("RMQ_CONTEXT")
            .env("NAMESRV_ADDR", &self.name_server)
            .env("XDG_CONFIG_HOME", self.config.path())
            .current_dir(self.config.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("rmq-ctl cannot be run: {error}"))?;
        if let Some(mut input) = child.stdin.take() {
            // One that reads nothing may have ended.
            let _ = input.write_all(stdin.as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|error| format!("rmq-ctl does not end: {error}"))?;
        Ok(Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// What it prints; an error when it fails.
    fn ok(&self, line: &str) -> Result<String, String> {
        let ran = self.run(line, "")?;
        if ran.code == Some(0) {
            Ok(ran.out)
        } else {
            Err(format!(
                "rmq-ctl {line} ended with {:?}: {}",
                ran.code, ran.err
            ))
        }
    }

    fn json(&self, line: &str) -> Result<Value, String> {
        let out = self.ok(&format!("{line} -o json"))?;
        serde_json::from_str(&out).map_err(|error| format!("rmq-ctl {line}: {error}: {out}"))
    }
}

fn expect(is_so: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(what()) }
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let built = foreign::build_dir("java-servers")?;
    foreign::maven("java-servers", &built)?;
    let program = binary("rmq-ctl");
    let ctl_for = |apache: &Apache| -> Result<Ctl, String> {
        Ok(Ctl {
            program: program.clone(),
            name_server: apache.name_server().to_owned(),
            config: tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?,
        })
    };
    let plain = Apache::start(&built, "")?;
    let ctl = ctl_for(&plain)?;
    ctl.ok("wait cluster --for healthy --timeout 60s")?;
    let mut outcomes = Outcomes::new();
    // Each stands on what those before it did, so all of them run whatever was asked for.
    for (name, scenario) in [
        ("get", get as fn(&Ctl) -> Result<(), String>),
        ("create", create),
        ("send", send),
        ("tail", tail),
        ("describe", describe),
        ("lag", lag),
        ("consume", consume),
        ("apply", apply),
        ("health", health),
    ] {
        outcomes.insert(name.to_owned(), scenario(&ctl));
    }
    drop(plain);
    if scenarios.iter().any(|scenario| scenario == "signed") {
        let guarded = Apache::start(&built, GUARDED)?;
        let ctl = ctl_for(&guarded)?;
        outcomes.insert("signed".to_owned(), signed(&ctl));
    }
    Ok(outcomes)
}

fn get(ctl: &Ctl) -> Result<(), String> {
    let brokers = ctl.json("get brokers")?;
    let broker = &brokers["items"][0];
    expect(
        broker["name"] == "broker-java"
            && broker["version"]
                .as_str()
                .is_some_and(|version| version.starts_with('V')),
        || brokers.to_string(),
    )?;
    expect(
        broker["putTps"]
            .as_str()
            .is_some_and(|rate| !rate.is_empty()),
        || brokers.to_string(),
    )?;
    let clusters = ctl.ok("get clusters -o name")?;
    expect(clusters == "cluster/DefaultCluster\n", || clusters)?;
    let topics = ctl.ok("get topics -o name")?;
    expect(topics.is_empty(), || {
        format!("topics of the system are shown: {topics}")
    })?;
    ctl.ok("get groups")?;
    ctl.ok("get nameservers")?;
    ctl.ok("get config-keys --broker broker-java").map(drop)
}

fn create(ctl: &Ctl) -> Result<(), String> {
    let created = ctl.ok("create topic orders --queues 2")?;
    expect(created == "topic/orders created\n", || created)?;
    let again = ctl.run("create topic orders", "")?;
    expect(again.code == Some(6), || again.err)?;
    ctl.ok("create group billing --max-attempts 3")?;
    let topics = ctl.ok("get topics -o name")?;
    expect(topics == "topic/orders\n", || topics)?;
    let set = ctl.ok("set topic orders queues=4")?;
    expect(set == "topic/orders configured\n", || set)
}

fn send(ctl: &Ctl) -> Result<(), String> {
    let sent = ctl.ok("send orders hello --key k1 --tag paid")?;
    expect(sent.contains("orders/broker-java/"), || sent)?;
    let lines = ctl.run("send orders --ordered-by x", "one\ntwo\nthree")?;
    expect(lines.out.lines().count() == 3, || lines.err)?;
    let nowhere = ctl.run("send nowhere x", "")?;
    expect(
        nowhere.code == Some(3) && nowhere.err.contains("RMQ-E017"),
        || nowhere.err,
    )
}

fn tail(ctl: &Ctl) -> Result<(), String> {
    let all = ctl.ok("tail orders -o body")?;
    let mut bodies: Vec<&str> = all.lines().collect();
    bodies.sort_unstable();
    expect(bodies == ["hello", "one", "three", "two"], || all.clone())?;
    let tagged = ctl.ok("tail orders --tag paid -o jsonl")?;
    let message: Value =
        serde_json::from_str(&tagged).map_err(|error| format!("{error}: {tagged}"))?;
    expect(
        message["keys"][0] == "k1" && message["body"] == "hello",
        || tagged,
    )?;
    // The original builds its index a little later.
    ctl.ok("find message -t orders --key k1 --max 1")
        .map(drop)
        .or_else(|_| {
            std::thread::sleep(Duration::from_secs(2));
            ctl.ok("find message -t orders --key k1 --max 1").map(drop)
        })
}

fn describe(ctl: &Ctl) -> Result<(), String> {
    let topic = ctl.json("describe topic orders")?;
    expect(
        topic["queues"]
            .as_array()
            .is_some_and(|queues| queues.len() == 4),
        || topic.to_string(),
    )?;
    expect(topic["route"][0]["perm"] == "rw", || topic.to_string())?;
    let group = ctl.json("describe group billing")?;
    expect(group["settings"][0]["config"]["retryMaxTimes"] == 3, || {
        group.to_string()
    })?;
    let broker = ctl.ok("describe broker broker-java")?;
    expect(broker.contains("Settings"), || broker)?;
    ctl.ok("describe cluster").map(drop)
}

fn lag(ctl: &Ctl) -> Result<(), String> {
    ctl.ok("offsets reset billing -t orders --to earliest --yes")?;
    let lag = ctl.json("lag billing")?;
    let sum: i64 = lag["items"]
        .as_array()
        .map(|queues| {
            queues
                .iter()
                .filter_map(|queue| queue["lag"].as_i64())
                .sum()
        })
        .unwrap_or(-1);
    expect(sum == 4, || lag.to_string())?;
    let check = ctl.run("lag billing --fail-above 3", "")?;
    expect(check.code == Some(10), || check.err)
}

fn consume(ctl: &Ctl) -> Result<(), String> {
    let consumed = ctl.ok("consume orders -g billing --from first --exit-when-drained -o body")?;
    expect(consumed.lines().count() == 4, || consumed)?;
    ctl.ok("wait group/billing --for lag=0 --timeout 20s")
        .map(drop)
}

fn apply(ctl: &Ctl) -> Result<(), String> {
    let exported = ctl.ok("export")?;
    let unchanged = ctl.run("apply -f -", &exported)?;
    let is_same = unchanged
        .out
        .lines()
        .all(|line| line.ends_with("unchanged"));
    expect(
        unchanged.code == Some(0) && is_same && !unchanged.out.is_empty(),
        || format!("{}{}", unchanged.out, unchanged.err),
    )?;
    let fewer = ctl.run(
        "apply -f - --yes",
        &exported.replace("queues: 4", "queues: 6"),
    )?;
    expect(fewer.out.contains("topic/orders configured"), || fewer.err)?;
    ctl.ok("delete topic orders --yes")?;
    ctl.ok("delete group billing --yes").map(drop)
}

fn health(ctl: &Ctl) -> Result<(), String> {
    let health = ctl.ok("health")?;
    expect(health.contains("takes messages"), || health)?;
    ctl.ok("doctor").map(drop)
}

/// Only who signs may do anything (`auth/…/config/AuthConfig.java`).
const GUARDED: &str = "authenticationEnabled=true
authenticationProvider=org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider
authenticationMetadataProvider=org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider
initAuthenticationUser={\"username\":\"rocketmq\",\"password\":\"12345678\"}
innerClientAuthenticationCredentials={\"accessKey\":\"rocketmq\",\"secretKey\":\"12345678\"}
";

fn signed(ctl: &Ctl) -> Result<(), String> {
    ctl.ok("wait broker/broker-java --for registered --timeout 30s")?;
    let unsigned = ctl.run("create topic orders --queues 2", "")?;
    expect(
        unsigned.code == Some(4) && unsigned.err.contains("RMQ-E020"),
        || format!("unsigned: {:?} {}", unsigned.code, unsigned.err),
    )?;
    let file = ctl.config.path().join("tools.yml");
    let write = |secret: &str| {
        std::fs::write(
            &file,
            format!("accessKey: rocketmq\nsecretKey: \"{secret}\"\n"),
        )
        .map_err(|error| format!("cannot write tools.yml: {error}"))
    };
    write("wrong")?;
    ctl.ok(&format!(
        "config set-context guarded --nameserver {}",
        ctl.name_server
    ))?;
    ctl.ok(&format!("config import {} --into guarded", file.display()))?;
    let wrong = ctl.run("create topic orders --queues 2 --context guarded", "")?;
    expect(wrong.code == Some(4), || {
        format!("a wrong key: {:?} {}", wrong.code, wrong.err)
    })?;
    write("12345678")?;
    ctl.ok("create topic orders --queues 2 --context guarded")?;
    ctl.ok("send orders hello --context guarded")?;
    let body = ctl.ok("tail orders -o body --context guarded")?;
    expect(body == "hello\n", || body)?;
    ctl.ok("config test guarded").map(drop)
}
