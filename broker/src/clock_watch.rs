//! The wall clock under watch. An administrator, NTP or a resumed virtual machine can set it; the monotonic clock says by how much.
//!
//! *Steady time* is the wall time without its jumps: it goes on as fast as real time passes, across restarts too. A delayed message
//! carries both times, so that no jump makes it later than its own delay. What cannot be undone, such as the removal of old messages,
//! waits until the two clocks have agreed for a while.
//!
//! Table `delay_progress`, key `clock`: three i64, little endian: sum of all jumps, newest wall time before the last jump back, wall
//! time when the row was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rmq_store::SettingsError;
use rmq_transport::Clock;
use tokio::sync::watch;

use crate::data::Data;
use crate::tables::delay::{self, DelayTable};

/// The clocks are compared this often, milliseconds.
pub(crate) const LOOK_MS: i64 = 1_000;
/// A difference of more than this is a jump, milliseconds. NTP slews both clocks alike, so only steps count.
const JUMP_MS: i64 = 500;
/// Both clocks are read within this time, milliseconds; otherwise the process was held up between the two.
const READ_MS: i64 = 50;
const READS_MAX: u32 = 8;

/// The same moment on all clocks, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) wall_ms: i64,
    /// Wall time without its jumps.
    pub(crate) steady_ms: i64,
    pub(crate) monotonic_ms: i64,
}

impl Moment {
    /// Sum of all jumps up to this moment.
    pub(crate) fn jumped_ms(&self) -> i64 {
        self.wall_ms - self.steady_ms
    }
}

/// A jump of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jump {
    /// Ahead, or back when negative.
    pub(crate) by_ms: i64,
    /// Wall time after it.
    pub(crate) at_ms: i64,
}

pub(crate) struct ClockWatch {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// How many jumps the log knows.
    saved: AtomicU64,
    pub(crate) jumps_ahead: AtomicU64,
    pub(crate) jumps_back: AtomicU64,
    /// Goes up with each jump.
    changes: watch::Sender<u64>,
}

struct State {
    /// Wall less monotonic time.
    between_ms: i64,
    /// Wall less steady time.
    jumped_ms: i64,
    /// Newest wall time before the last jump back.
    newest_ms: i64,
    /// Since when the clocks agree, monotonic.
    agreed_since_ms: i64,
    last: Option<Jump>,
}

impl ClockWatch {
    /// Goes on where the last life of the broker ended. A log whose newest message lies ahead of the clock means that the clock was set
    /// back while the broker was down; a clock that was set ahead meanwhile cannot be told from time that passed.
    pub(crate) fn load(store: &Data, table: &DelayTable, clock: Arc<dyn Clock>) -> Self {
        let (wall_ms, monotonic_ms, _) = read(&*clock);
        let [jumped_ms, ahead_ms, written_ms] = table.clock();
        let watch = Self {
            clock,
            state: Mutex::new(State {
                between_ms: wall_ms - monotonic_ms,
                jumped_ms,
                newest_ms: ahead_ms,
                agreed_since_ms: monotonic_ms,
                last: None,
            }),
            saved: AtomicU64::new(0),
            jumps_ahead: AtomicU64::new(0),
            jumps_back: AtomicU64::new(0),
            changes: watch::Sender::new(0),
        };
        watch.compare(store, ahead_ms, written_ms);
        watch
    }

    /// Continues where the last master of the group ended, whose log this broker has copied.
    pub(crate) fn take_over(&self, store: &Data, table: &DelayTable) {
        let [jumped_ms, ahead_ms, written_ms] = table.clock();
        {
            let mut state = self.state.lock();
            state.jumped_ms = jumped_ms;
            state.newest_ms = state.newest_ms.max(ahead_ms);
        }
        self.compare(store, ahead_ms, written_ms);
    }

    /// Compares the clock with the newest time in the log.
    fn compare(&self, store: &Data, ahead_ms: i64, written_ms: i64) {
        let (wall_ms, monotonic_ms, _) = read(&*self.clock);
        // Store times never go back, so after a jump back the log does not say any more how late it was.
        let newest_ms = store.newest_found_ms();
        let last_known_ms = if newest_ms > ahead_ms {
            newest_ms
        } else {
            written_ms
        };
        if last_known_ms - wall_ms > JUMP_MS {
            let mut state = self.state.lock();
            self.jumped(&mut state, wall_ms - last_known_ms, wall_ms, monotonic_ms);
        }
    }

