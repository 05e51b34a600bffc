//! Counters that also know the last minute, hour and day.
//!
//! Lengths and steps are those of apache/rocketmq `StatsItem`: a minute is 6 steps of 10 s, an hour 6 of 10 min, a day 24 of 1 h; a window shows
//! whole steps only. Its first sample spans one step, whatever came before it.
//!
//! The message path only adds to atomic counters. One task takes the samples, of those items only in whose windows something is: an item
//! leaves a window's list when the window is empty, and its next count puts it back. Bytes of an item with `K` counters: `8 K + 24`, from
//! its first sample on `36 + 24 K` more, and while its windows hold something `288 K` more.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// One kind of window.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Span {
    Minute,
    Hour,
    Day,
}

/// How many kinds there are.
const SPANS: usize = 3;
/// Steps of each.
const STEPS: [usize; SPANS] = [6, 6, 24];
/// Length of a step, milliseconds.
const STEP_MS: [i64; SPANS] = [10_000, 600_000, 3_600_000];
/// A bit for each window in which an item is listed.
const LISTED: u8 = 0b111;

/// How often somebody has to call [`Sampler::catch_up`], milliseconds.
pub(crate) const SAMPLE_MS: i64 = STEP_MS[0];

/// Counters, with what was added to them in the last minute, hour and day.
#[derive(Debug)]
pub(crate) struct Item<const K: usize> {
    totals: [AtomicU64; K],
    /// The windows in whose lists it is.
    listed: AtomicU8,
    /// Since its first sample.
    windows: Mutex<Option<Box<[Window<K>; SPANS]>>>,
}

/// What an item has in one window.
#[derive(Debug)]
struct Window<const K: usize> {
    /// The tick of its first sample; 0 before.
    since: u32,
    /// Totals at the last sample.
    last: [u64; K],
    /// Of all steps.
    sum: [u64; K],
    /// By tick; absent while all are 0.
    steps: Option<Box<[[u64; K]]>>,
}

impl<const K: usize> Default for Window<K> {
    fn default() -> Self {
        Self {
            since: 0,
            last: [0; K],
            sum: [0; K],
            steps: None,
        }
    }
}

/// What a window shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Snapshot<const K: usize> {
    pub(crate) sums: [u64; K],
    /// Seconds that the sums are of; 0 before the first sample.
    pub(crate) seconds: f64,
}

impl<const K: usize> Snapshot<K> {
    /// A counter's rate a second.
    pub(crate) fn rate(&self, counter: usize) -> f64 {
        if self.seconds > 0.0 {
            self.sums[counter] as f64 / self.seconds
        } else {
            0.0
        }
    }
}

impl<const K: usize> Default for Item<K> {
    fn default() -> Self {
        Self {
            totals: std::array::from_fn(|_| AtomicU64::new(0)),
            listed: AtomicU8::new(0),
            windows: Mutex::new(None),
        }
    }
}

impl<const K: usize> Item<K> {
    /// Counts.
    pub(crate) fn add(self: &Arc<Self>, sampler: &Sampler, amounts: [u64; K]) {
        for (total, amount) in self.totals.iter().zip(amounts) {
            if amount > 0 {
                total.fetch_add(amount, Ordering::SeqCst);
            }
        }
        // Either this sees that the item has left a list, or the sampler, which looks again after that, sees the new totals.
        if self.listed.load(Ordering::SeqCst) != LISTED {
            sampler.list(self);
        }
    }

    /// What was ever added to a counter.
    pub(crate) fn total(&self, counter: usize) -> u64 {
        self.totals[counter].load(Ordering::Relaxed)
    }

    /// Whether it was ever counted.
    pub(crate) fn is_used(&self) -> bool {
        self.listed.load(Ordering::Relaxed) != 0 || self.windows.lock().is_some()
    }

    pub(crate) fn snapshot(&self, sampler: &Sampler, span: Span) -> Snapshot<K> {
        let tick = sampler.tick(span);
        let windows = self.windows.lock();
        match windows.as_deref().map(|windows| &windows[span as usize]) {
            Some(window) if window.since > 0 => {
                let steps = (tick - window.since + 1).min(STEPS[span as usize] as u32);
                Snapshot {
                    sums: window.sum,
                    seconds: f64::from(steps) * STEP_MS[span as usize] as f64 / 1_000.0,
                }
            }
            _ => Snapshot {
                sums: [0; K],
                seconds: 0.0,
            },
        }
    }

    fn read(&self) -> [u64; K] {
        std::array::from_fn(|counter| self.totals[counter].load(Ordering::SeqCst))
    }
}

/// An item with any number of counters.
trait Sampled: Send + Sync {
    /// Ends a step of a window; whether it holds anything.
    fn sample(&self, span: usize, tick: u32) -> bool;
}

