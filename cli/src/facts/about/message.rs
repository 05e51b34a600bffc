//! Everything about a message.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::description::{Description, Tables};
use crate::cluster::Cluster;
use crate::codes;
use crate::error::Failure;
use crate::facts::lookup;
use crate::messages::MessageItem;
use crate::output::Output;
use crate::render::schema_of;
use crate::when;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MessageAbout<'m> {
    message: MessageItem<'m>,
    groups: Vec<ConsumedBy>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ConsumedBy {
    group: String,
    /// Whether the group's offset has passed the message.
    is_consumed: bool,
    why: String,
}

pub(crate) async fn message(
    id: &str,
    cluster: &Cluster,
    output: &Output,
) -> Result<Description, Failure> {
    let failed = |error| cluster.failed(format!("cannot describe message {id}"), error);
    let found = lookup::by_id(cluster, id, lookup::Bounds::default(), output).await?;
    let Some(message) = found.first() else {
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!("there is no message {id}"),
        ));
    };
    let admin = cluster.client.admin();
    let mut groups = Vec::new();
    for group in admin
        .groups_of_topic(message.topic())
        .await
        .map_err(failed)?
    {
        let offset = admin
            .committed_offset(&group, message.queue())
            .await
            .map_err(failed)?;
        let is_consumed = offset.is_some_and(|offset| offset > message.queue_offset());
        let why = match offset {
            Some(offset) if is_consumed => format!("the group is at {offset}"),
            Some(offset) => format!(
                "the group is at {offset}, {} messages before it",
                message.queue_offset() - offset
            ),
            None => "the group has consumed nothing of this queue".to_owned(),
        };
        groups.push(ConsumedBy {
            group,
            is_consumed,
            why,
        });
    }
    let mut rows = vec![
        vec![
            "place".to_owned(),
            format!("{}@{}", message.queue(), message.queue_offset()),
        ],
        vec!["id".to_owned(), message.message_id()],
        vec![
            "stored".to_owned(),
            when::show_time(when::unix_ms(message.stored_at()), cluster.utc),
        ],
        vec![
            "born".to_owned(),
            format!(
                "{} at {}",
                when::show_time(when::unix_ms(message.born_at()), cluster.utc),
                message.born_host()
            ),
        ],
        vec!["bytes".to_owned(), message.body().len().to_string()],
    ];
    rows.extend(
        message
            .properties()
            .map(|(name, value)| vec![name.to_owned(), value.to_owned()]),
    );
    let tables: Tables = vec![
        ("Message", vec!["NAME", "VALUE"], rows),
        (
            "Groups",
            vec!["GROUP", "CONSUMED", "WHY"],
            groups
                .iter()
                .map(|by| {
                    let consumed = if by.is_consumed { "yes" } else { "no" };
                    vec![by.group.clone(), consumed.to_owned(), by.why.clone()]
                })
                .collect(),
        ),
        (
            "Body",
            vec!["TEXT"],
            vec![vec![match std::str::from_utf8(message.body()) {
                Ok(text) => text.to_owned(),
                Err(_) => format!("({} bytes, not text)", message.body().len()),
            }]],
        ),
    ];
    let about = MessageAbout {
        message: MessageItem::new(message),
        groups,
    };
    Ok(Description {
        kind: "Message",
        name: message.message_id(),
        value: json!(about),
        schema: schema_of::<MessageAbout<'static>>,
        tables,
    })
}