    /// Reads the clocks, and notices when the wall clock has jumped.
    pub(crate) fn look(&self) -> Moment {
        let mut state = self.state.lock();
        let (wall_ms, monotonic_ms, is_sharp) = read(&*self.clock);
        let by_ms = wall_ms - monotonic_ms - state.between_ms;
        if is_sharp && by_ms.abs() > JUMP_MS {
            self.jumped(&mut state, by_ms, wall_ms, monotonic_ms);
        }
        Moment {
            wall_ms,
            steady_ms: wall_ms - state.jumped_ms,
            monotonic_ms,
        }
    }

    fn jumped(&self, state: &mut State, by_ms: i64, wall_ms: i64, monotonic_ms: i64) {
        tracing::warn!(
            by_ms,
            "the system's clock jumped; delayed messages keep their delays, and messages are removed by age only when the clocks have agreed for clockSettleMinutes"
        );
        state.between_ms = wall_ms - monotonic_ms;
        state.jumped_ms += by_ms;
        state.agreed_since_ms = monotonic_ms;
        state.last = Some(Jump {
            by_ms,
            at_ms: wall_ms,
        });
        let counter = if by_ms < 0 {
            state.newest_ms = state.newest_ms.max(wall_ms - by_ms + LOOK_MS);
            &self.jumps_back
        } else {
            &self.jumps_ahead
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.changes.send_modify(|jumps| *jumps += 1);
    }

    /// Sees each jump from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wall time, Unix milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The last jump of this life, if any.
    pub(crate) fn last_jump(&self) -> Option<Jump> {
        self.state.lock().last
    }

    /// For how long the clocks have agreed, milliseconds: since the start or the last jump.
    pub(crate) fn agreed_ms(&self) -> i64 {
        let monotonic_ms = self.look().monotonic_ms;
        monotonic_ms - self.state.lock().agreed_since_ms
    }

    /// Whether there is a jump that the log does not know yet.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.saved.load(Ordering::Acquire) < *self.changes.borrow()
    }

    /// [`ClockWatch::look`] for what is stored with this moment: the log knows the jumps before.
    pub(crate) fn look_to_store(&self, store: &Data) -> Moment {
        let moment = self.look();
        if self.is_unsaved()
            && let Err(error) = self.save(store, false)
        {
            // What is stored next meets the same failure, and is refused with it.
            tracing::warn!("a jump of the clock is not saved now: {error}");
        }
        moment
    }

    /// Puts jumps that the log does not know yet into it; at the `end` of a life also how late it is.
    pub(crate) fn save(&self, store: &Data, end: bool) -> Result<(), SettingsError> {
        let (row, jumps) = {
            let state = self.state.lock();
            let ends_late = end && state.jumped_ms != 0;
            if !self.is_unsaved() && !ends_late {
                return Ok(());
            }
            let row = [state.jumped_ms, state.newest_ms, self.clock.now_ms()];
            (row, *self.changes.borrow())
        };
        store.settings()?.put(&[delay::set_clock(row)])?;
        store.write_out().map_err(SettingsError::Append)?;
        self.saved.fetch_max(jumps, Ordering::AcqRel);
        Ok(())
    }
}

/// Wall and monotonic time of one moment, and whether they are close enough to each other to be compared.
fn read(clock: &dyn Clock) -> (i64, i64, bool) {
    let mut best = (i64::MAX, 0, 0);
    for _ in 0..READS_MAX {
        let before_ms = clock.monotonic_ms();
        let wall_ms = clock.now_ms();
        let gap_ms = clock.monotonic_ms() - before_ms;
        if gap_ms < best.0 {
            best = (gap_ms, wall_ms, before_ms);
        }
        if gap_ms <= READ_MS {
            break;
        }
    }
    (best.1, best.2, best.0 <= READ_MS)
}
