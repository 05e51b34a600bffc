//! When a delayed message is due. Pure.

use crate::clock_watch::Moment;

/// When a delayed message was parked and for how long: `parked,delay,jumped` in milliseconds, in its property
/// [`property::DELAY_STAMP`](rmq_protocol::message::property::DELAY_STAMP). The store time does not do: store times never run backwards, so they stand still after a clock that was
/// ahead, and later messages would inherit them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Wall time.
    pub(super) parked_ms: i64,
    pub(super) delay_ms: i64,
    /// Sum of the clock's jumps until then.
    pub(super) jumped_ms: i64,
}

impl Stamp {
    pub(super) fn text(self) -> String {
        format!("{},{},{}", self.parked_ms, self.delay_ms, self.jumped_ms)
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut numbers = text.split(',').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            parked_ms: next()?,
            delay_ms: next()?,
            jumped_ms: next()?,
        })
    }

    /// How long it still waits at `now`; not positive when it is due: either the wall clock has reached the time that was promised, or
    /// the whole delay has passed, whatever was done to the wall clock meanwhile.
    pub(super) fn wait_ms(self, now: Moment) -> i64 {
        let due_ms = self.parked_ms.saturating_add(self.delay_ms);
        let by_wall = due_ms.saturating_sub(now.wall_ms);
        let by_steady = due_ms
            .saturating_sub(self.jumped_ms)
            .saturating_sub(now.steady_ms);
        by_wall.min(by_steady).min(self.delay_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wall, steady and monotonic time of a life whose clock jumped by `jumped_ms` in all.
    fn moment(wall_ms: i64, jumped_ms: i64) -> Moment {
        Moment {
            wall_ms,
            steady_ms: wall_ms - jumped_ms,
            monotonic_ms: 7,
        }
    }

    #[test]
    fn a_message_is_due_by_the_wall_clock_and_never_later_than_its_delay() {
        let stamp = Stamp {
            parked_ms: 1_000_000,
            delay_ms: 60_000,
            jumped_ms: 0,
        };
        assert_eq!(Stamp::read(&stamp.text()), Some(stamp));
        assert_eq!(Stamp::read("1,2"), None);
        assert_eq!(stamp.wait_ms(moment(1_000_000, 0)), 60_000);
        assert_eq!(stamp.wait_ms(moment(1_059_999, 0)), 1);
        assert_eq!(stamp.wait_ms(moment(1_060_000, 0)), 0);
        for by_ms in [1_000, 3_600_000, 4 * 86_400_000] {
            // Set back: what is left of the delay, as before.
            let back = moment(1_010_000 - by_ms, -by_ms);
            assert_eq!(stamp.wait_ms(back), 50_000, "{by_ms}");
            // Set ahead: the wall clock counts.
            let ahead = moment(1_010_000 + by_ms, by_ms);
            assert_eq!(stamp.wait_ms(ahead), 50_000 - by_ms, "{by_ms}");
            // Ahead and back again: as if nothing had been.
            assert_eq!(stamp.wait_ms(moment(1_010_000, 0)), 50_000);
            // Parked while the clock was ahead, and then set right.
            let wrong = Stamp {
                parked_ms: 1_000_000 + by_ms,
                jumped_ms: by_ms,
                ..stamp
            };
            assert_eq!(wrong.wait_ms(moment(1_010_000, 0)), 50_000, "{by_ms}");
            // Parked while the clock was behind, and then set right: due by the wall clock.
            let behind = Stamp {
                parked_ms: 1_000_000 - by_ms,
                jumped_ms: -by_ms,
                ..stamp
            };
            assert_eq!(behind.wait_ms(moment(1_010_000, 0)), 50_000 - by_ms);
        }
    }
}
