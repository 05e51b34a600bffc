//! `rmq-ctl get`: lists. Reads only.

use clap::{Args, ValueEnum};
use futures_util::{StreamExt, TryStreamExt, stream};
use rmq_client::ErrorKind;
use rmq_client::protocol::names::{is_dlq_topic, is_retry_topic, is_system_group, is_system_topic};
use schemars::JsonSchema;
use serde::Serialize;

use super::members::{self, ClientItem};
use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::completion::{broker_completer, group_completer, topic_completer};
use crate::error::Failure;
use crate::input;
use crate::numbers;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, WatchOptions, schema_of};
use crate::when;

/// Requests at once: enough to hide the way to the servers, few enough not to bother them.
const AT_ONCE: usize = 16;

/// Options of `get`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Reads only.

Examples:
  rmq-ctl get topics
  rmq-ctl get topics -o wide
  rmq-ctl get groups -o name
  rmq-ctl get queues -t orders
  rmq-ctl get clients -g billing
  rmq-ctl get clients --producers -t orders
  rmq-ctl get config-keys --broker broker-a
  rmq-ctl get messages 7F00000100002A9F0000000000000064
  rmq-ctl get topics -w
  rmq-ctl get brokers -o jsonpath='{.items[*].address}'")]
pub(crate) struct Options {
    /// What to list.
    #[arg(value_enum)]
    noun: Noun,

    /// Only these; - is stdin, one a line.
    names: Vec<String>,

    /// Topics and groups of the system too, retry topics and dead letters.
    #[arg(long)]
    all: bool,

    /// The topic, for queues and producers.
    #[arg(short, long, value_name = "TOPIC", required_if_eq("noun", "queues"), add = topic_completer())]
    topic: Option<String>,

    /// The group of the clients.
    #[arg(short, long, value_name = "GROUP", add = group_completer())]
    group: Option<String>,

    /// Clients that send, instead of members of a group.
    #[arg(long)]
    producers: bool,

    /// The broker, by name or by address: for config-keys, and for clients that are connected to it.
    #[arg(long, value_name = "BROKER", required_if_eq("noun", "config-keys"), add = broker_completer())]
    broker: Option<String>,

    /// Sort by this column of the table.
    #[arg(long, value_name = "COLUMN")]
    sort_by: Option<String>,

    #[command(flatten)]
    watch: WatchOptions,

