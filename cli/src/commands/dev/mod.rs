//! `rmq-ctl dev`: a name server and a broker in this process, on loopback. Changes state: it writes its data folder.
//!
//! Starting goes: data folder and its lock, servers, topics, self-check, then it says how to connect and stays until
//! interrupted. Stopping leaves the routes, flushes and releases the folder.

mod connect_help;
mod data_dir;
mod self_check;
mod servers;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use self::data_dir::DataDir;
use self::servers::{Ports, Servers};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::Output;

/// Options of `dev`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Changes only its own data folder.

Examples:
  rmq-ctl dev
  rmq-ctl dev --tmp --topics orders,payments
  rmq-ctl dev --tmp --port 0 --broker-port 0 --print-json   # for tests in other languages")]
pub(crate) struct Options {
    /// Topics to create when they do not exist: names, comma separated.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    topics: Vec<String>,

    /// Where the messages are kept. Default: `rmq/dev` in the user's data folder ($XDG_DATA_HOME or ~/.local/share).
    #[arg(long, value_name = "DIR", conflicts_with = "tmp")]
    data: Option<PathBuf>,

    /// Keep nothing: a throw-away folder, removed at the end.
    #[arg(long)]
    tmp: bool,

    /// Port of the name server; 0 lets the system choose. Default: 9876, or a free one when it is taken.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Port of the broker; 0 lets the system choose. Default: 10911, or a free one when it is taken.
    #[arg(long, value_name = "PORT")]
    broker_port: Option<u16>,

    /// When ready, print one line of JSON on stdout:
    /// {"nameServer":"127.0.0.1:PORT","brokers":[{"name":"…","address":"…"}]}
    #[arg(long)]
    print_json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready<'a> {
    name_server: &'a str,
    brokers: Vec<ReadyBroker<'a>>,
}

#[derive(Serialize)]
struct ReadyBroker<'a> {
    name: &'a str,
    address: &'a str,
}

pub(crate) fn run(options: Options, output: &Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Exit::Failed, "cannot start the worker threads").cause(&error)
        })?;
    runtime.block_on(cluster(options, output))
}

async fn cluster(options: Options, output: &Output) -> Result<(), Failure> {
    let began = Instant::now();
    // Before anything starts, so that an early Ctrl-C is not lost.
    let mut stop = StopSignal::new()?;
    let mut data = DataDir::open(options.data, options.tmp)?;
    let ports = Ports {
        name_server: options.port,
        broker: options.broker_port,
    };
    let servers = Servers::start(data.path(), ports).await?;
    data.announce(servers.name_server(), servers.broker())?;

    let ready = prepare(&options.topics, &servers);
    let checked = tokio::select! {
        checked = ready => checked,
        () = stop.wait() => Err(Failure::new(Exit::Failed, "interrupted while starting")),
    };
    let found = match checked {
        Ok(found) => found,
        Err(failure) => {
            servers.stop().await?;
            return Err(failure);
        }
    };

    if options.print_json {
        let ready = Ready {
            name_server: servers.name_server(),
            brokers: vec![ReadyBroker {
                name: servers.broker_name(),
                address: servers.broker(),
            }],
        };
        output.data(
            &serde_json::to_string(&ready).expect("a struct of strings is always valid JSON"),
        );
    } else {
        connect_help::print(
            output,
            &servers,
            &data,
            &options.topics,
            &found,
            began.elapsed(),
        );
    }

    stop.wait().await;
    if !options.print_json {
        output.say("stopping: leaving the routes, writing everything to disk (Ctrl-C again to give up waiting)");
    }
    tokio::select! {
        stopped = servers.stop() => stopped,
        () = stop.wait() => Err(Failure::new(Exit::Failed, "stopped at once by a second signal")
            .because("the next start reads the end of the log again; acknowledged messages are not lost")),
    }
}

/// Creates the topics and proves with a message that the cluster works.
async fn prepare(topics: &[String], servers: &Servers) -> Result<self_check::Found, Failure> {
    let client = self_check::connect(servers.name_server()).await?;
    for topic in topics {
        self_check::create_topic(&client, topic).await?;
    }
    self_check::round_trip(&client, servers).await
}

/// Ctrl-C or a request to terminate.
struct StopSignal {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignal {
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Failed, "cannot listen for signals").cause(&error)
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
