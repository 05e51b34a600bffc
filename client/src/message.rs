//! A message to send.

use std::time::Duration;

use bytes::Bytes;
use rmq_protocol::message::properties::{self, property};

use crate::error::Error;

/// A message: a topic, a body, and properties that travel with it.
///
/// ```
/// use rmq_client::Message;
///
/// let message = Message::new("orders", "hello").key("order-17").tag("paid").property("tenant", "a");
/// assert_eq!(message.topic(), "orders");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Message {
    topic: String,
    body: Bytes,
    flag: i32,
    properties: Vec<(String, String)>,
    ordering_key: Option<String>,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            body: body.into(),
            flag: 0,
            properties: Vec::new(),
            ordering_key: None,
        }
    }

    /// Adds a business key; the message can be looked up by each of its keys. A key has no spaces.
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        match self
            .properties
            .iter_mut()
            .find(|(name, _)| name == property::KEYS)
        {
            Some((_, keys)) => {
                keys.push(' ');
                keys.push_str(key.as_ref());
            }
            None => self
                .properties
                .push((property::KEYS.to_owned(), key.as_ref().to_owned())),
        }
        self
    }

    /// Sets the tag that subscriptions filter by.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.set(property::TAGS, tag.into())
    }

    /// Sets a property of your own.
    pub fn property(self, name: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.set(name.as_ref(), value.into())
    }

    /// Sets the user's flag, a number that the system only carries.
    pub fn flag(mut self, flag: i32) -> Self {
        self.flag = flag;
        self
    }

    /// Messages with the same key go to the same queue while the topic's queues stay the same.
    pub fn ordered_by(mut self, key: impl Into<String>) -> Self {
        let key = key.into();
        self.ordering_key = Some(key.clone());
        self.set(property::SHARDING_KEY, key)
    }

    /// Delivers the message later: at one of the broker's delay levels, the first that is not shorter.
    ///
    /// Levels of an unchanged broker: 1 s, 5 s, 10 s, 30 s, 1 to 10 min by the minute, 20 min, 30 min, 1 h, 2 h.
    pub fn delay_level_for(self, delay: Duration) -> Self {
        self.set(property::DELAY, delay_level(delay).to_string())
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn user_flag(&self) -> i32 {
        self.flag
    }

    pub(crate) fn ordering_key(&self) -> Option<&str> {
        self.ordering_key.as_deref()
    }

    /// Whether it may leave together with others: brokers store a batch in one queue, at once.
    pub(crate) fn may_be_batched(&self) -> bool {
        self.ordering_key.is_none()
            && !self
                .properties
                .iter()
                .any(|(name, _)| name == property::DELAY || name.starts_with("TIMER_"))
            && rmq_protocol::names::group_of_retry_topic(&self.topic).is_none()
    }

    fn set(mut self, name: &str, value: String) -> Self {
        match self.properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.properties.push((name.to_owned(), value)),
        }
        self
    }

    /// The property string with the message's unique id.
    pub(crate) fn encode_properties(&self, unique_id: &str) -> Result<String, Error> {
        let mut out = properties::Builder::new();
        for (name, value) in &self.properties {
            if name.is_empty() || !properties::is_clean(name) || !properties::is_clean(value) {
                return Err(Error::invalid(format!(
                    "property {name:?} = {value:?} of a message for \"{}\": a name must not be empty, and neither may contain \\u0001 or \\u0002",
                    self.topic
                )));
            }
            out.push(name, value);
        }
        out.push(property::UNIQ_KEY, unique_id)
            .push(property::WAIT, "true");
        if out.len() > properties::PROPERTIES_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the properties of a message for \"{}\" take {} bytes, at most {} are allowed",
                self.topic,
                out.len(),
                properties::PROPERTIES_BYTES_MAX
            )));
        }
        Ok(out.finish())
    }
}

/// The first delay level, from 1, that is not shorter; the last one when all are.
pub(crate) fn delay_level(delay: Duration) -> i32 {
    const SECONDS: [u64; 18] = [
        1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1_200, 1_800, 3_600, 7_200,
    ];
    let index = SECONDS
        .iter()
        .position(|level| Duration::from_secs(*level) >= delay)
        .unwrap_or(SECONDS.len() - 1);
    index as i32 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_written_as_the_protocol_says() {
        let message = Message::new("t", "b")
            .key("k1")
            .key("k2")
            .tag("A")
            .tag("B")
            .property("x", "1");
        assert_eq!(
            message.encode_properties("ID").unwrap(),
            "KEYS\u{1}k1 k2\u{2}TAGS\u{1}B\u{2}x\u{1}1\u{2}UNIQ_KEY\u{1}ID\u{2}WAIT\u{1}true\u{2}"
        );
    }

    #[test]
    fn what_cannot_travel_is_refused() {
        for message in [
            Message::new("t", "").property("", "x"),
            Message::new("t", "").property("a\u{1}", "x"),
            Message::new("t", "").property("a", "x\u{2}"),
            Message::new("t", "").property("a", "x".repeat(40_000)),
        ] {
            assert!(message.encode_properties("ID").is_err());
        }
    }

    #[test]
    fn delays_round_up_to_a_level() {
        for (delay, level) in [
            (0, "1"),
            (1, "1"),
            (2, "2"),
            (61, "6"),
            (7_200, "18"),
            (100_000, "18"),
        ] {
            let message = Message::new("t", "").delay_level_for(Duration::from_secs(delay));
            assert!(
                message
                    .encode_properties("I")
                    .unwrap()
                    .starts_with(&format!("DELAY\u{1}{level}\u{2}"))
            );
        }
    }
}
