//! Transactions that have not ended, of each broker.

use rmq_client::protocol::ResponseCode;
use rmq_client::protocol::bodies::OpenTransaction;
use schemars::JsonSchema;
use serde::Serialize;

use super::noun::{Asked, Names, Noun};
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};
use crate::when;

/// Transactions of a kind that are listed of one broker.
const LISTED_MAX: usize = 10_000;

/// What a broker answers that does not know the request.
const UNKNOWN: i32 = ResponseCode::RequestCodeNotSupported.as_i32();

/// `transactions`.
pub(crate) const NOUN: Noun = Noun {
    name: "transactions",
    aliases: &["transaction", "tx"],
    about: "Transactions that have not ended, the parked ones first",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

/// A transaction that has not ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct TransactionItem {
    id: String,
    broker: String,
    /// `open`, or `parked`: its producers gave no answer to the last check.
    state: &'static str,
    topic: String,
    queue: i32,
    producer_group: String,
    keys: String,
    /// When its message was stored.
    since: String,
    /// Checks that were sent.
    checks: i32,
    /// When its producers are asked next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_check: Option<String>,
    /// For `mqadmin` and code 323.
    offset_id: String,
    body_bytes: i64,
}

impl TransactionItem {
    fn of(broker: &str, found: OpenTransaction, is_parked: bool) -> Self {
        let next = (found.next_check_timestamp > 0).then_some(found.next_check_timestamp);
        Self {
            id: found.transaction_id,
            broker: broker.to_owned(),
            state: if is_parked { "parked" } else { "open" },
            topic: found.topic,
            queue: found.queue_id,
            producer_group: found.producer_group,
            keys: found.keys,
            since: when::show_time(found.store_timestamp, true),
            checks: found.checks,
            next_check: next.map(|next| when::show_time(next, true)),
            offset_id: found.offset_msg_id,
            body_bytes: found.body_size,
        }
    }
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    let failed = |error| cluster.failed("cannot list the transactions".to_owned(), error);
    let brokers: Vec<String> = match asked.broker {
        Some(text) => vec![cluster.broker_name(text).await?],
        None => {
            let info = cluster.client.cluster_info().await.map_err(failed)?;
            info.broker_addr_table.into_keys().collect()
        }
    };
    let mut items = Vec::new();
    for broker in &brokers {
        for is_parked in [true, false] {
            let found = cluster.client.admin();
            let found = found.transactions(broker, is_parked, LISTED_MAX).await;
            let found = match found {
                Ok(found) => found,
                // Apache RocketMQ has no such list.
                Err(error) if error.broker_code() == Some(UNKNOWN) => Vec::new(),
                Err(error) => return Err(failed(error)),
            };
            let found = found.into_iter();
            items.extend(found.map(|found| TransactionItem::of(broker, found, is_parked)));
        }
    }
    items.retain(|item| {
        asked.topic.is_none_or(|topic| item.topic == topic)
            && asked.group.is_none_or(|group| item.producer_group == group)
    });
    items.sort_by_key(|item| item.state != "parked");
    let rows = items.into_iter().map(|item| {
        let cells = vec![
            item.id.clone(),
            item.state.to_owned(),
            item.topic.clone(),
            item.producer_group.clone(),
            item.since.clone(),
            item.checks.to_string(),
            item.next_check.clone().unwrap_or_default(),
            item.broker.clone(),
            item.keys.clone(),
            item.offset_id.clone(),
        ];
        Row::new(item.id.clone(), cells, &item)
    });
    Ok(Listing {
        kind: "TransactionList",
        schema: schema_of::<TransactionItem>,
        noun: "transaction",
        columns: &[
            "ID",
            "STATE",
            "TOPIC",
            "PRODUCERS",
            "SINCE",
            "CHECKS",
            "NEXT",
        ],
        wide_columns: &["BROKER", "KEYS", "OFFSET-ID"],
        rows: rows.collect(),
        empty: "every transaction has ended".to_owned(),
    })
}
