//! What the broker does with what lies in its tables and with attributes that clients send, for fuzz targets. No part of the interface:
//! it changes without notice.

use crate::attributes::{self, Attributes};
use crate::tables::due_key::Key;
use crate::tables::stamp::Stamp;
use crate::tables::{groups, half, topics};

/// Reads a row of each table. What is read is written as it was read.
///
/// # Panics
/// When it is not.
pub fn row(bytes: &[u8]) {
    half::read_back(bytes);
    groups::read_back(bytes);
    topics::read_back(bytes);
    if let Some(key) = Key::read(bytes) {
        assert_eq!(key.bytes(), bytes);
        assert!(key.after().bytes() > key.bytes() || key.position == u64::MAX);
        assert!(key.end_of_clock() > key.bytes() || key.level == u8::MAX);
    }
    if let Some(stamp) = std::str::from_utf8(bytes).ok().and_then(Stamp::read) {
        assert_eq!(Stamp::read(&stamp.text()), Some(stamp));
        let _ = stamp.due_ms();
    }
}

/// Changes attributes of a topic and of a group: `+name=value` or `-name`, separated by commas.
///
/// # Panics
/// When the same change of what came out changes something again.
pub fn change_attributes(text: &str) {
    let parts = text.split(',').map(|part| match part.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (part, None),
    });
    let changes: Vec<(&str, Option<&str>)> = parts.collect();
    let pairs = || changes.iter().copied();
    if let Ok(changed) = attributes::change_topic(None, pairs(), true) {
        let again = attributes::change_topic(Some(&changed), pairs(), true);
        assert_eq!(again.as_ref(), Ok(&changed));
    }
    let wanted: Attributes = pairs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    if let Ok(changed) = attributes::change_group(None, &wanted) {
        let again = attributes::change_group(Some(&changed), &wanted);
        assert_eq!(again.as_ref(), Ok(&changed));
    }
}
