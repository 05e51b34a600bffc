//! Producers, as brokers list them.

use schemars::JsonSchema;
use serde::Serialize;

use super::noun::Asked;
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};
use crate::when;

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

/// Clients that send.
pub(super) async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    let failed = |error| cluster.failed("cannot list the producers", error);
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    let mut brokers: Vec<String> = info.broker_addr_table.keys().cloned().collect();
    if let Some(topic) = asked.topic {
        // Producers announce groups, not topics: the producers at the topic's brokers are listed.
        let route = match cluster.client.refresh_route(topic).await {
            Ok(route) => route,
            Err(error) => return Err(cluster.topic_failed(topic, error).await),
        };
        brokers.retain(|broker| route.master(broker).is_some());
    }
    if let Some(only) = asked.broker {
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
        let wanted = asked.group;
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