    #[command(flatten)]
    render: RenderOptions,
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Noun {
    /// Topics.
    #[value(alias = "topic", alias = "t")]
    Topics,
    /// Consumer groups.
    #[value(alias = "group", alias = "g", alias = "sub", alias = "subscriptions")]
    Groups,
    /// Brokers.
    #[value(alias = "broker", alias = "b")]
    Brokers,
    /// Clusters.
    #[value(alias = "cluster")]
    Clusters,
    /// Name servers.
    #[value(alias = "nameserver", alias = "ns")]
    Nameservers,
    /// Queues of a topic.
    #[value(alias = "queue", alias = "q")]
    Queues,
    /// Members of a group.
    #[value(alias = "client", alias = "c")]
    Clients,
    /// Settings of a broker.
    #[value(alias = "config-key", alias = "settings")]
    ConfigKeys,
    /// Messages, by their ids.
    #[value(alias = "message", alias = "m")]
    Messages,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let options = &Options {
        names: input::values(&options.names)?,
        ..options.clone()
    };
    let cluster = Cluster::connect(cluster, output).await?;
    let look = async || {
        let listing = listing(options, &cluster, output).await?;
        options.render.list(&listing, output)
    };
    options.watch.run(output, look).await
}

async fn listing(
    options: &Options,
    cluster: &Cluster,
    output: &Output,
) -> Result<Listing, Failure> {
    let mut listing = match options.noun {
        Noun::Topics => topics(options, cluster).await?,
        Noun::Groups => groups(options, cluster).await?,
        Noun::Brokers => brokers(cluster).await?,
        Noun::Clusters => clusters(cluster).await?,
        Noun::Nameservers => name_servers(cluster).await,
        Noun::Queues => queues(options, cluster).await?,
        Noun::Clients if options.producers => producers(options, cluster).await?,
        Noun::Clients => clients(options, cluster).await?,
        Noun::ConfigKeys => config_keys(options, cluster).await?,
        Noun::Messages => return super::find::by_ids(&options.names, cluster, output).await,
    };
    if !options.names.is_empty() {
        let known: Vec<String> = listing.rows.iter().map(|row| row.name.clone()).collect();
        if let Some(missing) = options.names.iter().find(|name| !known.contains(name)) {
            let mut failure = Failure::coded(
                &codes::NOT_FOUND,
                format!("there is no {} \"{missing}\"", listing.noun),
            )
            .fact("asked", &cluster.name);
            if let Some(close) = crate::cluster::closest(missing, &known) {
                failure = failure.try_this(format!("close match: {close}"));
            }
            return Err(failure);
        }
        listing.rows.retain(|row| options.names.contains(&row.name));
    }
    if let Some(column) = &options.sort_by {
        sort(&mut listing, column)?;
    }
    Ok(listing)
}

/// By a column: numbers by their value, the largest first; texts from A to Z.
fn sort(listing: &mut Listing, column: &str) -> Result<(), Failure> {
    let mut columns = listing.columns.iter().chain(listing.wide_columns);
    let Some(index) = columns.position(|name| name.eq_ignore_ascii_case(column)) else {
        let known: Vec<&str> = listing
            .columns
            .iter()
            .chain(listing.wide_columns)
            .copied()
            .collect();
        return Err(
            Failure::coded(&codes::INVALID, format!("there is no column \"{column}\""))
                .because(format!("known columns: {}", known.join(", "))),
        );
    };
    let number = |row: &Row| row.cells.get(index).and_then(|cell| numbers::value(cell));
    listing
        .rows
        .sort_by(|one, other| match (number(one), number(other)) {
            (Some(one), Some(other)) => other.total_cmp(&one),
            _ => one.cells.get(index).cmp(&other.cells.get(index)),
        });
    Ok(())
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct TopicItem {
    name: String,
    read_queues: i32,
    write_queues: i32,
    perm: String,
    brokers: Vec<String>,
    cluster: String,
}

/// As people write permissions.
pub(crate) fn perm_text(perm: i32) -> String {
    use rmq_client::protocol::route::perm;
    let mut text = String::new();
    if perm::is_readable(perm) {
        text.push('r');
    }
    if perm::is_writable(perm) {
        text.push('w');
    }
    if text.is_empty() {
        text.push('-');
    }
    text
}

/// Names of the topics, sorted; those of the system only with `all`.
pub(crate) async fn topic_names(cluster: &Cluster, all: bool) -> Result<Vec<String>, Failure> {
    let failed = |error| cluster.failed("cannot list the topics", error);
    let mut names = cluster.client.admin().topics().await.map_err(failed)?;
    // Brokers register a topic under their own name and their cluster's.
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    names.retain(|name| {
        all || !(is_system_topic(name)
            || is_retry_topic(name)
            || is_dlq_topic(name)
            || info.cluster_addr_table.contains_key(name)
            || name
                .strip_suffix("_REPLY_TOPIC")
                .is_some_and(|cluster| info.cluster_addr_table.contains_key(cluster))
            || info.broker_addr_table.contains_key(name))
    });
    Ok(names)
}

async fn topics(options: &Options, cluster: &Cluster) -> Result<Listing, Failure> {
    let failed = |error| cluster.failed("cannot list the topics", error);
    let mut wanted = topic_names(cluster, options.all).await?;
    for name in &options.names {
        if !wanted.contains(name) {
            wanted.push(name.clone());
        }
    }
    wanted.sort();
    let wanted = wanted.into_iter();
    let items = stream::iter(wanted)
        .map(|name| async move {
            let route = match cluster.client.refresh_route(&name).await {
                Ok(route) => route,
                // Deleted while the list was read.
                Err(error) if error.kind() == ErrorKind::NoRoute => return Ok(None),
                Err(error) => return Err(error),
            };
            let raw = route.raw();
            let sum = |of: fn(&rmq_client::protocol::route::QueueData) -> i32| {
                raw.queue_datas.iter().map(of).sum()
            };
            let perm = raw.queue_datas.iter().fold(0, |all, data| all | data.perm);
            Ok(Some(TopicItem {
                read_queues: sum(|data| data.read_queue_nums),
                write_queues: sum(|data| data.write_queue_nums),
                perm: perm_text(perm),
                brokers: raw
                    .broker_datas
                    .iter()
                    .map(|data| data.broker_name.clone())
                    .collect(),
                cluster: raw
                    .broker_datas
                    .first()
                    .map(|data| data.cluster.clone())
                    .unwrap_or_default(),
                name,
            }))
        })
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await
        .map_err(failed)?;
    let rows = items.into_iter().flatten().map(|item| {
        let queues = if item.read_queues == item.write_queues {
            item.read_queues.to_string()
        } else {
            format!("{}r/{}w", item.read_queues, item.write_queues)
        };
        let cells = vec![
            item.name.clone(),
            queues,
            item.perm.clone(),
            item.cluster.clone(),
            item.brokers.join(","),
        ];
        Row::new(item.name.clone(), cells, &item)
    });
    Ok(Listing {
        kind: "TopicList",
        schema: schema_of::<TopicItem>,
        noun: "topic",
        columns: &["NAME", "QUEUES", "PERM"],
        wide_columns: &["CLUSTER", "BROKERS"],
        rows: rows.collect(),
        empty: "there are no topics; rmq-ctl create topic NAME makes one".to_owned(),
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GroupItem {
    name: String,
    members: usize,
    lag: i64,
}

async fn groups(options: &Options, cluster: &Cluster) -> Result<Listing, Failure> {
    let failed = |error| cluster.failed("cannot list the groups", error);
    let admin = cluster.client.admin();
    let names = admin.groups().await.map_err(failed)?;
    let wanted = names
        .into_iter()
        .filter(|name| options.names.contains(name) || options.all || !is_system_group(name));
    let items = stream::iter(wanted)
        .map(|name| async move {
            let lag = super::lag::of_group(cluster, &name).await?;
            Ok(GroupItem {
                members: members::of_group(cluster, &name).await?.len(),
                lag: super::lag::total(&lag),
                name,
            })
        })
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await
        .map_err(failed)?;
    let rows = items.into_iter().map(|item| {
        let cells = vec![
            item.name.clone(),
            item.members.to_string(),
            item.lag.to_string(),
        ];
        Row::new(item.name.clone(), cells, &item)
    });
    Ok(Listing {
        kind: "GroupList",
        schema: schema_of::<GroupItem>,
        noun: "group",
        columns: &["NAME", "MEMBERS", "LAG"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: "there are no groups".to_owned(),
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct BrokerItem {
    name: String,
    id: i64,
    address: String,
    cluster: String,
    /// Of rmq; absent for brokers of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    rmq_version: Option<String>,
    /// Of RocketMQ, as clients see it.
    version: String,
    /// What clients may do there, as the broker and its routes let them; `?` when it does not answer.
    perm: String,
    put_tps: String,
    get_tps: String,
    disk_ratio: String,
}

async fn brokers(cluster: &Cluster) -> Result<Listing, Failure> {
    let failed = |error| cluster.failed("cannot list the brokers", error);
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    let views = super::health::views(cluster).await;
    let mut rows = Vec::new();
    for (name, data) in &info.broker_addr_table {
        // A broker that does not answer is listed all the same: it is the one that people look for.
        let broker = super::health::look_at_broker(cluster, name, &views).await;
        let broker = broker.ok();
        let told = |key: &str| {
            let value = broker.as_ref().and_then(|broker| broker.figure(key));
            value.and_then(|value| value.split_whitespace().next())
        };
        let shown = |key: &str, show: fn(f64) -> String| {
            let number = told(key).and_then(|text| text.parse::<f64>().ok());
            number.map_or_else(|| "?".to_owned(), show)
        };
        let or_unknown = |text: Option<&str>| text.unwrap_or("?").to_owned();
        for (id, address) in &data.broker_addrs {
            let item = BrokerItem {
                name: name.clone(),
                id: *id,
                address: address.clone(),
                cluster: data.cluster.clone(),
                rmq_version: told("rmqVersion").map(str::to_owned),
                version: or_unknown(told("brokerVersionDesc")),
                perm: match &broker {
                    Some(broker) => perm_text(broker.perm()),
                    None => "?".to_owned(),
                },
                put_tps: or_unknown(told("putTps")),
                get_tps: or_unknown(told("getTransferredTps")),
                disk_ratio: or_unknown(told("commitLogDiskRatio")),
            };
            let role = if item.id == 0 { "master" } else { "replica" };
            let no_version = if broker.is_some() { "-" } else { "?" };
            let cells = vec![
                item.name.clone(),
                role.to_owned(),
                item.address.clone(),
                item.cluster.clone(),
                item.rmq_version
                    .clone()
                    .unwrap_or_else(|| no_version.to_owned()),
                item.perm.clone(),
                item.version.clone(),
                shown("putTps", numbers::rate),
                shown("getTransferredTps", numbers::rate),
                shown("commitLogDiskRatio", numbers::percent),
            ];
            rows.push(Row::new(item.name.clone(), cells, &item));
        }
    }
    Ok(Listing {
        kind: "BrokerList",
        schema: schema_of::<BrokerItem>,
        noun: "broker",
        columns: &["NAME", "ROLE", "ADDRESS", "CLUSTER", "VERSION", "PERM"],
        wide_columns: &["PROTOCOL", "IN/S", "OUT/S", "DISK"],
        rows,
        empty: "no broker is registered at the name server".to_owned(),
    })
}

#[derive(Serialize, JsonSchema)]
struct ClusterItem {
    name: String,
    brokers: Vec<String>,
}

async fn clusters(cluster: &Cluster) -> Result<Listing, Failure> {
    let info = cluster
        .client
        .cluster_info()
        .await
        .map_err(|error| cluster.failed("cannot list the clusters", error))?;
    let rows = info.cluster_addr_table.into_iter().map(|(name, brokers)| {
        let cells = vec![name.clone(), brokers.len().to_string(), brokers.join(",")];
        Row::new(name.clone(), cells, &ClusterItem { name, brokers })
    });
    Ok(Listing {
        kind: "ClusterList",
        schema: schema_of::<ClusterItem>,
        noun: "cluster",
        columns: &["NAME", "BROKERS"],
        wide_columns: &["NAMES"],
        rows: rows.collect(),
        empty: "no broker is registered at the name server".to_owned(),
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NameServerItem {
    address: String,
    answers: bool,
}

async fn name_servers(cluster: &Cluster) -> Listing {
    let mut rows = Vec::new();
    for address in cluster.client.url().name_servers() {
        let asked = cluster
            .client
            .remote(address)
            .call(
                &rmq_client::protocol::requests::GetBrokerClusterInfo {},
                b"",
            )
            .await;
        let item = NameServerItem {
            address: address.clone(),
            answers: asked.is_ok(),
        };
        let state = if item.answers {
            "answers"
        } else {
            "does not answer"
        };
        let cells = vec![address.clone(), state.to_owned()];
        rows.push(Row::new(address.clone(), cells, &item));
    }
    Listing {
        kind: "NameServerList",
        schema: schema_of::<NameServerItem>,
        noun: "nameserver",
        columns: &["ADDRESS", "STATE"],
        wide_columns: &[],
        rows,
        empty: String::new(),
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct QueueItem {
    name: String,
    broker: String,
    id: i32,
    min_offset: i64,
    max_offset: i64,
    messages: i64,
    last_store_time_ms: i64,
}

/// Messages of a queue, 0 or more: a queue that is removed meanwhile may show bounds of two moments.
pub(crate) fn messages(at: &rmq_client::protocol::bodies::TopicOffset) -> i64 {
    at.max_offset.saturating_sub(at.min_offset).max(0)
}

async fn queues(options: &Options, cluster: &Cluster) -> Result<Listing, Failure> {
    let topic = options.topic.as_deref().unwrap_or_default();
    let stats = match cluster.client.admin().topic_stats(topic).await {
        Ok(stats) => stats,
        Err(error) => return Err(cluster.topic_failed(topic, error).await),
    };
    let mut queues: Vec<_> = stats.offset_table.0;
    queues.sort_by(|(one, _), (other, _)| one.cmp(other));
    let now = when::now_ms();
    let rows = queues.into_iter().map(|(queue, offsets)| {
        let item = QueueItem {
            name: format!("{}/{}", queue.broker_name, queue.queue_id),
            broker: queue.broker_name,
            id: queue.queue_id,
            min_offset: offsets.min_offset,
            max_offset: offsets.max_offset,
            messages: messages(&offsets),
            last_store_time_ms: offsets.last_update_timestamp,
        };
        let cells = vec![
            item.broker.clone(),
            item.id.to_string(),
            item.min_offset.to_string(),
            item.max_offset.to_string(),
            item.messages.to_string(),
            when::show_age(item.last_store_time_ms, now),
            when::show_time(item.last_store_time_ms, cluster.utc),
        ];
        Row::new(item.name.clone(), cells, &item)
    });
    Ok(Listing {
        kind: "QueueList",
        schema: schema_of::<QueueItem>,
        noun: "queue",
        columns: &["BROKER", "QUEUE", "MIN", "MAX", "MESSAGES", "LAST"],
        wide_columns: &["LAST STORED"],
        rows: rows.collect(),
        empty: format!("topic \"{topic}\" has no queues"),
    })
}

async fn clients(options: &Options, cluster: &Cluster) -> Result<Listing, Failure> {
    let Some(group) = options.group.as_deref() else {
        return Err(Failure::coded(
            &codes::INVALID,
            "clients of what: -g GROUP, or --producers",
        ));
    };
    let broker = match &options.broker {
        Some(text) => Some(cluster.broker_name(text).await?),
        None => None,
    };
    let members = members::at(cluster, group, broker.as_deref());
    let members = members.await.map_err(|error| {
        cluster.failed(format!("cannot list the members of \"{group}\""), error)
    })?;
    let rows = members.into_iter().map(|item| {
        let cells = vec![
            item.id.clone(),
            item.address.clone(),
            item.language.clone(),
            item.subscriptions_text(),
        ];
        Row::new(item.id.clone(), cells, &item)
    });
    Ok(Listing {
        kind: "ClientList",
        schema: schema_of::<ClientItem>,
        noun: "client",
        columns: &["ID", "ADDRESS", "LANGUAGE"],
        wide_columns: &["SUBSCRIPTIONS"],
        rows: rows.collect(),
        empty: format!("group \"{group}\" has no member online"),
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ProducerItem {
    id: String,
    group: String,
    broker: String,
    address: String,
    language: String,
    version: i32,
    last_seen_ms: i64,
}

async fn producers(options: &Options, cluster: &Cluster) -> Result<Listing, Failure> {
    let failed = |error| cluster.failed("cannot list the producers", error);
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    let mut brokers: Vec<String> = info.broker_addr_table.keys().cloned().collect();
    if let Some(topic) = &options.topic {
        // Producers announce groups, not topics: those at the topic's brokers are listed.
        let route = match cluster.client.refresh_route(topic).await {
            Ok(route) => route,
            Err(error) => return Err(cluster.topic_failed(topic, error).await),
        };
        brokers.retain(|broker| route.master(broker).is_some());
    }
    if let Some(only) = &options.broker {
        let only = cluster.broker_name(only).await?;
        brokers.retain(|broker| *broker == only);
    }
    let now = when::now_ms();
    let mut rows = Vec::new();
    for broker in brokers {
        let table = cluster
            .client
            .admin()
            .producers(&broker)
            .await
            .map_err(failed)?;
        let wanted = options.group.as_ref();
        let groups = table.data.into_iter();
        for (group, producers) in
            groups.filter(|(name, _)| wanted.is_none_or(|group| group == name))
        {
            for producer in producers {
                let item = ProducerItem {
                    id: producer.client_id,
                    group: group.clone(),
                    broker: broker.clone(),
                    address: producer.remote_ip.trim_start_matches('/').to_owned(),
                    language: producer.language,
                    version: producer.version,
                    last_seen_ms: producer.last_update_timestamp,
                };
                let cells = vec![
                    item.id.clone(),
                    item.group.clone(),
                    item.broker.clone(),
                    item.address.clone(),
                    item.language.clone(),
                    when::show_age(item.last_seen_ms, now),
                ];
                rows.push(Row::new(item.id.clone(), cells, &item));
            }
        }
    }
    Ok(Listing {
        kind: "ProducerList",
        schema: schema_of::<ProducerItem>,
        noun: "client",
        columns: &["ID", "GROUP", "BROKER", "ADDRESS", "LANGUAGE", "SEEN"],
        wide_columns: &[],
        rows,
        empty: "no producer is connected".to_owned(),
    })
}

#[derive(Serialize, JsonSchema)]
struct ConfigKeyItem {
    name: String,
    value: String,
}

async fn config_keys(options: &Options, cluster: &Cluster) -> Result<Listing, Failure> {
    let broker = options.broker.as_deref().unwrap_or_default();
    let broker = cluster.broker_name(broker).await?;
    let config = cluster.client.admin().broker_config(&broker).await;
    let config = config.map_err(|error| {
        cluster.failed(format!("cannot list the settings of \"{broker}\""), error)
    })?;
    let rows = config.into_iter().map(|(name, value)| {
        let cells = vec![name.clone(), value.clone()];
        Row::new(name.clone(), cells, &ConfigKeyItem { name, value })
    });
    Ok(Listing {
        kind: "ConfigKeyList",
        schema: schema_of::<ConfigKeyItem>,
        noun: "config-key",
        columns: &["NAME", "VALUE"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: format!("broker \"{broker}\" tells no settings"),
    })
}
