//! What a header costs: `cargo run --release -p rmq-protocol --example header_cost`. Prints nanoseconds a header, the best of ten rounds.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use rmq_protocol::header::{CommandHead, Header, HeaderReader};
use rmq_protocol::requests::{SendMessage, SendMessageReply};
use rmq_protocol::{FrameLimits, HeaderEncoding, RequestCode, Split, Text, encode_frame, split};

fn best(name: &str, mut once: impl FnMut()) {
    const TIMES: u32 = 50_000;
    let round = |once: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..TIMES).for_each(|_| once());
        start.elapsed().as_nanos() as f64 / f64::from(TIMES)
    };
    let best = (0..10).map(|_| round(&mut once)).fold(f64::MAX, f64::min);
    println!("{name:40} {best:8.1} ns");
}

fn main() {
    let limits = FrameLimits::default();
    let mut send = SendMessage::new("producer-group", "orders");
    send.properties = Text::Plain(
        "UNIQ_KEY\u{1}C00002025A5D30946E096F1D29DE0001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}",
    );
    send.born_timestamp = 1_795_355_382_238;
    send.broker_name = Some("broker-a".into());
    for encoding in [HeaderEncoding::Json, HeaderEncoding::Binary] {
        let mut encoded = |opaque| {
            let mut frame = BytesMut::new();
            send.queue_id = opaque & 1;
            let head = CommandHead::request(310, opaque);
            encode_frame(&mut frame, encoding, &head, &send, b"");
            frame
        };
        let (frame, next) = (encoded(131), encoded(132));
        let mut headers = HeaderReader::new();
        let pair = [frame.as_ref(), next.as_ref()];
        let mut turn = 0;
        best(
            &format!("{encoding:?}: one that is like the one before"),
            || {
                turn ^= 1;
                let Ok(Split::Frame { frame, .. }) = split(black_box(pair[turn]), &limits) else {
                    return;
                };
                black_box(headers.read(frame.encoding, frame.header, &limits).is_ok());
            },
        );
        let mut properties = String::with_capacity(256);
        best(&format!("{encoding:?}: split, decode a send"), || {
            let Ok(Split::Frame { frame, .. }) = split(black_box(&frame), &limits) else {
                return;
            };
            black_box(Header::decode(frame.encoding, frame.header, &limits).is_ok());
        });
        let Ok(Split::Frame { frame, .. }) = split(&frame, &limits) else {
            return;
        };
        let Ok(header) = Header::decode(frame.encoding, frame.header, &limits) else {
            return;
        };
        best(&format!("{encoding:?}: its fields, properties"), || {
            let fields = black_box(&header.fields);
            let Ok(send) = SendMessage::decode(RequestCode::SendMessageV2, fields) else {
                return;
            };
            properties.clear();
            send.properties.append_to(&mut properties);
            black_box((&send, &properties));
        });
        let reply = SendMessageReply {
            msg_region: Some("DefaultRegion".to_owned()),
            trace_on: Some(true),
            msg_id: "7F0000010000514B00000000007613EB".to_owned(),
            queue_id: 3,
            queue_offset: 123_456,
            transaction_id: Some("C00002025A5D30946E096F1D29DE0001".to_owned()),
            batch_uniq_id: None,
            recall_handle: None,
        };
        let mut out = BytesMut::with_capacity(4096);
        best(&format!("{encoding:?}: encode its answer"), || {
            out.clear();
            encode_frame(
                &mut out,
                encoding,
                &CommandHead::response(0, 131),
                black_box(&reply),
                b"",
            );
            black_box(&out);
        });
    }
}
