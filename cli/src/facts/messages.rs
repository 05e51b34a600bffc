//! Messages as a list.

use rmq_client::ReceivedMessage;

use super::lookup::{self, Bounds};
use super::noun::{Asked, Names, Noun};
use crate::cluster::Cluster;
use crate::codes;
use crate::error::Failure;
use crate::messages::MessageItem;
use crate::render::{Listing, Row, schema_of};
use crate::when;

/// `messages`.
pub(crate) const NOUN: Noun = Noun {
    name: "messages",
    aliases: &["message", "m"],
    about: "Messages, by their ids",
    names: Names::Looked,
    list: |asked| Box::pin(by_ids(asked)),
};

/// Messages with these ids.
async fn by_ids(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    if asked.names.is_empty() {
        return Err(
            Failure::coded(&codes::INVALID, "which messages: give their ids")
                .try_this("rmq-ctl tail TOPIC   (lists messages of a topic)"),
        );
    }
    let mut found = Vec::new();
    for id in asked.names {
        found.extend(lookup::by_id(cluster, id, Bounds::default(), asked.output).await?);
    }
    Ok(listing(&found, cluster))
}

/// The list of these messages.
pub(crate) fn listing(found: &[ReceivedMessage], cluster: &Cluster) -> Listing {
    let rows = found.iter().map(|message| {
        let item = MessageItem::new(message);
        let cells = vec![
            message.message_id(),
            format!("{}@{}", message.queue(), message.queue_offset()),
            when::show_time(when::unix_ms(message.stored_at()), cluster.utc),
            message.tag().unwrap_or("-").to_owned(),
            message.keys().collect::<Vec<_>>().join(" "),
            preview(message),
        ];
        Row::new(message.message_id(), cells, &item)
    });
    Listing {
        kind: "MessageList",
        schema: schema_of::<MessageItem<'static>>,
        noun: "message",
        columns: &["ID", "PLACE", "STORED", "TAG", "KEYS", "BODY"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: String::new(),
    }
}

fn preview(message: &ReceivedMessage) -> String {
    const CHARS: usize = 60;
    let text = String::from_utf8_lossy(message.body());
    let line: String = text.chars().take(CHARS).collect();
    let line = line.escape_debug().to_string();
    if text.chars().nth(CHARS).is_some() {
        format!("{line}…")
    } else {
        line
    }
}
