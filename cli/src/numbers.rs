//! Numbers as people read them: the one place that writes rates, sizes, shares and lengths of time in tables. JSON has the raw ones.

/// A rate, a second: one decimal below ten, then none, then thousands and millions.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        value if !value.is_finite() || value < 0.05 => "0".to_owned(),
        value if value < 9.95 => format!("{value:.1}"),
        value if value < 9_999.5 => format!("{value:.0}"),
        value if value < 999_950.0 => format!("{:.1}k", value / 1e3),
        value => format!("{:.1}M", value / 1e6),
    }
}

/// A count that need not be exact, as `top` has it.
pub(crate) fn about(count: i64) -> String {
    if count.unsigned_abs() < 100_000 {
        return count.to_string();
    }
    let sign = if count < 0 { "-" } else { "" };
    format!("{sign}{}", rate(count.unsigned_abs() as f64))
}

/// Bytes, in powers of 1,024.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_023.95 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Reads a number of bytes: `500`, `64KiB`, `1.5GiB`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no number of bytes; write 65536, 512KiB, 64MiB or 2GiB");
    let at = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim() {
        "" | "B" => 1.0,
        "KiB" => 1_024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        _ => return Err(wrong()),
    };
    let bytes = number * factor;
    match bytes.is_finite() && (1.0..9e18).contains(&bytes) {
        true => Ok(bytes as u64),
        false => Err(wrong()),
    }
}

/// A share of one, such as 0.19, in percent. A broker that cannot tell says -1.
pub(crate) fn percent(ratio: f64) -> String {
    if ratio.is_finite() && (0.0..=1e6).contains(&ratio) {
        format!("{:.0}%", ratio * 100.0)
    } else {
        "?".to_owned()
    }
}

/// A length of time: its two largest units, such as `1m 30s`.
pub(crate) fn length(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    if ms < 1_000 {
        return format!("{sign}{ms}ms");
    }
    if ms < 10_000 && !ms.is_multiple_of(1_000) {
        return format!("{sign}{:.1}s", (ms / 100) as f64 / 10.0);
    }
    let mut left = ms / 1_000;
    let mut parts = Vec::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        let count = left / seconds;
        left %= seconds;
        if count > 0 && parts.len() < 2 {
            parts.push(format!("{count}{unit}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    format!("{sign}{}", parts.join(" "))
}

/// The number that a cell of a table shows, to sort by.
pub(crate) fn value(cell: &str) -> Option<f64> {
    const FACTORS: [(&str, f64); 9] = [
        ("KiB", 1_024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("PiB", 1_125_899_906_842_624.0),
        ("B", 1.0),
        ("%", 1.0),
        ("k", 1e3),
        ("M", 1e6),
    ];
    let (digits, factor) = FACTORS
        .iter()
        .find_map(|(unit, factor)| Some((cell.strip_suffix(unit)?, *factor)))
        .unwrap_or((cell, 1.0));
    let number: f64 = digits.trim_end().parse().ok()?;
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        for (value, text) in [
            (0.190_367_409_099_562_15, "0.2"),
            (0.0, "0"),
            (9.96, "10"),
            (1_234.4, "1234"),
            (9_999.9, "10.0k"),
            (999_999.0, "1.0M"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(rate(value), text);
        }
        for (value, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(value), text);
        }
        for (value, text) in [(0.194, "19%"), (1.0, "100%"), (-1.0, "?"), (f64::NAN, "?")] {
            assert_eq!(percent(value), text);
        }
        for (value, text) in [
            (0, "0ms"),
            (1_500, "1.5s"),
            (2_000, "2s"),
            (90_000, "1m 30s"),
            (3_600_000, "1h"),
            (3_605_000, "1h"),
            (-7_260_000, "-2h 1m"),
            (i64::MIN, "-106751991167d 7h"),
        ] {
            assert_eq!(length(value), text);
        }
        assert_eq!(about(99_999), "99999");
        assert_eq!(about(-1_500_000), "-1.5M");
    }

    #[test]
    fn bytes_are_read_as_they_are_shown() {
        for (text, value) in [
            ("1", 1),
            ("500B", 500),
            ("64KiB", 64 << 10),
            ("1.5 GiB", 3 << 29),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "0",
            "-1",
            "64kb",
            "MiB",
            "1.2.3",
            "1e9",
            "inf",
            "9999999TiB",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_sorted() {
        let shown = [rate(0.2), rate(9_999.0), rate(12_345.0), rate(2_345_678.0)];
        let values: Vec<f64> = shown.iter().filter_map(|cell| value(cell)).collect();
        assert!(values.is_sorted() && values.len() == 4, "{values:?}");
        let shown = [bytes(3), bytes(2_000), bytes(3 << 20), bytes(5 << 30)];
        let values: Vec<f64> = shown.iter().filter_map(|cell| value(cell)).collect();
        assert!(values.is_sorted() && values.len() == 4, "{values:?}");
        assert_eq!(value("19%"), Some(19.0));
        assert_eq!(value("8r/4w"), None);
    }
}
