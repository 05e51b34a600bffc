//! Identifiers of messages, upper-case hex.
//!
//! ```text
//! offset id: | store host: 4 or 16 bytes | port i32 | position i64 |                                32 or 56 digits
//! unique id: | host: 4 or 16 bytes | process u16 | seed i32 | ms since start of month i32 | u16 |   32 or 56 digits
//! ```

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU16, Ordering};

use super::LogPosition;

/// Where a message is stored, as an id: the broker's advertised address and the position in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OffsetMessageId {
    /// The broker's advertised address.
    pub host: SocketAddr,
    /// The position in its log.
    pub position: LogPosition,
}

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an offset message id: {reason}")]
pub struct IdError {
    /// The text, cut to 64 characters.
    pub text: String,
    /// What is wrong.
    pub reason: &'static str,
}

/// The two digits of each byte.
#[allow(clippy::indexing_slicing, reason = "computed by the compiler")]
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789ABCDEF";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

#[allow(clippy::indexing_slicing, reason = "the table has every byte")]
fn push_hex<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N]) {
    let digits = bytes.map(|byte| HEX[usize::from(byte)]);
    out.extend_from_slice(digits.as_flattened());
}

impl OffsetMessageId {
    /// Appends the id's digits; for answers on the message path.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self.host.ip() {
            IpAddr::V4(ip) => push_hex(out, ip.octets()),
            IpAddr::V6(ip) => push_hex(out, ip.octets()),
        }
        push_hex(out, u32::from(self.host.port()).to_be_bytes());
        push_hex(out, self.position.0.to_be_bytes());
    }
}

impl fmt::Display for OffsetMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(56);
        self.append_to(&mut out);
        f.write_str(std::str::from_utf8(&out).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for OffsetMessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = |reason| IdError {
            text: text.chars().take(64).collect(),
            reason,
        };
        let mut bytes = [0u8; 28];
        let len = text.len() / 2;
        if !matches!(text.len(), 32 | 56) {
            return Err(error("it must have 32 or 56 hex digits"));
        }
        let (digits, _) = text.as_bytes().as_chunks::<2>();
        for (byte, [high, low]) in bytes.iter_mut().zip(digits) {
            let digit = |digit: u8| {
                char::from(digit)
                    .to_digit(16)
                    .ok_or(error("it has a character that is not a hex digit"))
            };
            *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
        }
        let (host, rest) = bytes.split_at(len - 12);
        let ip = match <[u8; 4]>::try_from(host) {
            Ok(v4) => IpAddr::from(v4),
            Err(_) => <[u8; 16]>::try_from(host)
                .map(IpAddr::from)
                .map_err(|_| error("its host is too short"))?,
        };
        let port = rest.first_chunk();
        let port = port.map_or(0, |chunk| u32::from_be_bytes(*chunk));
        let port = u16::try_from(port).map_err(|_| error("its port is above 65,535"))?;
        let position = rest.get(4..).and_then(<[u8]>::first_chunk);
        let position = position.map_or(0, |chunk| u64::from_be_bytes(*chunk));
        if position > i64::MAX as u64 {
            return Err(error("its position is negative"));
        }
        Ok(Self {
            host: SocketAddr::new(ip, port),
            position: LogPosition(position),
        })
    }
}

/// Makes the ids that clients give their messages (`UNIQ_KEY`), as the Java client does
/// (`apache/rocketmq common/.../message/MessageClientIDSetter.java`). Time comes from the caller.
#[derive(Debug)]
pub struct UniqueIdGenerator {
    /// Host, process and seed as digits.
    fixed: Vec<u8>,
    counter: AtomicU16,
}

impl UniqueIdGenerator {
    /// A generator for one process; `seed` keeps several generators of one process apart.
    #[must_use]
    pub fn new(ip: IpAddr, pid: u32, seed: u32) -> Self {
        let mut fixed = Vec::with_capacity(44);
        match ip {
            IpAddr::V4(ip) => push_hex(&mut fixed, ip.octets()),
            IpAddr::V6(ip) => push_hex(&mut fixed, ip.octets()),
        }
        push_hex(&mut fixed, (pid as u16).to_be_bytes());
        push_hex(&mut fixed, seed.to_be_bytes());
        Self {
            fixed,
            counter: AtomicU16::new(0),
        }
    }

