//! What a server costs at rest, and how fast it starts.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::GetRouteinfoByTopic;
use serde::Serialize;

use crate::load::{Load, Send, Shape};
use crate::process::Usage;
use crate::report::median;
use crate::server::{Ready, Server};
use crate::wire::Desk;

/// Connections a second: a faster burst overflows listen queues.
const CONNECTS_PER_SECOND: u32 = 1_000;

/// Memory of a server without and with idle connections.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    /// Connections that were opened.
    pub connections: usize,
    /// Anonymous memory before, MiB.
    pub before_mib: f64,
    /// Anonymous memory with the connections, MiB.
    pub with_mib: f64,
    /// Difference by connection, bytes. The kernel's own memory for sockets is not in it.
    pub bytes_per_connection: f64,
    /// Threads.
    pub threads: u64,
    /// Processor use over the last second, in percent of one processor.
    pub cpu_percent: f64,
}

/// Opens `connections`, has each answered once, and measures.
///
/// # Errors
/// When a connection fails or the process is gone.
pub fn idle(addr: &str, pid: u32, connections: usize) -> io::Result<Idle> {
    let before = Usage::of(pid)?;
    let query = GetRouteinfoByTopic {
        topic: "bench_idle".into(),
        accept_standard_json_only: None,
    };
    let began = Instant::now();
    let mut open = Vec::with_capacity(connections);
    for number in 0..connections {
        let due = began + Duration::from_secs(1) * number as u32 / CONNECTS_PER_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut desk = Desk::connect(addr)?;
        // Whatever the answer is: the connection has been used.
        desk.ask(RequestCode::GetRouteinfoByTopic.as_i32(), &query, &[])?;
        open.push(desk);
    }
    let with = Usage::of(pid)?;
    std::thread::sleep(Duration::from_secs(1));
    let later = Usage::of(pid)?;
    let mib = f64::from(1 << 20);
    Ok(Idle {
        connections,
        before_mib: before.anonymous_bytes as f64 / mib,
        with_mib: with.anonymous_bytes as f64 / mib,
        bytes_per_connection: with.anonymous_bytes.saturating_sub(before.anonymous_bytes) as f64
            / connections.max(1) as f64,
        threads: with.threads,
        cpu_percent: (later.cpu_seconds - with.cpu_seconds) * 100.0,
    })
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "idle")?;
        writeln!(f, "  anonymous memory     {:.1} MiB", self.before_mib)?;
        writeln!(
            f,
            "  with {} connections  {:.1} MiB, {:.0} B each",
            self.connections, self.with_mib, self.bytes_per_connection
        )?;
        writeln!(f, "  threads              {}", self.threads)?;
        writeln!(f, "  cpu                  {:.1} %", self.cpu_percent)
    }
}

/// Times from starting a process to its first good answer, milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Starts {
    /// What was started.
    pub what: String,
    /// Each start.
    pub ms: Vec<f64>,
    /// The middle one.
    pub median_ms: f64,
}

impl Starts {
    fn new(what: String, times: &[Duration]) -> Self {
        let ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        Self {
            what,
            median_ms: median(&ms),
            ms,
        }
    }
}

impl fmt::Display for Starts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: median {:.1} ms of {:.1?}",
            self.what, self.median_ms, self.ms
        )
    }
}

/// Starts `command` `count` times, each on an empty directory.
///
/// # Errors
/// When it does not start.
pub fn starts(command: &str, work_dir: &Path, ready: Ready, count: usize) -> io::Result<Starts> {
    let mut times = Vec::new();
    for number in 0..count {
        let dir = work_dir.join(format!("rmq-bench-{}-start{number}", std::process::id()));
        let server = Server::start(command, &dir, ready)?;
        times.push(server.started_in());
        server.stop()?;
        std::fs::remove_dir_all(&dir)?;
        std::fs::remove_file(dir.with_extension("log"))?;
    }
    Ok(Starts::new("start on an empty store".to_owned(), &times))
}

/// The index of a store is written in pieces of 64 MiB of log. This much is stored last, so that each start reads it again.
const LAST_BYTES: u64 = 32 << 20;
/// What was stored last is on the disk by then.
const REST: Duration = Duration::from_secs(2);

/// Stores `gib` GiB, stops the server, stores 32 MiB more, kills the server after a rest, and measures its next starts (each killed again). How
/// far the index is at the kill decides how much a start reads: so it is the same for each server, however fast that was.
///
/// # Errors
/// When it does not start, or does not store.
pub fn recoveries(command: &str, work_dir: &Path, gib: u64, count: usize) -> io::Result<Starts> {
    let dir = work_dir.join(format!("rmq-bench-{}-recover", std::process::id()));
    let server = Server::start(command, &dir, Ready::Topic)?;
    store(&server, gib << 30)?;
    server.stop()?;
    let server = Server::start(command, &dir, Ready::Topic)?;
    store(&server, LAST_BYTES)?;
    std::thread::sleep(REST);
    server.kill()?;
    let mut times = Vec::new();
    for _ in 0..count {
        let server = Server::start(command, &dir, Ready::Topic)?;
        times.push(server.started_in());
        server.kill()?;
    }
    std::fs::remove_dir_all(&dir)?;
    std::fs::remove_file(dir.with_extension("log"))?;
    Ok(Starts::new(
        format!("recovery of {gib} GiB after kill -9"),
        &times,
    ))
}

/// Stores about so many bytes of log.
fn store(server: &Server, bytes: u64) -> io::Result<()> {
    let shape = Shape {
        body_bytes: 4_096,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(3_600),
        ..Shape::default()
    };
    let load = Load::Send(Send {
        requests_max: Some(bytes / (shape.body_bytes as u64 + 200)),
        ends: None,
        shape,
        connections: 4,
        depth: 16,
        batch: 1,
        rate: None,
    });
    let report = load.run(&server.target())?;
    match report.errors {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("storing failed:\n{report}"))),
    }
}
