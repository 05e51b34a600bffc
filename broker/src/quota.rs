//! Quotas: how many messages and bytes a second a topic takes, and a group is given, at this broker: all clients together, and each client
//! by itself. They are attributes of topics and groups, an addition to those of Apache RocketMQ.
//!
//! What is left of a quota is one number: the time at which everything that was taken will have been earned, at so much a second. At most
//! [`BURST_NS`] are taken ahead. Taking is one atomic operation, and nothing runs over all quotas. Topics and groups without a quota have
//! none of this.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Messages a second of all clients together.
pub(crate) const MESSAGES: &str = "quota.messages";
/// Bytes a second of all clients together.
pub(crate) const BYTES: &str = "quota.bytes";
/// Messages a second of each client.
pub(crate) const CLIENT_MESSAGES: &str = "quota.client.messages";
/// Bytes a second of each client.
pub(crate) const CLIENT_BYTES: &str = "quota.client.bytes";
/// Bytes that a group reads from the disk in [`COLD_SECONDS`], as tools of Apache RocketMQ set them (2001).
pub(crate) const COLD_BYTES: &str = "cold.read.threshold";

/// The time of [`COLD_BYTES`] (apache/rocketmq `ColdDataCgCtrService.run`).
pub(crate) const COLD_SECONDS: u64 = 5;
/// The largest quota.
pub(crate) const QUOTA_MAX: i64 = 1_000_000_000_000;
/// How much may be taken at once: what this time brings.
const BURST_NS: i64 = 1_000_000_000;
/// Parts of the list of clients, so that connections seldom wait for each other.
const PARTS: usize = 16;
/// A part with fewer clients is not looked through for those that are gone.
const LOOK_FROM: usize = 64;

const SECOND_NS: u128 = 1_000_000_000;

/// One rate, and what is taken of it.
#[derive(Debug)]
struct Bucket {
    per_second: NonZeroU64,
    /// When everything that was taken is earned, monotonic nanoseconds.
    earned_at_ns: AtomicI64,
}

impl Bucket {
    const fn of(per_second: NonZeroU64) -> Self {
        Self {
            per_second,
            earned_at_ns: AtomicI64::new(i64::MIN),
        }
    }

    fn cost_ns(&self, amount: u64) -> i64 {
        let cost = u128::from(amount) * SECOND_NS / u128::from(self.per_second.get());
        i64::try_from(cost).unwrap_or(i64::MAX)
    }

    fn owed_ns(&self, now_ns: i64) -> i64 {
        let earned_at = self.earned_at_ns.load(Ordering::Relaxed);
        earned_at.saturating_sub(now_ns).max(0)
    }

    /// How long until so much may be taken, nanoseconds; 0: now. More than a burst may be taken when nothing is owed.
    fn wait_ns(&self, now_ns: i64, amount: u64) -> i64 {
        let cost = self.cost_ns(amount).min(BURST_NS);
        let after = self.owed_ns(now_ns).saturating_add(cost);
        after.saturating_sub(BURST_NS).max(0)
    }

    fn take(&self, now_ns: i64, amount: u64) {
        let cost = self.cost_ns(amount);
        let take = |earned_at: i64| Some(earned_at.max(now_ns).saturating_add(cost));
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        // It always gives a value.
        let _ = self.earned_at_ns.fetch_update(set, fetch, take);
    }
}

/// Messages and bytes a second.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Rates {
    messages: Option<NonZeroU64>,
    bytes: Option<NonZeroU64>,
}

impl Rates {
    const fn is_none(&self) -> bool {
        self.messages.is_none() && self.bytes.is_none()
    }
}

/// What is left of two rates: of one client, or of all together.
#[derive(Debug)]
pub(crate) struct Left {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Left {
    fn of(rates: Rates) -> Self {
        Self {
            messages: rates.messages.map(Bucket::of),
            bytes: rates.bytes.map(Bucket::of),
        }
    }

