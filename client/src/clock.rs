//! Points in time, as people hold them and as the protocol writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix milliseconds; before 1970 they are negative.
pub(crate) fn unix_ms(at: SystemTime) -> i64 {
    let ms = |length: Duration| i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    }
}

/// The point in time of Unix milliseconds. What a record says is any number: one that no clock can show becomes 1970.
pub(crate) fn system_time(unix_ms: i64) -> SystemTime {
    let length = Duration::from_millis(unix_ms.unsigned_abs());
    let at = match unix_ms >= 0 {
        true => UNIX_EPOCH.checked_add(length),
        false => UNIX_EPOCH.checked_sub(length),
    };
    at.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_and_points_in_time_are_the_same() {
        for ms in [0, 1, -1, 1_700_000_000_123, -86_400_000] {
            assert_eq!(unix_ms(system_time(ms)), ms);
        }
        // Whatever a record says, nothing panics.
        for ms in [i64::MAX, i64::MIN] {
            let _ = unix_ms(system_time(ms));
        }
    }
}
