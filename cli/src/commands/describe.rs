//! `rmq-ctl describe`: everything about one thing. Reads only.

use clap::{Args, ValueEnum};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::facts::about::description::Description;
use crate::facts::about::{client, cluster, group, message, queue, server, topic};
use crate::output::Output;
use crate::render::{RenderOptions, WatchOptions, table};

/// Options of `describe`.
#[derive(Debug, Args)]
#[command(after_help = "Reads only.

Examples:
  rmq-ctl describe topic orders
  rmq-ctl describe group billing -o yaml
  rmq-ctl describe broker broker-a
  rmq-ctl describe queue orders/broker-a/0
  rmq-ctl describe client 10.0.0.7@1234 -g billing
  rmq-ctl describe message 7F00000100002A9F0000000000000064
  rmq-ctl describe cluster")]
pub(crate) struct Options {
    /// What it is.
    #[arg(value_enum)]
    noun: Noun,

    /// Its name; a queue is TOPIC/BROKER/QUEUE. A cluster needs no name where there is only one.
    #[arg(default_value = "")]
    name: String,

    /// The client's group.
    #[arg(short, long, required_if_eq("noun", "client"))]
    group: Option<String>,

    /// Of a topic: which queues each of these clients would get, by their ids.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    plan_for: Vec<String>,

    /// Of a topic: only its route.
    #[arg(long)]
    route: bool,

    #[command(flatten)]
    watch: WatchOptions,

    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Noun {
    /// A topic.
    #[value(alias = "topics", alias = "t")]
    Topic,
    /// A consumer group.
    #[value(alias = "groups", alias = "g", alias = "sub")]
    Group,
    /// A broker.
    #[value(alias = "brokers", alias = "b")]
    Broker,
    /// A cluster.
    #[value(alias = "clusters")]
    Cluster,
    /// A name server, by its address.
    #[value(alias = "nameservers", alias = "ns")]
    Nameserver,
    /// A queue of a topic.
    #[value(alias = "queues", alias = "q")]
    Queue,
    /// A member of a group, by its id.
    #[value(alias = "clients", alias = "c")]
    Client,
    /// A message, by its id: what it is, and who has consumed it.
    #[value(alias = "messages", alias = "m")]
    Message,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    if options.name.is_empty() && options.noun != Noun::Cluster {
        return Err(
            Failure::coded(&codes::INVALID, "describe what: a name is missing")
                .try_this("rmq-ctl describe topic NAME"),
        );
    }
    let cluster = Cluster::connect(cluster, output).await?;
    let look = async || {
        let about = describe(options, &cluster, output).await?;
        let (kind, name) = (about.kind, about.name.as_str());
        let tables = about.tables;
        options
            .render
            .object(kind, about.schema, name, &about.value, output, |output| {
                let width = output.width();
                output.data(&format!("{kind} {name}"));
                for (title, headers, rows) in tables {
                    output.data("");
                    output.data(title);
                    if rows.is_empty() {
                        output.data("  none");
                    } else {
                        output.block(&table(&headers, rows, false, width));
                    }
                }
            })
    };
    options.watch.run(output, look).await
}

async fn describe(
    options: &Options,
    cluster: &Cluster,
    output: &Output,
) -> Result<Description, Failure> {
    let name = &options.name;
    match options.noun {
        Noun::Topic => topic::topic(name, &options.plan_for, options.route, cluster).await,
        Noun::Group => group::group(name, cluster).await,
        Noun::Broker => server::broker(name, options.render.is_wide(), cluster).await,
        Noun::Cluster => cluster::whole_cluster(name, cluster).await,
        Noun::Nameserver => server::name_server(name, cluster).await,
        Noun::Queue => queue::queue(name, cluster).await,
        Noun::Client => {
            client::client(name, options.group.as_deref().unwrap_or_default(), cluster).await
        }
        Noun::Message => message::message(name, cluster, output).await,
    }
}
