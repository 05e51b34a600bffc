//! Backups in a bucket of a real server that speaks S3: moto (Python package `moto[server]`, `e2e/s3`), with the real `rmq-ctl`.

use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

use rmq_e2e::dev::Dev;
use rmq_e2e::foreign::{self, Outcomes};
use rmq_e2e::process::binary;
use rmq_e2e::s3::{self, BUCKET, CREDENTIALS, S3};
use serde_json::Value;

const SCENARIOS: &[&str] = &["cycle", "interrupted", "refused"];

fn main() -> ExitCode {
    foreign::main("s3", SCENARIOS, s3::needs, Box::new(run))
}

/// The server, and `rmq-ctl` that uses it.
struct Bucket(S3);

impl Bucket {
    /// `rmq-ctl` with a line, at a cluster, with the credentials of this server.
    fn ctl(&self, dev: &Dev, line: &[&str]) -> Command {
        let mut command = Command::new(binary("rmq-ctl"));
        command
            .args(line)
            .args(["--nameserver", dev.name_server()])
            .env_remove("RMQ_URL")
            .envs(CREDENTIALS)
            .env("AWS_ENDPOINT_URL", self.0.endpoint())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, dev: &Dev, line: &[&str]) -> Result<Output, String> {
        let output = self.ctl(dev, line).output();
        output.map_err(|error| format!("rmq-ctl {line:?}: {error}"))
    }

    /// What a line prints that ends well.
    fn ok(&self, dev: &Dev, line: &[&str]) -> Result<String, String> {
        let output = self.run(dev, line)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(said(line, &output)),
        }
    }

    /// A line that ends with an exit code and says something.
    fn fails(&self, dev: &Dev, line: &[&str], code: i32, says: &str) -> Result<(), String> {
        let output = self.run(dev, line)?;
        let err = String::from_utf8_lossy(&output.stderr);
        match output.status.code() == Some(code) && err.contains(says) {
            true => Ok(()),
            false => Err(format!(
                "{} instead of {code} and {says:?}",
                said(line, &output)
            )),
        }
    }

    fn json(&self, dev: &Dev, line: &[&str]) -> Result<Value, String> {
        let line = [line, &["-o", "json"]].concat();
        let text = self.ok(dev, &line)?;
        serde_json::from_str(&text).map_err(|error| format!("{line:?}: {error}: {text}"))
    }
}

