//! Input of people who mean no good: always an error, never a panic, never more memory than the input is worth.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use rmq_protocol::bodies::{self, HeartbeatData, RegisterBrokerBody, TopicStatsTable};
use rmq_protocol::header::{CommandHead, Header, HeaderError};
use rmq_protocol::message::{RecordError, RecordView, batch, properties};
use rmq_protocol::requests::{FieldProblem, PullMessage, Request, SendMessage};
use rmq_protocol::route::TopicRoute;
use rmq_protocol::{
    Fields, FrameError, FrameLimits, HeaderEncoding, RequestCode, Split, Text, encode_frame, split,
};

fn limits() -> FrameLimits {
    FrameLimits::default()
}

fn json(text: &str) -> Result<Header<'_>, HeaderError> {
    Header::decode(HeaderEncoding::Json, text.as_bytes(), &limits())
}

#[test]
fn lengths_that_lie_are_refused_before_their_bytes_arrive() {
    let frame = |length: i32, mark: u32| [length.to_be_bytes(), mark.to_be_bytes()].concat();
    assert_eq!(
        split(&frame(-1, 0), &limits()),
        Err(FrameError::TooShort { length: -1 })
    );
    assert_eq!(
        split(&frame(3, 0), &limits()),
        Err(FrameError::TooShort { length: 3 })
    );
    assert!(matches!(
        split(&frame(i32::MAX, 0), &limits()),
        Err(FrameError::TooLong { .. })
    ));
    assert!(matches!(
        split(&frame(100, 0x00ff_ffff), &limits()),
        Err(FrameError::HeaderOutside { .. })
    ));
    assert!(matches!(
        split(&frame(16 << 20, 8 << 20), &limits()),
        Err(FrameError::HeaderTooLong { .. })
    ));
    assert_eq!(
        split(&frame(100, 0x0700_0004), &limits()),
        Err(FrameError::UnknownEncoding { encoding: 7 })
    );
    assert_eq!(
        split(&frame(100, 4), &limits()),
        Ok(Split::Need {
            frame_bytes: Some(104)
        })
    );
    // Other protocols at our port: an HTTP request, a TLS hello.
    assert!(split(b"GET / HTTP/1.1\r\n", &limits()).is_err());
    assert!(split(&[0x16, 3, 1, 2, 0, 1, 0, 1], &limits()).is_err());
}

