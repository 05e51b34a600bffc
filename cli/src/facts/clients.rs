//! Clients: members of groups, from the brokers' lists and from the members' own answers.

use std::collections::BTreeMap;

use rmq_client::protocol::bodies::ConsumerRunningInfo;
use schemars::JsonSchema;
use serde::Serialize;

use super::noun::{Asked, Names, Noun};
use super::producers;
use crate::cluster::Cluster;
use crate::codes;
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};

/// `clients`.
pub(crate) const NOUN: Noun = Noun {
    name: "clients",
    aliases: &["client", "c"],
    about: "Members of a group",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

/// One connection of a group's member.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClientItem {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) language: String,
    version: i32,
    pub(crate) subscriptions: BTreeMap<String, String>,
}

impl ClientItem {
    /// `TOPIC[FILTER] …`.
    pub(crate) fn subscriptions_text(&self) -> String {
        let subscriptions: Vec<String> = self
            .subscriptions
            .iter()
            .map(|(topic, filter)| format!("{topic}[{filter}]"))
            .collect();
        subscriptions.join(" ")
    }
}

/// Members of a group with their subscriptions, by id. A member that is connected to several brokers is listed once. Two processes with one
/// id are both listed; the broker that knows most of them counts.
pub(crate) async fn of_group(
    cluster: &Cluster,
    group: &str,
) -> Result<Vec<ClientItem>, rmq_client::Error> {
    at(cluster, group, None).await
}

/// Members of a group as in [`of_group`]; with `broker`, only members that are connected to this broker group.
pub(crate) async fn at(
    cluster: &Cluster,
    group: &str,
    broker: Option<&str>,
) -> Result<Vec<ClientItem>, rmq_client::Error> {
    let mut members: BTreeMap<String, Vec<ClientItem>> = BTreeMap::new();
    let info = cluster.client.cluster_info().await?;
    let brokers = info.broker_addr_table.keys();
    for broker in brokers.filter(|name| broker.is_none_or(|broker| broker == *name)) {
        let connection = match cluster.client.admin().connections(broker, group).await {
            Ok(connection) => connection,
            // No member is online at this broker.
            Err(error) if error.broker_code().is_some() => continue,
            Err(error) => return Err(error),
        };
        let subscriptions: BTreeMap<String, String> = connection
            .subscription_table
            .into_values()
            .map(|data| (data.topic, data.sub_string))
            .collect();
        let mut here: BTreeMap<String, Vec<ClientItem>> = BTreeMap::new();
        for member in connection.connection_set {
            let item = ClientItem {
                id: member.client_id.clone(),
                address: member.client_addr,
                language: member.language,
                version: member.version,
                // A broker of rmq has the subscriptions of each member when they differ.
                subscriptions: if member.subscriptions.is_empty() {
                    subscriptions.clone()
                } else {
                    member.subscriptions
                },
            };
            here.entry(member.client_id).or_default().push(item);
        }
        for (id, mut items) in here {
            items.sort_by(|one, other| one.address.cmp(&other.address));
            let known = members.entry(id).or_default();
            if items.len() > known.len() {
                *known = items;
            }
        }
    }
    Ok(members.into_values().flatten().collect())
}

/// What a member says of itself, asked through one broker after the other; `None` when the member does not answer.
pub(crate) async fn running(
    cluster: &Cluster,
    brokers: &[String],
    group: &str,
    id: &str,
) -> Option<ConsumerRunningInfo> {
    for broker in brokers {
        let asked = cluster.client.admin().running_info(broker, group, id).await;
        if let Ok(running) = asked {
            return Some(running);
        }
    }
    None
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    if asked.producers {
        return producers::list(asked).await;
    }
    let cluster = asked.cluster;
    let Some(group) = asked.group else {
        return Err(Failure::coded(
            &codes::INVALID,
            "clients of what: -g GROUP, or --producers",
        ));
    };
    let broker = match asked.broker {
        Some(text) => Some(cluster.broker_name(text).await?),
        None => None,
    };
    let members = at(cluster, group, broker.as_deref());
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
