//! Records and leases as JSON, with the version of their format.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The format that this version of rmq writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// A stored object has at most so many bytes. The largest record, with all names at their limits, has a quarter of that.
const BYTES_MAX: usize = 64 * 1024;

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    #[serde(flatten)]
    value: &'a T,
}

#[derive(serde::Deserialize)]
struct Head {
    format: u32,
}

/// The text of a value.
///
/// # Errors
/// When it is too long.
pub(super) fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let written = Written {
        format: FORMAT,
        value,
    };
    let text = serde_json::to_vec(&written).map_err(|error| error.to_string())?;
    if text.len() > BYTES_MAX {
        return Err(format!(
            "it has {} bytes, the limit is {BYTES_MAX}",
            text.len()
        ));
    }
    Ok(text)
}

/// The value of a text.
///
/// # Errors
/// When it is no such value, or of a newer format.
pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    if text.len() > BYTES_MAX {
        return Err(format!(
            "it has {} bytes, the limit is {BYTES_MAX}",
            text.len()
        ));
    }
    let head: Head = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if head.format > FORMAT {
        return Err(format!(
            "its format is {}, and this version of rmq reads up to {FORMAT}: run the version that the other members run",
            head.format
        ));
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::{
        AckMode, Incarnation, Lease, MEMBERS_MAX, Member, MemberId, Policy, REQUEST_BYTES_MAX,
        Reason, Record, Seat, Switchover, TERMS_MAX, Term,
    };
    use super::*;

    #[test]
    fn the_largest_record_fits_and_comes_back() {
        let seat = |member| Seat {
            member: MemberId(member),
            incarnation: Incarnation(u128::MAX),
        };
        let members = (0..MEMBERS_MAX as u64).map(|slot| Member {
            id: MemberId(slot),
            replication: "h".repeat(261),
            client: "h".repeat(261),
        });
        let policy = Policy {
            ack_mode: AckMode::InSyncFlushed,
            min_in_sync: 2,
        };
        let mut record = Record::vacant(members.collect(), policy);
        record.epoch = u64::MAX;
        record.master = Some(seat(u64::MAX));
        record.in_sync = (0..MEMBERS_MAX as u64).map(seat).collect();
        let term = Term {
            epoch: u64::MAX,
            master: seat(u64::MAX),
            start: Some(u64::MAX),
            reason: Reason::AllUnclean,
        };
        record.history = vec![term; TERMS_MAX];
        record.switchover = Some(Switchover {
            to: MemberId(1),
            request: "r".repeat(REQUEST_BYTES_MAX),
        });
        let text = write(&record).unwrap();
        assert!(text.len() < BYTES_MAX / 2, "{}", text.len());
        assert_eq!(read(&text), Ok(record));
    }

    #[test]
    fn what_is_no_record_is_refused_with_the_reason() {
        let refused = |text: &[u8]| read::<Record>(text).unwrap_err();
        for (text, expected) in [
            (&b""[..], "EOF"),
            (b"\xff\xfe", "expected value"),
            (b"{}", "missing field `format`"),
            (b"[1]", "invalid"),
            (br#"{"format":-1}"#, "expected u32"),
            (br#"{"format":1}"#, "missing field `epoch`"),
            (br#"{"format":1,"epoch":-4}"#, "expected u64"),
            (br#"{"format":1,"epoch":1,"phase":"Dancing"}"#, "Dancing"),
            (
                br#"{"format":2,"novel":true}"#,
                "its format is 2, and this version of rmq reads up to 1",
            ),
        ] {
            let error = refused(text);
            assert!(error.contains(expected), "{error}");
        }
        let long = vec![b' '; BYTES_MAX + 1];
        assert!(refused(&long).contains("65537 bytes, the limit is 65536"));
        let deep = [b"{\"format\":".to_vec(), vec![b'['; 60_000]].concat();
        assert!(!refused(&deep).is_empty());
        assert!(
            read::<Lease>(br#"{"format":1,"holder":null,"renewals":"x","durationMs":1}"#).is_err()
        );
    }

    /// Fields that a later version adds to the same format change nothing for this one.
    #[test]
    fn unknown_fields_are_passed_over() {
        let text =
            br#"{"format":1,"holder":null,"renewals":3,"durationMs":5000,"later":{"x":[1]}}"#;
        let lease = Lease {
            holder: None,
            renewals: 3,
            duration_ms: 5_000,
        };
        assert_eq!(read(text), Ok(lease));
    }
}
