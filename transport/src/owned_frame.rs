//! A received frame that outlives the read buffer.

use bytes::Bytes;
use rmq_protocol::frame::{HeaderEncoding, RawFrame};
use rmq_protocol::header::Header;
use rmq_protocol::limits::FrameLimits;

/// A frame with its own memory: one allocation for header and body.
#[derive(Debug, Clone)]
pub struct OwnedFrame {
    encoding: HeaderEncoding,
    header: Bytes,
    body: Bytes,
    code: i32,
}

/// Where the parts of a whole frame lie in its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    encoding: HeaderEncoding,
    code: i32,
    header_bytes: usize,
}

impl Parts {
    /// Those of a frame whose header has been decoded, and so is known to be valid.
    pub(crate) fn of(frame: &RawFrame<'_>, header: &Header<'_>) -> Self {
        Self {
            encoding: frame.encoding,
            code: header.code,
            header_bytes: frame.header.len(),
        }
    }
}

/// Bytes of a frame before its header: two lengths.
const PREFIX_BYTES: usize = 8;

impl OwnedFrame {
    /// A frame in the memory in which it arrived.
    pub(crate) fn of(bytes: Vec<u8>, parts: Parts) -> Self {
        let mut header = Bytes::from(bytes).split_off(PREFIX_BYTES);
        let body = header.split_off(parts.header_bytes);
        Self {
            encoding: parts.encoding,
            header,
            body,
            code: parts.code,
        }
    }

    /// Copies a frame whose header has been decoded, and so is known to be valid.
    pub(crate) fn copy(frame: &RawFrame<'_>, header: &Header<'_>) -> Self {
        if frame.body.is_empty() {
            // The usual answer to a send: nothing is to be split.
            return Self {
                encoding: frame.encoding,
                header: Bytes::copy_from_slice(frame.header),
                body: Bytes::new(),
                code: header.code,
            };
        }
        let mut bytes = Vec::with_capacity(frame.header.len() + frame.body.len());
        bytes.extend_from_slice(frame.header);
        bytes.extend_from_slice(frame.body);
        let mut all = Bytes::from(bytes);
        let header_bytes = all.split_to(frame.header.len());
        Self {
            encoding: frame.encoding,
            header: header_bytes,
            body: all,
            code: header.code,
        }
    }

    /// The header, decoded again.
    #[must_use]
    pub fn header(&self) -> Header<'_> {
        let limits = FrameLimits {
            header_bytes_max: usize::MAX,
            ..FrameLimits::default()
        };
        Header::decode(self.encoding, &self.header, &limits)
            .expect("it was decoded once when it was received")
    }

    /// The request or response code.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.code
    }

    /// The body, empty when there is none.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}