fn said(line: &[&str], output: &Output) -> String {
    format!(
        "rmq-ctl {}: {}: {}{}",
        line.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_default()
}

/// Messages of 10 KiB.
fn send(s3: &Bucket, dev: &Dev, count: usize) -> Result<(), String> {
    let body = "x".repeat(10 << 10);
    let count = count.to_string();
    s3.ok(dev, &["create", "topic", "kept", "--if-not-exists"])?;
    s3.ok(dev, &["send", "kept", &body, "--count", &count])?;
    Ok(())
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let s3 = Bucket(S3::start("127.0.0.1")?);
    let mut outcomes = Outcomes::new();
    for scenario in scenarios {
        let dev = Dev::start()?;
        let folder = tempfile::tempdir().map_err(|error| format!("no folder: {error}"))?;
        let place = format!("s3://{BUCKET}/{scenario}");
        let ended = match scenario.as_str() {
            "cycle" => cycle(&s3, &dev, &place, folder.path()),
            "interrupted" => interrupted(&s3, &dev, &place, folder.path()),
            _ => refused(&s3, &dev, &place),
        };
        outcomes.insert(scenario.clone(), ended);
    }
    Ok(outcomes)
}

/// Taken twice, listed, checked, damaged, restored, removed.
fn cycle(s3: &Bucket, dev: &Dev, place: &str, folder: &Path) -> Result<(), String> {
    let is_so = |is_so: bool, what: &Value| match is_so {
        true => Ok(()),
        false => Err(what.to_string()),
    };
    send(s3, dev, 150)?;
    let take = ["backup", "broker-a", "--to", place, "--part-size", "256KiB"];
    let first = s3.json(dev, &take)?;
    is_so(
        number(&first, "sentBytes") > 1_500_000 && number(&first, "bytes") > 1_500_000,
        &first,
    )?;
    send(s3, dev, 30)?;
    let second = s3.json(dev, &take)?;
    let new = number(&second, "sentBytes");
    is_so((300_000..500_000).contains(&new), &second)?;
    let list = s3.json(dev, &["backup", "list", place])?;
    is_so(list["items"].as_array().map(Vec::len) == Some(2), &list)?;
    let verified = s3.json(dev, &["backup", "verify", place])?;
    is_so(number(&verified, "records") >= 180, &verified)?;

    // Other bytes in the place of the newest tables.
    let id = second["id"].as_str().unwrap_or_default();
    s3.0.call(
        "PUT",
        &format!("cycle/broker-a/tables/{id}/0000"),
        b"broken",
    )?;
    let store = folder.join("store");
    let store = store.to_str().ok_or("UTF-8")?;
    let restore = ["restore", "--from", place, "--store", store];
    s3.fails(dev, &["backup", "verify", place], 10, "it has 6 bytes")?;
    s3.fails(dev, &restore, 10, "it has 6 bytes")?;
    let third = s3.json(dev, &take)?;

    let removed = s3.ok(dev, &["backup", "remove", place, "--keep", "1", "--yes"])?;
    if !removed.contains(first["id"].as_str().unwrap_or("none")) {
        return Err(removed);
    }
    s3.ok(dev, &["backup", "verify", place])?;
    let restored = s3.json(dev, &restore)?;
    is_so(
        restored["position"] == third["position"]
            && number(&restored, "records") >= number(&verified, "records"),
        &restored,
    )
}

/// Killed in the middle, and taken again.
fn interrupted(s3: &Bucket, dev: &Dev, place: &str, folder: &Path) -> Result<(), String> {
    send(s3, dev, 200)?;
    let take = ["backup", "broker-a", "--to", place, "--part-size", "128KiB"];
    // Two megabytes at this rate take eight seconds.
    let slow = [&take[..], &["--rate", "256KiB"]].concat();
    let mut child = s3.ctl(dev, &slow);
    let child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|error| format!("rmq-ctl: {error}"))?;
    let list = || {
        let listed =
            s3.0.call("GET", "?list-type=2&prefix=interrupted/broker-a/log/", b"")?;
        Ok::<_, String>(String::from_utf8_lossy(&listed).matches("<Key>").count())
    };
    // Some parts are there; each look is a round trip.
    while list()? < 3 {
        if child.try_wait().ok().flatten().is_some() {
            return Err("it ended before it was killed".to_owned());
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    s3.fails(
        dev,
        &["backup", "list", place, "--group", "broker-a"],
        3,
        "there are no backups",
    )?;
    let there = list()?;
    let taken = s3.json(dev, &take)?;
    let sent = number(&taken, "sentBytes");
    if sent + (there as u64 - 1) * (100 << 10) > number(&taken, "position") {
        return Err(format!("{there} parts were there: {taken}"));
    }
    s3.ok(dev, &["backup", "verify", place])?;
    let store = folder.join("store");
    let store = store.to_str().ok_or("UTF-8")?;
    s3.ok(dev, &["restore", "--from", place, "--store", store])?;
    Ok(())
}

/// What cannot be used says so, and why.
fn refused(s3: &Bucket, dev: &Dev, place: &str) -> Result<(), String> {
    s3.fails(
        dev,
        &["backup", "broker-a", "--to", "s3://"],
        2,
        "the bucket is missing",
    )?;
    s3.fails(
        dev,
        &["backup", "broker-a", "--to", "ftp://x"],
        2,
        "only s3://",
    )?;
    s3.fails(dev, &["backup", "verify", place], 3, "there are no backups")?;
    let nowhere = "s3://no-such-bucket/x";
    s3.fails(
        dev,
        &["backup", "broker-a", "--to", nowhere],
        1,
        "no backup of broker group",
    )?;
    Ok(())
}
