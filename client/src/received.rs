//! A message that was read.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use rmq_protocol::message::{LogPosition, OffsetMessageId, RecordView, properties, property};
use rmq_protocol::requests::PushReplyMessageToClient;

use crate::clock::system_time;
use crate::compression::inflate;
use crate::error::{Error, ErrorKind};
use crate::message::CONTENT_TYPE;
use crate::queue::Queue;

/// A message as a broker stores it.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// for message in client.reader("orders").open().await?.all().await? {
///     println!("{} {}@{}", message.message_id(), message.queue(), message.queue_offset());
///     println!("{:?} {:?} {:?}", message.tag(), message.keys().collect::<Vec<_>>(), message.property("tenant"));
///     println!("{} bytes, born at {:?}, stored at {:?}", message.body().len(), message.born_at(), message.stored_at());
///     println!("{} from {}, tried {} times", message.offset_id(), message.born_host(), message.reconsume_times());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    queue: Queue,
    queue_offset: i64,
    id: OffsetMessageId,
    sys_flag: i32,
    flag: i32,
    born_ms: i64,
    born_host: SocketAddr,
    store_ms: i64,
    reconsume_times: i32,
    properties: String,
    body: Bytes,
}

impl ReceivedMessage {
    /// Takes the records of an answer's body apart; every body is checked against its CRC.
    pub(crate) fn parse_all(bytes: &Bytes, broker: &str) -> Result<Vec<Self>, Error> {
        let mut messages: Vec<Self> = Vec::new();
        for record in RecordView::iter(bytes) {
            let record =
                record.map_err(|error| damaged("a record cannot be read").source(error))?;
            let (topic, id) = (record.topic(), record.queue_id().0);
            // Nearly always all are of one queue.
            let queue = match messages.last().map(Self::queue) {
                Some(queue) if queue.id() == id && queue.topic() == topic => queue.clone(),
                _ => Queue::new(topic, broker, id),
            };
            messages.push(Self::new(&record, bytes, queue)?);
        }
        Ok(messages)
    }

    fn new(record: &RecordView<'_>, bytes: &Bytes, queue: Queue) -> Result<Self, Error> {
        let place = || {
            format!(
                "{}/{} offset {}",
                record.topic(),
                record.queue_id(),
                record.queue_offset()
            )
        };
        record
            .check_body_crc()
            .map_err(|error| damaged(&place()).source(error))?;
        let body = bytes.slice_ref(record.body());
        Ok(Self {
            queue,
            queue_offset: record.queue_offset().0,
            id: OffsetMessageId {
                host: record.store_host(),
                position: record.position(),
            },
            sys_flag: record.sys_flag(),
            flag: record.flag(),
            born_ms: record.born_ms(),
            born_host: record.born_host(),
            store_ms: record.store_ms(),
            reconsume_times: record.reconsume_times(),
            properties: record.properties().to_owned(),
            body: inflate(body, record.sys_flag()).map_err(|error| error.doing(&place()))?,
        })
    }

    /// A reply, as a broker pushes it.
    pub(crate) fn pushed(
        request: &PushReplyMessageToClient<'_>,
        body: Bytes,
    ) -> Result<Self, Error> {
        let host = |text: &str| {
            let parsed: Result<SocketAddr, _> = text.parse();
            parsed.map_err(|error| damaged(&format!("address {text:?}")).source(error))
        };
        let mut properties = String::new();
        if let Some(text) = &request.properties {
            text.append_to(&mut properties);
        }
        Ok(Self {
            queue: Queue::new(&*request.topic, "", request.queue_id),
            queue_offset: 0,
            id: OffsetMessageId {
                host: host(&request.store_host)?,
                position: LogPosition(0),
            },
            sys_flag: request.sys_flag,
            flag: request.flag,
            born_ms: request.born_timestamp,
            born_host: host(&request.born_host)?,
            store_ms: request.store_timestamp,
            reconsume_times: request.reconsume_times.unwrap_or(0),
            properties,
            body: inflate(body, request.sys_flag)?,
        })
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.queue.topic()
    }

    /// The queue that it was read from.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Its place in the queue.
    #[must_use]
    pub fn queue_offset(&self) -> i64 {
        self.queue_offset
    }

    /// The id that the producer gave it; the stored one when there is none.
    #[must_use]
    pub fn message_id(&self) -> String {
        self.property(property::UNIQ_KEY)
            .map_or_else(|| self.id.to_string(), str::to_owned)
    }

    /// Where it is stored, as an id.
    #[must_use]
    pub fn offset_id(&self) -> OffsetMessageId {
        self.id
    }

    /// The body, inflated.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.property(property::TAGS)
    }

    /// The business keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.property(property::KEYS)
            .unwrap_or_default()
            .split(' ')
            .filter(|key| !key.is_empty())
    }

    /// One property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::get(&self.properties, name)
    }

    /// All properties, those of the system included.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        properties::iter(&self.properties)
    }

    /// What its body is, where the producer said so ([`Message::content_type`](crate::Message::content_type)).
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.property(CONTENT_TYPE)
    }

    /// The user's flag.
    #[must_use]
    pub fn flag(&self) -> i32 {
        self.flag
    }

    /// The system's flags, as stored.
    #[must_use]
    pub fn sys_flag(&self) -> i32 {
        self.sys_flag
    }

    /// When the producer made it, by the producer's clock; to the millisecond.
    #[must_use]
    pub fn born_at(&self) -> SystemTime {
        system_time(self.born_ms)
    }

    /// The producer's address as the broker saw it.
    #[must_use]
    pub fn born_host(&self) -> SocketAddr {
        self.born_host
    }

    /// When the broker stored it, by the broker's clock; to the millisecond.
    #[must_use]
    pub fn stored_at(&self) -> SystemTime {
        system_time(self.store_ms)
    }

    /// How often it was consumed without success.
    #[must_use]
    pub fn reconsume_times(&self) -> i32 {
        self.reconsume_times
    }
}

pub(crate) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("damaged message: {what}"))
}

#[cfg(test)]
mod tests {
    use rmq_protocol::message::{QueueId, QueueOffset, RecordFields};

    use super::*;

    fn record(sys_flag: i32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let fields = RecordFields {
            queue_id: QueueId(3),
            flag: 7,
            queue_offset: QueueOffset(9),
            position: LogPosition(100),
            sys_flag,
            born_ms: 1,
            born_host: "1.2.3.4:5".parse().unwrap(),
            store_ms: 2,
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_position: 0,
            body,
            topic: "t",
            properties: b"KEYS\x01a b\x02TAGS\x01T\x02",
        };
        fields.encode(&mut out).unwrap();
        out
    }

    #[test]
    fn records_become_messages() {
        let bytes = Bytes::from([record(0, b"plain"), record(0, b"more")].concat());
        let messages = ReceivedMessage::parse_all(&bytes, "b").unwrap();
        assert_eq!(messages[0].body(), "plain");
        assert_eq!(messages[1].body(), "more");
        assert_eq!(messages[0].queue(), &Queue::new("t", "b", 3));
        assert_eq!(messages[0].keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(messages[0].message_id(), "7F00000100002A9F0000000000000064");
    }

    #[test]
    fn damage_is_found() {
        let mut changed = record(0, b"plain");
        changed[88] ^= 1;
        for bytes in [
            changed,
            record(0x401, b"unknown"),
            record(0, b"x")[..50].to_vec(),
        ] {
            let error = ReceivedMessage::parse_all(&bytes.into(), "b").unwrap_err();
            assert!(error.to_string().contains("damaged"), "{error}");
        }
    }
}
