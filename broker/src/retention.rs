//! Removal of expired messages: when the clock may be believed, and what is still needed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rmq_store::{Removed, RetentionError, RetentionRound};

use crate::clock_watch::ClockWatch;
use crate::data::Data;
use crate::delay::levels::DelayLevels;
use crate::transactions::state::Transactions;

const MINUTE_MS: i64 = 60_000;

/// When messages are removed, and what the last round found.
#[derive(Debug)]
pub(crate) struct Retention {
    /// For how long the clocks must have agreed before messages are removed by age.
    settle_ms: i64,
    /// Bytes of segments that stay only for delayed or half messages in them, or because they are being copied.
    pub(crate) held_bytes: AtomicU64,
    rounds: AtomicU64,
}

/// What a round looks at.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) store: &'a Data,
    pub(crate) clock: &'a ClockWatch,
    /// Messages of these stay until they are delivered.
    pub(crate) delayed: &'a DelayLevels,
    /// Half messages stay until they end, or are parked.
    pub(crate) transactions: &'a Transactions,
    /// What copies that are being taken need stays, from here on.
    pub(crate) copied_from: Option<u64>,
}

/// Why an administrator's wish to remove expired messages is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ByHandError {
    /// Which messages have expired is not known.
    #[error(
        "nothing is removed: the broker's clock jumped by {by_ms} ms and has not agreed with the time that passed for clockSettleMinutes since; ask again in {minutes} minutes, or restart the broker when its clock is right"
    )]
    Clock { by_ms: i64, minutes: i64 },
    #[error(transparent)]
    Store(#[from] RetentionError),
}

impl Retention {
    pub(crate) fn new(clock_settle_minutes: u32) -> Self {
        Self {
            settle_ms: i64::from(clock_settle_minutes) * MINUTE_MS,
            held_bytes: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
        }
    }

    /// For the runtime information. What is read of the broker after the number of rounds has what these rounds did.
    pub(crate) fn describe(&self, table: &mut BTreeMap<String, String>) {
        let rounds = self.rounds.load(Ordering::Acquire);
        table.insert("retentionRounds".to_owned(), rounds.to_string());
        let held = self.held_bytes.load(Ordering::Relaxed);
        table.insert("bytesHeldForDelayedMessages".to_owned(), held.to_string());
    }

    /// One round: by age when the clock has agreed with itself for long enough, by space in any case. May wait for the disk.
    ///
    /// # Errors
    /// Segments cannot be removed.
    pub(crate) fn run(&self, parts: Parts<'_>) -> Result<(), RetentionError> {
        let now_ms = self.trusted_ms(parts.clock);
        if let Some(now_ms) = now_ms
            && let Ok(master) = parts.store.master()
        {
            master.trust_clock(now_ms);
        }
        self.round(parts, now_ms)
    }

    /// The wall time, when it has agreed with itself for long enough.
    pub(crate) fn trusted_ms(&self, clock: &ClockWatch) -> Option<i64> {
        let is_settled = clock.agreed_ms() >= self.settle_ms;
        is_settled.then(|| clock.now_ms())
    }

    /// The round that an administrator asks for. Who asks right after a start vouches for the clock; after a jump nobody can. May wait for
    /// the disk.
    ///
    /// # Errors
    /// Which messages have expired is not known, or segments cannot be removed.
    pub(crate) fn run_now(&self, parts: Parts<'_>) -> Result<(), ByHandError> {
        let agreed_ms = parts.clock.agreed_ms();
        if let Some(jump) = parts.clock.last_jump()
            && agreed_ms < self.settle_ms
        {
            return Err(ByHandError::Clock {
                by_ms: jump.by_ms,
                minutes: (self.settle_ms - agreed_ms + MINUTE_MS - 1) / MINUTE_MS,
            });
        }
        Ok(self.round(parts, Some(parts.clock.now_ms()))?)
    }

    fn round(&self, parts: Parts<'_>, now_ms: Option<i64>) -> Result<(), RetentionError> {
        let Some(wanted) = parts.store.wanted_below(now_ms) else {
            return self.note(Removed::default());
        };
        let delayed = parts.delayed.needed_from(wanted.0);
        let delayed = delayed.map_err(|error| RetentionError::Derived(Box::new(error)))?;
        let needed = [delayed, parts.transactions.needed_from(), parts.copied_from];
        let removed = parts.store.run_retention(RetentionRound {
            now_ms,
            // Above nothing was looked for.
            needed_from: needed.into_iter().flatten().chain([wanted.0]).min(),
        })?;
        self.note(removed)
    }

    fn note(&self, removed: Removed) -> Result<(), RetentionError> {
        let before = self.held_bytes.swap(removed.held_bytes, Ordering::Relaxed);
        if before == 0 && removed.held_bytes > 0 {
            tracing::warn!(
                bytes = removed.held_bytes,
                "messages stay beyond their time: a delayed message among them is not delivered yet, a transaction has not ended, or they are being copied"
            );
        }
        if before > 0 && removed.held_bytes == 0 {
            tracing::info!("no message stays beyond its time any more");
        }
        self.rounds.fetch_add(1, Ordering::Release);
        Ok(())
    }
}
