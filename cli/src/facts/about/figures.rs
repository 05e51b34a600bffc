//! A broker's figures, grouped and named for people.

use std::collections::BTreeMap;

use super::description::Tables;
use crate::numbers;
use crate::permissions;
use crate::when;

type Figures = BTreeMap<String, String>;

/// How the text of a figure is shown; `None` leaves the figure out.
type Show = fn(&str, bool) -> Option<String>;

type Figure = (&'static str, &'static str, Show);

/// Groups of figures: what people call each, the key in the runtime information, and how it is shown.
const GROUPS: &[(&str, &[Figure])] = &[
    (
        "Broker",
        &[
            ("rmq", "rmqVersion", as_it_is),
            ("protocol", "brokerVersionDesc", as_it_is),
            ("started", "bootTimestamp", time),
            ("clock jumped", "lastClockJump", as_it_is),
            ("fast port", "fastPortProblem", as_it_is),
            ("same name", "registrationRivals", as_it_is),
        ],
    ),
    (
        "Messages",
        &[
            ("in, a second", "putTps", rates),
            ("out, a second", "getTransferredTps", rates),
            ("in, today", "msgPutTotalTodayNow", as_it_is),
            ("out, today", "msgGetTotalTodayNow", as_it_is),
            ("failed", "putMessageFailedTimes", as_it_is),
            ("average size", "putMessageAverageSize", size),
            ("time of a write, 99 %", "putLatency99", milliseconds),
            ("time of a write, 99.9 %", "putLatency999", milliseconds),
            ("longest write", "putMessageEntireTimeMax", length),
            ("longest read", "getMessageEntireTimeMax", length),
            ("pulls that wait", "waitingPulls", as_it_is),
        ],
    ),
    (
        "Store",
        &[
            ("problem", "storeProblem", as_it_is),
            ("disk used", "commitLogDiskRatio", share),
            ("disk", "commitLogDirCapacity", as_it_is),
            ("oldest message", "earliestMessageTimeStamp", time),
            ("not on disk yet", "remainHowManyDataToFlush", as_it_is),
            ("not indexed yet", "dispatchBehindBytes", size),
            (
                "kept for delayed messages",
                "bytesHeldForDelayedMessages",
                size,
            ),
            ("delay levels taken away", "leftoverDelayLevels", as_it_is),
        ],
    ),
    (
        "Connections",
        &[
            ("memory held", "connectionMemoryBytes", size),
            ("memory limit", "connectionMemoryLimitBytes", size),
            ("waiting for memory", "connectionMemoryWaiting", as_it_is),
        ],
    ),
];

fn as_it_is(text: &str, _: bool) -> Option<String> {
    Some(text.to_owned())
}

fn time(text: &str, utc: bool) -> Option<String> {
    let ms = text.parse().ok().filter(|ms| *ms > 0)?;
    Some(when::show_time(ms, utc))
}

/// Of the last ten seconds, minute and ten minutes.
fn rates(text: &str, _: bool) -> Option<String> {
    let rates: Vec<String> = text
        .split_whitespace()
        .filter_map(|rate| rate.parse().ok())
        .map(numbers::rate)
        .collect();
    match rates.as_slice() {
        [ten, minute, ten_minutes] => {
            Some(format!("{ten} (10s), {minute} (1m), {ten_minutes} (10m)"))
        }
        [] => None,
        some => Some(some.join(" ")),
    }
}

fn size(text: &str, _: bool) -> Option<String> {
    let bytes: f64 = text.parse().ok()?;
    // A float becomes the nearest number that there is.
    (bytes > 0.0).then(|| numbers::bytes(bytes as u64))
}

fn share(text: &str, _: bool) -> Option<String> {
    Some(numbers::percent(text.parse().ok()?))
}

fn length(text: &str, _: bool) -> Option<String> {
    Some(numbers::length(text.parse().ok()?))
}

