//! Topics: their names and what their routes say.

use futures_util::{StreamExt, TryStreamExt, stream};
use rmq_client::ErrorKind;
use rmq_client::protocol::names::{is_dlq_topic, is_retry_topic, is_system_topic};
use schemars::JsonSchema;
use serde::Serialize;

use super::limits::AT_ONCE;
use super::noun::{Asked, Names, Noun};
use crate::cluster::Cluster;
use crate::error::Failure;
use crate::permissions;
use crate::render::{Listing, Row, schema_of};

/// `topics`.
pub(crate) const NOUN: Noun = Noun {
    name: "topics",
    aliases: &["topic", "t"],
    about: "Topics",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

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

/// Names of the topics, sorted; those of the system only with `all`.
pub(crate) async fn names(cluster: &Cluster, all: bool) -> Result<Vec<String>, Failure> {
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

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    let failed = |error| cluster.failed("cannot list the topics", error);
    let mut wanted = names(cluster, asked.all).await?;
    for name in asked.names {
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
                perm: permissions::text(perm),
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
