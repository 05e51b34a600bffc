//! What the client does with bytes of brokers and of other clients, for fuzz targets. No part of the interface: it changes without notice.

use bytes::Bytes;

use crate::TraceStep;
use crate::admin::steps_of;
use crate::error::Error;
use crate::received::ReceivedMessage;

/// What one message of a topic of traces says.
#[must_use]
pub fn traces(body: &[u8]) -> Vec<TraceStep> {
    steps_of(body)
}

/// The messages of the answer to a pull.
///
/// # Errors
/// A record is damaged, or its body cannot be read.
pub fn messages(body: &Bytes) -> Result<Vec<ReceivedMessage>, Error> {
    ReceivedMessage::parse_all(body, "broker")
}

/// A body as its producer gave it.
///
/// # Errors
/// The body is not what its flag says, or becomes too long.
pub fn inflate(body: Bytes, sys_flag: i32) -> Result<Bytes, Error> {
    crate::compression::inflate(body, sys_flag)
}

/// A body as it travels, and its flags.
#[must_use]
pub fn deflate(body: &Bytes, compression: crate::Compression) -> (Bytes, i32) {
    compression.deflate(body)
}
