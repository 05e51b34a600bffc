//! `rmq-ctl dev`: name servers and brokers in this process, on loopback. Changes state: it writes its data folder.
//!
//! Starting goes: data folder and its lock, servers, topics, self-check, then it says how to connect and stays until
//! interrupted. Stopping leaves the routes, flushes and releases the folder.

pub(super) mod connect_help;
mod data_dir;
mod plan;
mod self_check;
mod servers;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use self::data_dir::DataDir;
use self::plan::{ClusterPlan, Plan};
use self::servers::{Cluster, Ports, Servers};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::Output;
use crate::stop;

/// Options of `dev`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Changes only its own data folder.

Examples:
  rmq-ctl dev
  rmq-ctl dev --tmp --topics orders,payments
  rmq-ctl dev --tmp -f manifests/                           # what kubectl apply would make in Kubernetes
  rmq-ctl dev --tmp --management                            # with health and metrics of the servers
  rmq-ctl dev --tmp --port 0 --broker-port 0 --print-json   # for tests in other languages")]
pub(crate) struct Options {
    /// Manifests (files, folders, or - for stdin) with NameServer, BrokerGroup, Topic and SubscriptionGroup objects: so many servers,
    /// with that configuration, and these topics and groups. What means nothing on a laptop is said and left out.
    #[arg(short, long = "filename", value_name = "FILE")]
    file: Vec<String>,

    /// Topics to create when they do not exist: names, comma separated.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    topics: Vec<String>,

    /// Where the messages are kept. Default: `rmq/dev` in the user's data folder ($XDG_DATA_HOME or ~/.local/share).
    #[arg(long, value_name = "DIR", conflicts_with = "tmp")]
    data: Option<PathBuf>,

    /// Keep nothing: a throw-away folder, removed at the end.
    #[arg(long)]
    tmp: bool,

    /// Port of the name server; 0 lets the system choose. Default: 9876, or a free one when it is taken. More get the next ones.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Port of the broker; 0 lets the system choose. Default: 10911, or a free one when it is taken. More get every tenth.
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready<'a> {
    #[serde(flatten)]
    first: ReadyCluster<'a>,
    /// All of them, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clusters: Vec<ReadyCluster<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadyCluster<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    name_server: &'a str,
    name_servers: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    name_server_management: Vec<String>,
    brokers: Vec<ReadyBroker<'a>>,
}

#[derive(Serialize)]
struct ReadyBroker<'a> {
    name: &'a str,
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    management: Option<String>,
}

impl<'a> Ready<'a> {
    fn of(servers: &'a Servers) -> Self {
        let ready = |cluster: &'a Cluster, name| ReadyCluster {
            name,
            name_server: &cluster.name_servers()[0],
            name_servers: cluster.name_servers(),
            name_server_management: cluster.name_server_management(),
            brokers: cluster
                .brokers()
                .zip(cluster.broker_management())
                .map(|((name, address), management)| ReadyBroker {
                    name,
                    address,
                    management,
                })
                .collect(),
        };
        let all = servers.clusters();
        let several = all.iter().filter(|_| all.len() > 1);
        Self {
            first: ready(&all[0], None),
            clusters: several
                .map(|cluster| ready(cluster, Some(cluster.name())))
                .collect(),
        }
    }
}

pub(crate) fn run(options: Options, output: &Output) -> Result<(), Failure> {
    crate::on_all_threads(cluster(options, output))
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
    let plan = match options.file.as_slice() {
        [] => Plan::usual(),
        files => Plan::of(crate::manifest::load(files, None)?)?,
    };
    for note in &plan.notes {
        output.say(note);
    }
    let servers = Servers::start(data.path(), ports, &plan.clusters).await?;
    data.announce(&servers.name_servers(), &servers.brokers())?;

    let ready = prepare(&options.topics, &plan.clusters, &servers);
    let checked = tokio::select! {
        checked = ready => checked,
        _ = stop.wait() => return servers.stop().await,
    };
    let found = match checked {
        Ok(found) => found,
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
        connect_help::print(output, &servers, &data, &found, began.elapsed());
    }

    stop.wait().await;
    if !options.print_json {
        output.say("stopping: leaving the routes, writing everything to disk (a second Ctrl-C ends at once; acknowledged messages are not lost)");
    }
    servers.stop().await
}

/// What is there in the end.
pub(super) struct Prepared {
    /// Topics that were asked for, of the first cluster.
    topics: Vec<String>,
    found: self_check::Found,
}

/// Makes topics and groups, and proves with a message to each cluster that it works.
async fn prepare(
    topics: &[String],
    plans: &[ClusterPlan],
    servers: &Servers,
) -> Result<Prepared, Failure> {
    let mut prepared = None;
    for (cluster, plan) in servers.clusters().iter().zip(plans) {
        let client = self_check::connect(cluster.name_servers()).await?;
        let mut made: Vec<String> = match prepared {
            None => topics.to_vec(),
            Some(_) => Vec::new(),
        };
        for topic in &made {
            self_check::create_topic(&client, topic).await?;
        }
        for settings in &plan.settings {
            self_check::apply(&client, settings).await?;
            if settings.noun() == "topic" {
                made.push(settings.name().to_owned());
            }
        }
        let found = self_check::round_trip(&client, cluster).await?;
        client.shutdown().await;
        prepared.get_or_insert(Prepared {
            topics: made,
            found,
        });
    }
    prepared.ok_or_else(|| Failure::new(Exit::Usage, "there is no cluster to start"))
}