    /// The next id at `now_ms` (Unix milliseconds). 65,536 ids a millisecond are distinct.
    pub fn next(&self, now_ms: i64) -> String {
        let mut out = Vec::with_capacity(56);
        let since = now_ms - month_start_ms(now_ms);
        out.extend_from_slice(&self.fixed);
        push_hex(&mut out, (since as u32).to_be_bytes());
        push_hex(
            &mut out,
            self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes(),
        );
        String::from_utf8(out).expect("hex digits are ASCII")
    }
}

/// When a unique id was made, Unix milliseconds, read at `now_ms`; `None` when the text is not such an id.
/// An id holds only the time since the start of its month; the latest month that is not in the future counts.
#[must_use]
pub fn unique_id_time(id: &str, now_ms: i64) -> Option<i64> {
    let at = match id.len() {
        32 => 20,
        56 => 44,
        _ => return None,
    };
    let since = i64::from(u32::from_str_radix(id.get(at..at + 8)?, 16).ok()?);
    let month = month_start_ms(now_ms);
    let time = month + since;
    Some(if time <= now_ms {
        time
    } else {
        month_start_ms(month - 1) + since
    })
}

const DAY_MS: i64 = 86_400_000;

/// Start of the month (UTC) of a time.
fn month_start_ms(now_ms: i64) -> i64 {
    // Day of the month from the civil calendar, by eras of 400 years that begin in March.
    let days = now_ms.div_euclid(DAY_MS) + 719_468;
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5;
    (now_ms.div_euclid(DAY_MS) - day_of_month) * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_ids_are_the_originals() {
        let id: OffsetMessageId = "7F0000010000514B00000000007613EB".parse().unwrap();
        assert_eq!(id.host, "127.0.0.1:20811".parse().unwrap());
        assert_eq!(id.position, LogPosition(0x76_13eb));
        assert_eq!(id.to_string(), "7F0000010000514B00000000007613EB");
        let six = OffsetMessageId {
            host: "[2001:db8::1]:10911".parse().unwrap(),
            position: LogPosition(5),
        };
        assert_eq!(six.to_string().len(), 56);
        assert_eq!(six.to_string().parse::<OffsetMessageId>().unwrap(), six);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "7F",
            "7F0000010000514B00000000007613EG",
            "7F0000010001514B00000000007613EB",
            "ééééééééééééééééé",
        ] {
            assert!(text.parse::<OffsetMessageId>().is_err(), "{text}");
        }
    }

    #[test]
    fn months_start_where_the_calendar_says() {
        // 2026-11-22 13:49:53 UTC, 2024-02-29 00:00:00.000, 2000-03-01 00:00, 1999-12-31 23:59:59.999
        for (now, start) in [
            (1_795_355_393_000, 1_793_491_200_000),
            (1_709_164_800_000, 1_706_745_600_000),
            (951_868_800_000, 951_868_800_000),
            (946_684_799_999, 944_006_400_000),
        ] {
            assert_eq!(month_start_ms(now), start);
        }
    }

    #[test]
    fn unique_ids_tell_their_time_and_differ() {
        let ids = UniqueIdGenerator::new("192.0.2.2".parse().unwrap(), 0x5b25, 0x3094_6e09);
        let now = 1_795_355_393_000;
        let (first, second) = (ids.next(now), ids.next(now));
        assert!(first.starts_with("C00002025B2530946E09"));
        assert_ne!(first, second);
        assert_eq!(first.len(), 32);
        assert_eq!(unique_id_time(&first, now + 5), Some(now));
        // Read in the next month, still found.
        assert_eq!(unique_id_time(&first, now + 20 * DAY_MS), Some(now));
        assert_eq!(unique_id_time("short", now), None);
    }
}
