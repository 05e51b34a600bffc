//! `rmq-ctl tunnel`: a cluster that only `rmq-ctl` reaches, for programs that speak the protocol themselves. Reads only.
//!
//! Name servers tell clients where brokers are, and brokers in Kubernetes say names of pods. The tunnel listens on loopback for each
//! server, passes everything on, and puts its own addresses in the place of the brokers' where an answer carries them.

mod listeners;
mod relay;

use clap::Args;
use serde::Serialize;

use self::listeners::{News, Tunnel};
use crate::cluster::{Cluster, ClusterOptions, resolve};
use crate::codes;
use crate::connect_help;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::Output;
use crate::runtime::on_all_threads;
use crate::stop;

/// Options of `tunnel`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes nothing itself; programs that use it may. Only programs of this machine can use it.

Examples:
  rmq-ctl tunnel
  rmq-ctl tunnel --kube-context prod -n shop --port 9876
  rmq-ctl tunnel --print-json   # for tests in other languages"
)]
pub(crate) struct Options {
    /// Port for the first name server; further name servers get the next ports. Default: free ports.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// Port for the first broker; further brokers get every tenth port after it. Default: free ports.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    broker_port: u16,

    /// When ready, print one line of JSON on stdout:
    /// {"nameServers":["127.0.0.1:PORT"],"brokers":[{"name":"…","id":0,"address":"127.0.0.1:PORT","remote":"…"}]}
    #[arg(long)]
    print_json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready<'a> {
    name_servers: &'a [String],
    brokers: &'a [Broker],
}

#[derive(Serialize)]
struct Broker {
    name: String,
    id: i64,
    /// Here.
    address: String,
    /// Where it is.
    remote: String,
}

pub(crate) fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    on_all_threads(tunnel(options, cluster, output))
}

async fn tunnel(
    options: &Options,
    cluster_options: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let mut stop = stop::listen()?;
    let place = resolve(cluster_options).await?;
    place.tell(output);
    let connector = std::sync::Arc::clone(&place.connector);
    let cluster = Cluster::open(place, cluster_options).await?;
    let (tunnel, mut news) = Tunnel::new(connector, Some(options.broker_port));
    let name_servers = name_servers(&tunnel, options, &cluster).await?;
    let brokers = brokers(&tunnel, &cluster).await?;
    if options.print_json {
        let ready = Ready {
            name_servers: &name_servers,
            brokers: &brokers,
        };
        output.data(&serde_json::to_string(&ready).expect("structs of strings are valid JSON"));
    } else {
        print(&name_servers, &brokers, &cluster, output);
    }
    loop {
        tokio::select! {
            _ = stop.wait() => break,
            Some(news) = news.recv() => match news {
                // The first ones are in the list.
                News::Broker { remote, .. } if brokers.iter().any(|known| known.remote == remote) => {}
                News::Broker { remote, local } => output.say(&format!("new broker {remote}: {local}")),
                News::Trouble(text) => output.say(&text),
            }
        }
    }
    tunnel.stop().await;
    cluster.client.shutdown().await;
    Ok(())
}

async fn name_servers(
    tunnel: &Tunnel,
    options: &Options,
    cluster: &Cluster,
) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for (index, remote) in (0..).zip(cluster.client.url().name_servers()) {
        let port = match options.port {
            0 => 0,
            first => first.checked_add(index).ok_or_else(|| {
                Failure::coded(
                    &codes::INVALID,
                    format!("there is no port {first} + {index}"),
                )
            })?,
        };
        let local = tunnel.name_server(remote, port).await.map_err(|error| {
            Failure::new(Exit::Conflict, "the tunnel cannot listen")
                .fact("address", format!("127.0.0.1:{port}"))
                .cause(&error)
                .try_this("--port 0   (lets the system choose a free port)")
        })?;
        all.push(local);
    }
    Ok(all)
}

async fn brokers(tunnel: &Tunnel, cluster: &Cluster) -> Result<Vec<Broker>, Failure> {
    let info = cluster.client.cluster_info().await;
    let info = info.map_err(|error| cluster.failed("cannot list the brokers", error))?;
    let mut all = Vec::new();
    for (name, group) in info.broker_addr_table {
        for (id, remote) in group.broker_addrs {
            let address = tunnel.broker(&remote).await.map_err(|error| {
                Failure::new(Exit::Failed, "the tunnel cannot listen")
                    .fact("broker", &name)
                    .cause(&error)
            })?;
            all.push(Broker {
                name: name.clone(),
                id,
                address,
                remote,
            });
        }
    }
    Ok(all)
}

fn print(name_servers: &[String], brokers: &[Broker], cluster: &Cluster, output: &Output) {
    output.heading(&format!("the tunnel to {} is open", cluster.name));
    let mut lines: Vec<(String, String)> = cluster
        .client
        .url()
        .name_servers()
        .iter()
        .zip(name_servers)
        .map(|(remote, local)| ("name server".to_owned(), format!("{local}  {remote}")))
        .collect();
    for broker in brokers {
        let name = match broker.id {
            0 => format!("broker {}", broker.name),
            id => format!("broker {}/{id}", broker.name),
        };
        lines.push((name, format!("{}  {}", broker.address, broker.remote)));
    }
    let lines: Vec<(&str, &str)> = lines
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    output.list(&lines);
    output.say("");
    connect_help::snippets(output, name_servers, "orders");
    output.say("");
    output.say("Ctrl-C closes it.");
}
