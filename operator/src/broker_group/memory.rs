//! What the operator remembers of broker groups between two looks.

use std::sync::Arc;

use super::leases::Leases;
use super::live::Live;
use super::quiet::Quiet;
use super::turns::Turns;

/// Nothing of it outlives the process: the next one finds it again.
#[derive(Default)]
pub(crate) struct Memory {
    /// Which group of a cluster restarts a broker.
    pub(super) turns: Turns,
    /// How long brokers have stored no message.
    pub(super) quiet: Quiet,
    /// The Leases that are there.
    pub(super) leases: Leases,
    /// The settings that running brokers were given.
    pub(super) live: Arc<Live>,
}

impl Memory {
    /// Drops everything about a group that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.quiet.forget(uid);
        self.live.forget(uid);
        self.leases.forget(uid);
    }
}
