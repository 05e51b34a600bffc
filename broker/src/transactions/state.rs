//! What the broker knows of transactions: the rules of checks, the open half messages, and how many have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use rmq_config::BrokerConfig;
use rmq_protocol::names::TRANS_HALF_TOPIC;
use rmq_store::{QueueRef, ReadError};

use crate::data::Data;
use crate::stats::classes::Classes;
use crate::tables::half::{Half, HalfTable};

/// Classes of [`Ends::latency`], seconds (apache/rocketmq `BrokerMetricsConstant`).
const LATENCY_BOUNDS_S: [u64; 6] = [5, 60, 600, 3_600, 43_200, 86_400];

/// When the members of a producer group are asked how a transaction ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Before the first check, milliseconds.
    pub(crate) time_out_ms: i64,
    /// After this many checks the message is parked.
    pub(crate) checks_max: u16,
    interval_ms: i64,
    interval_max_ms: i64,
    /// Checks in a second.
    pub(crate) per_second: usize,
    /// Half messages that may be open.
    pub(crate) open_max: usize,
}

impl Rules {
    fn of(config: &BrokerConfig) -> Self {
        let interval_ms = i64::try_from(config.transaction_check_interval).unwrap_or(i64::MAX);
        let longest_ms = i64::try_from(config.transaction_check_interval_max).unwrap_or(i64::MAX);
        Self {
            time_out_ms: i64::try_from(config.transaction_time_out).unwrap_or(i64::MAX),
            checks_max: u16::try_from(config.transaction_check_max).unwrap_or(u16::MAX),
            interval_ms,
            interval_max_ms: longest_ms.max(interval_ms),
            per_second: config.transaction_checks_per_second,
            open_max: config.half_messages_max,
        }
    }

    /// How long after its last check, or after it was stored, a half message's time comes, milliseconds. Each wait is twice as long as the one before.
    pub(crate) fn wait_ms(&self, half: &Half) -> i64 {
        if half.checks > 0 {
            let doublings = u32::from(half.checks - 1).min(32);
            let wait_ms = self.interval_ms.saturating_mul(1 << doublings);
            return wait_ms.min(self.interval_max_ms);
        }
        // apache/rocketmq `TransactionalMessageServiceImpl.getImmunityTime`.
        match half.immunity_s {
            0.. => i64::from(half.immunity_s) * 1_000,
            _ => self.time_out_ms,
        }
    }

    /// Wall time at which its time comes, Unix milliseconds.
    pub(crate) fn due_ms(&self, half: &Half) -> i64 {
        half.checked_ms.max(half.store_ms) + self.wait_ms(half)
    }
}

/// The transactions of a topic that have ended.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) commits: AtomicU64,
    pub(crate) rollbacks: AtomicU64,
    /// Seconds from when a half message was stored until it was committed.
    pub(crate) latency: Classes,
}

/// The transactions of a broker.
pub(crate) struct Transactions {
    pub(crate) table: Arc<HalfTable>,
    pub(crate) rules: Rules,
    /// Where half messages wait.
    pub(crate) queue: QueueRef,
    /// Held to read by what ends half messages, until that is appended, and to write by what changes their rows: a row is not written
    /// again behind its end.
    pub(crate) deciding: RwLock<()>,
    ends: Mutex<BTreeMap<String, Arc<Ends>>>,
    /// Which member of a group is asked next.
    turn: AtomicUsize,
}

impl Transactions {
    /// # Errors
    /// The queue of half messages cannot be looked up.
    pub(crate) fn load(
        store: &Data,
        table: Arc<HalfTable>,
        config: &BrokerConfig,
    ) -> Result<Self, ReadError> {
        Ok(Self {
            table,
            rules: Rules::of(config),
            queue: store.queue(TRANS_HALF_TOPIC, 0)?,
            deciding: RwLock::default(),
            ends: Mutex::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Log position of the oldest half message that is open: what is behind stays.
    pub(crate) fn needed_from(&self) -> Option<u64> {
        self.table.oldest().map(|(position, _)| position)
    }

    /// Where to count the ends of a topic's transactions.
    pub(crate) fn ends(&self, topic: &str) -> Arc<Ends> {
        let mut ends = self.ends.lock();
        if let Some(known) = ends.get(topic) {
            return Arc::clone(known);
        }
        let new = Arc::new(Ends {
            commits: AtomicU64::new(0),
            rollbacks: AtomicU64::new(0),
            latency: Classes::new(&LATENCY_BOUNDS_S),
        });
        ends.insert(topic.to_owned(), Arc::clone(&new));
        new
    }

    /// The ends by topic, of topics that `is_there` still knows.
    pub(crate) fn all_ends(&self, is_there: impl Fn(&str) -> bool) -> Vec<(String, Arc<Ends>)> {
        let mut ends = self.ends.lock();
        ends.retain(|topic, _| is_there(topic));
        let all = ends.iter();
        all.map(|(topic, ends)| (topic.clone(), Arc::clone(ends)))
            .collect()
    }

    /// Another number each time.
    pub(crate) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::half::Names;

    #[test]
    fn the_first_check_waits_as_set_or_as_the_producer_wants_and_further_ones_ever_longer() {
        let rules = Rules::of(&BrokerConfig::default());
        let half = |checks, immunity_s| Half {
            queue_offset: 0,
            store_ms: 1_000_000,
            checked_ms: if checks > 0 { 2_000_000 } else { 0 },
            immunity_s,
            checks,
            names: Arc::new(Names {
                group: "g".into(),
                topic: "t".into(),
            }),
        };
        assert_eq!(rules.due_ms(&half(0, -1)), 1_006_000);
        assert_eq!(rules.due_ms(&half(0, 0)), 1_000_000);
        assert_eq!(rules.due_ms(&half(0, 90)), 1_090_000);
        let waits: Vec<i64> = [1, 2, 3, 4, 5, 15, u16::MAX]
            .map(|checks| rules.due_ms(&half(checks, 90)) - 2_000_000)
            .to_vec();
        let expected = [30_000, 60_000, 120_000, 240_000, 300_000, 300_000, 300_000];
        assert_eq!(waits, expected);
    }
}