    /// Whether one message of so many bytes may be taken.
    fn check(&self, limits: [Limit; 2], now_ns: i64, bytes: u64) -> Result<(), Over> {
        for (limit, bucket, amount) in [
            (limits[0], &self.messages, 1),
            (limits[1], &self.bytes, bytes),
        ] {
            let Some(bucket) = bucket else { continue };
            let wait_ns = bucket.wait_ns(now_ns, amount);
            if wait_ns > 0 {
                return Err(Over {
                    limit,
                    per_second: bucket.per_second.get(),
                    wait_ms: (wait_ns - 1) / 1_000_000 + 1,
                });
            }
        }
        Ok(())
    }

    fn take(&self, now_ns: i64, messages: u64, bytes: u64) {
        for (bucket, amount) in [(&self.messages, messages), (&self.bytes, bytes)] {
            if let Some(bucket) = bucket {
                bucket.take(now_ns, amount);
            }
        }
    }

    fn owes(&self, now_ns: i64) -> bool {
        [&self.messages, &self.bytes]
            .into_iter()
            .flatten()
            .any(|bucket| bucket.owed_ns(now_ns) > 0)
    }
}

/// A quota of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Messages,
    Bytes,
    ClientMessages,
    ClientBytes,
}

impl Limit {
    pub(crate) const ALL: [Self; 4] = [
        Self::Messages,
        Self::Bytes,
        Self::ClientMessages,
        Self::ClientBytes,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Messages => MESSAGES,
            Self::Bytes => BYTES,
            Self::ClientMessages => CLIENT_MESSAGES,
            Self::ClientBytes => CLIENT_BYTES,
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Messages | Self::ClientMessages => "messages",
            Self::Bytes | Self::ClientBytes => "bytes",
        }
    }

    const fn each(self) -> &'static str {
        match self {
            Self::Messages | Self::Bytes => "",
            Self::ClientMessages | Self::ClientBytes => " of each client",
        }
    }
}

/// A quota that has nothing left for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) limit: Limit,
    pub(crate) per_second: u64,
    /// When there is something again, rounded up.
    pub(crate) wait_ms: i64,
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            limit,
            per_second,
            wait_ms,
        } = self;
        write!(
            f,
            "{per_second} {} a second{} ({}) are used up at this broker, start flow control for a while; try again in {wait_ms} ms",
            limit.unit(),
            limit.each(),
            limit.name()
        )
    }
}

/// Clients by connection. One that owes nothing is as if it had never been here.
#[derive(Debug, Default)]
struct Clients {
    left: HashMap<u64, Arc<Left>, foldhash::fast::RandomState>,
    /// With so many, those that owe nothing are dropped.
    look_at: usize,
}

/// The quota of a topic or a group.
#[derive(Debug)]
pub(crate) struct Quota {
    rates: Rates,
    of_client: Rates,
    left: Left,
    clients: [Mutex<Clients>; PARTS],
    /// Requests that were refused, by [`Limit`].
    refused: [AtomicU64; 4],
}

impl Quota {
    /// The quota that attributes say. It goes on as the one `before`, where that said the same.
    pub(crate) fn of(
        attributes: &BTreeMap<String, String>,
        before: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        let rate = |name: &str| attributes.get(name)?.parse::<NonZeroU64>().ok();
        let rates = Rates {
            messages: rate(MESSAGES),
            bytes: rate(BYTES),
        };
        let of_client = Rates {
            messages: rate(CLIENT_MESSAGES),
            bytes: rate(CLIENT_BYTES),
        };
        if rates.is_none() && of_client.is_none() {
            return None;
        }
        let is_same = |before: &&Arc<Self>| before.rates == rates && before.of_client == of_client;
        if let Some(same) = before.filter(is_same) {
            return Some(Arc::clone(same));
        }
        let refused =
            |at: usize| before.map_or(0, |before| before.refused[at].load(Ordering::Relaxed));
        Some(Arc::new(Self {
            rates,
            of_client,
            left: Left::of(rates),
            clients: std::array::from_fn(|_| Mutex::default()),
            refused: std::array::from_fn(|at| refused(at).into()),
        }))
    }

