//! What may be read after a crash: everything acknowledged, once, in order, where the ack said; beside it only what was sent.

use std::collections::{BTreeMap, BTreeSet};

use rmq_client::Queue;

/// What was sent, and what of it was acknowledged at which offset.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct History {
    queues: BTreeMap<Queue, Sent>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sent {
    numbers: BTreeSet<u64>,
    acked: BTreeMap<u64, i64>,
}

impl History {
    /// Adds what was sent to a queue.
    pub fn add(
        &mut self,
        queue: Queue,
        sent: impl IntoIterator<Item = u64>,
        acked: BTreeMap<u64, i64>,
    ) {
        let of_queue = self.queues.entry(queue).or_default();
        of_queue.numbers.extend(sent);
        of_queue.acked.extend(acked);
    }

    /// Adds another history.
    pub fn merge(&mut self, other: Self) {
        for (queue, sent) in other.queues {
            self.add(queue, sent.numbers, sent.acked);
        }
    }

    /// Messages that were acknowledged.
    #[must_use]
    pub fn acked(&self) -> usize {
        self.queues.values().map(|sent| sent.acked.len()).sum()
    }

    /// Messages that were sent and not acknowledged.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.queues
            .values()
            .map(|sent| sent.numbers.len() - sent.acked.len())
            .sum()
    }

    /// The first number that no queue has used.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.queues
            .values()
            .filter_map(|sent| sent.numbers.last())
            .max()
            .map_or(0, |last| last + 1)
    }

    /// Every violation in what was read: `(offset, number)` by queue, in the order of reading. Empty: all is well.
    #[must_use]
    pub fn check(&self, read: &BTreeMap<Queue, Vec<(i64, u64)>>) -> Vec<String> {
        let mut violations = Vec::new();
        for (queue, sent) in &self.queues {
            let messages = read.get(queue).map(Vec::as_slice).unwrap_or_default();
            let mut say = |text: String| violations.push(format!("{queue}: {text}"));
            for (expected, (offset, _)) in (0..).zip(messages) {
                if *offset != expected {
                    say(format!("offset {offset} where {expected} was due"));
                    break;
                }
            }
            for pair in messages.windows(2) {
                if pair[1].1 <= pair[0].1 {
                    say(format!(
                        "message {} at offset {} stands after message {}",
                        pair[1].1, pair[1].0, pair[0].1
                    ));
                }
            }
            let at: BTreeMap<i64, u64> = messages.iter().copied().collect();
            for (number, offset) in &sent.acked {
                match at.get(offset) {
                    Some(found) if found == number => {}
                    Some(found) => say(format!(
                        "message {number} was acknowledged at offset {offset}, where message {found} is"
                    )),
                    None => say(format!(
                        "message {number}, acknowledged at offset {offset}, is lost"
                    )),
                }
            }
            for (offset, number) in messages
                .iter()
                .filter(|(_, number)| !sent.numbers.contains(number))
            {
                say(format!(
                    "message {number} at offset {offset} was never sent"
                ));
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new("t", "b", 0)
    }

    /// Messages 0 to 4 were sent; 0, 1 and 3 were acknowledged at 0, 1 and 2.
    fn history() -> History {
        let mut history = History::default();
        history.add(queue(), 0..5, BTreeMap::from([(0, 0), (1, 1), (3, 2)]));
        history
    }

    fn violations(read: &[(i64, u64)]) -> Vec<String> {
        history().check(&BTreeMap::from([(queue(), read.to_vec())]))
    }

    #[test]
    fn what_may_be_there_passes() {
        assert_eq!(violations(&[(0, 0), (1, 1), (2, 3)]), Vec::<String>::new());
        // A message whose ack was lost may be there.
        assert_eq!(
            violations(&[(0, 0), (1, 1), (2, 3), (3, 4)]),
            Vec::<String>::new()
        );
        assert_eq!(
            (
                history().acked(),
                history().unacked(),
                history().next_number()
            ),
            (3, 2, 5)
        );
    }

    #[test]
    fn every_planted_bug_is_found() {
        for (read, text) in [
            (
                &[(0, 0), (1, 1)][..],
                "message 3, acknowledged at offset 2, is lost",
            ),
            (&[], "message 0, acknowledged at offset 0, is lost"),
            (
                &[(0, 0), (1, 1), (2, 2)],
                "message 3 was acknowledged at offset 2, where message 2 is",
            ),
            (
                &[(0, 0), (1, 1), (2, 3), (3, 3)],
                "message 3 at offset 3 stands after message 3",
            ),
            (
                &[(0, 0), (1, 1), (2, 3), (3, 2)],
                "message 2 at offset 3 stands after message 3",
            ),
            (
                &[(0, 0), (1, 1), (2, 3), (4, 4)],
                "offset 4 where 3 was due",
            ),
            (&[(1, 1), (2, 3)], "offset 1 where 0 was due"),
            (
                &[(0, 0), (1, 1), (2, 3), (3, 99)],
                "message 99 at offset 3 was never sent",
            ),
        ] {
            let found = violations(read);
            assert!(
                found
                    .iter()
                    .any(|violation| violation == &format!("t/b/0: {text}")),
                "{text}: {found:?}"
            );
        }
    }
}
