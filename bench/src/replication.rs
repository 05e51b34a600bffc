//! What a replica costs: the latency of an acknowledgement that waits for it, throughput and processor time of both members, how fast an
//! empty replica catches up, and what the producers feel of that.

mod catch_up;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rmq_ports::Port;
use rmq_protocol::bodies::{GroupStatus, MemberStatus};
use rmq_protocol::code::RequestCode;
use serde::Serialize;

use crate::load::{Load, Send, Shape};
use crate::page_cache::PageCache;
use crate::process::Usage;
use crate::report::{median, number};
use crate::server::{Ready, Server};
use crate::wire::Desk;

/// A replica joins within this.
const JOINS_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at a replica.
const LOOK: Duration = Duration::from_millis(5);

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
    /// Messages a second that producers send while a replica copies.
    pub rate: f64,
    /// How many times producers run alone and beside a replica that copies.
    pub pairs: usize,
    /// Fill the page cache before each measurement.
    pub fill_page_cache: bool,
    /// The CPU of the other side: of a replica beside its master, and of the reference server beside the load; `None`: any.
    pub other_cpu: Option<usize>,
    /// Where directories are made.
    pub work_dir: PathBuf,
    /// Where that of a replica beside producers is made, `None`: there, too. Another disk, as a replica on another machine has.
    pub replica_dir: Option<PathBuf>,
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
    /// Context switches a message of each member.
    switches: [f64; 2],
}

/// A master, and perhaps a replica that is in sync.
struct Group {
    /// Where the master serves replicas.
    port: Port,
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
        let mut page_cache = self.page_cache()?;
        for _ in 0..self.rounds {
            let reference = self.on(1, 1, || self.lone(&self.reference()?))?;
            let lone = self.on(1, 1, || self.lone(&self.server))?;
            let group = self.on(1, 1, || self.group("inSync"))?;
            note("1x1 reference p50 us", reference.p50_us);
            note("1x1 alone p50 us", lone.p50_us);
            note("1x1 inSync p50 us", group.p50_us);
            note(
                "added p50 / reference",
                (group.p50_us - lone.p50_us) / reference.p50_us,
            );
            note("1x1 reference switches/msg", reference.switches[0]);
            note("1x1 alone switches/msg", lone.switches[0]);
            note("1x1 master switches/msg", group.switches[0]);
            note("1x1 replica switches/msg", group.switches[1]);
            note("1x1 alone cpu us/msg", lone.cpu_us[0]);
            note("1x1 master cpu us/msg", group.cpu_us[0]);
            note("1x1 replica cpu us/msg", group.cpu_us[1]);
            // What many messages cost depends on the memory that their pages get.
            fill(&mut page_cache)?;
            let lone = self.on(8, 32, || self.lone(&self.server))?;
            fill(&mut page_cache)?;
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
        drop(page_cache);
        if self.mib > 0 {
            for (name, value) in self.catch_up()? {
                note(name, value);
            }
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
                ends: None,
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
        let switches = |member: usize| {
            let [before, after] = [&before, &after].map(|usage| usage[member].context_switches);
            after.saturating_sub(before) as f64 / report.messages as f64
        };
        Ok(Found {
            p50_us: report.p50_us,
            per_second: report.per_second,
            cpu_us: [cpu(0), cpu(1)],
            switches: [switches(0), switches(1)],
        })
    }

    /// What fills the page cache before each measurement, if it is to be full.
    fn page_cache(&self) -> io::Result<Option<PageCache>> {
        let page_cache = self.fill_page_cache.then(|| PageCache::new(&self.work_dir));
        page_cache.transpose()
    }

    fn dir(&self, name: &str) -> PathBuf {
        dir_in(&self.work_dir, name)
    }

    fn lone(&self, command: &str) -> io::Result<Group> {
        Ok(Group {
            port: Port::hold()?,
            master: Server::start(command, &self.dir("alone"), Ready::Topic)?,
            replica: None,
        })
    }

    /// The reference server, as far from the load as a replica is from its master.
    fn reference(&self) -> io::Result<String> {
        if self.other_cpu.is_none() {
            return Ok("reference".to_owned());
        }
        let own = std::env::current_exe()?;
        let own = own.display();
        Ok(self.on_other_cpu(&format!(
            "{own} reference --listen 127.0.0.1:{{port}} --dir {{dir}}"
        )))
    }

    fn on_other_cpu(&self, command: &str) -> String {
        match self.other_cpu {
            Some(cpu) => format!("taskset -c {cpu} {command}"),
            None => command.to_owned(),
        }
    }

    /// A master and a replica that is in sync with it.
    fn group(&self, ack_mode: &str) -> io::Result<Group> {
        let port = Port::hold()?;
        let master = self.master(&port, ack_mode)?;
        let replica = self.replica(&port, ack_mode, "", &self.work_dir)?;
        let group = Group {
            port,
            master,
            replica: Some(replica),
        };
        group.wait(JOINS_WITHIN, |state| {
            replicas(state).any(|replica| replica.in_sync)
        })?;
        Ok(group)
    }

    fn master(&self, port: &Port, ack_mode: &str) -> io::Result<Server> {
        let command = format!(
            "{} --set brokerId=0 --set ackMode={ack_mode} --set replicationListen={}",
            self.server,
            port.addr()
        );
        // It creates no topic before a replica is in sync.
        Server::start(&command, &self.dir("master"), Ready::Route)
    }

    /// A replica, started through `wrapper`, with its directory in `parent`.
    fn replica(
        &self,
        port: &Port,
        ack_mode: &str,
        wrapper: &str,
        parent: &Path,
    ) -> io::Result<Server> {
        let command = format!(
            "{wrapper} {} --set brokerId=1 --set ackMode={ack_mode} --set replicationListen=127.0.0.1:0 --set replicationMaster={}",
            self.server,
            port.addr()
        );
        let command = self.on_other_cpu(&command);
        Server::start(&command, &dir_in(parent, "replica"), Ready::Route)
    }
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
        is_reached: impl Fn(&GroupStatus) -> bool,
    ) -> io::Result<GroupStatus> {
        let mut desk = Desk::connect(&self.master.target().addr)?;
        let began = Instant::now();
        loop {
            let state = status(&mut desk)?;
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
            stop(server)?;
        }
        rustix::fs::sync();
        Ok(())
    }
}

fn fill(page_cache: &mut Option<PageCache>) -> io::Result<()> {
    if let Some(page_cache) = page_cache {
        page_cache.fill()?;
    }
    Ok(())
}

/// Stops a server and removes its directory.
fn stop(server: Server) -> io::Result<()> {
    let dir = server.target().dir;
    server.stop()?;
    match dir {
        Some(dir) => remove(&dir),
        None => Ok(()),
    }
}

/// What a master says of its group.
fn status(desk: &mut Desk) -> io::Result<GroupStatus> {
    let said = desk.ask(RequestCode::GetGroupStatus.as_i32(), &(), &[])?;
    GroupStatus::from_json(&said.body).map_err(io::Error::other)
}

fn replicas(state: &GroupStatus) -> impl Iterator<Item = &MemberStatus> {
    state
        .members
        .iter()
        .filter(|member| member.slot != state.me)
}

fn dir_in(parent: &Path, name: &str) -> PathBuf {
    parent.join(format!("rmq-bench-{}-{name}", std::process::id()))
}

fn remove(dir: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(dir)?;
    std::fs::remove_file(dir.with_extension("log"))
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
