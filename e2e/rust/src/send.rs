//! Sending.

use rocketmq_model::common::message::message_builder::MessageBuilder;
use rocketmq_model::common::message::message_single::Message;
use rocketmq_model::result::SendStatus;

use crate::cluster::{Cluster, text, topic};
use crate::equal;

/// A message of a scenario; more is set on the builder.
pub(crate) fn message(scenario: &str, body: &str) -> MessageBuilder {
    Message::builder()
        .topic(topic(scenario))
        .body_slice(body.as_bytes())
}

/// Sends messages one after the other; gives their ids.
pub(crate) async fn send(
    cluster: &Cluster,
    scenario: &str,
    messages: impl IntoIterator<Item = MessageBuilder>,
) -> Result<Vec<String>, String> {
    let mut producer = cluster.producer(scenario).await?;
    let mut ids = Vec::new();
    for message in messages {
        let message = message.build().map_err(|error| format!("{error:?}"))?;
        let sent = producer.send(message).await.map_err(text)?;
        let sent = sent.ok_or("a send without a result")?;
        equal("status", SendStatus::SendOk, sent.send_status)?;
        ids.push(sent.msg_id.ok_or("a send without an id")?.to_string());
    }
    producer.shutdown().await;
    Ok(ids)
}
