//! What the broker reads out of its tables, and attributes that clients send.

use rmq_broker::fuzzing;

pub(crate) fn rows(data: &[u8]) {
    fuzzing::row(data);
}

pub(crate) fn row_seeds() -> Vec<Vec<u8>> {
    let half = |kind: u8| {
        let mut row = vec![1, kind];
        row.extend(17_i64.to_be_bytes());
        row.extend(1_795_357_384_001_i64.to_be_bytes());
        row.extend((-1_i32).to_be_bytes());
        row.extend(3_u16.to_be_bytes());
        row.extend(1_795_357_384_500_i64.to_be_bytes());
        row.extend(if kind == 0 { 0_u64 } else { 4_096 }.to_be_bytes());
        for text in ["group", "topic"] {
            row.extend((text.len() as u16).to_be_bytes());
            row.extend(text.as_bytes());
        }
        row
    };
    let mut key = vec![3];
    for word in [1_u64 << 63, (1 << 63) | 1_795_357_384_001, 4_096] {
        key.extend(word.to_be_bytes());
    }
    key.extend(7_u32.to_be_bytes());
    let group = r#"{"config":{"groupName":"g","retryMaxTimes":16,"attributes":{"quota.messages":"5"}},"forbidden":{"t":1}}"#;
    let topic = r#"{"attributes":{"message.type":"NORMAL"},"perm":6,"readQueueNums":4,"topicName":"t","writeQueueNums":4}"#;
    let stamp = "1795357384001,10000,0,2";
    vec![
        half(0),
        half(1),
        key,
        group.into(),
        topic.into(),
        stamp.into(),
    ]
}

pub(crate) fn attributes(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        fuzzing::change_attributes(text);
    }
}

pub(crate) fn attribute_seeds() -> Vec<Vec<u8>> {
    [
        "+message.type=DELAY,+quota.messages=1000,-reserve.time",
        "+cleanup.policy=DELETE,+queue.type=SimpleCQ,+quota.client.bytes=7",
        "priority.factor=7,quota.bytes=1000000000000",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
