//! Half messages as they are stored, and the messages that they become.

use rmq_protocol::message::{
    LogPosition, OffsetMessageId, QueueId, RecordError, RecordFields, RecordView, flags,
    properties, property, tag_hash,
};
use rmq_store::{AppendError, Appended, Master, NewMessage, QueueRef};

use crate::link::AskedHalf;
use crate::messages::copy;

/// The properties of a half message, with where it goes when it is committed. `group`: the producer group of the request, for a client
/// that does not name it among the properties.
pub(crate) fn properties_of(text: &str, topic: &str, queue_id: i32, group: &str) -> String {
    let named = properties::get(text, property::PGROUP).unwrap_or(group);
    let changes = [
        (property::PGROUP, Some(named)),
        (property::REAL_TOPIC, Some(topic)),
        (property::REAL_QID, Some(&*queue_id.to_string())),
        (property::TRANSACTION_CHECK_TIMES, None),
    ];
    copy::with(text, &changes)
}

/// Where a half message goes when it is committed.
pub(crate) fn goes_to<'a>(view: &RecordView<'a>) -> (&'a str, i32) {
    let text = view.properties();
    let topic = properties::get(text, property::REAL_TOPIC).unwrap_or_default();
    let queue = properties::get(text, property::REAL_QID).and_then(|id| id.parse().ok());
    (topic, queue.unwrap_or(0))
}

/// A stored half message that goes elsewhere.
pub(crate) struct Moved<'a> {
    pub(crate) of: &'a RecordView<'a>,
    pub(crate) topic: &'a str,
    pub(crate) queue: &'a QueueRef,
    pub(crate) properties: &'a str,
    /// The transaction bits of the system flag.
    pub(crate) transaction: i32,
    /// Light queues that it is entered into too.
    pub(crate) further: &'a [QueueRef],
}

impl Moved<'_> {
    /// Appends the message, which names the stored one: the row of that is gone with it.
    ///
    /// # Errors
    /// The store takes no messages, or the message does not fit.
    pub(crate) fn append(&self, store: &Master) -> Result<Appended, AppendError> {
        let (of, text) = (self.of, self.properties);
        store.append_again(&NewMessage {
            queue: self.queue,
            topic: self.topic,
            flag: of.flag(),
            sys_flag: without_transaction(of.sys_flag()) | self.transaction,
            born_ms: of.born_ms(),
            born_host: of.born_host(),
            reconsume_times: of.reconsume_times(),
            prepared_position: i64::try_from(of.position().0).unwrap_or(i64::MAX),
            body: of.body(),
            properties: text.as_bytes(),
            tag_hash: properties::get(text, property::TAGS).map_or(0, tag_hash),
            keys: properties::get(text, property::KEYS).unwrap_or_default(),
            unique_key: properties::get(text, property::UNIQ_KEY).unwrap_or_default(),
            further: self.further,
        })
    }
}

/// A system flag without its transaction bits.
pub(crate) const fn without_transaction(sys_flag: i32) -> i32 {
    sys_flag & !flags::TRANSACTION_ROLLBACK
}

/// The properties of the message that a half message becomes.
pub(crate) fn committed(view: &RecordView<'_>) -> String {
    let changes = [
        (property::REAL_TOPIC, None),
        (property::REAL_QID, None),
        (property::TRANSACTION_CHECK_TIMES, None),
    ];
    copy::with(view.properties(), &changes)
}

/// What producers are asked about a half message. `checks`: which check it is, from 1.
///
/// # Errors
/// The record does not fit its fields.
pub(crate) fn asked(
    view: &RecordView<'_>,
    checks: u16,
    broker_name: &str,
) -> Result<AskedHalf, RecordError> {
    let (topic, queue_id) = goes_to(view);
    let checks = checks.to_string();
    let text = copy::with(
        view.properties(),
        &[(property::TRANSACTION_CHECK_TIMES, Some(&checks))],
    );
    let mut record = Vec::with_capacity(view.size() + 64);
    RecordFields {
        topic,
        queue_id: QueueId(queue_id),
        properties: text.as_bytes(),
        ..view.fields()
    }
    .encode(&mut record)?;
    let position = view.position();
    let unique_key = view.property(property::UNIQ_KEY).unwrap_or_default();
    Ok(AskedHalf {
        queue_offset: view.queue_offset().0,
        position: i64::try_from(position.0).unwrap_or(i64::MAX),
        unique_key: unique_key.to_owned(),
        offset_message_id: offset_id(view, position),
        broker_name: broker_name.to_owned(),
        record,
    })
}

/// The offset id of a message.
pub(crate) fn offset_id(view: &RecordView<'_>, position: LogPosition) -> String {
    let host = view.store_host();
    OffsetMessageId { host, position }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_message_says_where_it_goes_and_who_sent_it() {
        let text = "TRAN_MSG\u{1}true\u{2}TRANSACTION_CHECK_TIMES\u{1}3\u{2}";
        let half = properties_of(text, "orders", 3, "payers");
        let get = |name| properties::get(&half, name);
        assert_eq!(get(property::REAL_TOPIC), Some("orders"));
        assert_eq!(get(property::REAL_QID), Some("3"));
        assert_eq!(get(property::PGROUP), Some("payers"));
        assert_eq!(get(property::TRANSACTION_CHECK_TIMES), None);
        let named = "PGROUP\u{1}others\u{2}";
        let half = properties_of(named, "orders", 3, "payers");
        assert_eq!(properties::get(&half, property::PGROUP), Some("others"));
    }

    #[test]
    fn no_transaction_bit_is_left() {
        assert_eq!(without_transaction(0x3f), 0x33);
    }
}
