//! One connection of the reference server.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::frame::{self, RawFrame, Split};
use rmq_protocol::header::{CommandHead, FieldSink, FieldSource, Header};
use rmq_protocol::limits::FrameLimits;
use rmq_protocol::message::batch;
use rmq_protocol::requests::{
    GetMaxOffset, PullMessage, PullMessageReply, Request, SendMessage, UpdateAndCreateTopic,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::log::{Log, Message};

const READ_BYTES: usize = 256 * 1024;

pub(super) async fn run(mut stream: TcpStream, log: Arc<Log>) {
    // Whatever ends it, the load generator sees a closed connection and counts what is missing.
    let _ = serve(&mut stream, &log).await;
}

async fn serve(stream: &mut TcpStream, log: &Log) -> io::Result<()> {
    let limits = FrameLimits::default();
    let mut input = BytesMut::with_capacity(READ_BYTES);
    let mut out = BytesMut::with_capacity(READ_BYTES);
    let mut body = BytesMut::new();
    loop {
        input.reserve(READ_BYTES);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut used = 0;
        let mut stored = false;
        while let Split::Frame { frame, consumed } =
            frame::split(&input[used..], &limits).map_err(io::Error::other)?
        {
            used += consumed;
            stored |= handle(&frame, log, &limits, &mut out, &mut body)?;
        }
        if used == input.len() {
            input.clear();
        } else {
            let _ = input.split_to(used);
        }
        if stored && let Some(settled) = log.settle()? {
            settled.await.map_err(io::Error::other)?;
        }
        stream.write_all(&out).await?;
        out.clear();
    }
}

/// Whether something was stored.
fn handle(
    frame: &RawFrame<'_>,
    log: &Log,
    limits: &FrameLimits,
    out: &mut BytesMut,
    body: &mut BytesMut,
) -> io::Result<bool> {
    let header = Header::decode(frame.encoding, frame.header, limits).map_err(io::Error::other)?;
    let mut reply = |code: ResponseCode, fields: &dyn FieldSource, body: &[u8]| {
        let head = CommandHead::response(code.as_i32(), header.opaque);
        frame::encode_frame(out, frame.encoding, &head, fields, body);
    };
    let code = RequestCode::from_i32(header.code);
    match code {
        Some(
            code @ (RequestCode::SendMessage
            | RequestCode::SendMessageV2
            | RequestCode::SendBatchMessage),
        ) => {
            let send = SendMessage::decode(code, &header.fields).map_err(io::Error::other)?;
            let properties = send.properties.to_cow();
            let mut message = Message {
                topic: &send.topic,
                queue: usize::try_from(send.queue_id).unwrap_or(0),
                flag: send.flag,
                sys_flag: send.sys_flag,
                born_ms: send.born_timestamp,
                body: frame.body,
                properties: properties.as_bytes(),
            };
            let mut place = None;
            if send.batch {
                for entry in batch::iter(frame.body) {
                    let entry = entry.map_err(io::Error::other)?;
                    message.body = entry.body;
                    message.properties = entry.properties.as_bytes();
                    place = place.or(log.append(&message));
                }
            } else {
                place = log.append(&message);
            }
            match place {
                Some((position, offset)) => {
                    let stored = Stored {
                        queue: send.queue_id,
                        position,
                        offset,
                    };
                    reply(ResponseCode::Success, &stored, &[]);
                }
                None => reply(ResponseCode::TopicNotExist, &(), &[]),
            }
            return Ok(true);
        }
        Some(RequestCode::PullMessage) => {
            let pull = PullMessage::decode(&header.fields).map_err(io::Error::other)?;
            let (queue, from) = (
                pull.queue_id.max(0) as usize,
                pull.queue_offset.max(0) as u64,
            );
            body.clear();
            let wanted = pull.max_msg_nums.max(0) as u64;
            let found = log.read(&pull.topic, queue, from, wanted, body);
            let fields = PullMessageReply {
                suggest_which_broker_id: 0,
                next_begin_offset: (from + found) as i64,
                min_offset: 0,
                max_offset: log.max_offset(&pull.topic, queue) as i64,
                offset_delta: None,
                topic_sys_flag: None,
                group_sys_flag: None,
                forbidden_type: None,
            };
            let code = if found > 0 {
                ResponseCode::Success
            } else {
                ResponseCode::PullNotFound
            };
            reply(code, &fields, body);
        }
        Some(RequestCode::UpdateAndCreateTopic) => {
            let create = UpdateAndCreateTopic::decode(&header.fields).map_err(io::Error::other)?;
            log.create(
                &create.topic,
                create.write_queue_nums.clamp(1, 1_024) as usize,
            );
            reply(ResponseCode::Success, &(), &[]);
        }
        Some(RequestCode::GetMaxOffset) => {
            let ask = GetMaxOffset::decode(&header.fields).map_err(io::Error::other)?;
            let offset = log.max_offset(&ask.topic, ask.queue_id.max(0) as usize);
            reply(
                ResponseCode::Success,
                &[("offset", offset.to_string().as_str())],
                &[],
            );
        }
        Some(RequestCode::HeartBeat) => reply(ResponseCode::Success, &(), &[]),
        _ => reply(ResponseCode::RequestCodeNotSupported, &(), &[]),
    }
    Ok(false)
}

/// The fields of a send answer that clients read.
struct Stored {
    queue: i32,
    position: u64,
    offset: u64,
}

impl FieldSource for Stored {
    fn visit(&self, sink: &mut dyn FieldSink) {
        let mut id = *b"7F00000100002A9F0000000000000000";
        let mut rest = self.position;
        for digit in id[16..].iter_mut().rev() {
            *digit = b"0123456789ABCDEF"[(rest & 15) as usize];
            rest >>= 4;
        }
        sink.str("msgId", std::str::from_utf8(&id).unwrap_or_default());
        sink.int("queueId", self.queue.into());
        sink.int("queueOffset", self.offset as i64);
    }
}
