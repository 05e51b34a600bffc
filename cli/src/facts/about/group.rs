//! Everything about a group.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::description::{AtBroker, Description, Tables, at_broker};
use crate::cluster::Cluster;
use crate::error::Failure;
use crate::facts::checks::groups::{self, Seen};
use crate::facts::clients::ClientItem;
use crate::facts::lag::{self, QueueLag};
use crate::render::schema_of;

#[derive(Serialize, JsonSchema)]
struct GroupAbout {
    name: String,
    settings: Vec<AtBroker>,
    offsets: Vec<QueueLag>,
    members: Vec<ClientItem>,
    /// What is wrong with the group.
    problems: Vec<String>,
}

pub(crate) async fn group(name: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let failed = |error| cluster.failed(format!("cannot describe group \"{name}\""), error);
    let seen = Seen::of(cluster, name).await.map_err(failed)?;
    let found = groups::problems(cluster, name, &seen).await;
    let Seen {
        configs,
        queues,
        members,
    } = seen;
    let mut problems: Vec<String> = found.into_iter().map(|check| check.says).collect();
    let behind = lag::total(&queues);
    if members.is_empty() && behind > 0 {
        problems.push(format!("{behind} messages wait and no member is online"));
    }
    let settings_rows = configs.iter().map(|(broker, config)| {
        vec![
            broker.clone(),
            config.consume_enable.to_string(),
            config.consume_broadcast_enable.to_string(),
            config.consume_message_orderly.to_string(),
            config.retry_max_times.to_string(),
        ]
    });
    let offset_rows = queues.iter().map(|queue| {
        vec![
            queue.topic.clone(),
            queue.broker.clone(),
            queue.queue.to_string(),
            queue.consumer_offset.to_string(),
            queue.lag.to_string(),
        ]
    });
    let member_rows = members.iter().map(|member| {
        vec![
            member.id.clone(),
            member.address.clone(),
            member.language.clone(),
            member.subscriptions_text(),
        ]
    });
    let tables: Tables = vec![
        (
            "Settings",
            vec!["BROKER", "CONSUMES", "BROADCASTS", "ORDERED", "RETRIES"],
            settings_rows.collect(),
        ),
        (
            "Offsets",
            vec!["TOPIC", "BROKER", "QUEUE", "CONSUMED", "LAG"],
            offset_rows.collect(),
        ),
        (
            "Members",
            vec!["ID", "ADDRESS", "LANGUAGE", "SUBSCRIPTIONS"],
            member_rows.collect(),
        ),
        (
            "Problems",
            vec!["WHAT"],
            problems
                .iter()
                .map(|problem| vec![problem.clone()])
                .collect(),
        ),
    ];
    let about = GroupAbout {
        name: name.to_owned(),
        settings: at_broker(&configs),
        offsets: queues,
        members,
        problems,
    };
    Ok(Description {
        kind: "Group",
        name: name.to_owned(),
        value: json!(about),
        schema: schema_of::<GroupAbout>,
        tables,
    })
}
