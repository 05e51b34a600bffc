//! What of a log is written: levels, for everything or for parts of the program.
//!
//! ```text
//! filter := part { "," part }
//! part   := level | target "=" level | target      a target alone is everything of it
//! level  := off | error | warn | info | debug | trace, or 0 to 5; in any case
//! ```
//!
//! A target stands for all that begins with it; the longest that fits decides, and of the same the last. What no part speaks of is not written.
//! `tracing_subscriber` has a filter that chooses by spans and their fields too. It matches them with regular expressions, whose tables take
//! 190 KiB of the memory of every process, and servers have no spans.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Reads a filter.
///
/// # Errors
/// The part that is wrong, and why.
pub(crate) fn parse(text: &str) -> Result<Targets, String> {
    let mut filter = Targets::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        if part.contains(['[', '{']) {
            return Err(format!(
                "{part:?} chooses spans or fields; a part is a level, a target, or TARGET=LEVEL"
            ));
        }
        let Some((target, level)) = part.split_once('=') else {
            filter = match part.parse::<LevelFilter>() {
                Ok(level) => filter.with_default(level),
                Err(_) => filter.with_target(part, LevelFilter::TRACE),
            };
            continue;
        };
        let (target, level) = (target.trim(), level.trim());
        if target.is_empty() {
            return Err(format!("{part:?} names no target before its \"=\""));
        }
        filter = match level.parse::<LevelFilter>() {
            Ok(parsed) if !level.is_empty() => filter.with_target(target, parsed),
            _ => {
                return Err(format!(
                    "{level:?} of {part:?} is no level; levels are off, error, warn, info, debug and trace"
                ));
            }
        };
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_longest_target_decides_and_of_the_same_the_last() {
        let written = |filter: &str| {
            let filter = parse(filter).expect("understood");
            let all = [
                ("rmq_broker::start", Level::INFO),
                ("rmq_broker", Level::DEBUG),
                ("rmq_audit", Level::INFO),
                ("hyper", Level::ERROR),
            ];
            all.map(|(target, level)| filter.would_enable(target, &level))
        };
        for (filter, expected) in [
            ("info", [true, false, true, true]),
            ("4", [true, true, true, true]),
            ("WARN,rmq_audit=info", [false, false, true, true]),
            (" warn , rmq_audit = info ,", [false, false, true, true]),
            ("rmq_broker", [true, true, false, false]),
            ("off,rmq_broker=Debug", [true, true, false, false]),
            (
                "info,rmq_broker=debug,rmq_broker::start=off",
                [false, true, true, true],
            ),
            (
                "rmq_broker=error,rmq_broker=debug",
                [true, true, false, false],
            ),
        ] {
            assert_eq!(written(filter), expected, "{filter:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (filter, named) in [
            ("info,rmq_broker=loud", "\"loud\""),
            ("info,rmq_broker=", "is no level"),
            ("loud,=", "no target"),
            ("=info", "no target"),
            ("a=b=info", "\"b=info\""),
            ("[send]=debug", "spans"),
            ("rmq_broker[send{topic=a}]=debug", "spans"),
        ] {
            let problem = parse(filter).expect_err(filter);
            assert!(problem.contains(named), "{problem}");
        }
    }
}
