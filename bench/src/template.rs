//! Send requests made once and stamped out: only opaque and unique key differ from message to message.

use bytes::BytesMut;
use memchr::memmem;
use rmq_protocol::code::RequestCode;
use rmq_protocol::frame::{self, HeaderEncoding};
use rmq_protocol::header::{CommandHead, Language, Text};
use rmq_protocol::message::batch::{self, BatchEntry};
use rmq_protocol::requests::SendMessage;

const OPAQUE_MARK: i32 = 1_999_999_999;
const KEY_MARK: &str = "7F00000112341C9B0123456789ABCDEF";
/// Digits of the key that count messages.
const KEY_DIGITS: usize = 16;

/// A send request without its body.
#[derive(Debug, Clone)]
pub struct SendTemplate {
    head: Vec<u8>,
    opaque_at: usize,
    encoding: HeaderEncoding,
    key_at: Option<usize>,
}

impl SendTemplate {
    /// A request like the Java client's: short field names, a unique key and `WAIT`; code 320 when `is_batch`.
    #[must_use]
    pub fn new(
        encoding: HeaderEncoding,
        group: &str,
        topic: &str,
        queue: i32,
        body_len: usize,
        is_batch: bool,
        born_ms: i64,
    ) -> Self {
        let properties = if is_batch {
            String::new()
        } else {
            format!("UNIQ_KEY\u{1}{KEY_MARK}\u{2}WAIT\u{1}true\u{2}")
        };
        let mut send = SendMessage::new(group, topic);
        send.queue_id = queue;
        send.born_timestamp = born_ms;
        send.properties = Text::Plain(&properties);
        send.batch = is_batch;
        let code = if is_batch {
            RequestCode::SendBatchMessage
        } else {
            RequestCode::SendMessageV2
        };
        let mut head = CommandHead::request(code.as_i32(), OPAQUE_MARK);
        head.language = Language::Java;
        let mut out = BytesMut::new();
        frame::encode_frame_head(&mut out, encoding, &head, &send, body_len);
        let mark = match encoding {
            HeaderEncoding::Json => OPAQUE_MARK.to_string().into_bytes(),
            HeaderEncoding::Binary => OPAQUE_MARK.to_be_bytes().to_vec(),
        };
        Self {
            opaque_at: memmem::find(&out, &mark).expect("the header carries its opaque"),
            key_at: memmem::find(&out, KEY_MARK.as_bytes())
                .map(|at| at + KEY_MARK.len() - KEY_DIGITS),
            head: out.to_vec(),
            encoding,
        }
    }

    /// Appends one request's head.
    pub fn append(&self, out: &mut Vec<u8>, opaque: i32, sequence: u64) {
        let start = out.len();
        out.extend_from_slice(&self.head);
        let head = &mut out[start..];
        match self.encoding {
            HeaderEncoding::Json => {
                let mut rest = opaque;
                for digit in head[self.opaque_at..self.opaque_at + 10].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
            }
            HeaderEncoding::Binary => {
                head[self.opaque_at..self.opaque_at + 4].copy_from_slice(&opaque.to_be_bytes());
            }
        }
        if let Some(key_at) = self.key_at {
            let mut rest = sequence;
            for digit in head[key_at..key_at + KEY_DIGITS].iter_mut().rev() {
                *digit = b"0123456789ABCDEF"[(rest & 15) as usize];
                rest >>= 4;
            }
        }
    }
}

/// The body of a batch of `count` messages of `bytes` each.
#[must_use]
pub fn batch_body(count: usize, bytes: usize) -> Vec<u8> {
    let body = vec![b'x'; bytes];
    let mut out = Vec::new();
    for _ in 0..count {
        let entry = BatchEntry {
            flag: 0,
            body: &body,
            properties: "",
        };
        batch::encode(&entry, &mut out).expect("a small entry is within the format's limits");
    }
    out
}

#[cfg(test)]
mod tests {
    use rmq_protocol::frame::Split;
    use rmq_protocol::header::Header;
    use rmq_protocol::limits::FrameLimits;

    use super::*;

    #[test]
    fn a_stamped_request_decodes_to_what_was_stamped() {
        for encoding in [HeaderEncoding::Json, HeaderEncoding::Binary] {
            let template = SendTemplate::new(encoding, "g", "t", 3, 4, false, 1_795_000_000_000);
            let mut out = Vec::new();
            template.append(&mut out, 1_000_000_042, 0xab);
            out.extend_from_slice(b"body");
            let limits = FrameLimits::default();
            let Split::Frame { frame, consumed } = frame::split(&out, &limits).unwrap() else {
                panic!("a whole frame");
            };
            assert_eq!(consumed, out.len());
            assert_eq!(frame.body, b"body");
            let header = Header::decode(frame.encoding, frame.header, &limits).unwrap();
            assert_eq!(header.opaque, 1_000_000_042);
            let send = SendMessage::decode(RequestCode::SendMessageV2, &header.fields).unwrap();
            assert_eq!(send.queue_id, 3);
            assert!(
                send.properties
                    .to_cow()
                    .contains("7F00000112341C9B00000000000000AB")
            );
        }
    }
}
