//! Who takes what was just written while it is still in memory: replicas that have everything else. They need not be woken to read it.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use rmq_protocol::message::LogPosition;

/// More than this is left to those who are woken for it, bytes: they read large pieces without a copy.
pub(super) const TAKEN_BYTES_MAX: usize = 16 << 10;

/// Takes what was just written, on the thread that has written it.
pub trait Taker: Send + Sync {
    /// Takes `bytes`: whole records that were written at `from`; the log goes on at `to`. It must not block, and no lock of the store is
    /// held. The result is whether it has taken them, and what is [confirmed](crate::Positions::confirmed) with them; if not, it is woken
    /// through [`Store::progressed`](crate::Store::progressed), as for everything that it is not offered.
    fn take(&self, from: LogPosition, to: LogPosition, bytes: &[u8]) -> bool;
}

/// All takers of a log. They are few and change seldom.
pub(crate) struct Takers(ArcSwap<Vec<Weak<dyn Taker>>>);

impl Default for Takers {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Vec::new()))
    }
}

impl Takers {
    /// From now on this one is asked, too.
    pub(crate) fn add(&self, taker: &Arc<dyn Taker>) {
        self.change(|takers| takers.push(Arc::downgrade(taker)));
    }

    /// This one is asked no more.
    pub(crate) fn remove(&self, taker: &Arc<dyn Taker>) {
        let gone = Arc::downgrade(taker);
        self.change(|takers| takers.retain(|taker| !taker.ptr_eq(&gone)));
    }

    fn change(&self, change: impl Fn(&mut Vec<Weak<dyn Taker>>)) {
        self.0.rcu(|takers| {
            let mut takers = Vec::clone(takers);
            change(&mut takers);
            takers
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Offers it to all. Whether all have taken it, and there was one.
    pub(super) fn take(&self, from: u64, bytes: &[u8]) -> bool {
        let (from, to) = (LogPosition(from), LogPosition(from + bytes.len() as u64));
        let takers = self.0.load();
        let mut has_all = !takers.is_empty();
        for taker in takers.iter() {
            has_all &= taker
                .upgrade()
                .is_some_and(|taker| taker.take(from, to, bytes));
        }
        has_all
    }
}
