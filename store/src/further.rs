//! Further queues of a message: the light queues (LMQ) that its property `INNER_MULTI_DISPATCH` names (apache/rocketmq
//! `store/queue/MultiDispatchUtils`, `store/LmqDispatch`).
//!
//! When the record gets its place, its offset in each of them becomes its last property but for the checksum, `INNER_MULTI_QUEUE_OFFSET`, in the order
//! of the names. So everybody who reads the record knows its places: consumers, replicas, and a start that makes the index again.

use std::fmt::Write;

use rmq_protocol::message::{RecordView, properties, property};

use crate::queue::QueueRef;

/// The number of each light queue within its topic (apache/rocketmq `MixAll.LMQ_QUEUE_ID`).
pub const LIGHT_QUEUE_ID: i32 = 0;
/// Bytes that one offset takes in the property, at most: nineteen digits and a separator.
const OFFSET_BYTES: usize = 20;

/// Further queues of a record, with its offset in each; `None`: it has none.
pub(crate) type Further = Option<Box<[(QueueRef, i64)]>>;

/// Bytes of the property for a message with this many further queues, at most.
#[must_use]
pub const fn offsets_bytes_max(queues: usize) -> usize {
    match queues {
        0 => 0,
        _ => property::INNER_MULTI_QUEUE_OFFSET.len() + 2 + queues * OFFSET_BYTES,
    }
}

/// Writes the property with the offsets that the next record gets in `queues`. Call it under the append mutex.
pub(crate) fn write_offsets(queues: &[QueueRef], out: &mut String) {
    out.clear();
    out.push_str(property::INNER_MULTI_QUEUE_OFFSET);
    out.push(char::from(properties::NAME_VALUE_SEPARATOR));
    for (index, queue) in queues.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        // A string takes everything.
        let _ = write!(out, "{}", queue.next_offset());
    }
    out.push(char::from(properties::PROPERTY_SEPARATOR));
}

/// Topics of the further queues of a record, and its offset in each, from the values of its properties.
pub(crate) fn places<'a>(names: &'a str, offsets: &'a str) -> Vec<(&'a str, i64)> {
    if offsets.is_empty() || names.split(',').count() != offsets.split(',').count() {
        return Vec::new();
    }
    let offsets = offsets.split(',').map(|offset| offset.parse::<i64>().ok());
    let places = names.split(',').zip(offsets);
    let places: Option<Vec<_>> = places
        .map(|(name, offset)| Some((name, offset.filter(|offset| *offset >= 0)?)))
        .collect();
    places.unwrap_or_default()
}

/// Topics of the further queues of a record, and its offset in each.
pub(crate) fn of<'a>(record: &RecordView<'a>) -> Vec<(&'a str, i64)> {
    let text = record.properties();
    let value = |name| properties::get(text, name).unwrap_or_default();
    match value(property::INNER_MULTI_QUEUE_OFFSET) {
        "" => Vec::new(),
        offsets => places(value(property::INNER_MULTI_DISPATCH), offsets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_its_places() {
        assert_eq!(places("a", "7"), [("a", 7)]);
        assert_eq!(places("a,b", "7,0"), [("a", 7), ("b", 0)]);
        for (names, offsets) in [
            ("", ""),
            ("a", ""),
            ("a,b", "7"),
            ("a", "7,8"),
            ("a,b", "7,"),
            ("a,b", "7,-1"),
            ("a", "x"),
            ("a", "9223372036854775808"),
        ] {
            assert_eq!(places(names, offsets), [], "{names:?} {offsets:?}");
        }
    }

    #[test]
    fn the_property_has_room() {
        let queue = |next| {
            let queue = QueueRef::nowhere("t", 0, 0);
            queue.set_next_offset(next);
            queue
        };
        let queues = [queue(0), queue(i64::MAX), queue(i64::MAX)];
        let mut text = String::from("what was there");
        write_offsets(&queues, &mut text);
        assert_eq!(
            text,
            "INNER_MULTI_QUEUE_OFFSET\u{1}0,9223372036854775807,9223372036854775807\u{2}"
        );
        assert!(text.len() <= offsets_bytes_max(queues.len()));
        assert_eq!(offsets_bytes_max(0), 0);
    }
}
