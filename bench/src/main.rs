//! `rmq-bench`: see `docs/operate/benchmarks.md`.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rmq_bench::compare::{Plan, compare, run_once};
use rmq_bench::load::{EndToEnd, Load, Pull, Send, Shape, Target};
use rmq_bench::page_cache::PageCache;
use rmq_bench::reference::{self, Flush};
use rmq_bench::server::Ready;
use rmq_bench::{disk, idle, replication, stop};
use rmq_protocol::frame::HeaderEncoding;
use serde::Serialize;

/// Measures servers that speak the RocketMQ remoting protocol.
#[derive(Debug, Parser)]
#[command(name = "rmq-bench", version, about)]
struct Cli {
    /// Print results as JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a load against a server that is running.
    Run {
        /// Address of the broker, host:port.
        #[arg(long, default_value = "127.0.0.1:10911", value_parser = rmq_texts::server)]
        addr: String,
        /// The broker's process, to report what it uses.
        #[arg(long)]
        pid: Option<u32>,
        /// The broker's data directory, to report what its device writes.
        #[arg(long)]
        dir: Option<PathBuf>,
        #[command(subcommand)]
        load: LoadArgs,
    },
    /// Start a server on a fresh directory, run a load, stop it.
    Once {
        /// The server's command; {port}, {management} and {dir} are replaced.
        #[arg(long)]
        server: String,
        /// Where its directory is made.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        work_dir: PathBuf,
        /// Fill the page cache before each run, as it is on a machine in service.
        #[arg(long)]
        fill_page_cache: bool,
        #[command(subcommand)]
        load: LoadArgs,
    },
    /// Run a load against two servers in turn and report ratios.
    Compare {
        /// Command of server A; {port}, {management} and {dir} are replaced.
        #[arg(long)]
        a: String,
        /// Command of server B; `reference` is this program's own, `apache [JVM options] [key=value …]` the broker of Apache RocketMQ.
        #[arg(long, default_value = "reference")]
        b: String,
        /// Pairs of runs.
        #[arg(long, default_value_t = 5)]
        pairs: usize,
        /// Where their directories are made.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        work_dir: PathBuf,
        /// Fill the page cache before each run, as it is on a machine in service.
        #[arg(long)]
        fill_page_cache: bool,
        #[command(subcommand)]
        load: LoadArgs,
    },
    /// Measure memory at rest and for each idle connection.
    Idle {
        /// Address of the server, host:port.
        #[arg(long, value_parser = rmq_texts::server)]
        addr: String,
        /// Its process.
        #[arg(long)]
        pid: u32,
        /// Connections to open.
        #[arg(long, default_value_t = 5_000)]
        connections: usize,
    },
    /// Measure the time from starting a process to its first good answer.
    Start {
        /// The server's command; {port}, {management} and {dir} are replaced.
        #[arg(long)]
        server: String,
        /// Where its directory is made.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        work_dir: PathBuf,
        /// A name server: wait for the answer to a route query instead of a created topic.
        #[arg(long)]
        name_server: bool,
        /// Starts.
        #[arg(long, default_value_t = 10)]
        count: usize,
    },
    /// Store data, stop, store 32 MiB more, kill the server with SIGKILL, and measure its next starts.
    Recover {
        /// The server's command; {port}, {management} and {dir} are replaced.
        #[arg(long)]
        server: String,
        /// Where its directory is made.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        work_dir: PathBuf,
        /// Data to store, GiB.
        #[arg(long, default_value_t = 4)]
        gib: u64,
        /// Starts.
        #[arg(long, default_value_t = 3)]
        count: usize,
    },
    /// Measure what a replica costs: a broker alone, and a group of two with inSync.
    Replication {
        /// The broker's command; {port}, {management} and {dir} are replaced, and the settings of members added.
        #[arg(long)]
        server: String,
        /// Where directories are made.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        work_dir: PathBuf,
        /// Rounds of the loads.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Measured seconds of each load.
        #[arg(long, default_value_t = 3.0)]
        duration: f64,
        /// Log that an empty replica copies, MiB; 0 leaves that out.
        #[arg(long, default_value_t = 8_192)]
        mib: u64,
        /// Messages a second that producers send while a replica copies.
        #[arg(long, default_value_t = 5_000.0)]
        rate: f64,
        /// Where the directory of a replica beside producers is made, on another disk or tmpfs: one on another machine shares no disk with its master.
        #[arg(long)]
        replica_dir: Option<PathBuf>,
        /// How many times producers run alone and beside a replica that copies; 0 leaves that out.
        #[arg(long, default_value_t = 3)]
        pairs: usize,
        /// Fill the page cache before each measurement, as it is on a machine in service.
        #[arg(long)]
        fill_page_cache: bool,
        /// The CPU of replicas and of the reference server (by `taskset`); everything else runs where this program may.
        #[arg(long)]
        other_cpu: Option<usize>,
    },
    /// Measure synced writes of the device.
    Fsync {
        /// A directory on the device.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        dir: PathBuf,
        /// Bytes of a write.
        #[arg(long, default_value_t = 4_096)]
        bytes: usize,
        /// Writes.
        #[arg(long, default_value_t = 5_000)]
        count: u32,
    },
    /// Run the reference server until it is stopped.
    Reference {
        /// Address to listen on.
        #[arg(long, default_value = "127.0.0.1:10911")]
        listen: String,
        /// What happens to a message before it is acknowledged.
        #[arg(long, value_enum, default_value_t = FlushArg::Memory)]
        flush: FlushArg,
        /// Where the file of the writing modes is made.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        dir: PathBuf,
        /// Size of that file, MiB; it is written round and round.
        #[arg(long, default_value_t = 512)]
        file_mib: u64,
        /// Memory of the other mode, MiB.
        #[arg(long, default_value_t = 1_024)]
        hot_mib: usize,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FlushArg {
    /// Copied into warm memory.
    Memory,
    /// Written once for each socket read.
    Async,
    /// Written and synced, everything that waits at once.
    Sync,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Encoding {
    /// JSON headers.
    Json,
    /// Compact binary headers.
    Binary,
}

#[derive(Debug, Args)]
struct ShapeArgs {
    /// How headers are written.
    #[arg(long, value_enum, default_value_t = Encoding::Json)]
    encoding: Encoding,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 1_024)]
    body: usize,
    /// Topics.
    #[arg(long, default_value_t = 1)]
    topics: usize,
    /// Queues of each topic.
    #[arg(long, default_value_t = 8)]
    queues: i32,
    /// Seconds before measuring.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Measured seconds.
    #[arg(long, default_value_t = 5.0)]
    duration: f64,
}

impl ShapeArgs {
    fn shape(&self) -> Shape {
        Shape {
            encoding: match self.encoding {
                Encoding::Json => HeaderEncoding::Json,
                Encoding::Binary => HeaderEncoding::Binary,
            },
            body_bytes: self.body,
            topics: self.topics.max(1),
            queues: self.queues.max(1),
            warm_up: Duration::from_secs_f64(self.warm_up.max(0.0)),
            duration: Duration::from_secs_f64(self.duration.max(0.01)),
        }
    }
}

#[derive(Debug, Subcommand)]
enum LoadArgs {
    /// Send messages.
    Send {
        #[command(flatten)]
        shape: ShapeArgs,
        /// Connections.
        #[arg(long, short, default_value_t = 8)]
        connections: usize,
        /// Requests in flight on each.
        #[arg(long, short, default_value_t = 32)]
        depth: usize,
        /// Messages in a request.
        #[arg(long, default_value_t = 1)]
        batch: usize,
        /// Requests a second over all connections (open loop); without it as fast as answers come.
        #[arg(long)]
        rate: Option<f64>,
    },
    /// Store messages, then pull them again and again.
    Pull {
        #[command(flatten)]
        shape: ShapeArgs,
        /// Connections.
        #[arg(long, short, default_value_t = 4)]
        connections: usize,
        /// Requests in flight on each.
        #[arg(long, short, default_value_t = 1)]
        depth: usize,
        /// Messages to store before.
        #[arg(long, default_value_t = 200_000)]
        messages: u64,
        /// Messages asked for by a request.
        #[arg(long, default_value_t = 32)]
        each: i32,
    },
    /// Send at a rate and receive by long poll.
    E2e {
        #[command(flatten)]
        shape: ShapeArgs,
        /// Messages a second.
        #[arg(long, default_value_t = 10_000.0)]
        rate: f64,
        /// Groups, each of which gets every message.
        #[arg(long, default_value_t = 1)]
        groups: usize,
        /// Messages an answer may bring.
        #[arg(long, default_value_t = 32)]
        each: i32,
    },
}

impl LoadArgs {
    fn load(&self) -> Load {
        match self {
            Self::Send {
                shape,
                connections,
                depth,
                batch,
                rate,
            } => Load::Send(Send {
                shape: shape.shape(),
                connections: *connections,
                depth: *depth,
                batch: *batch,
                rate: *rate,
                requests_max: None,
                ends: None,
            }),
            Self::Pull {
                shape,
                connections,
                depth,
                messages,
                each,
            } => Load::Pull(Pull {
                shape: shape.shape(),
                connections: *connections,
                depth: *depth,
                messages: *messages,
                messages_each: *each,
            }),
            Self::E2e {
                shape,
                rate,
                groups,
                each,
            } => Load::EndToEnd(EndToEnd {
                shape: shape.shape(),
                rate: *rate,
                groups: (*groups).max(1),
                messages_each: *each,
            }),
        }
    }
}

impl Command {
    /// Where directories of servers are made.
    fn work_dir(&self) -> Option<&Path> {
        match self {
            Self::Once { work_dir, .. }
            | Self::Compare { work_dir, .. }
            | Self::Start { work_dir, .. }
            | Self::Replication { work_dir, .. }
            | Self::Recover { work_dir, .. } => Some(work_dir),
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The reference server has its own way to stop.
    let stop = match &cli.command {
        Command::Reference { .. } => None,
        command => stop::listen(command.work_dir().map(Path::to_owned)).ok(),
    };
    let done = run(&cli);
    let signal = stop.and_then(|stop| stop.received());
    match (done, signal) {
        (Ok(()), _) => ExitCode::SUCCESS,
        (Err(_), Some(signal)) => {
            stop::end(cli.command.work_dir());
            signal.into()
        }
        (Err(error), None) => {
            let _ = writeln!(io::stderr(), "rmq-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> io::Result<()> {
    match &cli.command {
        Command::Run {
            addr,
            pid,
            dir,
            load,
        } => {
            let target = Target {
                addr: addr.clone(),
                pid: *pid,
                dir: dir.clone(),
            };
            show(cli.json, &load.load().run(&target)?)
        }
        Command::Once {
            server,
            work_dir,
            fill_page_cache,
            load,
        } => {
            let dir = work_dir.join(format!("rmq-bench-{}", std::process::id()));
            let page_cache = fill_page_cache.then(|| PageCache::new(work_dir));
            let mut page_cache = page_cache.transpose()?;
            let report = run_once(server, &dir, &load.load(), page_cache.as_mut())?;
            show(cli.json, &report)
        }
        Command::Compare {
            a,
            b,
            pairs,
            work_dir,
            fill_page_cache,
            load,
        } => {
            let plan = Plan {
                a: a.clone(),
                b: b.clone(),
                pairs: (*pairs).max(1),
                work_dir: work_dir.clone(),
                fill_page_cache: *fill_page_cache,
            };
            let progress = |name: &str, report: &rmq_bench::report::Report| {
                let _ = writeln!(
                    io::stderr(),
                    "{name}: {:.0} msg/s, p50 {:.0} us, {} errors",
                    report.per_second,
                    report.p50_us,
                    report.errors
                );
            };
            show(cli.json, &compare(&plan, &load.load(), progress)?)
        }
        Command::Idle {
            addr,
            pid,
            connections,
        } => show(cli.json, &idle::idle(addr, *pid, *connections)?),
        Command::Start {
            server,
            work_dir,
            name_server,
            count,
        } => {
            let ready = if *name_server {
                Ready::Route
            } else {
                Ready::Topic
            };
            show(cli.json, &idle::starts(server, work_dir, ready, *count)?)
        }
        Command::Recover {
            server,
            work_dir,
            gib,
            count,
        } => show(cli.json, &idle::recoveries(server, work_dir, *gib, *count)?),
        Command::Replication {
            server,
            work_dir,
            rounds,
            duration,
            mib,
            rate,
            replica_dir,
            pairs,
            fill_page_cache,
            other_cpu,
        } => {
            let plan = replication::Plan {
                server: server.clone(),
                rounds: *rounds,
                seconds: duration.max(0.01),
                mib: *mib,
                rate: rate.max(1.0),
                pairs: *pairs,
                fill_page_cache: *fill_page_cache,
                other_cpu: *other_cpu,
                work_dir: work_dir.clone(),
                replica_dir: replica_dir.clone(),
            };
            show(cli.json, &plan.run()?)
        }
        Command::Fsync { dir, bytes, count } => {
            show(cli.json, &disk::synced_writes(dir, *bytes, *count)?)
        }
        Command::Reference {
            listen,
            flush,
            dir,
            file_mib,
            hot_mib,
        } => {
            let flush = match flush {
                FlushArg::Memory => Flush::Memory,
                FlushArg::Async => Flush::Async,
                FlushArg::Sync => Flush::Sync,
            };
            let log = reference::open(dir, flush, file_mib << 20, hot_mib << 20)?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut stop = rmq_process::StopSignal::listen()?;
                let listener = tokio::net::TcpListener::bind(listen).await?;
                tokio::select! {
                    served = reference::serve(listener, log) => served,
                    _ = stop.wait() => Ok(()),
                }
            })
        }
    }
}

fn show<T: Serialize + Display>(json: bool, result: &T) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, result)?;
        writeln!(out)
    } else {
        write!(out, "{result}")?;
        out.flush()
    }
}