impl<const K: usize> Sampled for Item<K> {
    fn sample(&self, span: usize, tick: u32) -> bool {
        let mut windows = self.windows.lock();
        let windows = windows.get_or_insert_with(Box::default);
        let window = &mut windows[span];
        if window.since == 0 {
            window.since = tick;
        }
        let totals = self.read();
        let steps = window
            .steps
            .get_or_insert_with(|| vec![[0; K]; STEPS[span]].into_boxed_slice());
        let step = &mut steps[tick as usize % STEPS[span]];
        for counter in 0..K {
            let added = totals[counter] - window.last[counter];
            window.sum[counter] = window.sum[counter] - step[counter] + added;
            step[counter] = added;
        }
        window.last = totals;
        if window.sum.iter().any(|sum| *sum > 0) {
            return true;
        }
        window.steps = None;
        let bit = 1 << span;
        self.listed.fetch_and(!bit, Ordering::SeqCst);
        // A thread that counted before the item left the list does not list the item again; this thread does.
        self.read() != totals && self.listed.fetch_or(bit, Ordering::SeqCst) & bit == 0
    }
}

/// Takes the samples.
pub(crate) struct Sampler {
    lists: [Mutex<Vec<Weak<dyn Sampled>>>; SPANS],
    ticks: Mutex<[Tick; SPANS]>,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").finish_non_exhaustive()
    }
}

/// The last step of a window that ended.
#[derive(Debug, Clone, Copy)]
struct Tick {
    number: u32,
    at_ms: i64,
}

impl Sampler {
    pub(crate) fn new(now_ms: i64) -> Self {
        Self {
            lists: std::array::from_fn(|_| Mutex::default()),
            // Number 0 is never an item's first.
            ticks: Mutex::new(
                [Tick {
                    number: 1,
                    at_ms: now_ms,
                }; SPANS],
            ),
        }
    }

    fn list<const K: usize>(&self, item: &Arc<Item<K>>) {
        let before = item.listed.fetch_or(LISTED, Ordering::SeqCst);
        for (span, list) in self.lists.iter().enumerate() {
            if before & (1 << span) == 0 {
                let item: Weak<Item<K>> = Arc::downgrade(item);
                list.lock().push(item);
            }
        }
    }

    fn tick(&self, span: Span) -> u32 {
        self.ticks.lock()[span as usize].number
    }

    /// When the next step ends, milliseconds of the monotonic clock.
    pub(crate) fn next_ms(&self) -> i64 {
        self.ticks.lock()[Span::Minute as usize].at_ms + SAMPLE_MS
    }

    /// Ends every step whose time has come; the number of steps of a minute that ended.
    pub(crate) fn catch_up(&self, now_ms: i64) -> u32 {
        let mut ticks = self.ticks.lock();
        let mut ended = 0;
        for (span, tick) in ticks.iter_mut().enumerate() {
            let elapsed = now_ms - tick.at_ms;
            // Beyond a whole window nothing is left in it.
            let due = (elapsed / STEP_MS[span]).clamp(0, STEPS[span] as i64 + 1);
            if due > STEPS[span] as i64 {
                tick.at_ms = now_ms;
            } else {
                tick.at_ms += due * STEP_MS[span];
            }
            for _ in 0..due {
                tick.number += 1;
                let mut list = std::mem::take(&mut *self.lists[span].lock());
                list.retain(|item| {
                    item.upgrade()
                        .is_some_and(|item| item.sample(span, tick.number))
                });
                self.lists[span].lock().append(&mut list);
            }
            if span == 0 {
                ended = due as u32;
            }
        }
        ended
    }

    /// Items with something in a window.
    #[cfg(test)]
    fn listed(&self, span: Span) -> usize {
        self.lists[span as usize].lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sampler and the time that it has seen.
    struct Rig {
        sampler: Sampler,
        now_ms: i64,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                sampler: Sampler::new(0),
                now_ms: 0,
            }
        }

        /// Lets time pass as the task sees it.
        fn pass(&mut self, seconds: i64) {
            for _ in 0..seconds {
                self.now_ms += 1_000;
                self.sampler.catch_up(self.now_ms);
            }
        }

