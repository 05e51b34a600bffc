//! Name servers: whether they answer, and which brokers each of them knows.

use std::collections::BTreeSet;

use rmq_client::protocol::requests::GetBrokerClusterInfo;
use rmq_client::protocol::route::ClusterInfo;
use schemars::JsonSchema;
use serde::Serialize;

use super::noun::{Asked, Names, Noun};
use crate::cluster::Cluster;
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};

/// `nameservers`.
pub(crate) const NOUN: Noun = Noun {
    name: "nameservers",
    aliases: &["nameserver", "ns"],
    about: "Name servers",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

/// The answer of each name server, with its address.
pub(crate) type Views = Vec<(String, ClusterInfo)>;

/// Asks each name server for the brokers that it knows; leaves out servers that do not answer.
pub(crate) async fn views(cluster: &Cluster) -> Views {
    let mut views = Vec::new();
    for addr in cluster.client.url().name_servers() {
        let answer = cluster
            .client
            .remote(addr)
            .call(&GetBrokerClusterInfo {}, b"")
            .await;
        let info = answer
            .ok()
            .and_then(|answer| ClusterInfo::from_json(answer.body()).ok());
        views.extend(info.map(|info| (addr.clone(), info)));
    }
    views
}

/// Each known broker group, with the name servers that do not know the group.
pub(crate) fn registrations(views: &[(String, ClusterInfo)]) -> Vec<(String, Vec<&str>)> {
    let names: BTreeSet<&String> = views
        .iter()
        .flat_map(|(_, info)| info.broker_addr_table.keys())
        .collect();
    let missing = |name: &String| {
        views
            .iter()
            .filter(|(_, info)| !info.broker_addr_table.contains_key(name))
            .map(|(addr, _)| addr.as_str())
            .collect()
    };
    names
        .into_iter()
        .map(|name| (name.clone(), missing(name)))
        .collect()
}

/// The version of rmq; other name servers have none.
pub(crate) async fn version(cluster: &Cluster, address: &str) -> Option<String> {
    let settings = cluster.client.admin().name_server_config(address).await;
    settings.ok()?.remove("rmqVersion")
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NameServerItem {
    address: String,
    answers: bool,
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    let mut rows = Vec::new();
    for address in cluster.client.url().name_servers() {
        let asked = cluster
            .client
            .remote(address)
            .call(&GetBrokerClusterInfo {}, b"")
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
    Ok(Listing {
        kind: "NameServerList",
        schema: schema_of::<NameServerItem>,
        noun: "nameserver",
        columns: &["ADDRESS", "STATE"],
        wide_columns: &[],
        rows,
        empty: String::new(),
    })
}
