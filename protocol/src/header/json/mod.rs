//! The JSON header. A scanner of our own reads the flat headers that every client sends, as borrowed slices and in one pass;
//! whatever it does not know (nested values, odd escapes, other spellings) goes to the general reader, so the scanner never
//! has to decide what is an error.

mod general;
mod scan;
mod special;
#[cfg(test)]
mod tests;
mod write;

use std::ops::Range;

use super::{Header, HeaderError};
use crate::limits::FrameLimits;

use scan::Stop;
pub(super) use special::special_bits;
pub(super) use write::encode;

/// Answers where the correlation id lies; none when there is none, or the header needed the general reader.
pub(super) fn decode<'a>(
    bytes: &'a [u8],
    limits: &FrameLimits,
    header: &mut Header<'a>,
) -> Result<Option<Range<usize>>, HeaderError> {
    let text = std::str::from_utf8(bytes).map_err(|error| HeaderError::NotUtf8 {
        what: "header",
        at: error.valid_up_to(),
    })?;
    match scan::scan(text, limits, header) {
        Ok(opaque) => Ok(opaque),
        Err(Stop::Unusual) => {
            *header = general::decode(text, limits)?;
            Ok(None)
        }
        Err(Stop::Error(error)) => Err(*error),
    }
}
