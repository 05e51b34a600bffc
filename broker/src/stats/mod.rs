//! Figures of the broker: counters on the message path, and what one task makes of them.

pub(crate) mod classes;
mod put_times;
pub(crate) mod requests;
mod window;

pub(crate) use put_times::PutTimes;
pub(crate) use window::{Item, Sampler, Snapshot, Span};

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use crate::limits;

/// A sample of the rates is taken this often, milliseconds.
const SAMPLE_MS: i64 = window::SAMPLE_MS;
/// Ten minutes of samples.
const SAMPLES_MAX: usize = 61;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Messages, bytes and requests.
pub(crate) type Flow = Arc<Item<3>>;
/// The index of each in a [`Flow`].
pub(crate) const MESSAGES: usize = 0;
pub(crate) const BYTES: usize = 1;
pub(crate) const REQUESTS: usize = 2;
/// A value and how often it was counted.
pub(crate) type Counted = Arc<Item<2>>;

/// Figures of the whole broker.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) sampler: Sampler,
    /// Messages put into topics of users, and of the system, by producers and by delayed delivery.
    pub(crate) put: BySystem,
    /// Messages stored, those that were given back among them, and their bytes.
    pub(crate) messages_in: AtomicU64,
    /// Messages that began to wait for a timer, and that were delivered after that.
    pub(crate) timers_begun: AtomicU64,
    pub(crate) timers_ended: AtomicU64,
    /// The same of messages given to consumers.
    pub(crate) got: BySystem,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) pulls_found: AtomicU64,
    pub(crate) pulls_missed: AtomicU64,
    /// Sends that were refused.
    pub(crate) puts_failed: AtomicU64,
    pub(crate) put_times: PutTimes,
    /// The longest read of a pull, milliseconds.
    pub(crate) get_max_ms: AtomicU64,
    /// Heartbeats of consumers and of producers, and the milliseconds that they took.
    pub(crate) consumers_registered: Counted,
    pub(crate) producers_registered: Counted,
    pub(crate) connected: Counted,
    pub(crate) closed: Counted,
    /// What delayed delivery took out of its queues, and out of each.
    pub(crate) scheduled: Flow,
    pub(crate) scheduled_of: ByQueue<3>,
    /// What was put into them.
    pub(crate) delayed: ByQueue<3>,
    /// Held by every item that exists for one queue.
    queue_items: Arc<()>,
    samples: Mutex<VecDeque<Sample>>,
    days: Mutex<Days>,
}

/// A count by kind of topic.
#[derive(Debug, Default)]
pub(crate) struct BySystem {
    pub(crate) users: Arc<Item<1>>,
    system: Arc<Item<1>>,
}

impl BySystem {
    fn add(&self, sampler: &Sampler, is_system: bool, messages: u64) {
        let item = if is_system { &self.system } else { &self.users };
        item.add(sampler, [messages]);
    }

    pub(crate) fn total(&self) -> u64 {
        self.users.total(0) + self.system.total(0)
    }

    pub(crate) fn is_used(&self) -> bool {
        self.users.is_used() || self.system.is_used()
    }

    /// Of both kinds together.
    pub(crate) fn snapshot(&self, sampler: &Sampler, span: Span) -> Snapshot<1> {
        let (users, system) = (
            self.users.snapshot(sampler, span),
            self.system.snapshot(sampler, span),
        );
        Snapshot {
            sums: [users.sums[0] + system.sums[0]],
            seconds: users.seconds.max(system.seconds),
        }
    }
}

/// Items of the queues of a topic, made when they are first counted.
#[derive(Debug)]
pub(crate) struct ByQueue<const K: usize>(RwLock<Vec<Option<QueueItem<K>>>>);

/// An item of a queue, and its share of their limit.
type QueueItem<const K: usize> = (Arc<Item<K>>, Arc<()>);

impl<const K: usize> Default for ByQueue<K> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<const K: usize> ByQueue<K> {
    /// Counts. Beyond [`limits::QUEUE_ITEMS_MAX`] queues of the broker nothing is counted for new ones.
    pub(crate) fn add(&self, stats: &Stats, queue_id: i32, amounts: [u64; K]) {
        let Ok(index) = usize::try_from(queue_id) else {
            return;
        };
        if let Some(Some((item, _))) = self.0.read().get(index) {
            return item.add(&stats.sampler, amounts);
        }
        let mut items = self.0.write();
        if items.len() <= index {
            items.resize_with(index + 1, || None);
        }
        if items[index].is_none() {
            if Arc::strong_count(&stats.queue_items) > limits::QUEUE_ITEMS_MAX {
                return;
            }
            items[index] = Some((Arc::default(), Arc::clone(&stats.queue_items)));
        }
        if let Some((item, _)) = &items[index] {
            item.add(&stats.sampler, amounts);
        }
    }

