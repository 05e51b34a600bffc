//! The JSON header. A scanner of our own reads the flat headers that every client sends, as borrowed slices and in one pass;
//! whatever it does not know (nested values, odd escapes, other spellings) goes to the general reader, so the scanner never
//! has to decide what is an error.

mod general;
mod scan;
mod special;
#[cfg(test)]
mod tests;
mod write;

use super::{Header, HeaderError};
use crate::limits::FrameLimits;

use scan::Stop;
pub(super) use write::encode;

pub(super) fn decode<'a>(
    bytes: &'a [u8],
    limits: &FrameLimits,
    header: &mut Header<'a>,
) -> Result<(), HeaderError> {
    let text = std::str::from_utf8(bytes).map_err(|error| HeaderError::NotUtf8 {
        what: "header",
        at: error.valid_up_to(),
    })?;
    match scan::scan(text, limits, header) {
        Ok(()) => Ok(()),
        Err(Stop::Unusual) => {
            *header = general::decode(text, limits)?;
            Ok(())
        }
        Err(Stop::Error(error)) => Err(*error),
    }
}
