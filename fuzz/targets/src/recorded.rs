//! What was recorded of Apache RocketMQ: frames and records that its clients and servers have sent.

use serde_json::Value;

const FRAMES: &str = include_str!("../../../protocol/testdata/frames.jsonl");
const RECORDS: &str = include_str!("../../../protocol/testdata/records.jsonl");

/// Whether a frame is binary, its header, and its body when that is a text.
pub(crate) struct Recorded {
    pub(crate) is_binary: bool,
    pub(crate) header: Vec<u8>,
    pub(crate) text: Option<String>,
}

/// All frames.
pub(crate) fn frames() -> Vec<Recorded> {
    let frames = FRAMES.lines().filter_map(|line| {
        let frame: Value = serde_json::from_str(line).ok()?;
        let is_binary = frame["encoding"] == "binary";
        Some(Recorded {
            is_binary,
            header: match is_binary {
                true => unhex(frame["hex"].as_str()?),
                false => frame["header"].to_string().into_bytes(),
            },
            text: frame["text"].as_str().map(str::to_owned),
        })
    });
    frames.collect()
}

/// All stored records.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let records = RECORDS.lines().filter_map(|line| {
        let record: Value = serde_json::from_str(line).ok()?;
        record["hex"].as_str().map(unhex)
    });
    records.collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let digits = pairs.filter_map(|pair| std::str::from_utf8(pair).ok());
    digits
        .filter_map(|digits| u8::from_str_radix(digits, 16).ok())
        .collect()
}
