//! What is wrong with bytes that are not a record.

/// Bytes that are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Fewer bytes than the record says it has, or than any record has.
    #[error("record needs {needed} bytes, {available} are there")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        available: usize,
    },
    /// Neither of the two magic numbers.
    #[error("magic number {magic:#010x} is not that of a record")]
    Magic {
        /// As read.
        magic: i32,
    },
    /// The filler at the end of a segment.
    #[error("filler of {size} bytes at the end of a segment")]
    Blank {
        /// Its size.
        size: i32,
    },
    /// Lengths that do not add up.
    #[error("{what} of {length} does not fit a record of {size} bytes")]
    Length {
        /// Which length.
        what: &'static str,
        /// As read.
        length: i64,
        /// The record's total size.
        size: usize,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// `topic` or `properties`.
        what: &'static str,
    },
    /// A CRC that does not match its bytes.
    #[error("{what} CRC is {stored}, its bytes give {computed}")]
    Crc {
        /// `body` or `record`.
        what: &'static str,
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// A record that should have a CRC of its own and has none.
    #[error("the record has no CRC property")]
    NoCrc,
}
