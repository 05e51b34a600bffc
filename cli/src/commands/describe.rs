//! `rmq-ctl describe`: everything about one topic, group or broker. Reads only.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::get::perm_text;
use crate::cluster::{Cluster, ClusterOptions};
use crate::error::Failure;
use crate::output::Output;
use crate::render::{RenderOptions, table};

/// Options of `describe`.
#[derive(Debug, Args)]
#[command(after_help = "Reads only.

Examples:
  rmq-ctl describe topic orders
  rmq-ctl describe group billing -o yaml
  rmq-ctl describe broker broker-a")]
pub(crate) struct Options {
    /// What it is.
    #[arg(value_enum)]
    noun: Noun,

    /// Its name.
    name: String,

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
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    let name = &options.name;
    let (kind, value, tables) = match options.noun {
        Noun::Topic => topic(name, &cluster).await?,
        Noun::Group => group(name, &cluster).await?,
        Noun::Broker => broker(name, &cluster).await?,
    };
    options.render.object(kind, name, &value, output, |output| {
        let width = output.width();
        output.data(&format!("{kind} {name}"));
        for (title, headers, rows) in tables {
            output.data(&format!("\n{title}"));
            if rows.is_empty() {
                output.data("  none");
            } else {
                output.data(&table(&headers, rows, false, width));
            }
        }
    })
}

type Tables = Vec<(&'static str, Vec<&'static str>, Vec<Vec<String>>)>;

async fn topic(name: &str, cluster: &Cluster) -> Result<(&'static str, Value, Tables), Failure> {
    let admin = cluster.client.admin();
    let configs = match admin.topic_config(name).await {
        Ok(configs) => configs,
        Err(error) => return Err(cluster.topic_failed(name, error).await),
    };
    let stats = match admin.topic_stats(name).await {
        Ok(stats) => stats,
        Err(error) => return Err(cluster.topic_failed(name, error).await),
    };
    let mut queues = stats.offset_table.0;
    queues.sort_by(|(one, _), (other, _)| one.cmp(other));
    let settings = configs.iter().map(|(broker, config)| {
        let attributes: Vec<String> = config
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        vec![
            broker.clone(),
            config.read_queue_nums.to_string(),
            config.write_queue_nums.to_string(),
            perm_text(config.perm),
            attributes.join(" "),
        ]
    });
    let offsets = queues.iter().map(|(queue, at)| {
        vec![
            queue.broker_name.clone(),
            queue.queue_id.to_string(),
            at.min_offset.to_string(),
            at.max_offset.to_string(),
        ]
    });
    let tables: Tables = vec![
        (
            "Settings",
            vec![
                "BROKER",
                "READ QUEUES",
                "WRITE QUEUES",
                "PERM",
                "ATTRIBUTES",
            ],
            settings.collect(),
        ),
        (
            "Queues",
            vec!["BROKER", "QUEUE", "MIN", "MAX"],
            offsets.collect(),
        ),
    ];
    let value = json!({
        "name": name,
        "settings": configs.iter().map(|(broker, config)| json!({"broker": broker, "config": config})).collect::<Vec<_>>(),
        "queues": queues.iter().map(|(queue, at)| json!({
            "broker": queue.broker_name, "id": queue.queue_id, "minOffset": at.min_offset,
            "maxOffset": at.max_offset, "lastStoreTimeMs": at.last_update_timestamp,
        })).collect::<Vec<_>>(),
    });
    Ok(("Topic", value, tables))
}

async fn group(name: &str, cluster: &Cluster) -> Result<(&'static str, Value, Tables), Failure> {
    let failed = |error| cluster.failed(format!("cannot describe group \"{name}\""), error);
    let configs = cluster
        .client
        .admin()
        .group_config(name)
        .await
        .map_err(failed)?;
    let lag = super::lag::of_group(cluster, name).await.map_err(failed)?;
    let settings = configs.iter().map(|(broker, config)| {
        vec![
            broker.clone(),
            config.consume_enable.to_string(),
            config.consume_broadcast_enable.to_string(),
            config.retry_max_times.to_string(),
        ]
    });
    let offsets = lag.iter().map(|queue| {
        vec![
            queue.topic.clone(),
            queue.broker.clone(),
            queue.queue.to_string(),
            queue.consumer_offset.to_string(),
            queue.lag.to_string(),
        ]
    });
    let tables: Tables = vec![
        (
            "Settings",
            vec!["BROKER", "CONSUMES", "BROADCASTS", "RETRIES"],
            settings.collect(),
        ),
        (
            "Offsets",
            vec!["TOPIC", "BROKER", "QUEUE", "CONSUMED", "LAG"],
            offsets.collect(),
        ),
    ];
    let value = json!({
        "name": name,
        "settings": configs.iter().map(|(broker, config)| json!({"broker": broker, "config": config})).collect::<Vec<_>>(),
        "offsets": lag,
    });
    Ok(("Group", value, tables))
}

async fn broker(name: &str, cluster: &Cluster) -> Result<(&'static str, Value, Tables), Failure> {
    let failed = |error| cluster.failed(format!("cannot describe broker \"{name}\""), error);
    let admin = cluster.client.admin();
    let figures = admin.runtime_info(name).await.map_err(failed)?;
    let settings = admin.broker_config(name).await.map_err(failed)?;
    let rows = |map: &std::collections::BTreeMap<String, String>| {
        map.iter()
            .map(|(name, value)| vec![name.clone(), value.clone()])
            .collect()
    };
    let tables: Tables = vec![
        ("Figures", vec!["NAME", "VALUE"], rows(&figures)),
        ("Settings", vec!["NAME", "VALUE"], rows(&settings)),
    ];
    let value = json!({"name": name, "figures": figures, "settings": settings});
    Ok(("Broker", value, tables))
}
