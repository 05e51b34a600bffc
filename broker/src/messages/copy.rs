//! Copies of stored messages in other queues, and property strings with changes.

use rmq_protocol::message::{RecordView, properties, property, tag_hash};
use rmq_store::{AppendError, Appended, Master, NewMessage, QueueRef};

use crate::tables::topics::Topic;
use crate::tables::waiting;

/// A stored message that goes to another queue as well.
pub(crate) struct Copy<'a> {
    pub(crate) of: &'a RecordView<'a>,
    pub(crate) topic: &'a str,
    pub(crate) queue: &'a QueueRef,
    /// The property string of the copy.
    pub(crate) properties: &'a str,
    pub(crate) reconsume_times: i32,
    /// The position of the message whose wait the copy ends.
    pub(crate) ends: Option<u64>,
    /// Light queues that the copy is entered into too.
    pub(crate) further: &'a [QueueRef],
}

impl Copy<'_> {
    /// Appends the copy. The limit of a body does not count: the body was taken before.
    ///
    /// # Errors
    /// The store takes no messages, or the copy does not fit.
    pub(crate) fn append(&self, store: &Master) -> Result<Appended, AppendError> {
        let (of, text) = (self.of, self.properties);
        store.append_again(&NewMessage {
            queue: self.queue,
            topic: self.topic,
            flag: of.flag(),
            sys_flag: of.sys_flag(),
            born_ms: of.born_ms(),
            born_host: of.born_host(),
            reconsume_times: self.reconsume_times,
            prepared_position: self.ends.map_or(0, waiting::ends),
            body: of.body(),
            properties: text.as_bytes(),
            tag_hash: properties::get(text, property::TAGS).map_or(0, tag_hash),
            keys: properties::get(text, property::KEYS).unwrap_or_default(),
            unique_key: properties::get(text, property::UNIQ_KEY).unwrap_or_default(),
            further: self.further,
        })
    }
}

/// The property string of a message of a topic, from one that [`with`] has made: one of a compaction topic says that it is.
pub(crate) fn for_topic(topic: &Topic, text: String) -> String {
    match topic.is_compacted {
        true => rmq_store::compacted(&text),
        false => text,
    }
}

/// The property string with some properties set (`Some`) or removed (`None`). What follows from the place of a record is always left out: the
/// checksum, the offsets in light queues, and that its topic is a compaction topic.
pub(crate) fn with(text: &str, changes: &[(&str, Option<&str>)]) -> String {
    let mut builder = properties::Builder::new();
    builder.extend_except(text, |name| {
        matches!(
            name,
            property::CRC32 | property::INNER_MULTI_QUEUE_OFFSET | property::COMPACTED
        ) || changes.iter().any(|(changed, _)| *changed == name)
    });
    for (name, value) in changes {
        if let Some(value) = value {
            builder.push(name, value);
        }
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_set_removed_and_kept() {
        let text = "__COMPACTED\u{1}1\u{2}A\u{1}1\u{2}B\u{1}2\u{2}INNER_MULTI_QUEUE_OFFSET\u{1}7\u{2}__CRC32#\u{1}0123456789\u{2}";
        assert_eq!(
            with(text, &[("A", None), ("B", Some("3")), ("C", Some("4"))]),
            "B\u{1}3\u{2}C\u{1}4\u{2}"
        );
        assert_eq!(with("", &[]), "");
    }
}
