//! What the header of a request and of its answer cost: `cargo run --release -p rmq-protocol --example header_cost`. Sends and pulls are read
//! as a connection reads them, in bursts of 32 and one by one. Prints nanoseconds a header; `valgrind --tool=callgrind` counts instructions,
//! which other programs on the machine do not change. An argument is the name of the one case to run.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use rmq_protocol::code::RequestCode;
use rmq_protocol::frame::{self, HeaderEncoding, Split};
use rmq_protocol::header::{
    CommandHead, FieldSink, FieldSource, Header, HeaderReader, KnownHeader, Text,
};
use rmq_protocol::limits::FrameLimits;
use rmq_protocol::requests::{PullMessage, Request, SendMessage};

const HEADERS: usize = 32_000;

/// The fields of an answer to a send.
struct Sent;

impl FieldSource for Sent {
    fn visit(&self, sink: &mut dyn FieldSink) {
        sink.int("queueId", 3);
        sink.str("transactionId", "C00002025A5D30946E096F1D29DE0001");
        sink.plain("msgId", b"7F00000100002A9F00000000000186A0");
        sink.bool("TRACE_ON", true);
        sink.str("MSG_REGION", "DefaultRegion");
        sink.int("queueOffset", 123_456);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let only = std::env::args().nth(1);
    for (name, encoding) in [
        ("json", HeaderEncoding::Json),
        ("binary", HeaderEncoding::Binary),
    ] {
        for burst in [32, 1] {
            let show = |what: &str, run: &dyn Fn() -> Result<(), Box<dyn Error>>| {
                let case = format!("{what}-{name}-{burst}");
                if only.as_ref().is_some_and(|only| *only != case) {
                    return Ok(());
                }
                let began = Instant::now();
                run()?;
                let each = began.elapsed().as_nanos() as f64 / HEADERS as f64;
                println!("{case:<16} {each:.0} ns a header");
                Ok::<_, Box<dyn Error>>(())
            };
            let sends: Vec<_> = (0..64).map(|number| send(encoding, number)).collect();
            show("send", &|| read(&sends, burst, decode_send))?;
            let pulls: Vec<_> = (0..64).map(|number| pull(encoding, number)).collect();
            show("pull", &|| read(&pulls, burst, decode_pull))?;
            if burst == 1 {
                show("answer", &|| {
                    answer(encoding);
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}

fn send(encoding: HeaderEncoding, number: i64) -> BytesMut {
    let properties = format!(
        "UNIQ_KEY\u{1}C00002025A5D30946E096F1D29DE{number:04}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}"
    );
    let mut send = SendMessage::new("orders_producers", "orders");
    send.queue_id = (number % 8) as i32;
    send.born_timestamp = 1_795_355_382_238 + number;
    send.properties = Text::Plain(&properties);
    let head = CommandHead::request(RequestCode::SendMessageV2.as_i32(), 10_000 + number as i32);
    let mut out = BytesMut::new();
    frame::encode_frame(&mut out, encoding, &head, &send, &[]);
    out
}

fn pull(encoding: HeaderEncoding, number: i64) -> BytesMut {
    let pull = PullMessage {
        consumer_group: "orders_consumers".into(),
        topic: "orders".into(),
        queue_id: (number % 8) as i32,
        queue_offset: 123_456 + number,
        max_msg_nums: 32,
        sys_flag: 3,
        commit_offset: 123_456 + number,
        suspend_timeout_millis: 15_000,
        subscription: Some("*".into()),
        sub_version: 1_795_355_382_238,
        expression_type: Some("TAG".into()),
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: Some("broker-a".into()),
    };
    let head = CommandHead::request(RequestCode::PullMessage.as_i32(), 10_000 + number as i32);
    let mut out = BytesMut::new();
    frame::encode_frame(&mut out, encoding, &head, &pull, &[]);
    out
}

/// Reads frames, `burst` in each read of a connection.
fn read(
    frames: &[BytesMut],
    burst: usize,
    decode: impl Fn(&Header<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let limits = FrameLimits::default();
    let mut known = KnownHeader::default();
    let mut number = 0;
    for _ in 0..HEADERS / burst {
        let mut headers = HeaderReader::new();
        for _ in 0..burst {
            let bytes = &frames[number % frames.len()];
            number += 1;
            if let Split::Frame { frame, .. } = frame::split(bytes, &limits)? {
                let header =
                    headers.read_after(&mut known, frame.encoding, frame.header, &limits)?;
                decode(header)?;
            }
        }
    }
    Ok(())
}

fn decode_send(header: &Header<'_>) -> Result<(), Box<dyn Error>> {
    let send = SendMessage::decode(RequestCode::SendMessageV2, &header.fields)?;
    black_box(&send);
    Ok(())
}

fn decode_pull(header: &Header<'_>) -> Result<(), Box<dyn Error>> {
    let pull = PullMessage::decode(&header.fields)?;
    black_box(&pull);
    Ok(())
}

/// Writes answers, 32 behind each other.
fn answer(encoding: HeaderEncoding) {
    let mut out = BytesMut::with_capacity(64 * 1024);
    for number in 0..HEADERS {
        if number % 32 == 0 {
            out.clear();
        }
        let head = CommandHead::response(0, 10_000 + number as i32);
        frame::encode_frame_head(&mut out, encoding, &head, &Sent, 0);
    }
    black_box(&out);
}
