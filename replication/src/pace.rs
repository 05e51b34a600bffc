//! How fast the log goes to a replica that is far behind: as fast as it can be read and sent while nobody else of this broker waits, and no faster than
//! promised while somebody does.
//!
//! Before each piece the connection lets every other task of its thread run. The time until it is its turn again is what a send would wait for
//! a processor now, so it is the measure.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// Largest piece for a replica that is far behind, bytes: sending it takes no longer than a few requests.
const FAR_PIECE_BYTES: usize = 256 << 10;
/// Somebody else waits when a turn comes later than this.
const LATE: Duration = Duration::from_micros(150);
/// The pause then, in turns.
const PAUSE_TURNS: u32 = 8;
/// The longest.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// What was promised and not sent, at most, bytes.
const OWED_BYTES_MAX: u64 = 4 << 20;

/// One connection's.
pub(crate) struct Pace {
    turn: Turn,
    budget: Budget,
}

#[derive(Default)]
enum Turn {
    /// Nothing is wanted.
    #[default]
    Free,
    /// The other tasks run, since then.
    Lets(Instant),
    Pauses(Pin<Box<Sleep>>),
}

/// What a replica gets in any case.
struct Budget {
    bytes_per_second: u64,
    /// When it was looked at, and what the log had by then.
    last: Option<(Instant, u64)>,
    owed: u64,
}

impl Pace {
    /// Whoever is far behind gets `bytes_per_second` and twice what is stored meanwhile, however busy this broker is.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            turn: Turn::Free,
            budget: Budget {
                bytes_per_second,
                last: None,
                owed: 0,
            },
        }
    }

    /// Ready with the size of the next piece when it may be read. `written` is where the log ends.
    pub(crate) fn poll_turn(&mut self, written: u64, cx: &mut Context<'_>) -> Poll<usize> {
        if let Turn::Free = self.turn {
            self.turn = Turn::Lets(Instant::now());
            // The end of the line.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let now = Instant::now();
        if let Turn::Lets(since) = self.turn {
            let waited = now - since;
            if let Some(pause) = self.budget.pause(waited, now, written) {
                self.turn = Turn::Pauses(Box::pin(tokio::time::sleep(pause)));
            }
        }
        if let Turn::Pauses(sleep) = &mut self.turn {
            ready!(sleep.as_mut().poll(cx));
        }
        self.turn = Turn::Free;
        self.budget.take();
        Poll::Ready(FAR_PIECE_BYTES)
    }
}

impl Budget {
    /// How long the next piece is to wait, after a turn that was waited for so long.
    fn pause(&mut self, waited: Duration, now: Instant, written: u64) -> Option<Duration> {
        let (then, had) = self.last.replace((now, written)).unwrap_or((now, written));
        let promised = (now - then).as_secs_f64() * self.bytes_per_second as f64;
        let stored = written.saturating_sub(had);
        self.owed = (self.owed + promised as u64)
            .saturating_add(stored.saturating_mul(2))
            .min(OWED_BYTES_MAX);
        let may_pause = waited > LATE && self.owed < FAR_PIECE_BYTES as u64;
        may_pause.then(|| (waited * PAUSE_TURNS).min(PAUSE_MAX))
    }

    fn take(&mut self) {
        self.owed = self.owed.saturating_sub(FAR_PIECE_BYTES as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SHORT: Duration = Duration::from_micros(20);
    const LONG: Duration = Duration::from_millis(1);

    fn budget(bytes_per_second: u64) -> (Budget, Instant) {
        let pace = Pace::new(bytes_per_second);
        (pace.budget, Instant::now())
    }

    #[test]
    fn nobody_waits_and_nothing_pauses() {
        let (mut budget, mut now) = budget(MIB);
        for _ in 0..100 {
            assert_eq!(budget.pause(SHORT, now, 0), None);
            budget.take();
            now += SHORT;
        }
    }

    #[test]
    fn the_pause_grows_with_what_others_wait_for() {
        let (mut budget, now) = budget(MIB);
        assert_eq!(budget.pause(LONG, now, 0), Some(LONG * PAUSE_TURNS));
        assert_eq!(budget.pause(LONG * 1_000, now, 0), Some(PAUSE_MAX));
    }

    #[test]
    fn what_is_promised_is_sent_however_busy_the_broker_is() {
        let (mut budget, begin) = budget(8 * MIB);
        let (mut now, mut sent, mut written) = (begin, 0, 0);
        while now < begin + Duration::from_secs(2) {
            match budget.pause(LONG, now, written) {
                Some(pause) => now += pause,
                None => now += LONG,
            }
            budget.take();
            sent += FAR_PIECE_BYTES as u64;
            // 16 MiB a second come in.
            written = ((now - begin).as_secs_f64() * 16.0 * MIB as f64) as u64;
        }
        let at_least = 2 * (8 + 2 * 16) * MIB;
        assert!(sent + OWED_BYTES_MAX >= at_least, "{sent} of {at_least}");
    }

    #[test]
    fn a_long_silence_owes_no_more_than_a_moment() {
        let (mut budget, now) = budget(1_000 * MIB);
        assert!(budget.pause(LONG, now, 0).is_some());
        let later = now + Duration::from_secs(60);
        assert_eq!(budget.pause(LONG, later, 0), None);
        assert_eq!(budget.owed, OWED_BYTES_MAX);
    }

    #[tokio::test]
    async fn other_tasks_run_before_each_piece() {
        let ran = std::rc::Rc::new(std::cell::Cell::new(0));
        let mut pace = Pace::new(0);
        let local = tokio::task::LocalSet::new();
        let other = std::rc::Rc::clone(&ran);
        local.spawn_local(async move {
            loop {
                other.set(other.get() + 1);
                tokio::task::yield_now().await;
            }
        });
        local
            .run_until(async {
                for piece in 1..=10 {
                    let bytes = std::future::poll_fn(|cx| pace.poll_turn(0, cx)).await;
                    assert_eq!(bytes, FAR_PIECE_BYTES);
                    assert!(ran.get() >= piece, "{} of {piece}", ran.get());
                }
            })
            .await;
    }
}
