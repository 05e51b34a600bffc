//! The record: what is known of it, and the swaps whose results are not known.

use crate::place::{Record, Swap, Versioned};

use super::action::Action;
use super::event::{BootMs, Swapped};
use super::state::{Attempt, Machine};

impl Machine {
    /// Reads the record unless a read is open or it is too early for another.
    pub(super) fn read_place(&mut self, now: BootMs, out: &mut Vec<Action>) {
        if !self.link.reading && self.link.read_at <= now {
            self.link.reading = true;
            out.push(Action::ReadPlace);
        }
    }

    /// What is known may be old.
    pub(super) fn look_again(&mut self) {
        self.link.is_fresh = false;
        self.link.read_at = BootMs::default();
    }

    pub(super) fn was_read(&mut self, record: Option<Versioned<Record>>) {
        self.link.reading = false;
        self.link.is_fresh = true;
        self.link.is_away = false;
        self.link.is_gone = record.is_none();
        self.learn(record);
    }

    pub(super) fn was_not_read(&mut self, now: BootMs) {
        self.link.reading = false;
        self.link.is_away = true;
        self.link.read_at = now.after(self.config.timings.retry_ms);
    }

    /// Takes what the place has shown, unless it is older than what is known. A version that moved on decides all swaps of older ones.
    pub(super) fn learn(&mut self, record: Option<Versioned<Record>>) {
        let Some(record) = record else {
            // A deletion counts when it is read, for a watch may be behind a new record.
            if !self.link.is_gone {
                self.look_again();
            }
            return;
        };
        self.link.is_gone = false;
        let known = self.record.as_ref().map(|known| known.version);
        if known.is_some_and(|known| record.version <= known) {
            return;
        }
        if self
            .link
            .unknown
            .is_some_and(|of| of != Some(record.version))
        {
            self.link.unknown = None;
        }
        self.highest = self.highest.max(record.value.epoch);
        self.record = Some(record);
    }

    /// Swaps the record that is known, or makes one where there is none.
    pub(super) fn swap(&mut self, next: Record, out: &mut Vec<Action>) {
        let expected = self.record.as_ref().map(|known| known.version);
        out.push(Action::Swap {
            expected,
            next: Box::new(next.clone()),
        });
        self.link.swapping = Some(Attempt { expected, next });
    }

    pub(super) fn was_swapped(&mut self, swapped: Swapped, now: BootMs) {
        let Some(attempt) = self.link.swapping.take() else {
            return;
        };
        let retry = now.after(self.config.timings.retry_ms);
        match swapped {
            Swapped::Known(Swap::Won(version)) => {
                self.link.is_away = false;
                self.learn(Some(Versioned {
                    version,
                    value: attempt.next,
                }));
            }
            Swapped::Known(Swap::Lost(current)) => {
                self.link.is_away = false;
                self.link.is_gone = current.is_none();
                self.learn(current);
            }
            Swapped::Unknown => {
                let known = self.record.as_ref().map(|known| known.version);
                if !self.rules.unknown_read_again {
                    self.link.read_at = retry;
                    return;
                }
                if known == attempt.expected {
                    self.link.unknown = Some(attempt.expected);
                }
                self.look_again();
            }
            Swapped::Failed => {
                self.link.is_away = true;
                self.link.read_at = retry;
            }
        }
    }

    /// Whether a swap may still take place.
    pub(super) fn is_swap_open(&self) -> bool {
        self.link.swapping.is_some() || self.link.unknown.is_some()
    }
}
