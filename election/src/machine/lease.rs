//! The lease: whether the master is alive. It decides when, and never who.

use crate::place::{Lease, Swap, Version, Versioned};

use super::action::Action;
use super::event::{BootMs, LeaseSwapped};
use super::state::Machine;

/// Longer leases are not believed.
const DURATION_MS_MAX: u64 = 120_000;

impl Machine {
    pub(super) fn read_lease(&mut self, out: &mut Vec<Action>) {
        if !self.lease.reading {
            self.lease.reading = true;
            out.push(Action::ReadLease);
        }
    }

    /// Takes what the place has shown. A holder counts as gone when nothing has changed for the whole duration by this member's clock.
    pub(super) fn see_lease(&mut self, lease: Option<Versioned<Lease>>, now: BootMs) {
        let known = self.lease.seen.as_ref().map(|lease| lease.version);
        let shown = lease.as_ref().map(|lease| lease.version);
        let is_first = self.lease.gone_at.is_none();
        let is_news = match (known, shown) {
            (Some(known), Some(shown)) => known < shown,
            (known, shown) => known != shown,
        };
        if !is_first && !is_news {
            return;
        }
        let own = self.config.timings.lease_ms;
        let waits = lease
            .as_ref()
            .map_or(own, |lease| match lease.value.holder {
                None => 0,
                Some(_) => lease.value.duration_ms.clamp(own, DURATION_MS_MAX.max(own)),
            });
        self.lease.gone_at = Some(now.after(waits));
        self.lease.seen = lease;
    }

    /// Whether nobody has renewed the lease for its whole duration, or its holder has released it.
    pub(super) fn is_lease_gone(&self, now: BootMs) -> bool {
        self.lease.gone_at.is_some_and(|at| at <= now)
    }

    /// Whether this member holds the lease, as far as it knows.
    pub(super) fn has_lease(&self) -> bool {
        let seen = self.lease.seen.as_ref();
        seen.is_some_and(|lease| lease.value.holder == Some(self.me))
    }

    /// Takes, renews (`hold`) or releases the lease, if no other swap of it is open.
    pub(super) fn swap_lease(&mut self, hold: bool, now: BootMs, out: &mut Vec<Action>) -> bool {
        if self.lease.swapping.is_some() {
            return false;
        }
        let timings = self.config.timings;
        let seen = self.lease.seen.as_ref();
        out.push(Action::SwapLease {
            expected: seen.map(|lease| lease.version),
            next: self.next_lease(hold),
        });
        self.lease.swapping = Some(now.after(timings.renew_deadline_ms));
        self.lease.holding = hold;
        true
    }

    fn next_lease(&self, hold: bool) -> Lease {
        let seen = self.lease.seen.as_ref();
        Lease {
            holder: hold.then_some(self.me),
            renewals: seen.map_or(1, |lease| lease.value.renewals.saturating_add(1)),
            duration_ms: self.config.timings.lease_ms,
        }
    }

    /// What became of the open swap: whether it took place, and until when it allows to serve.
    pub(super) fn was_lease_swapped(
        &mut self,
        swapped: LeaseSwapped,
        now: BootMs,
    ) -> (LeaseOutcome, BootMs) {
        let from_sent = self.lease.swapping.take().unwrap_or_default();
        let until = match self.rules.deadline_from_sent {
            true => from_sent,
            false => now.after(self.config.timings.renew_deadline_ms),
        };
        let outcome = match swapped {
            LeaseSwapped::Known(Swap::Won(version)) => {
                self.won_lease(version, now);
                LeaseOutcome::Won
            }
            LeaseSwapped::Known(Swap::Lost(current)) => {
                self.see_lease(current, now);
                LeaseOutcome::Lost
            }
            LeaseSwapped::Unknown | LeaseSwapped::Failed => LeaseOutcome::Nothing,
        };
        (outcome, until)
    }

    fn won_lease(&mut self, version: Version, now: BootMs) {
        let value = self.next_lease(self.lease.holding);
        self.see_lease(Some(Versioned { version, value }), now);
    }
}

/// What became of a swap of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseOutcome {
    Won,
    Lost,
    /// Nothing is known.
    Nothing,
}