    /// What a client has left; `None`: clients have no quota of their own. To be asked once for many messages.
    pub(crate) fn client(&self, connection: u64, now_ns: i64) -> Option<Arc<Left>> {
        if self.of_client.is_none() {
            return None;
        }
        let part = usize::try_from(connection).unwrap_or(0) % PARTS;
        let mut clients = self.clients[part].lock();
        if let Some(left) = clients.left.get(&connection) {
            return Some(Arc::clone(left));
        }
        if clients.left.len() >= clients.look_at.max(LOOK_FROM) {
            let is_held = |left: &Arc<Left>| Arc::strong_count(left) > 1;
            clients
                .left
                .retain(|_, left| is_held(left) || left.owes(now_ns));
            clients.look_at = 2 * clients.left.len();
        }
        let left = Arc::new(Left::of(self.of_client));
        clients.left.insert(connection, Arc::clone(&left));
        Some(left)
    }

    /// Whether one message of so many bytes may be taken now.
    pub(crate) fn check(&self, client: Option<&Left>, now_ns: i64, bytes: u64) -> Result<(), Over> {
        let limits = [Limit::Messages, Limit::Bytes];
        let checked = self.left.check(limits, now_ns, bytes);
        let checked = checked.and_then(|()| {
            let limits = [Limit::ClientMessages, Limit::ClientBytes];
            client.map_or(Ok(()), |client| client.check(limits, now_ns, bytes))
        });
        if let Err(over) = &checked {
            self.refused[over.limit as usize].fetch_add(1, Ordering::Relaxed);
        }
        checked
    }

    /// Takes what was stored or given.
    pub(crate) fn take(&self, client: Option<&Left>, now_ns: i64, messages: u64, bytes: u64) {
        self.left.take(now_ns, messages, bytes);
        if let Some(client) = client {
            client.take(now_ns, messages, bytes);
        }
    }

    /// Messages and bytes that one answer has at most, so that it does not take far more than a second's.
    pub(crate) fn at_once(&self) -> (usize, usize) {
        let least = |all: Option<NonZeroU64>, each: Option<NonZeroU64>| {
            let least = all.into_iter().chain(each).min();
            least.map_or(usize::MAX, |rate| {
                usize::try_from(rate.get()).unwrap_or(usize::MAX)
            })
        };
        (
            least(self.rates.messages, self.of_client.messages),
            least(self.rates.bytes, self.of_client.bytes),
        )
    }

    /// Each limit that there is: its rate, and the requests that it refused.
    pub(crate) fn limits(&self) -> impl Iterator<Item = (Limit, u64, u64)> + '_ {
        Limit::ALL.into_iter().filter_map(|limit| {
            let rate = match limit {
                Limit::Messages => self.rates.messages,
                Limit::Bytes => self.rates.bytes,
                Limit::ClientMessages => self.of_client.messages,
                Limit::ClientBytes => self.of_client.bytes,
            }?;
            let refused = self.refused[limit as usize].load(Ordering::Relaxed);
            Some((limit, rate.get(), refused))
        })
    }
}

/// How much a group may read from the disk.
#[derive(Debug)]
pub(crate) struct ColdLimit {
    /// Bytes in [`COLD_SECONDS`].
    threshold: NonZeroU64,
    bucket: Bucket,
}

impl ColdLimit {
    /// The limit that attributes say. It goes on as the one `before`, where that said the same.
    pub(crate) fn of(
        attributes: &BTreeMap<String, String>,
        before: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        let threshold = attributes.get(COLD_BYTES)?.parse::<NonZeroU64>().ok()?;
        if let Some(same) = before.filter(|before| before.threshold == threshold) {
            return Some(Arc::clone(same));
        }
        let per_second = NonZeroU64::new(threshold.get().div_ceil(COLD_SECONDS))?;
        Some(Arc::new(Self {
            threshold,
            bucket: Bucket::of(per_second),
        }))
    }

    pub(crate) const fn threshold(&self) -> u64 {
        self.threshold.get()
    }

    /// Whether the group may read from the disk now. The threshold is taken at once or bit by bit.
    pub(crate) fn has_left(&self, now_ns: i64) -> bool {
        self.bucket.owed_ns(now_ns) < COLD_MS * 1_000_000
    }

    pub(crate) fn take(&self, now_ns: i64, bytes: u64) {
        self.bucket.take(now_ns, bytes);
    }
}

/// How much a group has read from the disk.
#[derive(Debug, Default)]
pub(crate) struct ColdReads {
    /// Bytes since `window_ms`.
    bytes: AtomicU64,
    /// When the count began, the first and the last read, Unix milliseconds; 0: never.
    window_ms: AtomicI64,
    first_ms: AtomicI64,
    last_ms: AtomicI64,
}

