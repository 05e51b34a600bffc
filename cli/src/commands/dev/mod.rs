//! `rmq-ctl dev`: name servers and brokers in this process, on loopback. Changes state: it writes its data folder.
//!
//! Starting goes: data folder and its lock, servers, topics, self-check, then it says how to connect and stays until
//! interrupted. Stopping leaves the routes, flushes and releases the folder.

mod data_dir;
mod place;
mod plan;
mod ready;
mod self_check;
pub(crate) mod servers;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use self::data_dir::DataDir;
use self::plan::Plan;
use self::ready::Ready;
use self::self_check::prepare;
use self::servers::{Ports, Servers};
use crate::error::Failure;
use crate::output::Output;
use crate::runtime::on_all_threads;
use crate::stop;

/// Options of `dev`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Changes only its own data folder.

Examples:
  rmq-ctl dev
  rmq-ctl dev --tmp --topics orders,payments
  rmq-ctl dev --tmp -f manifests/                           # what kubectl apply would make in Kubernetes
  rmq-ctl dev --tmp --replicas 3                            # a broker group of three that elects its master
  rmq-ctl dev --tmp --management                            # with health and metrics of the servers
  rmq-ctl dev --tmp --port 0 --broker-port 0 --print-json   # for tests in other languages")]
pub(crate) struct Options {
    /// Manifests (files, folders, or - for stdin) with NameServer, BrokerGroup, Topic and SubscriptionGroup objects: dev starts these
    /// servers with their configuration and makes these topics and groups. It leaves out what has no meaning on a laptop, and says so.
    #[arg(short, long = "filename", value_name = "FILE")]
    file: Vec<String>,

    /// Topics to create when they do not exist: names, comma separated.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    topics: Vec<String>,

    /// Members of each broker group, 1 to 16. Two and more elect their master and copy its log, acknowledgements wait for those in sync (ackMode
    /// inSync), and consumers may read from replicas. Default: 1, or what the manifests say. Their data lies apart from that of a broker alone.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=rmq_election::place::MEMBERS_MAX as i64))]
    replicas: Option<u8>,

    /// Where the messages are kept. Default: `rmq/dev` in the user's data folder ($XDG_DATA_HOME or ~/.local/share).
    #[arg(long, value_name = "DIR", conflicts_with = "tmp")]
    data: Option<PathBuf>,

    /// Keep nothing: a throw-away folder, removed at the end.
    #[arg(long)]
    tmp: bool,

    /// Port of the name server; 0 lets the system choose. Default: 9876, or a free port when it is taken. Further name servers get the next ports.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Port of the broker; 0 lets the system choose. Default: 10911, or a free port when it is taken. Further brokers get every tenth port after it.
    #[arg(long, value_name = "PORT")]
    broker_port: Option<u16>,

    /// Open the management ports of the servers too, on loopback, and print them: /livez, /readyz, /metrics, /version. Ports: 9878 and
    /// 10999, or free ones.
    #[arg(long)]
    management: bool,

    /// When ready, print one line of JSON on stdout:
    /// {"nameServer":"127.0.0.1:PORT","nameServers":[…],"brokers":[{"name":"…","address":"…"}]}; with several clusters also "clusters";
    /// with --management also "nameServerManagement" and each broker's "management".
    #[arg(long)]
    print_json: bool,
}

pub(crate) fn run(options: Options, output: &Output) -> Result<(), Failure> {
    on_all_threads(cluster(options, output))
}

async fn cluster(options: Options, output: &Output) -> Result<(), Failure> {
    let began = Instant::now();
    // Before anything starts, so that an early Ctrl-C is not lost.
    let mut stop = stop::listen()?;
    let mut data = DataDir::open(options.data, options.tmp)?;
    let ports = Ports {
        name_server: options.port,
        broker: options.broker_port,
        management: options.management,
    };
    let members = options.replicas.map(usize::from);
    let plan = match options.file.as_slice() {
        [] => Plan::usual(members),
        files => Plan::of(crate::manifest::load(files, None)?, members)?,
    };
    for note in &plan.notes {
        output.say(note);
    }
    let servers = Servers::start(data.path(), ports, &plan.clusters).await?;
    data.announce(&servers.name_servers(), &servers.brokers())?;

    let checking = prepare(&options.topics, &plan.clusters, &servers);
    let checked = tokio::select! {
        checked = checking => checked,
        _ = stop.wait() => return servers.stop().await,
    };
    let checked = match checked {
        Ok(checked) => checked,
        Err(failure) => {
            servers.stop().await?;
            return Err(failure);
        }
    };

    if options.print_json {
        output.data(
            &serde_json::to_string(&Ready::of(&servers))
                .expect("a struct of strings is always valid JSON"),
        );
    } else {
        ready::print(output, &servers, &data, &checked, began.elapsed());
    }

    stop.wait().await;
    if !options.print_json {
        output.say("stopping: leaving the routes, writing everything to disk (a second Ctrl-C ends at once; acknowledged messages are not lost)");
    }
    servers.stop().await
}