        fn sum(&self, item: &Item<2>, span: Span) -> u64 {
            item.snapshot(&self.sampler, span).sums[0]
        }
    }

    #[test]
    fn forty_five_messages_in_forty_seconds_are_gone_after_a_minute_of_rest() {
        let mut rig = Rig::new();
        let item = Arc::new(Item::<2>::default());
        assert!(!item.is_used());
        for second in 0..45 {
            item.add(&rig.sampler, [1, 1]);
            if second < 40 {
                rig.pass(1);
            }
        }
        assert!(item.is_used());
        rig.pass(10);
        let minute = item.snapshot(&rig.sampler, Span::Minute);
        assert_eq!((minute.sums, minute.seconds), ([45, 45], 50.0));
        assert!((minute.rate(0) - 0.9).abs() < 1e-9);
        rig.pass(75);
        let minute = item.snapshot(&rig.sampler, Span::Minute);
        assert_eq!((minute.sums, minute.seconds), ([0, 0], 60.0));
        assert_eq!(item.total(0), 45);
    }

    #[test]
    fn the_first_sample_spans_one_step_and_a_full_window_all() {
        let mut rig = Rig::new();
        rig.pass(600);
        let item = Arc::new(Item::<2>::default());
        item.add(&rig.sampler, [30, 3]);
        assert_eq!(
            item.snapshot(&rig.sampler, Span::Minute).seconds,
            0.0,
            "no step has ended"
        );
        rig.pass(10);
        assert!((item.snapshot(&rig.sampler, Span::Minute).rate(0) - 3.0).abs() < 1e-9);
        rig.pass(100);
        item.add(&rig.sampler, [30, 3]);
        rig.pass(10);
        let again = item.snapshot(&rig.sampler, Span::Minute);
        assert_eq!((again.sums, again.seconds), ([30, 3], 60.0));
    }

    #[test]
    fn hours_and_days_slide_by_their_own_steps() {
        let mut rig = Rig::new();
        let item = Arc::new(Item::<2>::default());
        item.add(&rig.sampler, [7, 1]);
        rig.pass(599);
        assert_eq!(
            rig.sum(&item, Span::Hour),
            0,
            "its first step has not ended"
        );
        rig.pass(1);
        assert_eq!(
            (rig.sum(&item, Span::Hour), rig.sum(&item, Span::Day)),
            (7, 0)
        );
        rig.pass(3_000);
        item.add(&rig.sampler, [5, 1]);
        rig.pass(600);
        assert_eq!(
            (rig.sum(&item, Span::Hour), rig.sum(&item, Span::Day)),
            (5, 7),
            "the first has left the hour; the second waits for the day's next step"
        );
        rig.pass(3_600);
        assert_eq!(
            (rig.sum(&item, Span::Hour), rig.sum(&item, Span::Day)),
            (0, 12)
        );
        rig.pass(86_400);
        assert_eq!(rig.sum(&item, Span::Day), 0);
    }

    #[test]
    fn only_items_with_something_in_a_window_are_looked_at() {
        let mut rig = Rig::new();
        let items: Vec<_> = (0..100).map(|_| Arc::new(Item::<2>::default())).collect();
        for item in &items[..10] {
            item.add(&rig.sampler, [1, 1]);
        }
        assert_eq!(rig.sampler.listed(Span::Minute), 10);
        rig.pass(70);
        assert_eq!(rig.sampler.listed(Span::Minute), 0);
        assert_eq!(rig.sampler.listed(Span::Day), 10);
        items[3].add(&rig.sampler, [2, 1]);
        assert_eq!(rig.sampler.listed(Span::Minute), 1);
        rig.pass(10);
        assert_eq!(rig.sum(&items[3], Span::Minute), 2);
        drop(items);
        rig.pass(3_600);
        assert_eq!(
            rig.sampler.listed(Span::Day),
            0,
            "what is gone is forgotten"
        );
    }

    #[test]
    fn a_pause_of_the_process_empties_the_windows() {
        let mut rig = Rig::new();
        let item = Arc::new(Item::<2>::default());
        item.add(&rig.sampler, [9, 1]);
        rig.pass(20);
        rig.now_ms += 30_000;
        rig.sampler.catch_up(rig.now_ms);
        assert_eq!(rig.sum(&item, Span::Minute), 9);
        assert_eq!(rig.sampler.next_ms(), rig.now_ms + SAMPLE_MS);
        rig.now_ms += 4 * 86_400_000;
        rig.sampler.catch_up(rig.now_ms);
        assert_eq!(
            (rig.sum(&item, Span::Minute), rig.sum(&item, Span::Day)),
            (0, 0)
        );
        item.add(&rig.sampler, [4, 1]);
        rig.pass(10);
        assert_eq!(rig.sum(&item, Span::Minute), 4);
    }

    #[test]
    fn counts_beside_the_sampler_are_neither_lost_nor_doubled() {
        let sampler = Arc::new(Sampler::new(0));
        let item = Arc::new(Item::<1>::default());
        let counting = {
            let (sampler, item) = (Arc::clone(&sampler), Arc::clone(&item));
            std::thread::spawn(move || {
                for _ in 0..20_000 {
                    item.add(&sampler, [1]);
                }
            })
        };
        let mut now_ms = 0;
        while !counting.is_finished() {
            now_ms += SAMPLE_MS;
            sampler.catch_up(now_ms);
        }
        counting.join().expect("it only counts");
        sampler.catch_up(now_ms + SAMPLE_MS);
        let lasts: Vec<u64> = item
            .windows
            .lock()
            .as_ref()
            .map(|windows| windows.iter().map(|window| window.last[0]).collect())
            .unwrap_or_default();
        assert_eq!(lasts[0], 20_000, "the last count is in the minute");
        assert_eq!(item.total(0), 20_000);
    }
}