#[test]
fn json_headers_go_wrong_in_every_way() {
    for text in [
        "",
        "{",
        "[]",
        "null",
        "\"code\"",
        "{}",
        r#"{"opaque":1}"#,
        r#"{"code":"x"}"#,
        r#"{"code":1.5}"#,
        r#"{"code":99999999999}"#,
        r#"{"code":1,"extFields":[]}"#,
        r#"{"code":1,"extFields":{"a":}}"#,
        r#"{"code":1,"extFields":{"a":"b}}"#,
        r#"{"code":1,"extFields":{"a":"\ud800"}}"#,
        r#"{"code":1,"extFields":{"a":"\u12"}}"#,
        "{\"code\":1,\"remark\":\"\u{1}\"}",
        r#"{"code":1}x"#,
        r#"{"code":1,}"#,
        r#"{code:1}"#,
        "\u{feff}{\"code\":1}",
    ] {
        assert!(json(text).is_err(), "{text}");
    }
    assert_eq!(
        json("{}").unwrap_err(),
        HeaderError::Missing { name: "code" }
    );
    assert!(matches!(
        Header::decode(
            HeaderEncoding::Json,
            b"{\"code\":1,\"remark\":\"\xff\"}",
            &limits()
        ),
        Err(HeaderError::NotUtf8 { .. })
    ));
    let deep = format!(
        r#"{{"code":1,"x":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    assert_eq!(json(&deep).unwrap_err(), HeaderError::TooDeep { max: 32 });
    let many: Vec<String> = (0..300).map(|n| format!("\"k{n}\":\"v\"")).collect();
    let many = format!(r#"{{"code":1,"extFields":{{{}}}}}"#, many.join(","));
    assert_eq!(
        json(&many).unwrap_err(),
        HeaderError::TooManyFields { max: 256 }
    );
    let long = format!(r#"{{"code":1,"extFields":{{"{}":"v"}}}}"#, "k".repeat(200));
    assert!(matches!(
        json(&long),
        Err(HeaderError::FieldTooLong {
            what: "field name",
            bytes: 200,
            ..
        })
    ));
    let long = format!(
        r#"{{"code":1,"extFields":{{"k":"{}"}}}}"#,
        "v".repeat(210 * 1024)
    );
    assert!(matches!(
        json(&long),
        Err(HeaderError::FieldTooLong {
            what: "field value",
            ..
        })
    ));
    let long = format!(r#"{{"code":1,"remark":"{}"}}"#, "v".repeat(300 * 1024));
    assert!(matches!(json(&long), Err(HeaderError::TooLong { .. })));
    // The same limits hold for headers that only the general reader takes.
    let many: Vec<String> = (0..300).map(|n| format!("\"k\\u0030{n}\":\"v\"")).collect();
    let many = format!(r#"{{"code":1,"extFields":{{{}}}}}"#, many.join(","));
    assert_eq!(
        json(&many).unwrap_err(),
        HeaderError::TooManyFields { max: 256 }
    );
}

#[test]
fn binary_headers_go_wrong_in_every_way() {
    let mut good = Vec::new();
    good.extend_from_slice(&[
        0, 10, 0, 2, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, b'r', 0, 0, 0, 8, 0, 1, b'k', 0, 0, 0,
        1, b'v',
    ]);
    let decode = |bytes: &[u8]| {
        Header::decode(HeaderEncoding::Binary, bytes, &limits()).map(|header| header.fields.len())
    };
    assert_eq!(decode(&good), Ok(1));
    for cut in 0..good.len() {
        assert!(decode(&good[..cut]).is_err(), "{cut}");
    }
    // Each length field in turn says too much, or less than nothing.
    for (at, size) in [(13, 4), (18, 4), (22, 2), (25, 4)] {
        for value in [i32::MAX, -1, 1_000] {
            let mut bad = good.clone();
            bad[at..at + size].copy_from_slice(&value.to_be_bytes()[4 - size..]);
            assert!(decode(&bad).is_err(), "{at} {value}");
        }
    }
    let mut bad = good.clone();
    bad[17] = 0xff;
    assert_eq!(
        decode(&bad),
        Err(HeaderError::NotUtf8 {
            what: "remark",
            at: 17
        })
    );
    let mut many = good[..22].to_vec();
    many[18..22].copy_from_slice(&(300i32 * 8).to_be_bytes());
    for _ in 0..300 {
        many.extend_from_slice(&good[22..]);
    }
    assert_eq!(decode(&many), Err(HeaderError::TooManyFields { max: 256 }));
}

#[test]
fn fields_that_are_missing_or_malformed_are_named() {
    let fields = Fields::from_pairs(&[
        ("a", "g"),
        ("b", "t"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "now"),
    ]);
    let error = SendMessage::decode(RequestCode::SendMessageV2, &fields).unwrap_err();
    assert_eq!((error.field, error.of), ("g", "SendMessage"));
    assert_eq!(
        error.to_string(),
        r#"SendMessage: field g is not a 64-bit integer: "now""#
    );
    let fields = Fields::from_pairs(&[("consumerGroup", "g"), ("topic", "t")]);
    let error = PullMessage::decode(&fields).unwrap_err();
    assert_eq!(
        (error.field, error.problem),
        ("queueId", FieldProblem::Missing)
    );
}

#[test]
fn records_cut_or_changed_at_every_byte() {
    for line in include_str!("../testdata/records.jsonl").lines() {
        let recorded: serde_json::Value = serde_json::from_str(line).unwrap();
        let hex = recorded["hex"].as_str().unwrap();
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        for cut in 0..bytes.len() {
            assert!(RecordView::parse(&bytes[..cut]).is_err());
        }
        for at in 0..bytes.len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                if let Ok(record) = RecordView::parse(&changed) {
                    let _ = (
                        record.check_body_crc(),
                        record.check_record_crc(),
                        record.fields(),
                        record.properties(),
                    );
                    let _ = properties::iter(record.properties()).count();
                }
            }
        }
    }
    let blank = [0, 0, 1, 0, 0xcb, 0xd4, 0x31, 0x94];
    assert_eq!(
        RecordView::parse(&blank).unwrap_err(),
        RecordError::Blank { size: 256 }
    );
}

#[test]
fn bodies_of_nonsense_are_errors() {
    for text in [
        "",
        "{",
        "[]",
        "7",
        "{\"clientID\":{}}",
        "{\"consumerDataSet\":7}",
        "{\"consumerDataSet\":[7]}",
    ] {
        assert!(HeartbeatData::from_json(text.as_bytes()).is_err(), "{text}");
    }
    let deep = "[".repeat(1_000_000);
    assert!(HeartbeatData::from_json(deep.as_bytes()).is_err());
    assert!(TopicRoute::from_json("{{".repeat(500_000).as_bytes()).is_err());
    assert!(TopicStatsTable::from_json(b"{\"offsetTable\":{\"not a queue\":{}}}").is_err());
    assert!(bodies::from_slice::<HeartbeatData>("heartbeat", b"\xff\xfe").is_err());
}

/// A client may call itself what it likes, also nearly as a queue is written.
#[test]
fn a_key_that_looks_like_a_queue_is_a_text() {
    for id in [
        "{\"brokerName\":",
        "{\"brokerName\":1}",
        "{\"brokerName\":\"b\"} ",
    ] {
        let mut status = bodies::ConsumerStatusBody::default();
        let mut offsets = bodies::QueueMap::new();
        offsets.push(bodies::MessageQueue::new("t", "b", 0), 17);
        status.consumer_table.insert(id.to_owned(), offsets);
        let json = status.to_json();
        let read = bodies::ConsumerStatusBody::from_json(&json);
        assert_eq!(read.expect("it is read back"), status);
        let text = String::from_utf8(json).unwrap();
        assert!(
            text.contains(r#"{{"brokerName":"b","queueId":0,"topic":"t"}:17}"#),
            "{text}"
        );
    }
}

/// A compressed registration has few bytes for many topics: it is refused by what it announces, before they are taken.
#[test]
fn a_registration_of_too_many_topics_is_refused() {
    use std::io::Write as _;

    let registration = |topics: i32, mappings: i32| {
        let piece = |text: &str| [&(text.len() as i32).to_be_bytes(), text.as_bytes()].concat();
        let mut plain = piece("{}");
        plain.extend_from_slice(&topics.to_be_bytes());
        plain.extend(piece("t 1 1 6 SINGLE_TAG {}").repeat(topics.clamp(0, 3) as usize));
        plain.extend(piece("[]"));
        plain.extend_from_slice(&mappings.to_be_bytes());
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&plain).unwrap();
        let body = RegisterBrokerBody::from_compressed(&encoder.finish().unwrap(), 513);
        body.map_err(|error| error.to_string())
    };
    assert!(registration(3, 0).is_ok());
    let many = registration(1_000_001, 0).unwrap_err();
    assert!(many.contains("1000001 topics"), "{many}");
    let many = registration(3, 100_001).unwrap_err();
    assert!(many.contains("100001 static topics"), "{many}");
}

#[test]
fn a_small_frame_never_makes_a_large_allocation() {
    // Claims of two gigabytes everywhere where a length can stand.
    let huge = i32::MAX.to_be_bytes();
    let mut record = vec![0; 91];
    record[..4].copy_from_slice(&huge);
    record[4..8].copy_from_slice(&[0xda, 0xa3, 0x20, 0xa7]);
    let mut batch_body = vec![0; 22];
    batch_body[..4].copy_from_slice(&22i32.to_be_bytes());
    batch_body[16..20].copy_from_slice(&huge);
    let header = [&[0, 10, 0, 2, 1, 0, 0, 0, 1, 0, 0, 0, 0][..], &huge, &huge].concat();
    let cost = allocation_counter::measure(|| {
        assert!(split(&[huge, huge].concat(), &limits()).is_err());
        assert!(Header::decode(HeaderEncoding::Binary, &header, &limits()).is_err());
        assert!(RecordView::parse(&record).is_err());
        assert!(batch::iter(&batch_body).next().unwrap().is_err());
        assert!(RegisterBrokerBody::from_compressed(&header, 513).is_err());
    });
    // zlib's own window is the largest part.
    assert!(cost.bytes_max < 128 * 1024, "{cost:?}");
}

#[test]
fn hot_requests_are_decoded_without_an_allocation() {
    let mut send = SendMessage::new("group", "topic");
    send.properties =
        Text::Plain("UNIQ_KEY\u{1}C00002025A5D30946E096F1D29DE0001\u{2}TAGS\u{1}A\u{2}");
    for encoding in [HeaderEncoding::Json, HeaderEncoding::Binary] {
        let mut out = BytesMut::new();
        encode_frame(
            &mut out,
            encoding,
            &CommandHead::request(310, 1),
            &send,
            b"body",
        );
        let mut properties = String::with_capacity(512);
        let cost = allocation_counter::measure(|| {
            let Ok(Split::Frame { frame, .. }) = split(&out, &limits()) else {
                panic!("incomplete")
            };
            let header = Header::decode(frame.encoding, frame.header, &limits()).unwrap();
            let send = SendMessage::decode(RequestCode::SendMessageV2, &header.fields).unwrap();
            send.properties.append_to(&mut properties);
            assert_eq!(send.topic, "topic");
        });
        assert_eq!(cost.count_total, 0, "{encoding:?}");
        assert!(properties.starts_with("UNIQ_KEY\x01"));
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..600)) {
        let _ = split(&bytes, &limits());
        for encoding in [HeaderEncoding::Json, HeaderEncoding::Binary] {
            if let Ok(header) = Header::decode(encoding, &bytes, &limits()) {
                for code in RequestCode::ALL {
                    let _ = SendMessage::decode(*code, &header.fields);
                }
            }
        }
        let _ = RecordView::iter(&bytes).map(|record| record.map(|record| record.fields().body.len())).collect::<Vec<_>>();
        let _ = batch::iter(&bytes).collect::<Vec<_>>();
        let text = String::from_utf8_lossy(&bytes);
        let _ = properties::iter(&text).count();
        let _ = bodies::to_strict(&text);
        let _ = HeartbeatData::from_json(&bytes);
        let _ = RegisterBrokerBody::from_compressed(&bytes, 513);
        let _ = bodies::parse_properties(&bytes);
    }

    #[test]
    fn nearly_json_never_panics(text in r#"[\[\]{}:,"'\\a1u. ]{0,80}"#) {
        let _ = json(&text);
        if let Some(strict) = bodies::to_strict(&text) {
            // What comes out may still be refused, but not by a panic.
            let _ = serde_json::from_str::<serde_json::Value>(&strict);
        }
    }
}
