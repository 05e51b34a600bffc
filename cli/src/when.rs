//! Times and lengths of time as people write them.

use std::time::SystemTime;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// A point in time, Unix milliseconds: `10m` or `2h ago` (before now), RFC 3339, `2026-01-31 09:00`, `today 09:00`, or the number itself.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    parse_time_at(text, &Zoned::now())
}

fn parse_time_at(text: &str, now: &Zoned) -> Result<i64, String> {
    let text = text.trim();
    if text.len() >= 12
        && let Ok(ms) = text.parse::<i64>()
    {
        return Ok(ms);
    }
    if text == "now" {
        return Ok(now.timestamp().as_millisecond());
    }
    if let Ok(length) = parse_length(text.strip_suffix("ago").unwrap_or(text).trim()) {
        return Ok(now.timestamp().as_millisecond() - length.as_millis() as i64);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let dated = match text.split_once(' ') {
        Some(("today", time)) => format!("{} {time}", now.date()),
        Some(("yesterday", time)) => match now.date().yesterday() {
            Ok(date) => format!("{date} {time}"),
            Err(_) => text.to_owned(),
        },
        _ => text.to_owned(),
    };
    let civil = dated.parse::<jiff::civil::DateTime>();
    civil
        .ok()
        .and_then(|civil| civil.to_zoned(now.time_zone().clone()).ok())
        .map(|zoned| zoned.timestamp().as_millisecond())
        .ok_or_else(|| {
            format!("\"{text}\" is no time; write 10m (ago), 2026-01-31T09:00:00Z, \"2026-01-31 09:00\", \"today 09:00\" or Unix milliseconds")
        })
}

/// `500ms`, `10s`, `5m`, `2h`, `7d`.
pub(crate) fn parse_length(text: &str) -> Result<std::time::Duration, String> {
    let unit_at = text
        .find(|letter: char| !letter.is_ascii_digit())
        .ok_or_else(|| format!("\"{text}\" has no unit; write 500ms, 10s, 5m, 2h or 7d"))?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("\"{text}\" is no length of time; write 500ms, 10s, 5m, 2h or 7d"))?;
    let ms = match unit.trim() {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let ms = ms.and_then(|unit: u64| number.checked_mul(unit));
    ms.map(std::time::Duration::from_millis)
        .ok_or_else(|| format!("\"{text}\" is no length of time; write 500ms, 10s, 5m, 2h or 7d"))
}

/// Local time with its offset, or UTC.
pub(crate) fn show_time(unix_ms: i64, utc: bool) -> String {
    if unix_ms <= 0 {
        return "-".to_owned();
    }
    let zone = if utc {
        TimeZone::UTC
    } else {
        TimeZone::system()
    };
    match Timestamp::from_millisecond(unix_ms) {
        Ok(time) => {
            let zoned = time.to_zoned(zone);
            zoned.strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
        }
        Err(_) => unix_ms.to_string(),
    }
}

/// `3s`, `12m`, `5h`, `9d`: the largest unit.
pub(crate) fn show_age(since_ms: i64, now_ms: i64) -> String {
    if since_ms <= 0 {
        return "-".to_owned();
    }
    let age = SignedDuration::from_millis((now_ms - since_ms).max(0));
    let seconds = age.as_secs();
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Unix milliseconds of a point in time.
pub(crate) fn unix_ms(at: SystemTime) -> i64 {
    Timestamp::try_from(at).map_or(0, Timestamp::as_millisecond)
}

/// The point in time of Unix milliseconds, as the client takes it.
pub(crate) fn system_time(unix_ms: i64) -> SystemTime {
    Timestamp::from_millisecond(unix_ms).map_or(SystemTime::UNIX_EPOCH, SystemTime::from)
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let noon: Timestamp = "2026-03-05T12:00:00Z".parse().unwrap();
        let now = noon.to_zoned(TimeZone::UTC);
        let base = now.timestamp().as_millisecond();
        for (text, ms) in [
            ("10m", base - 600_000),
            ("2h ago", base - 7_200_000),
            ("now", base),
            ("today 09:00", base - 3 * 3_600_000),
            ("yesterday 12:00", base - 86_400_000),
            ("2026-03-05T11:00:00Z", base - 3_600_000),
            ("2026-03-05 12:00", base),
            ("1700000000000", 1_700_000_000_000),
        ] {
            assert_eq!(parse_time_at(text, &now), Ok(ms), "{text}");
        }
        for text in ["", "soon", "10x", "2026-13-01"] {
            assert!(parse_time_at(text, &now).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_have_one_unit() {
        for (ms, text) in [
            (3_000, "3s"),
            (720_000, "12m"),
            (18_000_000, "5h"),
            (800_000_000, "9d"),
        ] {
            assert_eq!(show_age(1, 1 + ms), text);
        }
        assert_eq!(show_time(0, true), "-");
        assert_eq!(
            show_time(1_700_000_000_000, true),
            "2023-11-14 22:13:20+00:00"
        );
    }
}
