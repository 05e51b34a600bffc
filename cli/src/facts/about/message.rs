//! Everything about a message.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::description::{Description, Tables};
use crate::cluster::Cluster;
use crate::codes;
use crate::error::Failure;
use crate::facts::lookup;
use crate::facts::tracks::{self, TrackItem};
use crate::messages::MessageItem;
use crate::output::Output;
use crate::render::schema_of;
use crate::when;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MessageAbout<'m> {
    message: MessageItem<'m>,
    groups: Vec<TrackItem>,
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
    let groups = tracks::of(cluster, message).await.map_err(failed)?;
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
            tracks::COLUMNS.to_vec(),
            groups.iter().map(TrackItem::cells).collect(),
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
