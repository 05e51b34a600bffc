//! Which parts of the log are in the place already.

use std::collections::BTreeMap;

use rmq_store::Epoch;

use crate::part::{HEAD_BYTES, PartName};
use crate::place::Entry;

/// A part that is in the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct There {
    pub(crate) name: PartName,
    /// The size of its file.
    pub(crate) bytes: u64,
}

/// The parts by lineage. `folder` is that of the log; what is no part is left out.
pub(crate) fn by_lineage(folder: &str, entries: &[Entry]) -> BTreeMap<String, Vec<There>> {
    let mut found: BTreeMap<String, Vec<There>> = BTreeMap::new();
    for entry in entries {
        let below = entry.name.strip_prefix(folder);
        let below = below.and_then(|rest| rest.strip_prefix('/')?.split_once('/'));
        let Some((lineage, name)) = below else {
            continue;
        };
        if let Some(name) = PartName::parse(name)
            && entry.bytes > HEAD_BYTES as u64
        {
            let there = There {
                name,
                bytes: entry.bytes,
            };
            found.entry(lineage.to_owned()).or_default().push(there);
        }
    }
    found
}

/// Parts, by where they begin, that are of a log with these epochs between two positions, as far as the epochs say it: the same epoch at the same
/// position has the same log below.
pub(crate) fn fitting(
    parts: &[There],
    begins: u64,
    position: u64,
    epochs: &[Epoch],
) -> BTreeMap<u64, There> {
    let mut fitting: BTreeMap<u64, There> = BTreeMap::new();
    for part in parts {
        let PartName { from, to, .. } = part.name;
        let is_within = begins <= from && to <= position;
        if is_within && PartName::of(from, to, epochs) == Some(part.name) {
            // The longest: runs that were interrupted may have left others.
            let longest = fitting.entry(from).or_insert(*part);
            if longest.name.to < to {
                *longest = *part;
            }
        }
    }
    fitting
}

/// What the parts lack of a log from `begins` to `position`: stretches, and their length in all.
pub(crate) fn lacking(fitting: &BTreeMap<u64, There>, begins: u64, position: u64) -> u64 {
    let (mut at, mut lacking) = (begins, 0);
    while at < position {
        if let Some(there) = fitting.get(&at) {
            at = there.name.to;
            continue;
        }
        let next = next_from(fitting, at, position);
        lacking += next - at;
        at = next;
    }
    lacking
}

/// Where the next part begins behind a position, or the end.
pub(crate) fn next_from(fitting: &BTreeMap<u64, There>, at: u64, end: u64) -> u64 {
    let next = fitting.range(at + 1..).next();
    next.map_or(end, |(from, _)| end.min(*from))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rmq_protocol::message::LogPosition;

    use super::*;

    fn there(from: u64, to: u64, epoch: (u64, u64)) -> There {
        There {
            name: PartName {
                from,
                to,
                epoch: epoch.0,
                epoch_first: epoch.1,
            },
            bytes: to - from + HEAD_BYTES as u64,
        }
    }

    fn epochs(rows: &[(u64, u64)]) -> Vec<Epoch> {
        let rows = rows.iter().map(|(number, first)| Epoch {
            number: *number,
            first: LogPosition(*first),
        });
        rows.collect()
    }

    #[test]
    fn parts_of_another_history_are_left_out() {
        let parts = [
            there(0, 100, (1, 0)),
            there(100, 150, (1, 0)),
            there(100, 200, (1, 0)),
            there(200, 300, (1, 0)),
        ];
        let ends = |begins, position, epochs: &[Epoch]| {
            let fitting = fitting(&parts, begins, position, epochs);
            fitting.last_key_value().map_or(0, |(_, part)| part.name.to)
        };
        assert_eq!(ends(0, 1_000, &epochs(&[(1, 0)])), 300);
        // Another master wrote from 250 on, so the last part is not of this log.
        assert_eq!(ends(0, 1_000, &epochs(&[(1, 0), (2, 250)])), 200);
        assert_eq!(ends(0, 1_000, &epochs(&[(1, 0), (2, 300)])), 300);
        assert_eq!(ends(0, 1_000, &epochs(&[(2, 0)])), 0);
        assert_eq!(ends(0, 299, &epochs(&[(1, 0)])), 200);
        assert_eq!(fitting(&parts, 150, 300, &epochs(&[(1, 0)])).len(), 1);
    }

    #[test]
    fn what_is_lacking_lies_between_the_parts() {
        let epochs = epochs(&[(1, 0)]);
        let parts = [there(50, 100, (1, 0)), there(100, 120, (1, 0))];
        let fitting = fitting(&parts, 0, 200, &epochs);
        assert_eq!(lacking(&fitting, 0, 200), 50 + 80);
        assert_eq!(next_from(&fitting, 0, 200), 50);
        assert_eq!(next_from(&fitting, 100, 200), 200);
        assert_eq!(lacking(&fitting, 50, 120), 0);
    }

    #[test]
    fn names_are_found_by_lineage() {
        let entry = |name: &str, bytes| Entry {
            name: name.to_owned(),
            bytes,
            written_ms: 0,
        };
        let part = there(0, 9, (1, 0));
        let entries = [
            entry(&format!("g/log/a/{}", part.name), part.bytes),
            entry(&format!("g/log/b/{}", part.name), 80),
            entry("g/log/a/other", 100),
            entry("g/log/x", 100),
            entry(&format!("h/log/a/{}", part.name), part.bytes),
        ];
        let found = by_lineage("g/log", &entries);
        assert_eq!(found, BTreeMap::from([("a".to_owned(), vec![part])]));
    }

    proptest! {
        #[test]
        fn parts_fit_and_what_is_lacking_fills_the_rest(
            parts in prop::collection::vec((0_u64..50, 1_u64..20, 0_usize..3), 0..60),
            position in 1_u64..80,
        ) {
            let all = [(1, 0), (2, 20), (3, 40)];
            let epochs = epochs(&all);
            let parts: Vec<There> = parts.iter().map(|(from, length, epoch)| there(*from, from + length, all[*epoch])).collect();
            let fitting = fitting(&parts, 0, position, &epochs);
            for (from, part) in &fitting {
                prop_assert_eq!(PartName::of(*from, part.name.to, &epochs), Some(part.name));
                prop_assert!(part.name.to <= position);
            }
            let (mut at, mut used) = (0, 0);
            while at < position {
                let next = fitting.get(&at).map_or_else(|| next_from(&fitting, at, position), |part| part.name.to);
                if fitting.contains_key(&at) {
                    used += next - at;
                }
                prop_assert!(next > at);
                at = next;
            }
            prop_assert_eq!(at, position);
            prop_assert_eq!(used + lacking(&fitting, 0, position), position);
        }
    }
}
