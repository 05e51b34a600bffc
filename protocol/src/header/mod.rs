//! The header of a frame: what it asks or answers, and its fields.

mod binary;
mod fields;
mod json;
mod language;
mod reader;
mod source;
mod stretches;
mod text;

use std::borrow::Cow;
use std::ops::Range;

use bytes::BytesMut;

use crate::frame::HeaderEncoding;
use crate::limits::FrameLimits;

pub use fields::Fields;
pub use language::{Language, SERVER_LANGUAGE, SERVER_VERSION};
pub use reader::{HeaderReader, KnownHeader};
pub use source::{FieldSink, FieldSource, NoFields};
pub use text::{FromText, Text};

/// Flag bit of a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Flag bit of a request that wants no answer.
pub const FLAG_ONE_WAY: i32 = 2;

/// A received header, borrowing from the frame.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    /// How it was encoded; answers use the same.
    pub encoding: HeaderEncoding,
    /// Request code, or response code in a response.
    pub code: i32,
    /// The sender's language.
    pub language: Language,
    /// The sender's version ordinal.
    pub version: i32,
    /// Correlation id, echoed by the response.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONE_WAY`].
    pub flag: i32,
    /// Free text, the description of an error.
    pub remark: Option<Text<'a>>,
    /// The fields.
    pub fields: Fields<'a>,
}

impl<'a> Header<'a> {
    /// Decodes a header. The message path of well-formed headers allocates nothing.
    ///
    /// # Errors
    /// When the bytes are not a header of that encoding or go beyond `limits`.
    pub fn decode(
        encoding: HeaderEncoding,
        bytes: &'a [u8],
        limits: &FrameLimits,
    ) -> Result<Self, HeaderError> {
        let mut header = Self::empty(encoding);
        header.fill(bytes, limits)?;
        Ok(header)
    }

    /// [`Header::decode`] into an [empty](Header::empty) header where it lies; answers where the correlation id lies, when that is
    /// known. What the header holds after an error is of no use.
    #[inline]
    fn fill(
        &mut self,
        bytes: &'a [u8],
        limits: &FrameLimits,
    ) -> Result<Option<Range<usize>>, HeaderError> {
        if bytes.len() > limits.header_bytes_max {
            return Err(HeaderError::TooLong {
                bytes: bytes.len(),
                max: limits.header_bytes_max,
            });
        }
        match self.encoding {
            HeaderEncoding::Json => json::decode(bytes, limits, self),
            HeaderEncoding::Binary => {
                binary::decode(bytes, limits, self)?;
                Ok(Some(binary::OPAQUE))
            }
        }
    }

    /// A header without anything.
    #[inline]
    fn empty(encoding: HeaderEncoding) -> Self {
        Self {
            encoding,
            code: 0,
            language: Language::Java,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
            fields: Fields::new(),
        }
    }

    /// Whether this answers a request.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether the sender wants no answer. Only the flag bit decides.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        self.flag & FLAG_ONE_WAY != 0
    }
}

/// A header to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandHead {
    /// Request or response code.
    pub code: i32,
    /// Correlation id.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONE_WAY`].
    pub flag: i32,
    /// Our language.
    pub language: Language,
    /// Our version ordinal.
    pub version: i32,
    /// Free text.
    pub remark: Option<Cow<'static, str>>,
}

impl CommandHead {
    /// Head of a request.
    #[must_use]
    pub fn request(code: i32, opaque: i32) -> Self {
        Self {
            code,
            opaque,
            flag: 0,
            language: SERVER_LANGUAGE,
            version: SERVER_VERSION,
            remark: None,
        }
    }

    /// Head of a request that wants no answer.
    #[must_use]
    pub fn one_way(code: i32, opaque: i32) -> Self {
        Self {
            flag: FLAG_ONE_WAY,
            ..Self::request(code, opaque)
        }
    }

    /// Head of the answer to the request `opaque`.
    #[must_use]
    pub fn response(code: i32, opaque: i32) -> Self {
        Self {
            flag: FLAG_RESPONSE,
            ..Self::request(code, opaque)
        }
    }

    /// The same with a remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<Cow<'static, str>>) -> Self {
        self.remark = Some(remark.into());
        self
    }
}

/// What a header's bytes may violate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Header longer than the limit.
    #[error("header of {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A binary header ends in the middle of a value.
    #[error("header ends at byte {at} inside {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where the value starts.
        at: usize,
    },
    /// A length that points outside the header, or a negative one.
    #[error("length {length} of {what} at byte {at} does not fit the header")]
    BadLength {
        /// What was being read.
        what: &'static str,
        /// Where the length lies.
        at: usize,
        /// The length as read.
        length: i64,
    },
    /// Text that is not UTF-8.
    #[error("{what} at byte {at} is not UTF-8")]
    NotUtf8 {
        /// What was being read.
        what: &'static str,
        /// Where it starts.
        at: usize,
    },
    /// Not JSON, or JSON of another shape.
    #[error("header is not valid JSON: {reason}")]
    NotJson {
        /// What the reader says, with line and column.
        reason: String,
    },
    /// JSON nested too deep.
    #[error("header is nested deeper than {max} levels")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// More fields than allowed.
    #[error("header has more than {max} fields")]
    TooManyFields {
        /// The limit.
        max: usize,
    },
    /// A field's name or text longer than allowed.
    #[error("{what} of {bytes} bytes in the header, at most {max} are allowed")]
    FieldTooLong {
        /// `field name` or `field value`.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A JSON header without `code`.
    #[error("header has no {name}")]
    Missing {
        /// The absent key.
        name: &'static str,
    },
}

pub(crate) fn encode(
    out: &mut BytesMut,
    encoding: HeaderEncoding,
    head: &CommandHead,
    fields: &dyn FieldSource,
) {
    match encoding {
        HeaderEncoding::Json => json::encode(out, head, fields),
        HeaderEncoding::Binary => binary::encode(out, head, fields),
    }
}
