//! When a delayed message is due. Pure.

use crate::clock_watch::Moment;
use crate::tables::stamp::WALL;

/// How long what is due at `due_ms`, wall time, still waits at `now`; not positive when it is due. `clock` is that of its
/// [stamp](crate::tables::stamp::Stamp). Either the wall clock has reached the time that was promised, or the whole delay has passed,
/// whatever was done to the wall clock meanwhile. What waits for a time of the wall clock waits for that alone.
pub(crate) fn wait_ms(due_ms: i64, clock: i64, now: Moment) -> i64 {
    due_ms.saturating_sub(over_ms(clock, now))
}

/// What is due at this time or before, wall time, is due at `now`.
pub(crate) fn over_ms(clock: i64, now: Moment) -> i64 {
    if clock == WALL {
        return now.wall_ms;
    }
    now.wall_ms.max(now.steady_ms.saturating_add(clock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::stamp::Stamp;

    /// Wall, steady and monotonic time of a life whose clock jumped by `jumped_ms` in all.
    fn moment(wall_ms: i64, jumped_ms: i64) -> Moment {
        Moment {
            wall_ms,
            steady_ms: wall_ms - jumped_ms,
            monotonic_ms: 7,
        }
    }

    fn wait(stamp: Stamp, now: Moment) -> i64 {
        wait_ms(stamp.due_ms(), stamp.clock, now)
    }

    #[test]
    fn a_message_is_due_by_the_wall_clock_and_never_later_than_its_delay() {
        let stamp = Stamp {
            parked_ms: 1_000_000,
            delay_ms: 60_000,
            clock: 0,
        };
        assert_eq!(wait(stamp, moment(1_000_000, 0)), 60_000);
        assert_eq!(wait(stamp, moment(1_059_999, 0)), 1);
        assert_eq!(wait(stamp, moment(1_060_000, 0)), 0);
        for by_ms in [1_000, 3_600_000, 4 * 86_400_000] {
            // Set back: what is left of the delay, as before.
            let back = moment(1_010_000 - by_ms, -by_ms);
            assert_eq!(wait(stamp, back), 50_000, "{by_ms}");
            // Set ahead: the wall clock counts.
            let ahead = moment(1_010_000 + by_ms, by_ms);
            assert_eq!(wait(stamp, ahead), 50_000 - by_ms, "{by_ms}");
            // Ahead and back again: as if nothing had been.
            assert_eq!(wait(stamp, moment(1_010_000, 0)), 50_000);
            // Parked while the clock was ahead, and then set right.
            let wrong = Stamp {
                parked_ms: 1_000_000 + by_ms,
                clock: by_ms,
                ..stamp
            };
            assert_eq!(wait(wrong, moment(1_010_000, 0)), 50_000, "{by_ms}");
            // Parked while the clock was behind, and then set right: due by the wall clock.
            let behind = Stamp {
                parked_ms: 1_000_000 - by_ms,
                clock: -by_ms,
                ..stamp
            };
            assert_eq!(wait(behind, moment(1_010_000, 0)), 50_000 - by_ms);
            // A time of the wall clock is that, whatever the clock was when it was asked for.
            let at = Stamp {
                clock: WALL,
                ..wrong
            };
            assert_eq!(wait(at, moment(1_010_000, 0)), 50_000 + by_ms, "{by_ms}");
        }
    }
}