/// What a group has read from the disk lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColdRead {
    /// Bytes in the running [`COLD_SECONDS`].
    pub(crate) bytes: u64,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

const COLD_MS: i64 = COLD_SECONDS as i64 * 1_000;
/// A group that has not read from the disk for so long is not listed (apache/rocketmq `cgColdAccResideTimeoutMills`).
const COLD_LISTED_MS: i64 = 60_000;

impl ColdReads {
    /// The group has read so much.
    pub(crate) fn add(&self, now_ms: i64, bytes: u64) {
        let order = Ordering::Relaxed;
        if now_ms - self.window_ms.load(order) >= COLD_MS {
            self.window_ms.store(now_ms, order);
            self.bytes.store(0, order);
        }
        self.bytes.fetch_add(bytes, order);
        // Only the first one sets it.
        let _ = self.first_ms.compare_exchange(0, now_ms, order, order);
        self.last_ms.store(now_ms, order);
    }

    /// What the group read; `None`: nothing lately.
    pub(crate) fn read(&self, now_ms: i64) -> Option<ColdRead> {
        let order = Ordering::Relaxed;
        let last_ms = self.last_ms.load(order);
        if last_ms == 0 || now_ms - last_ms >= COLD_LISTED_MS {
            return None;
        }
        let is_running = now_ms - self.window_ms.load(order) < COLD_MS;
        Some(ColdRead {
            bytes: if is_running {
                self.bytes.load(order)
            } else {
                0
            },
            first_ms: self.first_ms.load(order),
            last_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn quota(pairs: &[(&str, &str)], before: Option<&Arc<Quota>>) -> Option<Arc<Quota>> {
        let pairs = pairs.iter();
        let attributes = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Quota::of(&attributes.collect(), before)
    }

    /// How many messages of so many bytes are taken at once.
    fn burst(quota: &Quota, client: Option<&Left>, now_ns: i64, bytes: u64) -> usize {
        let mut taken = 0;
        while quota.check(client, now_ns, bytes).is_ok() {
            quota.take(client, now_ns, 1, bytes);
            taken += 1;
            assert!(taken <= 1_000, "there is no limit");
        }
        taken
    }

    #[test]
    fn a_second_of_messages_is_there_at_once_and_then_the_rate() {
        assert!(quota(&[("message.type", "NORMAL")], None).is_none());
        // The monotonic clock begins anywhere.
        for now in [20 * SECOND, -5 * SECOND] {
            let quota = quota(&[(MESSAGES, "10")], None).expect("a quota");
            assert_eq!(burst(&quota, None, now, 1), 10);
            let over = quota.check(None, now, 1).expect_err("used up");
            assert_eq!(
                (over.limit, over.per_second, over.wait_ms),
                (Limit::Messages, 10, 100)
            );
            assert_eq!(burst(&quota, None, now + SECOND / 10 - 1, 1), 0);
            assert_eq!(burst(&quota, None, now + SECOND / 10, 1), 1);
            assert_eq!(burst(&quota, None, now + 4 * SECOND / 10, 1), 3);
            // Two seconds are not saved up.
            assert_eq!(burst(&quota, None, now + 10 * SECOND, 1), 10);
        }
    }

    #[test]
    fn in_the_long_run_no_more_is_taken_than_the_rate_and_one_burst() {
        let quota = quota(&[(BYTES, "1000")], None).expect("a quota");
        let mut bytes = 0;
        for step in 0..10_000 {
            let size = 1 + step % 37;
            let now = i64::try_from(step).expect("small") * SECOND / 1_000;
            if quota.check(None, now, size).is_ok() {
                quota.take(None, now, 1, size);
                bytes += size;
            }
        }
        // Ten seconds.
        assert!((10_000..=11_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_message_larger_than_a_seconds_bytes_passes_when_nothing_is_owed() {
        let quota = quota(&[(BYTES, "100")], None).expect("a quota");
        assert_eq!(burst(&quota, None, 0, 500), 1);
        let over = quota
            .check(None, 0, 500)
            .expect_err("five seconds are owed");
        assert_eq!((over.limit, over.wait_ms), (Limit::Bytes, 5_000));
        assert_eq!(burst(&quota, None, 5 * SECOND - 1, 500), 0);
        assert_eq!(burst(&quota, None, 5 * SECOND, 500), 1);
    }

    #[test]
    fn each_client_has_its_own_and_all_together_have_theirs() {
        let quota = quota(&[(CLIENT_MESSAGES, "2"), (MESSAGES, "5")], None).expect("a quota");
        let client = |connection| quota.client(connection, 0).expect("of its own");
        let taken = [1, 1 + PARTS as u64, 7].map(|connection| {
            let client = client(connection);
            burst(&quota, Some(&client), 0, 1)
        });
        assert_eq!(taken, [2, 2, 1]);
        let again = client(1);
        let over = quota.check(Some(&again), SECOND, 1);
        assert_eq!(over, Ok(()), "both have earned");
        let refused: Vec<_> = quota.limits().collect();
        assert_eq!(
            refused,
            [(Limit::Messages, 5, 1), (Limit::ClientMessages, 2, 2)]
        );
    }

    #[test]
    fn clients_that_owe_nothing_are_forgotten() {
        let quota = quota(&[(CLIENT_BYTES, "10")], None).expect("a quota");
        let count = || -> usize {
            let parts = quota.clients.iter();
            parts.map(|part| part.lock().left.len()).sum()
        };
        let busy = quota.client(1, 0).expect("a client");
        quota.take(Some(&busy), 0, 1, 1_000_000);
        drop(busy);
        for connection in 2..100_000 {
            drop(quota.client(connection, SECOND));
        }
        assert!(count() <= PARTS * 2 * LOOK_FROM, "{}", count());
        let busy = quota.client(1, SECOND).expect("a client");
        assert!(busy.owes(SECOND), "who owes is remembered");
    }

    #[test]
    fn settings_that_say_the_same_keep_what_was_taken() {
        let first = quota(&[(MESSAGES, "1")], None).expect("a quota");
        assert_eq!(burst(&first, None, 0, 1), 1);
        let same = quota(&[(MESSAGES, "1"), ("reserve.time", "7")], Some(&first));
        assert_eq!(burst(&same.expect("a quota"), None, 0, 1), 0);
        let other = quota(&[(MESSAGES, "3")], Some(&first)).expect("a quota");
        assert_eq!(burst(&other, None, 0, 1), 3);
        let refused: Vec<_> = other.limits().collect();
        assert_eq!(refused, [(Limit::Messages, 3, 3)], "they are counted on");
        assert!(quota(&[], Some(&first)).is_none());
    }

    #[test]
    fn cold_reads_are_limited_over_five_seconds() {
        let attributes = |bytes: &str| BTreeMap::from([(COLD_BYTES.to_owned(), bytes.to_owned())]);
        assert!(ColdLimit::of(&BTreeMap::new(), None).is_none());
        let limit = ColdLimit::of(&attributes("1000"), None).expect("a limit");
        assert_eq!(limit.threshold(), 1_000);
        limit.take(0, 600);
        assert!(limit.has_left(0), "less than the threshold");
        limit.take(0, 400);
        assert!(!limit.has_left(0));
        assert!(limit.has_left(1), "as soon as something is earned");
        limit.take(0, 1_000);
        assert!(!limit.has_left(5 * SECOND));
        let same = ColdLimit::of(&attributes("1000"), Some(&limit)).expect("a limit");
        assert!(!same.has_left(5 * SECOND));
        let other = ColdLimit::of(&attributes("2000"), Some(&limit)).expect("a limit");
        assert!(other.has_left(0));
    }

    #[test]
    fn cold_reads_are_counted_over_five_seconds() {
        let reads = ColdReads::default();
        assert_eq!(reads.read(7), None);
        reads.add(10_000, 600);
        reads.add(10_500, 400);
        let read = |bytes| ColdRead {
            bytes,
            first_ms: 10_000,
            last_ms: 10_500,
        };
        assert_eq!(reads.read(10_600), Some(read(1_000)));
        assert_eq!(reads.read(16_000), Some(read(0)));
        assert_eq!(reads.read(70_500), None);
    }
}
