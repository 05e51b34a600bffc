//! Messages: records, batches, property strings, and the texts that name them.

use std::str::FromStr;

use rmq_protocol::Incarnation;
use rmq_protocol::message::batch::{self, BatchEntry};
use rmq_protocol::message::{
    OffsetMessageId, RecallHandle, RecordView, java_hash_code, properties as props, unique_id_time,
};
use rmq_protocol::names;

pub(crate) fn records(data: &[u8]) {
    let mut bytes = 0;
    for record in RecordView::iter(data) {
        let Ok(record) = record else { break };
        bytes += record.size();
        assert!(bytes <= data.len());
        let _ = (record.check_body_crc(), record.check_record_crc());
        property_string(record.properties());
        let fields = record.fields();
        let mut again = Vec::new();
        let encoded = fields.encode(&mut again);
        encoded.unwrap_or_else(|error| panic!("a record is not written again: {error}"));
        assert_eq!(again.len(), fields.encoded_len());
        let read = RecordView::parse(&again).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.fields(), fields);
        assert_eq!(read.check_body_crc(), Ok(()));
    }
}

pub(crate) fn batch(data: &[u8]) {
    let mut entries = Vec::new();
    let mut is_whole = true;
    for entry in batch::iter(data) {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(_) => is_whole = false,
        }
    }
    let mut again = Vec::new();
    for entry in &entries {
        property_string(entry.properties);
        batch::encode(entry, &mut again).expect("what was read can be written");
    }
    let read: Result<Vec<_>, _> = batch::iter(&again).collect();
    assert_eq!(read.as_ref(), Ok(&entries));
    assert!(again.len() <= data.len());
    assert!(!is_whole || again.len() == data.len());
}

pub(crate) fn properties(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        property_string(text);
    }
}

/// A property string is read as its description says.
fn property_string(text: &str) {
    let parts = text.split('\u{2}');
    let expected: Vec<(&str, &str)> = parts
        .filter_map(|part| part.split_once('\u{1}'))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let read: Vec<(&str, &str)> = props::iter(text).collect();
    assert_eq!(read, expected);
    let again = props::join(read.iter().copied());
    assert_eq!(props::iter(&again).collect::<Vec<_>>(), read);
    if let Some((name, _)) = read.first() {
        let last = read.iter().rfind(|(other, _)| other == name);
        assert_eq!(props::get(text, name), last.map(|(_, value)| *value));
    }
}

/// A text that may be an id, a handle or a name.
pub(crate) fn ids(data: &[u8]) {
    /// A day in 2026.
    const NOW_MS: i64 = 1_795_357_384_001;
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(id) = OffsetMessageId::from_str(text) {
        assert_eq!(id.to_string(), text.to_ascii_uppercase());
    }
    if let Ok(handle) = RecallHandle::decode(text) {
        assert_eq!(RecallHandle::decode(&handle.encode()), Ok(handle));
    }
    if let Some(time_ms) = unique_id_time(text, NOW_MS) {
        assert!(time_ms <= NOW_MS + 62 * 86_400_000, "{time_ms}");
    }
    if let Ok(incarnation) = text.parse::<Incarnation>() {
        assert_eq!(incarnation.to_string(), text.to_ascii_lowercase());
    }
    let _ = java_hash_code(text);
    let retry = names::retry_topic(text);
    assert_eq!(names::group_of_retry_topic(&retry), Some(text));
    for is_valid in [names::validate_topic(text), names::validate_group(text)] {
        if let Err(error) = is_valid {
            assert!(error.to_string().len() < 1_024);
        }
    }
    if let Ok(name) = names::ClientId::parse(text) {
        assert_eq!(name.as_str(), text);
    }
}

pub(crate) fn batches() -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    let mut body = Vec::new();
    for (flag, content, properties) in [
        (0, &b"first"[..], "KEYS\u{1}k\u{2}"),
        (-1, b"", ""),
        (7, &[0; 300], "TAGS\u{1}a\u{2}UNIQ_KEY\u{1}7F0000010A\u{2}"),
    ] {
        let entry = BatchEntry {
            flag,
            body: content,
            properties,
        };
        batch::encode(&entry, &mut body).expect("short");
        batches.push(body.clone());
    }
    batches
}

pub(crate) fn property_strings() -> Vec<Vec<u8>> {
    [
        "KEYS\u{1}a b\u{2}TAGS\u{1}t\u{2}UNIQ_KEY\u{1}C00002025A5D30946E096F1D29DE0001\u{2}WAIT\u{1}true\u{2}",
        "a\u{1}b\u{2}\u{2}c\u{1}\u{2}junk\u{2}\u{1}x\u{2}d\u{1}e",
        "TIMER_DELIVER_MS\u{1}1795357384001\u{2}__CRC32#\u{1}0123456789\u{2}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(crate) fn id_texts() -> Vec<Vec<u8>> {
    [
        "C0000202000027EF0000000000001A2B",
        "20010DB8000000000000000000000001000027EF0000000000001A2B",
        "C00002025B2530946E096F3BAA6C0009",
        "djEgU3RvcmVCIGJyb2tlci1hIDE3OTUzNTczODQwMDEgQzAwMDAyMDI1QjI1MzA5NDZFMDk2RjNCQUE2QzAwMDk=",
        "00000000000000000000000000000abc",
        "%RETRY%group-1",
        "10.0.0.9@12345#98765",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
