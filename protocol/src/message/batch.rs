//! The body of a batch send (code 320): one entry per message; topic, flags and times come from the request.
//!
//! ```text
//! | total size i32 | magic i32 = 0 | CRC i32 = 0 | flag i32 | body length i32 | body | properties length i16 | properties |
//! ```

use super::RecordError;

const FIXED: usize = 22;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchEntry<'a> {
    /// The user's flag.
    pub flag: i32,
    /// The body.
    pub body: &'a [u8],
    /// The property string.
    pub properties: &'a str,
}

/// The messages of a batch body, ends at the first error.
#[must_use]
pub fn iter(body: &[u8]) -> Iter<'_> {
    Iter { rest: body }
}

/// See [`iter`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<BatchEntry<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = parse(self.rest);
        self.rest = match &entry {
            Ok((_, size)) => self.rest.get(*size..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(entry.map(|(entry, _)| entry))
    }
}

fn parse(bytes: &[u8]) -> Result<(BatchEntry<'_>, usize), RecordError> {
    let int = |at: usize| {
        bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .map(|chunk| i32::from_be_bytes(*chunk))
    };
    let (Some(size), Some(flag), Some(body_len)) = (int(0), int(12), int(16)) else {
        return Err(RecordError::Truncated {
            needed: FIXED,
            available: bytes.len(),
        });
    };
    let total = match usize::try_from(size) {
        Ok(total) if total >= FIXED => total,
        _ => {
            return Err(RecordError::Length {
                what: "total size",
                length: size.into(),
                size: FIXED,
            });
        }
    };
    let bytes = bytes.get(..total).ok_or(RecordError::Truncated {
        needed: total,
        available: bytes.len(),
    })?;
    let bad = |what, length: i64| RecordError::Length {
        what,
        length,
        size: total,
    };
    let body_end = usize::try_from(body_len)
        .ok()
        .map(|length| 20 + length)
        .filter(|end| end + 2 <= total)
        .ok_or(bad("body length", body_len.into()))?;
    let (body, after) = bytes
        .get(FIXED - 2..)
        .and_then(|rest| rest.split_at_checked(body_end - (FIXED - 2)))
        .ok_or(bad("body length", body_len.into()))?;
    let (properties_len, properties) = after
        .split_first_chunk()
        .ok_or(bad("body length", body_len.into()))?;
    let properties_len = i16::from_be_bytes(*properties_len);
    if usize::try_from(properties_len) != Ok(properties.len()) {
        return Err(bad("properties length", properties_len.into()));
    }
    let properties =
        std::str::from_utf8(properties).map_err(|_| RecordError::NotUtf8 { what: "properties" })?;
    Ok((
        BatchEntry {
            flag,
            body,
            properties,
        },
        total,
    ))
}

/// Appends one message to a batch body.
///
/// # Errors
/// When body or properties are longer than their length fields can say; nothing is appended then.
pub fn encode(entry: &BatchEntry<'_>, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let size = FIXED + entry.body.len() + entry.properties.len();
    let bad = |what, length: usize| RecordError::Length {
        what,
        length: length as i64,
        size,
    };
    let total = i32::try_from(size).map_err(|_| bad("total size", size))?;
    let properties_len = i16::try_from(entry.properties.len())
        .map_err(|_| bad("properties length", entry.properties.len()))?;
    out.reserve(size);
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&entry.flag.to_be_bytes());
    out.extend_from_slice(&(entry.body.len() as i32).to_be_bytes());
    out.extend_from_slice(entry.body);
    out.extend_from_slice(&properties_len.to_be_bytes());
    out.extend_from_slice(entry.properties.as_bytes());
    Ok(())
}
