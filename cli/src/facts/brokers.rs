//! Brokers: the members of each group with their roles, versions, permissions and rates.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use rmq_client::protocol::bodies::KvTable;
use rmq_client::protocol::requests::GetBrokerRuntimeInfo;
use rmq_client::protocol::route::{ClusterInfo, perm};
use schemars::JsonSchema;
use serde::Serialize;

use super::broker_group::{BrokerGroup, Member};
use super::broker_state;
use super::limits::AT_ONCE;
use super::name_servers;
use super::noun::{Asked, Names, Noun};
use crate::cluster::Cluster;
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};
use crate::{numbers, permissions};

/// `brokers`.
pub(crate) const NOUN: Noun = Noun {
    name: "brokers",
    aliases: &["broker", "b"],
    about: "Brokers, with the members of each group",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct BrokerItem {
    name: String,
    /// The broker id in the routes: 0 is the master. -1: no name server knows this member.
    id: i64,
    address: String,
    cluster: String,
    /// The slot of the member in its group; absent when nobody tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<u64>,
    /// `master`, `replica` or `?`.
    role: &'static str,
    /// Counts the masters of the group; absent when the member does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// Whether the member is in the in-sync set; absent when nobody tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_sync: Option<bool>,
    /// Bytes of the master's log that the member has not received; absent when nobody tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_bytes: Option<u64>,
    /// Since when it has not had all of the master's log, milliseconds; absent when nobody tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_ms: Option<u64>,
    /// Of rmq; absent for brokers of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    rmq_version: Option<String>,
    /// Of RocketMQ, as clients see it.
    version: String,
    /// What the broker and its routes let clients do: nobody writes to a replica. `?` when the master does not answer.
    perm: String,
    put_tps: String,
    get_tps: String,
    disk_ratio: String,
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    let failed = |error| cluster.failed("cannot list the brokers", error);
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    let views = name_servers::views(cluster).await;
    let groups = stream::iter(info.broker_addr_table.keys())
        .map(|name| of_group(cluster, name, &views))
        .buffered(AT_ONCE);
    let rows = groups.collect::<Vec<_>>().await.concat();
    Ok(Listing {
        kind: "BrokerList",
        schema: schema_of::<BrokerItem>,
        noun: "broker",
        columns: &[
            "NAME", "MEMBER", "ROLE", "ADDRESS", "IN-SYNC", "LAG", "VERSION", "PERM",
        ],
        wide_columns: &["EPOCH", "CLUSTER", "PROTOCOL", "IN/S", "OUT/S", "DISK"],
        rows,
        empty: "no broker is registered at the name server".to_owned(),
    })
}

/// The members of one group. One that does not answer is listed too: people look for it.
async fn of_group(cluster: &Cluster, name: &str, views: &[(String, ClusterInfo)]) -> Vec<Row> {
    let (group, broker) = tokio::join!(
        BrokerGroup::look(cluster, name, views),
        broker_state::look(cluster, name, views)
    );
    let perm = broker.ok().map(|broker| broker.perm());
    let members = stream::iter(&group.members).map(|member| async {
        let figures = figures(cluster, &member.address).await;
        row(&group, member, figures.as_ref(), perm)
    });
    members.buffered(AT_ONCE).collect().await
}

async fn figures(cluster: &Cluster, address: &str) -> Option<BTreeMap<String, String>> {
    let member = cluster.client.remote(address);
    let answer = member.call(&GetBrokerRuntimeInfo {}, b"").await.ok()?;
    Some(KvTable::from_json(answer.body()).ok()?.table)
}

fn row(
    group: &BrokerGroup,
    member: &Member,
    figures: Option<&BTreeMap<String, String>>,
    perm: Option<i32>,
) -> Row {
    let told = |key: &str| {
        let value = figures.and_then(|figures| figures.get(key));
        value.and_then(|value| value.split_whitespace().next())
    };
    let shown = |key: &str, show: fn(f64) -> String| {
        let number = told(key).and_then(|text| text.parse::<f64>().ok());
        number.map_or_else(|| "?".to_owned(), show)
    };
    let or_unknown = |text: Option<&str>| text.unwrap_or("?").to_owned();
    let view = group.view(member);
    let role = group.role(member);
    let perm = perm.map(|perm| match role {
        "replica" => perm & perm::READ,
        _ => perm,
    });
    let item = BrokerItem {
        name: group.name.clone(),
        id: member.registered.first().map_or(-1, |(_, id)| *id),
        address: member.address.clone(),
        cluster: group.cluster.clone(),
        member: member.slot.map(|slot| slot.0),
        role,
        epoch: member.status().map(|status| status.epoch),
        in_sync: view.in_sync(),
        lag_bytes: view.lag_bytes(),
        lag_ms: view.lag_ms(),
        rmq_version: told("rmqVersion").map(str::to_owned),
        version: or_unknown(told("brokerVersionDesc")),
        perm: perm.map_or_else(|| "?".to_owned(), permissions::text),
        put_tps: or_unknown(told("putTps")),
        get_tps: or_unknown(told("getTransferredTps")),
        disk_ratio: or_unknown(told("commitLogDiskRatio")),
    };
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let no_version = if figures.is_some() { "-" } else { "?" };
    let cells = vec![
        item.name.clone(),
        or_none(item.member.map(|slot| slot.to_string())),
        item.role.to_owned(),
        item.address.clone(),
        or_none(item.in_sync.map(yes_or_no)),
        or_none(item.lag_bytes.map(numbers::bytes)),
        item.rmq_version
            .clone()
            .unwrap_or_else(|| no_version.to_owned()),
        item.perm.clone(),
        or_none(item.epoch.map(|epoch| epoch.to_string())),
        item.cluster.clone(),
        item.version.clone(),
        shown("putTps", numbers::rate),
        shown("getTransferredTps", numbers::rate),
        shown("commitLogDiskRatio", numbers::percent),
    ];
    Row::new(item.name.clone(), cells, &item)
}

fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}