fn milliseconds(text: &str, _: bool) -> Option<String> {
    let ms: f64 = text.parse().ok()?;
    Some(format!("{} ms", numbers::rate(ms)))
}

/// Tables of the usual figures; `describe -o wide` adds the others, `-o json` has all figures unchanged.
pub(crate) fn tables(figures: &Figures, settings: &Figures, utc: bool) -> Tables {
    let mut tables = Tables::new();
    for (title, group) in GROUPS {
        let mut rows: Vec<Vec<String>> = group
            .iter()
            .filter_map(|(name, key, show)| {
                let text = show(figures.get(*key)?, utc)?;
                Some(vec![(*name).to_owned(), text])
            })
            .collect();
        if *title == "Broker"
            && let Some(perm) = settings
                .get("brokerPermission")
                .and_then(|text| text.parse().ok())
        {
            rows.push(vec!["permission".to_owned(), permissions::text(perm)]);
        }
        if *title == "Store" {
            rows.extend(log(figures));
            rows.extend(delayed(figures));
        }
        tables.push((*title, vec!["WHAT", "VALUE"], rows));
    }
    tables
}

/// The bounds of the log in one line.
fn log(figures: &Figures) -> Option<Vec<String>> {
    let position = |key: &str| figures.get(key)?.parse::<u64>().ok();
    let (from, to) = (
        position("commitLogMinOffset")?,
        position("commitLogMaxOffset")?,
    );
    let size = numbers::bytes(to.saturating_sub(from));
    Some(vec![
        "log".to_owned(),
        format!("{size}, from {from} to {to}"),
    ])
}

/// How many delayed messages wait, in all levels.
fn delayed(figures: &Figures) -> Option<Vec<String>> {
    let levels = figures
        .iter()
        .filter(|(key, _)| key.starts_with("scheduleMessageOffset_"));
    let waiting: Vec<i64> = levels
        .filter_map(|(_, text)| {
            let (next, max) = text.split_once(',')?;
            let (next, max): (i64, i64) = (next.parse().ok()?, max.parse().ok()?);
            Some(max.saturating_sub(next).max(0))
        })
        .collect();
    let all = waiting
        .iter()
        .fold(0_i64, |all, count| all.saturating_add(*count));
    (!waiting.is_empty()).then(|| vec!["delayed messages".to_owned(), all.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(figures: &[(&str, &str)]) -> String {
        let owned = figures
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let rows = tables(&owned, &Figures::new(), true)
            .into_iter()
            .flat_map(|(_, _, rows)| rows);
        rows.map(|row| row.join(": "))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn figures_are_for_people() {
        let text = shown(&[
            ("putTps", "0.19036740909956215 12345.6 0.0"),
            ("putMessageAverageSize", "1234.5678901234"),
            ("commitLogDiskRatio", "0.19"),
            ("bootTimestamp", "1700000000000"),
            ("commitLogMinOffset", "1024"),
            ("commitLogMaxOffset", "2048"),
            ("scheduleMessageOffset_1", "3,5"),
            ("scheduleMessageOffset_2", "7,7"),
            ("neverHeardOf", "1"),
        ]);
        for line in [
            "in, a second: 0.2 (10s), 12.3k (1m), 0 (10m)",
            "average size: 1.2 KiB",
            "disk used: 19%",
            "started: 2023-11-14 22:13:20+00:00",
            "log: 1.0 KiB, from 1024 to 2048",
            "delayed messages: 2",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        assert!(!text.contains("neverHeardOf"), "{text}");
    }

    #[test]
    fn what_is_no_number_hurts_nobody() {
        for bad in [
            "",
            "-1",
            "NaN",
            "inf",
            "99999999999999999999999",
            "\u{1b}[2J",
        ] {
            let all: Vec<(&str, &str)> = GROUPS
                .iter()
                .flat_map(|(_, group)| group.iter().map(|(_, key, _)| (*key, bad)))
                .collect();
            shown(&all);
        }
    }
}
