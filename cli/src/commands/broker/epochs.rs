//! `rmq-ctl broker replication --epochs`: which master wrote which part of the log. Reads only.

use rmq_client::protocol::bodies::EpochCache;
use rmq_client::protocol::requests::GetBrokerEpochCache;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::error::Failure;
use crate::facts::broker_group::BrokerGroup;
use crate::numbers;
use crate::render::{Listing, Row, schema_of};

#[derive(Serialize, JsonSchema)]
struct EpochItem {
    /// The slot of the member that has this history; absent when nobody tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<u64>,
    address: String,
    epoch: i32,
    /// Where the part begins and ends, positions in bytes.
    from: i64,
    to: i64,
}

/// The histories of all members that answer: they differ only behind what is confirmed.
///
/// # Errors
/// A member that answered before does not answer now.
pub(super) async fn list(group: &BrokerGroup, cluster: &Cluster) -> Result<Listing, Failure> {
    let failed = |error| cluster.failed("cannot read the epochs", error);
    let mut rows = Vec::new();
    let told = group.members.iter().filter(|one| one.status().is_some());
    for member in told {
        let remote = cluster.client.remote(&member.address);
        let answer = remote.call(&GetBrokerEpochCache {}, b"").await;
        let answer = answer.map_err(failed)?;
        let cache = EpochCache::from_json(answer.body()).map_err(|error| failed(error.into()))?;
        for entry in cache.epoch_list {
            let item = EpochItem {
                member: member.slot.map(|slot| slot.0),
                address: member.address.clone(),
                epoch: entry.epoch,
                from: entry.start_offset,
                // The last one goes on.
                to: entry.end_offset.min(cache.max_offset),
            };
            let size = item.to.saturating_sub(item.from).max(0);
            let cells = vec![
                item.member
                    .map_or_else(|| "-".to_owned(), |slot| slot.to_string()),
                item.address.clone(),
                item.epoch.to_string(),
                item.from.to_string(),
                item.to.to_string(),
                numbers::bytes(size.unsigned_abs()),
            ];
            rows.push(Row::new(item.epoch.to_string(), cells, &item));
        }
    }
    Ok(Listing {
        kind: "EpochList",
        schema: schema_of::<EpochItem>,
        noun: "epoch",
        columns: &["MEMBER", "ADDRESS", "EPOCH", "FROM", "TO", "SIZE"],
        wide_columns: &[],
        rows,
        empty: format!("no member of \"{}\" tells of epochs", group.name),
    })
}