    /// Counts for several queues, which are looked up together.
    pub(crate) fn add_all(&self, stats: &Stats, amounts: impl Iterator<Item = (i32, [u64; K])>) {
        let mut new: SmallVec<[(i32, [u64; K]); 4]> = SmallVec::new();
        let items = self.0.read();
        for (queue_id, amounts) in amounts {
            let index = usize::try_from(queue_id).ok();
            match index.and_then(|index| items.get(index)) {
                Some(Some((item, _))) => item.add(&stats.sampler, amounts),
                _ => new.push((queue_id, amounts)),
            }
        }
        drop(items);
        for (queue_id, amounts) in new {
            self.add(stats, queue_id, amounts);
        }
    }

    pub(crate) fn get(&self, queue_id: i32) -> Option<Arc<Item<K>>> {
        let index = usize::try_from(queue_id).ok()?;
        let items = self.0.read();
        items.get(index)?.as_ref().map(|(item, _)| Arc::clone(item))
    }
}

/// Totals at the last two midnights (UTC).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Days {
    day: i64,
    /// Messages put by users, and given to them.
    pub(crate) today: (u64, u64),
    pub(crate) yesterday: (u64, u64),
}

/// Counters at one time of the monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at_ms: i64,
    pub(crate) messages_in: u64,
    pub(crate) timers_begun: u64,
    pub(crate) timers_ended: u64,
    pub(crate) messages_out: u64,
    pub(crate) pulls_found: u64,
    pub(crate) pulls_missed: u64,
}

impl Stats {
    /// Figures since `now_ms` of the monotonic clock, which is `wall_ms` of the wall clock.
    pub(crate) fn new(now_ms: i64, wall_ms: i64) -> Self {
        let stats = Self {
            sampler: Sampler::new(now_ms),
            put: BySystem::default(),
            got: BySystem::default(),
            messages_in: AtomicU64::new(0),
            timers_begun: AtomicU64::new(0),
            timers_ended: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            pulls_found: AtomicU64::new(0),
            pulls_missed: AtomicU64::new(0),
            puts_failed: AtomicU64::new(0),
            put_times: PutTimes::default(),
            get_max_ms: AtomicU64::new(0),
            consumers_registered: Counted::default(),
            producers_registered: Counted::default(),
            connected: Counted::default(),
            closed: Counted::default(),
            scheduled: Flow::default(),
            scheduled_of: ByQueue::default(),
            delayed: ByQueue::default(),
            queue_items: Arc::new(()),
            samples: Mutex::default(),
            days: Mutex::new(Days {
                day: wall_ms.div_euclid(DAY_MS),
                ..Days::default()
            }),
        };
        stats.sample_rates(now_ms);
        stats
    }

    pub(crate) fn stored(&self, is_system: bool, messages: u64, bytes: u64) {
        self.put.add(&self.sampler, is_system, messages);
        self.appended(messages, bytes);
    }

