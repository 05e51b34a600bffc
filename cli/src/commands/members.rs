//! Members of groups, as brokers list them and as members themselves say.

use std::collections::BTreeMap;

use rmq_client::protocol::bodies::ConsumerRunningInfo;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::Cluster;

/// One connection of a group's member.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientItem {
    pub(super) id: String,
    pub(super) address: String,
    pub(super) language: String,
    version: i32,
    pub(super) subscriptions: BTreeMap<String, String>,
}

impl ClientItem {
    /// `TOPIC[FILTER] …`.
    pub(super) fn subscriptions_text(&self) -> String {
        let subscriptions: Vec<String> = self
            .subscriptions
            .iter()
            .map(|(topic, filter)| format!("{topic}[{filter}]"))
            .collect();
        subscriptions.join(" ")
    }
}

/// Members of a group, by id, with what they subscribe to. Each member is listed once although it is connected to several brokers; two
/// processes with one id are listed both, as the broker that knows most of them has them.
pub(super) async fn of_group(
    cluster: &Cluster,
    group: &str,
) -> Result<Vec<ClientItem>, rmq_client::Error> {
    at(cluster, group, None).await
}

/// As [`of_group`], of those that are connected to one broker group where `broker` names it.
pub(super) async fn at(
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
            // Nobody is online at this broker.
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
                // A broker of ours says what each wants when they do not agree.
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

/// What a member says that it does, by way of the first broker that it answers through; `None` when it does not answer.
pub(super) async fn running(
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
