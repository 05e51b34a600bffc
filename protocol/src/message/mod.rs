//! Messages: the stored record, its properties, batches and identifiers.

pub mod batch;
pub mod flags;
mod ids;
pub mod properties;
mod recall;
mod record;
mod tag;

use std::fmt;

pub use ids::{IdError, OffsetMessageId, UniqueIdGenerator, unique_id_time};
pub use properties::property;
pub use recall::{HandleError, RecallHandle};
pub use record::{
    BLANK_MAGIC, MAGIC_V1, MAGIC_V2, RECORD_CRC_BYTES, RecordError, RecordFields, RecordView,
    crc_digits, crc32_masked,
};
pub use tag::{java_hash_code, tag_hash};

/// Number of a queue within its topic and broker; 0 or above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub i32);

/// Place of a message in its queue; dense, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueOffset(pub i64);

/// Place of a record in the commit log, bytes from the log's beginning.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPosition(pub u64);

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for QueueOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
