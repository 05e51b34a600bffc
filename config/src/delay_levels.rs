//! The delays of delay levels as one text: `1s 5s 10s 30s 1m`.

/// A delay level that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("delay level {number} is {text:?}; expected a number and s, m, h or d, such as 30s")]
pub struct LevelError {
    number: usize,
    text: String,
}

/// The delays in milliseconds, from level 1.
///
/// # Errors
/// The first level that is no delay.
pub(crate) fn parse(text: &str) -> Result<Vec<i64>, LevelError> {
    text.split_whitespace()
        .enumerate()
        .map(|(index, level)| {
            let error = || LevelError {
                number: index + 1,
                text: level.to_owned(),
            };
            let (number, unit) = level
                .split_at_checked(level.len().saturating_sub(1))
                .ok_or_else(error)?;
            let unit_ms: i64 = match unit {
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(error()),
            };
            number
                .parse::<i64>()
                .ok()
                .filter(|number| *number > 0)
                .and_then(|number| number.checked_mul(unit_ms))
                .ok_or_else(error)
        })
        .collect()
}
