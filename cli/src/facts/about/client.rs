//! Everything about a client.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::description::{Description, Tables, pairs};
use crate::cluster::{Cluster, closest};
use crate::codes;
use crate::error::Failure;
use crate::facts::clients::{self, ClientItem};
use crate::render::schema_of;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ClientAbout {
    id: String,
    group: String,
    client: ClientItem,
    /// As the client says of itself; absent when it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Value>,
}

pub(crate) async fn client(
    id: &str,
    group: &str,
    cluster: &Cluster,
) -> Result<Description, Failure> {
    let failed = |error| cluster.failed(format!("cannot describe client \"{id}\""), error);
    let members = clients::of_group(cluster, group).await.map_err(failed)?;
    let Some(member) = members.iter().find(|member| member.id == id).cloned() else {
        let known: Vec<String> = members.into_iter().map(|member| member.id).collect();
        let mut failure = Failure::coded(
            &codes::NOT_FOUND,
            format!("group \"{group}\" has no member \"{id}\" online"),
        )
        .fact("asked", &cluster.name);
        if let Some(close) = closest(id, &known) {
            failure = failure.try_this(format!("close match: {close}"));
        }
        return Err(failure);
    };
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    let brokers: Vec<String> = info.broker_addr_table.into_keys().collect();
    let running = clients::running(cluster, &brokers, group, id).await;
    let mut tables: Tables = vec![(
        "Client",
        vec!["ADDRESS", "LANGUAGE", "SUBSCRIPTIONS"],
        vec![vec![
            member.address.clone(),
            member.language.clone(),
            member.subscriptions_text(),
        ]],
    )];
    match &running {
        Some(info) => {
            let queues = info.mq_table.0.iter().map(|(queue, state)| {
                vec![
                    queue.topic.clone(),
                    queue.broker_name.clone(),
                    queue.queue_id.to_string(),
                    state.commit_offset.to_string(),
                    state.cached_msg_count.to_string(),
                ]
            });
            tables.push((
                "Queues",
                vec!["TOPIC", "BROKER", "QUEUE", "CONSUMED", "IN MEMORY"],
                queues.collect(),
            ));
            tables.push(("Settings", vec!["NAME", "VALUE"], pairs(&info.properties)));
        }
        None => tables.push((
            "Queues",
            vec!["NOTE"],
            vec![vec![
                "the client does not answer questions about itself".to_owned(),
            ]],
        )),
    }
    let about = ClientAbout {
        id: id.to_owned(),
        group: group.to_owned(),
        client: member,
        running: running.map(|info| json!(info)),
    };
    Ok(Description {
        kind: "Client",
        name: id.to_owned(),
        value: json!(about),
        schema: schema_of::<ClientAbout>,
        tables,
    })
}
