//! A message to send.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rmq_protocol::message::properties::{self, property};

use crate::error::Error;

/// What a body is; Spring's `MessageHeaders` have the same name for it, and travel as properties.
pub(crate) const CONTENT_TYPE: &str = "contentType";

/// Bytes of what the system adds to the properties of each message, without the id itself.
const SYSTEM_BYTES: usize = "UNIQ_KEY__WAIT_true_".len();

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
    /// Properties that many messages share, such as the trace that they belong to.
    shared: Vec<(&'static str, Arc<str>)>,
    ordering_key: Option<String>,
    /// A delay that no level has.
    too_late: Option<Duration>,
    /// The first name that belongs to the system and was set as a property of the user's.
    reserved: Option<String>,
    /// What a copy keeps of the message that was given back.
    retry: Option<Retry>,
}

/// What a retry keeps of the message that it is a copy of: it is found where that one is looked for, and counts on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retry {
    /// The id that the producer gave it, if it did.
    pub(crate) id: Option<String>,
    /// How often it was given back, with this time.
    pub(crate) times: i32,
    /// After how many times the broker makes it a dead letter; `None`: the group's setting counts.
    pub(crate) times_max: Option<i32>,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            body: body.into(),
            flag: 0,
            properties: Vec::new(),
            shared: Vec::new(),
            ordering_key: None,
            too_late: None,
            reserved: None,
            retry: None,
        }
    }

    /// Makes it a copy of a message that was given back.
    pub(crate) fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// What it keeps of the message that it is a copy of.
    pub(crate) fn take_retry(&mut self) -> Option<Retry> {
        self.retry.take()
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

    /// Sets a property of your own. Names that belong to the system, such as `UNIQ_KEY` or `KEYS`, are refused by the send: those
    /// that users may set have methods here.
    pub fn property(mut self, name: impl AsRef<str>, value: impl Into<String>) -> Self {
        let name = name.as_ref();
        if self.reserved.is_none() && is_reserved(name) {
            self.reserved = Some(name.to_owned());
        }
        self.set(name, value.into())
    }

    /// Says what the body is, as a media type such as `text/csv`: the property `contentType`, which Spring's messaging reads as well.
    ///
    /// ```
    /// use rmq_client::Message;
    ///
    /// let message = Message::new("reports", "a;b").content_type("text/csv");
    /// ```
    pub fn content_type(self, media_type: impl Into<String>) -> Self {
        self.set(CONTENT_TYPE, media_type.into())
    }

    /// For a message that is sent to a group's retry topic: the topic that members of the group are to take it for.
    pub fn retry_of(self, topic: impl Into<String>) -> Self {
        self.set(property::RETRY_TOPIC, topic.into())
    }

    /// Whether a property of this name belongs to the system: [`Message::property`] does not set it, and a copy of a message leaves it
    /// out. The tag, keys and the ordering key are such properties.
    ///
    /// ```
    /// use rmq_client::Message;
    ///
    /// assert!(Message::is_system_property("UNIQ_KEY") && !Message::is_system_property("tenant"));
    /// ```
    #[must_use]
    pub fn is_system_property(name: &str) -> bool {
        is_reserved(name)
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
    /// Levels of an unchanged broker: 1 s, 5 s, 10 s, 30 s, 1 to 10 min by the minute, 20 min, 30 min, 1 h, 2 h. A send refuses a longer
    /// delay.
    pub fn delay_level_for(self, delay: Duration) -> Self {
        let level = delay_level(delay);
        let mut message = self.untimed();
        message.too_late = level.is_none().then_some(delay);
        message.set(property::DELAY, level.unwrap_or(LEVELS).to_string())
    }

    /// Delivers the message when a while has passed, to the millisecond. [`SendReceipt::recall_handle`](crate::SendReceipt::recall_handle) takes it back
    /// before.
    ///
    /// A broker refuses more than its setting `timerMaxDelaySec`, three days unless it is changed. Brokers of Apache RocketMQ 4 know no timers and
    /// deliver at once: for them there is [`delay_level_for`](Self::delay_level_for).
    ///
    /// ```
    /// use std::time::Duration;
    /// use rmq_client::Message;
    ///
    /// let message = Message::new("reminders", "17").deliver_after(Duration::from_secs(36 * 3_600));
    /// ```
    pub fn deliver_after(self, delay: Duration) -> Self {
        let delay_ms = delay.as_millis().min(i64::MAX as u128);
        self.untimed()
            .set(property::TIMER_DELAY_MS, delay_ms.to_string())
    }

    /// Delivers the message at a time of the broker's clock, to the millisecond; at once when that is over. As for
    /// [`deliver_after`](Self::deliver_after), brokers have a limit, and the receipt has a handle.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use rmq_client::Message;
    ///
    /// let at = SystemTime::now() + Duration::from_secs(60);
    /// let message = Message::new("reminders", "17").deliver_at(at);
    /// ```
    pub fn deliver_at(self, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = since.as_millis().min(i64::MAX as u128);
        self.untimed()
            .set(property::TIMER_DELIVER_MS, time_ms.to_string())
    }

    /// The last word about the time counts.
    fn untimed(mut self) -> Self {
        const TIMES: [&str; 4] = [
            property::DELAY,
            property::TIMER_DELAY_SEC,
            property::TIMER_DELAY_MS,
            property::TIMER_DELIVER_MS,
        ];
        self.too_late = None;
        self.properties
            .retain(|(name, _)| !TIMES.contains(&name.as_str()));
        self
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

    /// Topic, body and ordering key.
    pub(crate) fn into_parts(self) -> (String, Bytes, Option<String>) {
        (self.topic, self.body, self.ordering_key)
    }

    pub(crate) fn ordering_key(&self) -> Option<&str> {
        self.ordering_key.as_deref()
    }

    /// Whether it is delivered later.
    pub(crate) fn is_delayed(&self) -> bool {
        let mut names = self.properties.iter().map(|(name, _)| name);
        names.any(|name| name == property::DELAY || name.starts_with("TIMER_"))
    }

    /// Whether it may leave together with others: brokers store a batch in one queue, at once.
    pub(crate) fn may_be_batched(&self) -> bool {
        self.ordering_key.is_none()
            && !self.is_delayed()
            && rmq_protocol::names::group_of_retry_topic(&self.topic).is_none()
    }

    /// Sets a property, also one of the system.
    pub(crate) fn set(mut self, name: &str, value: String) -> Self {
        match self.properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.properties.push((name.to_owned(), value)),
        }
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Adds a property that is not there yet. Its value is shared, not copied.
    pub(crate) fn share(&mut self, name: &'static str, value: Arc<str>) {
        self.shared.push((name, value));
    }

    /// The property string with the message's unique id.
    pub(crate) fn encode_properties(&self, unique_id: &str) -> Result<String, Error> {
        if let Some(name) = &self.reserved {
            return Err(Error::invalid(format!(
                "a message for \"{}\" sets the property {name}, which belongs to the system",
                self.topic
            ))
            .advice("use key, tag, ordered_by or delay_level_for where they are what is meant, or another name"));
        }
        if let Some(delay) = self.too_late {
            check_delay(delay)
                .map_err(|error| error.doing(&format!("a message for \"{}\"", self.topic)))?;
        }
        let own = self.properties.iter();
        let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
        let shared = self.shared.iter().map(|(name, value)| (*name, &**value));
        let all = || own.clone().chain(shared.clone());
        let bytes: usize = all()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        let mut out = properties::Builder::with_capacity(bytes + SYSTEM_BYTES + unique_id.len());
        for (name, value) in all() {
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

/// Seconds of the delay levels of an unchanged broker (`messageDelayLevel`).
const LEVEL_SECONDS: [u64; 18] = [
    1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1_200, 1_800, 3_600, 7_200,
];
const LEVELS: i32 = LEVEL_SECONDS.len() as i32;

/// The first delay level, from 1, that is not shorter; `None` when all are.
pub(crate) fn delay_level(delay: Duration) -> Option<i32> {
    let mut levels = (1..).zip(LEVEL_SECONDS);
    let found = levels.find(|(_, seconds)| Duration::from_secs(*seconds) >= delay);
    found.map(|(level, _)| level)
}

/// Whether a level is as long as the delay.
pub(crate) fn check_delay(delay: Duration) -> Result<(), Error> {
    match delay_level(delay) {
        Some(_) => Ok(()),
        None => Err(Error::invalid(format!(
            "a delay of {delay:?} is longer than the longest level of brokers, 2 h"
        ))
        .advice("keep the message yourself until two hours before it is due")),
    }
}

/// Names that only the system sets (`common/…/message/MessageConst.java`, `STRING_HASH_SET`, and our own).
fn is_reserved(name: &str) -> bool {
    // What users of other clients set by this way as well.
    const OF_USERS: [&str; 1] = [property::TRACE_CONTEXT];
    (property::ALL.contains(&name) || name.starts_with("TIMER_")) && !OF_USERS.contains(&name)
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
    fn what_belongs_to_the_system_is_refused_by_name() {
        let refused = |message: Message| {
            let error = message.encode_properties("ID").unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
            error.to_string()
        };
        for name in property::ALL {
            if *name == property::TRACE_CONTEXT {
                continue;
            }
            let text = refused(Message::new("t", "b").property(name, "x"));
            assert!(text.contains(&format!("property {name},")), "{text}");
        }
        // What comes later does not make up for it.
        refused(
            Message::new("t", "b")
                .property("UNIQ_KEY", "x")
                .property("mine", "y"),
        );
        let fine = Message::new("t", "b").property("tenant", "a").key("k");
        assert!(fine.encode_properties("ID").is_ok());
    }

    #[test]
    fn a_delay_beyond_the_levels_is_refused() {
        for seconds in [7_201, 10_800, 86_400] {
            let delay = Duration::from_secs(seconds);
            let error = Message::new("t", "b")
                .delay_level_for(delay)
                .encode_properties("ID")
                .unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("2 h"), "{error}");
        }
        // The last word counts.
        let corrected = Message::new("t", "b")
            .delay_level_for(Duration::from_secs(86_400))
            .delay_level_for(Duration::from_secs(1));
        assert!(corrected.encode_properties("ID").is_ok());
    }

    #[test]
    fn delays_round_up_to_a_level() {
        for (delay, level) in [(0, "1"), (1, "1"), (2, "2"), (61, "6"), (7_200, "18")] {
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
