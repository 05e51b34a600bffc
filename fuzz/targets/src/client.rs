//! What the client does with bytes of brokers and of other clients.

use bytes::Bytes;
use rmq_client::{Compression, fuzzing};
use rmq_protocol::message::{RecordView, flags};

use crate::recorded;

/// Types of compression, and one that nobody knows.
const TYPES: [i32; 5] = [
    0,
    flags::COMPRESSION_ZLIB,
    flags::COMPRESSION_LZ4,
    flags::COMPRESSION_ZSTD,
    0x700,
];

/// The body of an answer to a pull.
pub(crate) fn messages(data: &[u8]) {
    let Ok(messages) = fuzzing::messages(&Bytes::copy_from_slice(data)) else {
        return;
    };
    let records = RecordView::iter(data).filter_map(Result::ok);
    assert_eq!(messages.len(), records.count());
    for message in &messages {
        let _ = (message.message_id(), message.tag(), message.content_type());
        let _ = (message.born_at(), message.stored_at(), message.born_host());
        let _ = (message.keys().count(), message.properties().count());
    }
}

pub(crate) fn pulled() -> Vec<Vec<u8>> {
    let mut seeds = recorded::records();
    seeds.push(seeds.iter().take(5).cloned().collect::<Vec<_>>().concat());
    seeds
}

/// A compressed body: one byte says how, or that a body is compressed here.
pub(crate) fn inflate(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let body = Bytes::copy_from_slice(bytes);
    let by = usize::from(*first) % 8;
    if let Some(kind) = TYPES.get(by) {
        drop(fuzzing::inflate(body, flags::COMPRESSED | kind));
        return;
    }
    let compression = match by {
        5 => Compression::zlib(),
        6 => Compression::lz4(),
        _ => Compression::zstd(),
    };
    let (deflated, sys_flag) = fuzzing::deflate(&body, compression.threshold(0));
    let again = fuzzing::inflate(deflated, sys_flag).map_err(|error| error.to_string());
    assert_eq!(again, Ok(body));
}

pub(crate) fn deflated() -> Vec<Vec<u8>> {
    let body = Bytes::from("line 17 of a report\n".repeat(40));
    let mut seeds: Vec<Vec<u8>> = (5..8).map(|by| [&[by], &body[..]].concat()).collect();
    let compressions = [
        (1, Compression::zlib()),
        (2, Compression::lz4()),
        (3, Compression::zstd()),
    ];
    for (by, compression) in compressions {
        let (deflated, _) = fuzzing::deflate(&body, compression.threshold(0));
        seeds.push([&[by], &deflated[..]].concat());
        // A few bytes that become many.
        let zeros = Bytes::from(vec![0; 1 << 20]);
        let (deflated, _) = fuzzing::deflate(&zeros, compression.threshold(0));
        seeds.push([&[by], &deflated[..]].concat());
    }
    seeds
}

pub(crate) fn traces(data: &[u8]) {
    let steps = fuzzing::traces(data);
    assert!(steps.len() <= data.len());
}

pub(crate) fn trace_seeds() -> Vec<Vec<u8>> {
    let records = [
        "Pub|1700000000000|DefaultRegion|p|orders|ID|paid|k1 k2|10.0.0.1:10911|11|7|0|OFFSETID|true|10.0.0.9$",
        "SubBefore|1700000000100|null|g|REQUEST|ID|2|k1$SubAfter|REQUEST|ID|25|false|k1|4$",
        "SubAfter|R|ID|25|true|k1|0|1700000000100|g$",
        "EndTransaction|1700000000000|r|p|orders|ID|null||h|0|TX|ROLLBACK_MESSAGE|false$Recall|1|r|p|orders|ID|true$",
    ];
    let written = |text: &str| {
        text.replace('|', "\u{1}")
            .replace('$', "\u{2}")
            .into_bytes()
    };
    let mut seeds: Vec<Vec<u8>> = records.iter().map(|record| written(record)).collect();
    seeds.push(written(&records.concat()));
    seeds
}
