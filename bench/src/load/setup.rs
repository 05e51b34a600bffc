//! What a server must know before a load: topics and a consumer group.

use std::borrow::Cow;
use std::io;

use rmq_protocol::bodies::{
    ConsumeFromWhere, ConsumerData, HeartbeatData, ProducerData, SubscriptionData,
};
use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::{HeartBeat, UpdateAndCreateTopic};

use super::PRODUCER_GROUP;
use crate::wire::{Desk, Said};

/// Creates topics at the broker, with as many read as write queues.
///
/// # Errors
/// When the broker refuses one.
pub fn create_topics(desk: &mut Desk, topics: &[String], queues: i32) -> io::Result<()> {
    for topic in topics {
        let request = UpdateAndCreateTopic {
            topic: Cow::Borrowed(topic),
            default_topic: Some(Cow::Borrowed("TBW102")),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: 6,
            topic_filter_type: Some(Cow::Borrowed("SINGLE_TAG")),
            topic_sys_flag: Some(0),
            order: Some(false),
            attributes: None,
            force: None,
        };
        let said = desk.ask(RequestCode::UpdateAndCreateTopic.as_i32(), &request, &[])?;
        accept(&said, "topic creation")?;
    }
    Ok(())
}

/// Sends a heartbeat that makes this connection a member of the load's producers and of `group`, subscribed to everything of `topics`.
///
/// # Errors
/// When the broker refuses it.
pub fn register_consumer(
    desk: &mut Desk,
    client_id: &str,
    group: &str,
    topics: &[String],
) -> io::Result<()> {
    let heartbeat = HeartbeatData {
        client_id: client_id.to_owned(),
        producer_data_set: vec![ProducerData {
            group_name: PRODUCER_GROUP.to_owned(),
        }],
        consumer_data_set: vec![ConsumerData {
            consume_from_where: ConsumeFromWhere::LastOffset,
            group_name: group.to_owned(),
            subscription_data_set: topics
                .iter()
                .map(|topic| SubscriptionData::tags(topic.as_str(), "*", 1))
                .collect(),
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    let said = desk.ask(
        RequestCode::HeartBeat.as_i32(),
        &HeartBeat {},
        &heartbeat.to_json(),
    )?;
    accept(&said, "heartbeat")
}

fn accept(said: &Said, what: &str) -> io::Result<()> {
    if said.code == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the server answered {what} with code {}: {}",
        said.code, said.remark
    )))
}
