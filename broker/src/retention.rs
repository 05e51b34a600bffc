//! Removal of expired messages: when the clock may be believed, and what is still needed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rmq_store::{RetentionError, RetentionRound};

use crate::broker::Broker;

const MINUTE_MS: i64 = 60_000;

/// What the last round found.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    /// Bytes of segments that stay only for delayed messages in them.
    pub(crate) held_bytes: AtomicU64,
    rounds: AtomicU64,
}

impl Retention {
    /// For the runtime information.
    pub(crate) fn describe(&self, table: &mut BTreeMap<String, String>) {
        let held = self.held_bytes.load(Ordering::Relaxed);
        table.insert("bytesHeldForDelayedMessages".to_owned(), held.to_string());
        let rounds = self.rounds.load(Ordering::Acquire);
        table.insert("retentionRounds".to_owned(), rounds.to_string());
    }
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

/// One round: by age when the clock has agreed with itself for long enough, by space in any case. Blocks.
pub(crate) fn run(broker: &Broker) -> Result<(), RetentionError> {
    let agreed_ms = broker.clock_watch.agreed_ms();
    let settle_ms = i64::from(broker.config.clock_settle_minutes) * MINUTE_MS;
    let now_ms = (agreed_ms >= settle_ms).then(|| broker.now_ms());
    if let Some(now_ms) = now_ms {
        broker.store.trust_clock(now_ms);
    }
    round(broker, now_ms)
}

/// The round that an administrator asks for. Who asks right after a start vouches for the clock; after a jump nobody can. Blocks.
pub(crate) fn run_now(broker: &Broker) -> Result<(), ByHandError> {
    let agreed_ms = broker.clock_watch.agreed_ms();
    let settle_ms = i64::from(broker.config.clock_settle_minutes) * MINUTE_MS;
    if let Some(jump) = broker.clock_watch.last_jump()
        && agreed_ms < settle_ms
    {
        return Err(ByHandError::Clock {
            by_ms: jump.by_ms,
            minutes: (settle_ms - agreed_ms + MINUTE_MS - 1) / MINUTE_MS,
        });
    }
    Ok(round(broker, Some(broker.now_ms()))?)
}

fn round(broker: &Broker, now_ms: Option<i64>) -> Result<(), RetentionError> {
    let removed = broker.store.run_retention(RetentionRound {
        now_ms,
        needed_from: broker.delay.needed_from(),
    })?;
    let held = &broker.retention.held_bytes;
    let before = held.swap(removed.held_bytes, Ordering::Relaxed);
    if before == 0 && removed.held_bytes > 0 {
        tracing::warn!(
            bytes = removed.held_bytes,
            "messages stay beyond their time: a delayed message among them is not delivered yet"
        );
    }
    if before > 0 && removed.held_bytes == 0 {
        tracing::info!("no message stays beyond its time any more for the sake of delayed ones");
    }
    broker.retention.rounds.fetch_add(1, Ordering::Release);
    Ok(())
}
