//! What clients and consumers saw, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

/// What a group must never do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

/// A message where it is: in its queue, and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) message: u64,
    pub(crate) queue: u64,
    pub(crate) offset: i64,
    /// Where its record begins.
    pub(crate) position: u64,
}

impl Stored {
    fn at(&self) -> (u64, i64) {
        (self.queue, self.offset)
    }
}

/// The history of one group.
#[derive(Default)]
pub(crate) struct Checker {
    /// By queue and offset, as acknowledged.
    acked: BTreeMap<(u64, i64), Stored>,
    /// The end of the last record that was.
    acked_end: u64,
    /// By queue and offset, as any consumer saw it at any member.
    seen: BTreeMap<(u64, i64), Stored>,
    /// Who has acknowledged in an epoch.
    masters: BTreeMap<u64, usize>,
    /// A master acknowledges alone, so an election may lose what was acknowledged and seen.
    may_lose: bool,
    /// Messages that were acknowledged, wherever they are now.
    acked_messages: BTreeSet<u64>,
    /// Masters have removed what lies below, because it was too old.
    expired_below: u64,
    violation: Option<Violation>,
}

impl Checker {
    /// For a group whose master waits for the set, or for one whose master may lose what it has acknowledged.
    pub(crate) fn new(may_lose: bool) -> Self {
        Self {
            may_lose,
            ..Self::default()
        }
    }

    pub(crate) fn fails(&mut self, text: String) {
        self.violation.get_or_insert(Violation(text));
    }

    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    pub(crate) fn acked_count(&self) -> usize {
        self.acked_messages.len()
    }

    /// All that was acknowledged.
    pub(crate) fn acked_messages(&self) -> &BTreeSet<u64> {
        &self.acked_messages
    }

    pub(crate) fn acked_end(&self) -> u64 {
        self.acked_end
    }

    pub(crate) fn masters_count(&self) -> usize {
        self.masters.len()
    }

    pub(crate) fn expired_below(&self) -> u64 {
        self.expired_below
    }

    pub(crate) fn acked(&mut self, stored: Stored, end: u64, epoch: u64, by: usize) {
        let message = stored.message;
        if let Some((newest, master)) = self.masters.last_key_value()
            && *newest > epoch
        {
            let text = format!(
                "member {by} acknowledged message {message} in epoch {epoch}, after member {master} in epoch {newest}"
            );
            self.fails(text);
        }
        let master = *self.masters.entry(epoch).or_insert(by);
        if master != by {
            self.fails(format!(
                "members {master} and {by} both acknowledged in epoch {epoch}"
            ));
        }
        self.acked_messages.insert(message);
        if self.may_lose {
            return;
        }
        self.acked_end = self.acked_end.max(end);
        if let Some(other) = self.acked.insert(stored.at(), stored) {
            self.fails(format!(
                "messages {} and {message} were both acknowledged at offset {} of queue {}",
                other.message, stored.offset, stored.queue
            ));
        }
    }

    /// A consumer saw a message.
    pub(crate) fn saw(&mut self, stored: Stored, by: usize) {
        if self.may_lose {
            return;
        }
        let first = *self.seen.entry(stored.at()).or_insert(stored);
        if first != stored {
            self.fails(format!("{first:?} is {stored:?} at member {by}"));
        }
    }

    /// A master has removed what lies below, as it was told to.
    pub(crate) fn expired(&mut self, below: u64) {
        self.expired_below = self.expired_below.max(below);
    }

    /// A master serves, with these messages by queue and offset.
    pub(crate) fn serves(
        &mut self,
        by: usize,
        epoch: u64,
        messages: &BTreeMap<(u64, i64), Stored>,
    ) {
        let lost = [("acknowledged", &self.acked), ("seen", &self.seen)]
            .into_iter()
            .find_map(|(what, known)| {
                let mut kept = known
                    .values()
                    .filter(|stored| stored.position >= self.expired_below);
                let lost = kept.find(|stored| messages.get(&stored.at()) != Some(stored));
                lost.map(|lost| (what, *lost))
            });
        if let Some((what, lost)) = lost {
            let found = messages.get(&lost.at());
            self.fails(format!(
                "{lost:?}, {what}, is {found:?} at member {by}, the master of epoch {epoch}"
            ));
        }
    }
}
