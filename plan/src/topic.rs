//! A topic: the object's settings as the broker's, as fields, and back.

use rmq_client::TopicSpec;
use rmq_client::protocol::bodies::TopicConfig;
use rmq_client::protocol::route::perm;
use rmq_crds::{MessageType, Permission, Quota, Topic};

use crate::compare::Change;
use crate::fields::{Field, Fields, Value, of_attribute};

/// The attribute that says which kind of messages a topic takes.
const MESSAGE_TYPE: &str = "message.type";

fn permission(config: &TopicConfig) -> Permission {
    Permission::of(
        perm::is_readable(config.perm),
        perm::is_writable(config.perm),
    )
}

/// The settings that a broker gets.
pub(crate) fn config(topic: &Topic) -> TopicConfig {
    let spec = &topic.spec;
    let (read, write) = spec.permission.read_write();
    let mut attributes = spec.attributes.clone();
    if let Some(kind) = spec.message_type {
        attributes.insert(MESSAGE_TYPE.to_owned(), kind.attribute().to_owned());
    }
    attributes.extend(spec.quota.iter().flat_map(Quota::attributes));
    TopicConfig {
        attributes,
        perm: perm::of(read, write),
        read_queue_nums: spec.read_queues.unwrap_or(spec.queues),
        write_queue_nums: spec.queues,
        topic_name: topic.topic_name().to_owned(),
        ..TopicConfig::default()
    }
}

/// The settings as fields.
pub(crate) fn fields(config: &TopicConfig) -> Fields {
    let mut fields = Fields::from([
        (Field::Queues, Value::Number(config.write_queue_nums)),
        (Field::ReadQueues, Value::Number(config.read_queue_nums)),
        (Field::Permission, Value::Permission(permission(config))),
    ]);
    fields.extend(config.attributes.iter().map(|(name, value)| {
        if name != MESSAGE_TYPE {
            return of_attribute(name, value);
        }
        // A kind that we do not know is shown as the broker has it.
        let kind = MessageType::of_attribute(value).map(Value::MessageType);
        let kind = kind.unwrap_or_else(|| Value::Text(value.clone()));
        (Field::MessageType, kind)
    }));
    fields
}

/// The request that carries a change out.
pub(crate) fn spec(topic: &Topic, change: &Change) -> TopicSpec {
    let config = config(topic);
    let (read, write) = topic.spec.permission.read_write();
    let mut spec = TopicSpec::new(topic.topic_name())
        .read_and_write_queues(
            u16::try_from(config.read_queue_nums).unwrap_or(u16::MAX),
            u16::try_from(config.write_queue_nums).unwrap_or(u16::MAX),
        )
        .permissions(read, write)
        .brokers(&change.brokers);
    for (name, value) in &config.attributes {
        spec = spec.attribute(name, value);
    }
    let gone = change.fields.iter().filter(|change| change.to.is_none());
    for name in gone.filter_map(|change| attribute(&change.field)) {
        spec = spec.without_attribute(name);
    }
    spec
}

/// The attribute that a field is at the broker.
fn attribute(field: &Field) -> Option<&str> {
    match field {
        Field::MessageType => Some(MESSAGE_TYPE),
        Field::Attribute(name) => Some(name),
        Field::Quota(limit) => Some(limit.attribute()),
        _ => None,
    }
}

/// The manifest of a topic with the settings of a broker.
#[must_use]
pub fn topic_manifest(config: &TopicConfig) -> rmq_crds::TopicSpec {
    let mut attributes = config.attributes.clone();
    let message_type = attributes
        .get(MESSAGE_TYPE)
        .and_then(|value| MessageType::of_attribute(value));
    if message_type.is_some() {
        attributes.remove(MESSAGE_TYPE);
    }
    let quota = Quota::take_from(&mut attributes);
    rmq_crds::TopicSpec {
        topic_name: Some(config.topic_name.clone()),
        queues: config.write_queue_nums,
        read_queues: (config.read_queue_nums != config.write_queue_nums)
            .then_some(config.read_queue_nums),
        permission: permission(config),
        message_type,
        quota,
        attributes,
        ..rmq_crds::TopicSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_what_is_changes_nothing() {
        let mut live = TopicConfig::new("t", 4);
        live.attributes
            .insert(MESSAGE_TYPE.to_owned(), "FIFO".to_owned());
        live.attributes.insert("x".to_owned(), "y".to_owned());
        live.attributes
            .insert("quota.messages".to_owned(), "70".to_owned());
        // No broker of ours has such a one.
        live.attributes
            .insert("quota.bytes".to_owned(), "many".to_owned());
        let topic = Topic::new("t", topic_manifest(&live));
        let quota = topic.spec.quota.as_ref().expect("a quota");
        assert_eq!(quota.messages_per_second, Some(70));
        assert_eq!(fields(&config(&topic)), fields(&live));
    }

    #[test]
    fn what_the_object_does_not_have_is_taken_away() {
        let mut live = TopicConfig::new("t", 4);
        let topic = Topic::new("t", topic_manifest(&live));
        live.attributes
            .insert(MESSAGE_TYPE.to_owned(), "FIFO".to_owned());
        live.attributes.insert("x".to_owned(), "y".to_owned());
        live.attributes
            .insert("quota.bytes".to_owned(), "7".to_owned());
        let brokers = ["a".to_owned()];
        let at = [("a".to_owned(), fields(&live))];
        let wanted = fields(&config(&topic));
        let change = crate::compare::compare("topic", "t", &wanted, &brokers, &at);
        let gone = change
            .fields
            .iter()
            .filter_map(|change| attribute(&change.field));
        assert_eq!(gone.collect::<Vec<_>>(), ["x", MESSAGE_TYPE, "quota.bytes"]);
        let spec = format!("{:?}", spec(&topic, &change));
        assert!(spec.contains(MESSAGE_TYPE), "{spec}");
    }
}
