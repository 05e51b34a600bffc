//! Quotas of topics and groups.

use rmq_crds::{Quota, QuotaLimit};
use schemars::JsonSchema;
use serde::Serialize;

use super::noun::{Asked, Names, Noun};
use crate::error::Failure;
use crate::numbers;
use crate::render::{Listing, Row, schema_of};

/// `quotas`.
pub(crate) const NOUN: Noun = Noun {
    name: "quotas",
    aliases: &["quota"],
    about: "What clients may send to a topic, and a group is given, a second, by broker",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct QuotaItem {
    /// `topic` or `group`.
    resource: String,
    name: String,
    broker: String,
    /// Of all clients together.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages_per_second: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_second: Option<i64>,
    /// Of each client.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_messages_per_second: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_bytes_per_second: Option<i64>,
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let failed = |error| asked.cluster.failed("cannot list the quotas", error);
    let admin = asked.cluster.client.admin();
    let topics = admin.topic_configs().await.map_err(failed)?;
    let groups = admin.group_configs().await.map_err(failed)?;
    let of_topics = topics.into_iter().flat_map(|(broker, table)| {
        let table = table.into_iter();
        table.map(move |(name, config)| ("topic", name, broker.clone(), config.attributes))
    });
    let of_groups = groups.into_iter().flat_map(|(broker, table)| {
        let table = table.into_iter();
        table.map(move |(name, config)| ("group", name, broker.clone(), config.attributes))
    });
    let mut rows = Vec::new();
    for (resource, name, broker, mut attributes) in of_topics.chain(of_groups) {
        let wanted = match resource {
            "topic" => asked.topic,
            _ => asked.group,
        };
        let is_other = asked.topic.or(asked.group).is_some() && wanted != Some(name.as_str());
        let is_here = asked.broker.is_none_or(|wanted| wanted == broker);
        let Some(quota) = Quota::take_from(&mut attributes).filter(|_| !is_other && is_here) else {
            continue;
        };
        let messages = |limit| {
            quota
                .limit(limit)
                .map_or("-".to_owned(), |rate| rate.to_string())
        };
        let bytes = |limit| {
            let rate = quota.limit(limit).and_then(|rate| u64::try_from(rate).ok());
            rate.map_or("-".to_owned(), numbers::bytes)
        };
        let cells = vec![
            resource.to_owned(),
            name.clone(),
            broker.clone(),
            messages(QuotaLimit::Messages),
            bytes(QuotaLimit::Bytes),
            messages(QuotaLimit::ClientMessages),
            bytes(QuotaLimit::ClientBytes),
        ];
        let item = QuotaItem {
            resource: resource.to_owned(),
            name: name.clone(),
            broker,
            messages_per_second: quota.messages_per_second,
            bytes_per_second: quota.bytes_per_second,
            client_messages_per_second: quota.client_messages_per_second,
            client_bytes_per_second: quota.client_bytes_per_second,
        };
        rows.push(Row::new(name, cells, &item));
    }
    rows.sort_by(|a, b| a.cells.cmp(&b.cells));
    Ok(Listing {
        kind: "QuotaList",
        schema: schema_of::<QuotaItem>,
        noun: "quota",
        columns: &[
            "OF",
            "NAME",
            "BROKER",
            "MESSAGES/S",
            "BYTES/S",
            "CLIENT MESSAGES/S",
            "CLIENT BYTES/S",
        ],
        wide_columns: &[],
        rows,
        empty:
            "no topic and no group has a quota; rmq-ctl set quota topic/NAME messages=… sets one"
                .to_owned(),
    })
}
