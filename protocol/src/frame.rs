//! One frame of the remoting protocol.
//!
//! ```text
//! | length: i32 | encoding: u8, header length: u24 | header | body |
//!   bytes after       0 = JSON, 1 = binary
//!   this field
//! ```
//! All integers are big-endian. Frames of many calls interleave on one connection and are matched by `opaque` only.

use bytes::{BufMut, BytesMut};

use crate::header::{self, CommandHead, FieldSource};
use crate::limits::{FRAME_BYTES_MAX, FrameLimits};

/// Bytes before the header: length and mark.
pub const PREFIX_BYTES: usize = 8;
/// Most headers are shorter.
const HEADER_BYTES_USUAL: usize = 384;

/// How a header is written. Each frame says it of itself; the two directions of a connection may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeaderEncoding {
    /// JSON text, the default of every client.
    Json,
    /// Compact binary, upstream's `ROCKETMQ`. Codes beyond 32,767 cannot be written in it.
    Binary,
}

/// A frame whose header is not decoded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// How the header is written.
    pub encoding: HeaderEncoding,
    /// The header's bytes.
    pub header: &'a [u8],
    /// The body's bytes, empty when there is none.
    pub body: &'a [u8],
}

/// What lies at the start of a read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split<'a> {
    /// A complete frame.
    Frame {
        /// The frame.
        frame: RawFrame<'a>,
        /// Bytes that it takes in the buffer.
        consumed: usize,
    },
    /// More bytes are needed.
    Need {
        /// The frame's total bytes once known, for reserving.
        frame_bytes: Option<usize>,
    },
}

/// Why a buffer cannot start with a frame. The connection has no known boundary any more and must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A length below the four bytes that follow at least, or a negative one.
    #[error(
        "frame length {length} is below the minimum of 4; the peer does not speak this protocol"
    )]
    TooShort {
        /// The length as read.
        length: i32,
    },
    /// A length beyond the limit.
    #[error("frame of {length} bytes, at most {max} are allowed")]
    TooLong {
        /// The length as read.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// A header length that does not fit the frame.
    #[error("header of {header} bytes does not fit a frame of {frame} bytes")]
    HeaderOutside {
        /// Header length.
        header: usize,
        /// Bytes of the frame after the mark.
        frame: usize,
    },
    /// A header beyond the limit.
    #[error("header of {length} bytes, at most {max} are allowed")]
    HeaderTooLong {
        /// Its length.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// An encoding that nobody defined.
    #[error("unknown header encoding {encoding}; known are 0 (JSON) and 1 (binary)")]
    UnknownEncoding {
        /// The byte as read.
        encoding: u8,
    },
}

/// Cuts the first frame off `buf` without copying. Every length is checked as soon as it is visible, before its bytes arrive.
///
/// # Errors
/// When the buffer cannot start with a frame within `limits`.
#[inline]
pub fn split<'a>(buf: &'a [u8], limits: &FrameLimits) -> Result<Split<'a>, FrameError> {
    let Some((length, rest)) = buf.split_first_chunk::<4>() else {
        return Ok(Split::Need { frame_bytes: None });
    };
    let length = i32::from_be_bytes(*length);
    if length < 4 {
        return Err(FrameError::TooShort { length });
    }
    let length = length as usize;
    if length > limits.frame_bytes_max {
        return Err(FrameError::TooLong {
            length,
            max: limits.frame_bytes_max,
        });
    }
    let Some((mark, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(Split::Need {
            frame_bytes: Some(4 + length),
        });
    };
    let mark = u32::from_be_bytes(*mark);
    let header_len = (mark & 0x00ff_ffff) as usize;
    if header_len > length - 4 {
        return Err(FrameError::HeaderOutside {
            header: header_len,
            frame: length - 4,
        });
    }
    if header_len > limits.header_bytes_max {
        return Err(FrameError::HeaderTooLong {
            length: header_len,
            max: limits.header_bytes_max,
        });
    }
    let encoding = match (mark >> 24) as u8 {
        0 => HeaderEncoding::Json,
        1 => HeaderEncoding::Binary,
        encoding => return Err(FrameError::UnknownEncoding { encoding }),
    };
    let Some(content) = rest.get(..length - 4) else {
        return Ok(Split::Need {
            frame_bytes: Some(4 + length),
        });
    };
    let (header, body) = content.split_at(header_len);
    Ok(Split::Frame {
        frame: RawFrame {
            encoding,
            header,
            body,
        },
        consumed: 4 + length,
    })
}

/// Appends a whole frame to `out`.
pub fn encode_frame(
    out: &mut BytesMut,
    encoding: HeaderEncoding,
    head: &CommandHead,
    fields: &dyn FieldSource,
    body: &[u8],
) {
    encode_frame_head(out, encoding, head, fields, body.len());
    out.extend_from_slice(body);
}

/// Appends everything of a frame but its body, which the caller appends: exactly `body_len` bytes.
///
/// A code that the binary encoding cannot carry is written as JSON: readers look at each frame's own mark.
pub fn encode_frame_head(
    out: &mut BytesMut,
    encoding: HeaderEncoding,
    head: &CommandHead,
    fields: &dyn FieldSource,
    body_len: usize,
) {
    let encoding = if i16::try_from(head.code).is_ok() {
        encoding
    } else {
        HeaderEncoding::Json
    };
    let start = out.len();
    // Once for all of the frame: each growth copies what is there.
    out.reserve(PREFIX_BYTES + HEADER_BYTES_USUAL + body_len.min(FRAME_BYTES_MAX));
    out.put_u64(0);
    header::encode(out, encoding, head, fields);
    let header_len = out.len() - start - PREFIX_BYTES;
    let length = (4 + header_len + body_len) as u32;
    let kind = match encoding {
        HeaderEncoding::Json => 0u32,
        HeaderEncoding::Binary => 1,
    };
    let mark = kind << 24 | header_len as u32 & 0x00ff_ffff;
    let prefix = u64::from(length) << 32 | u64::from(mark);
    if let Some(place) = out.get_mut(start..start + PREFIX_BYTES) {
        place.copy_from_slice(&prefix.to_be_bytes());
    }
}
