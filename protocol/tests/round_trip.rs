//! What is written is read back the same, for arbitrary content.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use rmq_protocol::header::{CommandHead, FLAG_ONE_WAY, Header};
use rmq_protocol::message::batch::{self, BatchEntry};
use rmq_protocol::message::{
    LogPosition, OffsetMessageId, QueueId, QueueOffset, RECORD_CRC_BYTES, RecordFields, RecordView,
    crc_digits, flags, java_hash_code, properties, property,
};
use rmq_protocol::requests::{PullMessage, Request, SendMessage};
use rmq_protocol::{
    FieldSource, FrameLimits, HeaderEncoding, Language, RequestCode, Split, Text, encode_frame,
    split,
};

fn encoding() -> impl Strategy<Value = HeaderEncoding> {
    prop_oneof![Just(HeaderEncoding::Json), Just(HeaderEncoding::Binary)]
}

fn host() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// Text without the property separators.
fn clean() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.replace(['\u{1}', '\u{2}'], ""))
}

fn frame(
    encoding: HeaderEncoding,
    head: &CommandHead,
    fields: &dyn FieldSource,
    body: &[u8],
) -> BytesMut {
    let mut out = BytesMut::new();
    encode_frame(&mut out, encoding, head, fields, body);
    out
}

proptest! {
    #[test]
    fn frames(
        encoding in encoding(),
        code in any::<i16>(), opaque in any::<i32>(), flag in any::<i32>(), version in any::<i16>(),
        language in 0u8..14,
        remark in proptest::option::of("[^\u{0}]{1,30}"),
        pairs in vec(("[a-zA-Z_]{1,20}", any::<String>()), 0..20),
        body in vec(any::<u8>(), 0..200),
    ) {
        let head = CommandHead {
            code: code.into(), opaque, flag, version: version.into(),
            language: Language::from_u8(language),
            remark: remark.clone().map(Into::into),
        };
        let out = frame(encoding, &head, &pairs, &body);
        let Split::Frame { frame, consumed } = split(&out, &FrameLimits::default()).unwrap() else { panic!("incomplete") };
        prop_assert_eq!(consumed, out.len());
        prop_assert_eq!(frame.body, &body[..]);
        let header = Header::decode(frame.encoding, frame.header, &FrameLimits::default()).unwrap();
        prop_assert_eq!(
            (header.code, header.opaque, header.flag, header.version, header.language),
            (i32::from(code), opaque, flag, i32::from(version), Language::from_u8(language))
        );
        prop_assert_eq!(header.remark.map(|remark| remark.to_cow().into_owned()), remark);
        let read: Vec<_> = header.fields.iter().map(|(key, value)| (key.to_owned(), value.to_cow().into_owned())).collect();
        prop_assert_eq!(read, pairs);
        // Every cut of it is incomplete, never something else.
        for cut in 0..out.len() {
            let incomplete = matches!(split(&out[..cut], &FrameLimits::default()), Ok(Split::Need { .. }));
            prop_assert!(incomplete);
        }
    }

    #[test]
    fn sends(
        encoding in encoding(), code in prop_oneof![Just(10), Just(310), Just(320), Just(324), Just(325)],
        topic in ".{0,20}", props in any::<String>(), queue_id in any::<i32>(), born in any::<i64>(),
        max in proptest::option::of(any::<i32>()), batch in any::<bool>(),
    ) {
        let mut send = SendMessage::new("group", topic);
        send.properties = Text::Owned(props.clone());
        send.queue_id = queue_id;
        send.born_timestamp = born;
        send.max_reconsume_times = max;
        let code = RequestCode::from_i32(code).unwrap();
        send.batch = batch || code == RequestCode::SendBatchMessage;
        let head = CommandHead::request(code.as_i32(), 1);
        let out = if SendMessage::is_short(code) { frame(encoding, &head, &send, b"x") } else { frame(encoding, &head, &send.v1(), b"x") };
        let Split::Frame { frame, .. } = split(&out, &FrameLimits::default()).unwrap() else { panic!("incomplete") };
        let header = Header::decode(frame.encoding, frame.header, &FrameLimits::default()).unwrap();
        let read = SendMessage::decode(code, &header.fields).unwrap();
        let mut appended = String::new();
        read.properties.append_to(&mut appended);
        prop_assert_eq!(appended, props);
        prop_assert_eq!(read, send);
    }

    #[test]
    fn pulls(encoding in encoding(), offset in any::<i64>(), subscription in proptest::option::of(any::<String>()), bytes in proptest::option::of(any::<i32>())) {
        let pull = PullMessage {
            consumer_group: "g".into(), topic: "t".into(), queue_id: 3, queue_offset: offset, max_msg_nums: 32, sys_flag: 2,
            commit_offset: -1, suspend_timeout_millis: 15_000, subscription: subscription.map(Into::into), sub_version: 0,
            expression_type: None, max_msg_bytes: bytes, request_source: None, proxy_forward_client_id: None, broker_name: None,
        };
        let out = frame(encoding, &CommandHead::one_way(11, 1), &pull, b"");
        let Split::Frame { frame, .. } = split(&out, &FrameLimits::default()).unwrap() else { panic!("incomplete") };
        let header = Header::decode(frame.encoding, frame.header, &FrameLimits::default()).unwrap();
        prop_assert_eq!(header.flag, FLAG_ONE_WAY);
        prop_assert_eq!(PullMessage::decode(&header.fields).unwrap(), pull);
    }

    #[test]
    fn records(
        queue in any::<i32>(), flag in any::<i32>(), offset in any::<i64>(), position in 0..i64::MAX as u64, sys_flag in any::<i32>(),
        born in any::<i64>(), stored in any::<i64>(), born_host in host(), store_host in host(), reconsumed in any::<i32>(),
        prepared in any::<i64>(), body in vec(any::<u8>(), 0..300), topic in ".{0,300}", props in vec((clean(), clean()), 0..6),
        with_crc in any::<bool>(),
    ) {
        let props = properties::join(props.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let topic: String = topic.chars().scan(0, |bytes, c| { *bytes += c.len_utf8(); (*bytes < 60_000).then_some(c) }).collect();
        let mut fields = RecordFields {
            queue_id: QueueId(queue), flag, queue_offset: QueueOffset(offset), position: LogPosition(position),
            sys_flag: sys_flag & !(flags::BORN_HOST_V6 | flags::STORE_HOST_V6), born_ms: born, born_host, store_ms: stored,
            store_host, reconsume_times: reconsumed, prepared_position: prepared, body: &body, topic: &topic, properties: props.as_bytes(),
        };
        // As a store does: everything before the property is covered, lengths included.
        let placeholder = [props.as_bytes(), &[b'x'; RECORD_CRC_BYTES]].concat();
        let mut covered = Vec::new();
        RecordFields { properties: &placeholder, ..fields.clone() }.encode(&mut covered).unwrap();
        covered.truncate(covered.len() - RECORD_CRC_BYTES);
        let digits = crc_digits(crc32fast::hash(&covered) & 0x7fff_ffff);
        let sealed = props.clone() + &properties::join([(property::CRC32, std::str::from_utf8(&digits).unwrap())]);
        if with_crc {
            fields.properties = sealed.as_bytes();
        }
        let mut bytes = Vec::new();
        fields.encode(&mut bytes).unwrap();
        prop_assert_eq!(bytes.len(), fields.encoded_len());
        bytes.extend_from_slice(b"what follows");
        let record = RecordView::parse(&bytes).unwrap();
        prop_assert_eq!(record.next(&bytes), b"what follows");
        let read = record.fields();
        prop_assert_eq!(read.sys_flag & !(flags::BORN_HOST_V6 | flags::STORE_HOST_V6), fields.sys_flag);
        prop_assert_eq!(RecordFields { sys_flag: fields.sys_flag, ..read }, fields);
        record.check_body_crc().unwrap();
        prop_assert_eq!(record.check_record_crc(), Ok(with_crc));
        if with_crc {
            // One flipped bit anywhere is found.
            let size = record.size();
            let at = (offset as usize) % size;
            bytes[at] ^= 1 << (flag & 7);
            let found = match RecordView::parse(&bytes[..size]) {
                Ok(record) => record.check_record_crc() != Ok(true),
                Err(_) => true,
            };
            prop_assert!(found, "bit of byte {} of {}", at, size);
        }
    }

    #[test]
    fn batches(entries in vec((any::<i32>(), vec(any::<u8>(), 0..50), ".{0,40}"), 0..10)) {
        let mut body = Vec::new();
        for (flag, content, properties) in &entries {
            batch::encode(&BatchEntry { flag: *flag, body: content, properties }, &mut body).unwrap();
        }
        let read: Vec<_> = batch::iter(&body).map(Result::unwrap).map(|e| (e.flag, e.body.to_vec(), e.properties.to_owned())).collect();
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn property_strings(pairs in vec((clean(), clean()), 0..10)) {
        let text = properties::join(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let expected: Vec<_> = pairs.iter().filter(|(name, _)| !name.is_empty()).map(|(n, v)| (n.as_str(), v.as_str())).collect();
        prop_assert_eq!(properties::iter(&text).collect::<Vec<_>>(), expected.clone());
        for (name, _) in &expected {
            let last = expected.iter().rev().find(|(other, _)| other == name).map(|(_, value)| *value);
            prop_assert_eq!(properties::get(&text, name), last);
        }
    }

    #[test]
    fn offset_ids(host in host(), position in 0..i64::MAX as u64) {
        let id = OffsetMessageId { host, position: LogPosition(position) };
        prop_assert_eq!(id.to_string().parse::<OffsetMessageId>().unwrap(), id);
    }

    #[test]
    fn hashes_are_the_sum_that_java_documents(text in any::<String>()) {
        let units: Vec<u16> = text.encode_utf16().collect();
        let sum = units.iter().fold(0i64, |sum, unit| (sum * 31 + i64::from(*unit)) & 0xffff_ffff) as u32 as i32;
        prop_assert_eq!(java_hash_code(&text), sum);
    }
}
