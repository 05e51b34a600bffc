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

impl OwnedFrame {
    /// Copies a frame whose header has been decoded, and so is known to be valid.
    pub(crate) fn copy(frame: &RawFrame<'_>, header: &Header<'_>) -> Self {
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