    /// Counts what was stored and nobody put (apache/rocketmq counts what is given back so).
    pub(crate) fn appended(&self, messages: u64, bytes: u64) {
        self.messages_in.fetch_add(messages, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn delivered(&self, is_system: bool, messages: u64) {
        self.got.add(&self.sampler, is_system, messages);
        self.pulls_found.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn pull_missed(&self) {
        self.pulls_missed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn put_failed(&self) {
        self.puts_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A pull's read took so long.
    pub(crate) fn read_took(&self, ms: i64) {
        if let Ok(ms) = u64::try_from(ms)
            && ms > self.get_max_ms.load(Ordering::Relaxed)
        {
            self.get_max_ms.fetch_max(ms, Ordering::Relaxed);
        }
    }

    /// Takes the samples whose time has come by the monotonic clock; called every [`SAMPLE_MS`], and before figures are read. The
    /// wall clock says when a day begins: one that is set back begins none twice.
    pub(crate) fn catch_up(&self, now_ms: i64, wall_ms: i64) {
        if self.sampler.catch_up(now_ms) > 0 && self.sample_rates(now_ms) {
            self.put_times.end_minute();
        }
        // Also when another thread takes the samples just now: its day may not have begun yet.
        let day = wall_ms.div_euclid(DAY_MS);
        let mut days = self.days.lock();
        if day > days.day {
            *days = Days {
                day,
                today: (self.put.users.total(0), self.got.users.total(0)),
                yesterday: days.today,
            };
        }
    }

    pub(crate) fn days(&self) -> Days {
        *self.days.lock()
    }

    fn now(&self, at_ms: i64) -> Sample {
        Sample {
            at_ms,
            messages_in: self.messages_in.load(Ordering::Relaxed),
            timers_begun: self.timers_begun.load(Ordering::Relaxed),
            timers_ended: self.timers_ended.load(Ordering::Relaxed),
            messages_out: self.got.total(),
            pulls_found: self.pulls_found.load(Ordering::Relaxed),
            pulls_missed: self.pulls_missed.load(Ordering::Relaxed),
        }
    }

    /// Whether a minute is over.
    fn sample_rates(&self, now_ms: i64) -> bool {
        let sample = self.now(now_ms);
        let mut samples = self.samples.lock();
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
        let minute = now_ms.div_euclid(60_000);
        samples
            .iter()
            .rev()
            .nth(1)
            .is_some_and(|before| before.at_ms.div_euclid(60_000) < minute)
    }

    /// Rates a second over about 10 s, 60 s and 600 s, as upstream's status prints them.
    pub(crate) fn rates(&self, now_ms: i64, of: impl Fn(&Sample) -> u64) -> [f64; 3] {
        let now = self.now(now_ms);
        let samples = self.samples.lock();
        [10_000, 60_000, 600_000].map(|window_ms| {
            let Some(then) = samples
                .iter()
                .find(|sample| sample.at_ms + window_ms + SAMPLE_MS / 2 >= now_ms)
            else {
                return 0.0;
            };
            let elapsed_ms = now.at_ms - then.at_ms;
            if elapsed_ms <= 0 {
                0.0
            } else {
                (of(&now) - of(then)) as f64 * 1_000.0 / elapsed_ms as f64
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_their_windows() {
        let stats = Stats::new(0, 0);
        for tick in 1..=60 {
            stats.stored(false, 100, 0);
            stats.catch_up(tick * SAMPLE_MS, 0);
        }
        let rates = stats.rates(610_000, |sample| sample.messages_in);
        assert!(
            (rates[0] - 0.0).abs() < 1e-9 && (rates[2] - 10.0).abs() < 0.5,
            "{rates:?}"
        );
    }

    #[test]
    fn totals_are_remembered_at_midnight() {
        let stats = Stats::new(0, DAY_MS / 2);
        stats.stored(false, 5, 10);
        stats.stored(true, 7, 10);
        stats.catch_up(SAMPLE_MS, DAY_MS - 1);
        assert_eq!(stats.days().today, (0, 0));
        stats.catch_up(2 * SAMPLE_MS, DAY_MS + 1);
        assert_eq!(
            (stats.days().today, stats.days().yesterday),
            ((5, 0), (0, 0))
        );
        stats.delivered(false, 2);
        stats.catch_up(3 * SAMPLE_MS, DAY_MS - 1);
        stats.catch_up(4 * SAMPLE_MS, 2 * DAY_MS + 1);
        assert_eq!(
            (stats.days().today, stats.days().yesterday),
            ((5, 2), (5, 0))
        );
        assert_eq!(stats.put.total(), 12);
    }

    #[test]
    fn items_of_queues_are_limited() {
        let stats = Stats::new(0, 0);
        let queues = ByQueue::<2>::default();
        queues.add(&stats, 3, [1, 1]);
        queues.add(&stats, -1, [1, 1]);
        assert!(queues.get(3).is_some_and(|item| item.total(0) == 1));
        assert!(queues.get(2).is_none() && queues.get(9).is_none() && queues.get(-1).is_none());
        let held: Vec<_> = (1..limits::QUEUE_ITEMS_MAX)
            .map(|_| Arc::clone(&stats.queue_items))
            .collect();
        queues.add(&stats, 4, [1, 1]);
        assert!(queues.get(4).is_none(), "no room for one more");
        queues.add(&stats, 3, [1, 1]);
        assert!(queues.get(3).is_some_and(|item| item.total(0) == 2));
        drop(held);
        queues.add(&stats, 4, [1, 1]);
        assert!(queues.get(4).is_some());
    }
}
