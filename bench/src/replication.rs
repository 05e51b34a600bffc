//! What a replica costs: the latency of an acknowledgement that waits for it, throughput and processor time of both members, and how fast
//! an empty replica catches up.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rmq_protocol::bodies::HaRuntimeInfo;
use rmq_protocol::code::RequestCode;
use serde::Serialize;

use crate::load::{Load, Send, Shape};
use crate::process::Usage;
use crate::report::{median, number};
use crate::server::{Ready, Server};
use crate::wire::Desk;

/// A replica joins within this.
const JOINS_WITHIN: Duration = Duration::from_secs(30);
/// An empty replica catches up within this.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(1_800);
/// Between two looks at a replica.
const LOOK: Duration = Duration::from_millis(5);
/// The device is written in pieces of this size, bytes.
const PIECE_BYTES: usize = 1 << 20;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Command of a broker, see [`Server::start`]; the settings of members are added as `--set KEY=VALUE`.
    pub server: String,
    /// Rounds.
    pub rounds: usize,
    /// Measured seconds of each load.
    pub seconds: f64,
    /// Log that an empty replica copies, MiB; 0 leaves that out.
    pub mib: u64,
    /// Where directories are made.
    pub work_dir: PathBuf,
}

/// Medians of the rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Replication {
    /// Rounds.
    pub rounds: usize,
    /// By figure.
    pub figures: Vec<Figure>,
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Its name and unit.
    pub name: &'static str,
    /// The middle one of the rounds.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

/// What a load found.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    p50_us: f64,
    per_second: f64,
    /// Processor time a message of each member, microseconds; the master first.
    cpu_us: [f64; 2],
}

/// A master, and perhaps a replica that is in sync.
struct Group {
    master: Server,
    replica: Option<Server>,
}

impl Plan {
    /// Runs the rounds: the reference server, a master alone, and a group of two, one after the other.
    ///
    /// # Errors
    /// When a server does not start, a replica does not join, or a load cannot run.
    pub fn run(&self) -> io::Result<Replication> {
        let mut rows: Vec<(&'static str, Vec<f64>)> = Vec::new();
        let mut note = |name, value| match rows.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => rows.push((name, vec![value])),
        };
        for _ in 0..self.rounds {
            let reference = self.on(1, 1, || self.lone("reference"))?;
            let lone = self.on(1, 1, || self.lone(&self.server))?;
            let group = self.on(1, 1, || self.group("inSync"))?;
            note("1x1 reference p50 us", reference.p50_us);
            note("1x1 alone p50 us", lone.p50_us);
            note("1x1 inSync p50 us", group.p50_us);
            note(
                "added p50 / reference",
                (group.p50_us - lone.p50_us) / reference.p50_us,
            );
            let lone = self.on(8, 32, || self.lone(&self.server))?;
            let group = self.on(8, 32, || self.group("inSync"))?;
            note("8x32 alone msg/s", lone.per_second);
            note("8x32 inSync msg/s", group.per_second);
            note(
                "8x32 msg/s inSync / alone",
                group.per_second / lone.per_second,
            );
            note("8x32 alone cpu us/msg", lone.cpu_us[0]);
            note("cpu master / alone", group.cpu_us[0] / lone.cpu_us[0]);
            note("cpu replica / alone", group.cpu_us[1] / lone.cpu_us[0]);
        }
        if self.mib > 0 {
            let device = self.device_mb()?;
            let (copied, sent) = self.catch_up()?;
            note("device MB/s", device);
            note("log of the load MB/s", sent);
            note("catch-up MB/s", copied);
            note("catch-up / device", copied / device);
        }
        let figures = rows.into_iter().map(|(name, values)| Figure {
            name,
            median: median(&values),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        });
        Ok(Replication {
            rounds: self.rounds,
            figures: figures.collect(),
        })
    }

    /// Runs a load on fresh members, and removes them.
    fn on(
        &self,
        connections: usize,
        depth: usize,
        start: impl FnOnce() -> io::Result<Group>,
    ) -> io::Result<Found> {
        let group = start()?;
        let load = |seconds: f64| {
            Load::Send(Send {
                shape: Shape {
                    warm_up: Duration::ZERO,
                    duration: Duration::from_secs_f64(seconds),
                    ..Shape::default()
                },
                connections,
                depth,
                batch: 1,
                rate: None,
                requests_max: None,
            })
        };
        let target = group.master.target();
        load(self.seconds / 3.0).run(&target)?;
        let before = group.usage()?;
        let report = load(self.seconds).run(&target)?;
        let after = group.usage()?;
        if report.errors > 0 {
            return Err(io::Error::other(format!("sends failed:\n{report}")));
        }
        group.stop()?;
        let cpu = |member: usize| {
            (after[member].cpu_seconds - before[member].cpu_seconds) * 1e6 / report.messages as f64
        };
        Ok(Found {
            p50_us: report.p50_us,
            per_second: report.per_second,
            cpu_us: [cpu(0), cpu(1)],
        })
    }

    fn dir(&self, name: &str) -> PathBuf {
        let name = format!("rmq-bench-{}-{name}", std::process::id());
        self.work_dir.join(name)
    }

    fn lone(&self, command: &str) -> io::Result<Group> {
        Ok(Group {
            master: Server::start(command, &self.dir("alone"), Ready::Topic)?,
            replica: None,
        })
    }

