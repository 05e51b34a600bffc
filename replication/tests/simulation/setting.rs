//! What all members of a group have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rmq_election::machine::{Config, Rules};
use rmq_election::place::{AckMode, Seat};
use rmq_replication::{Identity, ReplicationConfig};
use rmq_store::{FlushMode, StoreConfig};

use crate::mistakes::Mistake;

const SEGMENT_BYTES: u64 = 64 << 10;
/// The wall clocks when the world begins, Unix milliseconds.
const BEGAN_MS: i64 = 1_000_000_000;

#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) mode: AckMode,
    pub(crate) config: Config,
    pub(crate) rules: Rules,
    pub(crate) mistake: Mistake,
    /// How long messages are kept; `None`: for ever.
    pub(crate) retention_ms: Option<i64>,
    /// The world's time, ms.
    pub(crate) time: Arc<AtomicU64>,
}

impl Setting {
    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.time.load(Ordering::Relaxed))
    }

    /// What a wall clock shows that is this much ahead, Unix milliseconds.
    pub(crate) fn wall_ms(&self, ahead: &AtomicI64) -> i64 {
        BEGAN_MS + self.time.load(Ordering::Relaxed) as i64 + ahead.load(Ordering::Relaxed)
    }

    pub(crate) fn store(&self, wall_ahead: &Arc<AtomicI64>) -> StoreConfig {
        let flush = match self.mode.is_flushed() && !self.makes(Mistake::FlushesNothing) {
            true => FlushMode::Sync,
            false => FlushMode::Async {
                interval_ms: 60_000,
                bytes: 1 << 30,
            },
        };
        let (setting, ahead) = (self.clone(), Arc::clone(wall_ahead));
        StoreConfig {
            segment_bytes: SEGMENT_BYTES,
            index_run_bytes: 16 << 10,
            flush,
            background: false,
            retention_ms: self.retention_ms.unwrap_or(i64::MAX / 4),
            now_ms: Arc::new(move || setting.wall_ms(&ahead)),
            ..StoreConfig::new("store")
        }
    }
}

pub(crate) fn limits() -> ReplicationConfig {
    ReplicationConfig {
        piece_bytes: 4_096,
        in_flight_bytes_max: 16 << 10,
        heartbeat: Duration::from_millis(100),
        silence_max: Duration::from_millis(400),
        greeting_max: Duration::from_millis(400),
        confirm_delay: Duration::from_millis(5),
        ..ReplicationConfig::default()
    }
}

pub(crate) fn identity(seat: Seat) -> Identity {
    Identity {
        cluster: "c".to_owned(),
        group: "g".to_owned(),
        seat,
        segment_bytes: SEGMENT_BYTES,
    }
}