    /// A master and a replica that is in sync with it.
    fn group(&self, ack_mode: &str) -> io::Result<Group> {
        let port = free_port()?;
        let master = self.master(port, ack_mode)?;
        let replica = self.replica(port, ack_mode)?;
        let group = Group {
            master,
            replica: Some(replica),
        };
        group.wait(JOINS_WITHIN, |state| state.in_sync_slave_nums > 0)?;
        Ok(group)
    }

    fn master(&self, port: u16, ack_mode: &str) -> io::Result<Server> {
        let command = format!(
            "{} --set brokerId=0 --set ackMode={ack_mode} --set replicationListen=127.0.0.1:{port}",
            self.server
        );
        // It creates no topic before a replica is in sync.
        Server::start(&command, &self.dir("master"), Ready::Route)
    }

    fn replica(&self, port: u16, ack_mode: &str) -> io::Result<Server> {
        let command = format!(
            "{} --set brokerId=1 --set ackMode={ack_mode} --set replicationListen=127.0.0.1:0 --set replicationMaster=127.0.0.1:{port}",
            self.server
        );
        Server::start(&command, &self.dir("replica"), Ready::Route)
    }

    /// Fills a master, then starts an empty replica: 10^6 bytes of log a second that the replica copies, from the start of its process, and
    /// that the master took.
    fn catch_up(&self) -> io::Result<(f64, f64)> {
        let port = free_port()?;
        let master = self.master(port, "memory")?;
        let shape = Shape {
            body_bytes: 4_096,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(3_600),
            ..Shape::default()
        };
        let load = Load::Send(Send {
            requests_max: Some((self.mib << 20) / (shape.body_bytes as u64 + 200)),
            shape,
            connections: 4,
            depth: 16,
            batch: 1,
            rate: None,
        });
        let report = load.run(&master.target())?;
        if report.errors > 0 {
            return Err(io::Error::other(format!("storing failed:\n{report}")));
        }
        rustix::fs::sync();
        let began = Instant::now();
        let replica = self.replica(port, "memory")?;
        let group = Group {
            master,
            replica: Some(replica),
        };
        let state = group.wait(CATCHES_UP_WITHIN, |state| {
            let mut replicas = state.ha_connection_info.iter();
            replicas.any(|replica| {
                replica.slave_ack_offset >= state.master_commit_log_max_offset && replica.diff == 0
            })
        })?;
        let took = began.elapsed().as_secs_f64();
        group.stop()?;
        let bytes = state.master_commit_log_max_offset as f64;
        Ok((bytes / took / 1e6, bytes / report.seconds / 1e6))
    }

    /// 10^6 bytes a second that a file takes, synced at the end: as many bytes as the replica copies.
    fn device_mb(&self) -> io::Result<f64> {
        let path = self.dir("device");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)?;
        let written = write_all(&mut file, self.mib << 20);
        std::fs::remove_file(&path)?;
        written.map(|took| (self.mib << 20) as f64 / took.as_secs_f64() / 1e6)
    }
}

fn write_all(file: &mut File, bytes: u64) -> io::Result<Duration> {
    let piece = vec![b'x'; PIECE_BYTES];
    let began = Instant::now();
    for _ in 0..bytes / PIECE_BYTES as u64 {
        file.write_all(&piece)?;
    }
    file.sync_data()?;
    Ok(began.elapsed())
}

impl Group {
    fn usage(&self) -> io::Result<[Usage; 2]> {
        let replica = self.replica.as_ref();
        let replica = replica
            .map(|replica| Usage::of(replica.pid()))
            .transpose()?;
        Ok([Usage::of(self.master.pid())?, replica.unwrap_or_default()])
    }

    /// Waits for a state that the master tells of its replicas.
    fn wait(
        &self,
        within: Duration,
        is_reached: impl Fn(&HaRuntimeInfo) -> bool,
    ) -> io::Result<HaRuntimeInfo> {
        let mut desk = Desk::connect(&self.master.target().addr)?;
        let began = Instant::now();
        loop {
            let said = desk.ask(RequestCode::GetBrokerHaStatus.as_i32(), &(), &[])?;
            let state = HaRuntimeInfo::from_json(&said.body).map_err(io::Error::other)?;
            if is_reached(&state) {
                return Ok(state);
            }
            if began.elapsed() > within {
                return Err(io::Error::other(format!(
                    "the replica has not caught up within {within:?}; its master says {state:?}. See the logs beside the directories"
                )));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Stops the members and removes their directories.
    fn stop(self) -> io::Result<()> {
        for server in self.replica.into_iter().chain([self.master]) {
            let dir = server.target().dir;
            server.stop()?;
            if let Some(dir) = dir {
                remove(&dir)?;
            }
        }
        rustix::fs::sync();
        Ok(())
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(dir)?;
    std::fs::remove_file(dir.with_extension("log"))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "replication, {} rounds", self.rounds)?;
        writeln!(f, "  {:<28} {:>12}   min-max", "", "median")?;
        for figure in &self.figures {
            let [median, min, max] = [figure.median, figure.min, figure.max].map(number);
            writeln!(f, "  {:<28} {median:>12}   {min}-{max}", figure.name)?;
        }
        Ok(())
    }
}
