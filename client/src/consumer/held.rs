//! A queue that this member holds: reading it, handing its messages out, and knowing how far it is consumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivery, Outcome};
use super::progress::Progress;
use super::settings::Subscription;
use super::state::ConsumerState;
use crate::error::{Error, ErrorKind};
use crate::events::Event;
use crate::metrics::{MEASURES, QueueMeters};
use crate::pull::{PullOptions, PullStatus};
use crate::queue::Queue;
use crate::received::ReceivedMessage;
use crate::remote::Keeper;

/// How long a broker holds a pull that finds nothing, as Java clients ask for.
const PULL_WAIT: Duration = Duration::from_secs(15);
const PULL_MESSAGES: u16 = 256;
const PULL_BYTES: u32 = 256 * 1024;
/// Messages read beyond the committed offset of one queue: what a crash would bring again at most.
const OPEN_MAX: usize = 20_000;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// Unix milliseconds after which the end of a queue is asked for, where the lag is measured: a pull takes 15 s when it finds nothing.
const END_AGE_MS: i64 = 30_000;
/// A lock that was not renewed for this long is not trusted; brokers give it away after 60 s.
const LOCK_TRUST: Duration = Duration::from_secs(30);

/// A queue that this member holds.
pub(super) struct Held {
    queue: Queue,
    shared: Arc<ConsumerState>,
    subscription: Subscription,
    progress: Mutex<Option<Progress>>,
    /// Counts seeks: what was read before one no longer counts.
    generation: AtomicU64,
    /// Reading stops.
    stop: CancellationToken,
    /// No more settling and no more commits.
    gone: CancellationToken,
    /// The same, for a look at each message.
    is_gone: AtomicBool,
    /// Something was settled.
    settled: Notify,
    sought: Notify,
    outcome: Mutex<Option<(u64, Outcome)>>,
    locked: Mutex<Option<Instant>>,
    /// Last answer of a pull, Unix milliseconds.
    last_pull_ms: AtomicI64,
    reported: AtomicBool,
    /// Messages that wait for a worker or are being handled.
    out: AtomicUsize,
    /// The last offset that a worker or the stream's reader took; what was read beyond it was never seen by anybody.
    taken: AtomicI64,
    /// None of them is left.
    idle: Notify,
    meters: QueueMeters,
    /// The queue's end, as the broker said last.
    end: AtomicI64,
}

impl Held {
    pub(super) fn new(
        queue: Queue,
        shared: Arc<ConsumerState>,
        subscription: Subscription,
    ) -> Arc<Self> {
        Arc::new(Self {
            stop: shared.stop.child_token(),
            meters: QueueMeters::new(&shared.group, queue.topic()),
            end: AtomicI64::new(0),
            queue,
            shared,
            subscription,
            progress: Mutex::new(None),
            generation: AtomicU64::new(0),
            gone: CancellationToken::new(),
            is_gone: AtomicBool::new(false),
            settled: Notify::new(),
            sought: Notify::new(),
            outcome: Mutex::new(None),
            locked: Mutex::new(None),
            last_pull_ms: AtomicI64::new(0),
            reported: AtomicBool::new(false),
            out: AtomicUsize::new(0),
            taken: AtomicI64::new(-1),
            idle: Notify::new(),
        })
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn shared(&self) -> &Arc<ConsumerState> {
        &self.shared
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    pub(super) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    pub(super) fn meters(&self) -> &QueueMeters {
        &self.meters
    }

    /// Measures the lag. A queue whose broker has not said its end for a while, as nothing more is read of it, asks for it.
    pub(super) async fn measure_lag(&self) {
        let silent_ms = self.shared.client.now_ms() - self.last_pull_ms();
        if silent_ms > END_AGE_MS
            && let Ok(end) = self.shared.client.admin().max_offset(&self.queue).await
        {
            self.end.store(end, Ordering::Relaxed);
        }
        self.note_lag();
    }

    fn note_lag(&self) {
        if let Some(position) = self.position()
            && !self.is_gone()
        {
            let lag = self.end.load(Ordering::Relaxed).saturating_sub(position);
            self.meters.lags(u64::try_from(lag).unwrap_or(0));
        }
    }

    pub(super) fn one_out(&self) {
        self.meters.one_out();
        self.out.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn one_back(&self) {
        self.meters.one_back();
        if self.out.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// A worker or the stream's reader has a message now.
    pub(super) fn note_taken(&self, offset: i64) {
        self.taken.fetch_max(offset, Ordering::Relaxed);
    }

    /// Offsets of messages that were taken and are not settled.
    pub(super) fn taken_and_open(&self) -> Vec<i64> {
        let taken = self.taken.load(Ordering::Relaxed);
        let progress = self.progress.lock();
        let open = progress.iter().flat_map(Progress::unsettled_offsets);
        open.take_while(|offset| *offset <= taken).collect()
    }

    /// Ready when none of its messages waits for a worker or is being handled.
    pub(super) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.out.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Reads no more; what is open may still be settled.
    pub(super) fn stop_reading(&self) {
        self.stop.cancel();
        self.settled.notify_one();
    }

    /// Nothing of it counts any more.
    pub(super) fn give_up(&self) {
        self.stop.cancel();
        self.is_gone.store(true, Ordering::Release);
        self.gone.cancel();
        self.meters.lags(0);
        self.settled.notify_one();
    }

    pub(super) fn last_pull_ms(&self) -> i64 {
        self.last_pull_ms.load(Ordering::Relaxed)
    }

    /// The offset that a successor continues from; `None` before the first read.
    pub(super) fn position(&self) -> Option<i64> {
        self.progress.lock().as_ref().map(Progress::position)
    }

    pub(super) fn unsettled(&self) -> usize {
        self.progress.lock().as_ref().map_or(0, Progress::unsettled)
    }

    pub(super) fn to_commit(&self, keeper: &Keeper) -> Option<i64> {
        self.progress.lock().as_ref()?.to_commit(keeper)
    }

    pub(super) fn committed(&self, offset: i64, keeper: Keeper) {
        if let Some(progress) = self.progress.lock().as_mut() {
            progress.committed(offset, keeper);
        }
    }

    pub(super) fn settle(&self, generation: u64, offset: i64) {
        let mut progress = self.progress.lock();
        if self.generation() == generation
            && let Some(progress) = progress.as_mut()
        {
            progress.settle(offset);
        }
        drop(progress);
        self.settled.notify_one();
    }

    /// Reading continues at `offset`; messages that were read before no longer count.
    pub(super) fn seek(&self, offset: i64) {
        {
            let mut progress = self.progress.lock();
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.taken.store(-1, Ordering::Relaxed);
            *progress = Some(Progress::at(offset, None));
        }
        self.sought.notify_one();
        self.settled.notify_one();
    }

    pub(super) fn ordered_outcome(&self, generation: u64, outcome: Outcome) {
        *self.outcome.lock() = Some((generation, outcome));
        self.settled.notify_one();
    }

    pub(super) fn is_locked(&self) -> bool {
        self.locked
            .lock()
            .is_some_and(|at| at.elapsed() < LOCK_TRUST)
    }

    pub(super) fn set_locked(&self, at: Option<Instant>) {
        *self.locked.lock() = at;
    }

    /// Reads until it is told to stop.
    pub(super) async fn run(self: Arc<Self>) {
        let mut pause = PAUSE_MIN;
        while !self.stop.is_cancelled() {
            match self.turn().await {
                Ok(()) => pause = PAUSE_MIN,
                Err(error) => {
                    self.report(&error);
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.stop.cancelled() => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// What waiting cannot mend is told once to who reads the stream; everything is logged.
    fn report(&self, error: &Error) {
        tracing::warn!(queue = %self.queue, group = self.shared.group, "cannot read: {error}");
        self.shared.client.tell(|| Event::Failed {
            group: self.shared.group.clone(),
            queue: Some(self.queue.clone()),
            error: error.to_string(),
        });
        let is_lasting = matches!(error.kind(), ErrorKind::Denied | ErrorKind::InvalidInput);
        if is_lasting && !self.reported.swap(true, Ordering::AcqRel) {
            self.shared
                .complain(Error::new(error.kind(), error.to_string()));
        }
    }

    async fn turn(self: &Arc<Self>) -> Result<(), Error> {
        tokio::select! {
            () = self.shared.unpaused() => {}
            () = self.stop.cancelled() => return Ok(()),
        }
        if self.shared.settings.ordered && !self.is_locked() {
            self.shared.lock(&[Arc::clone(self)]).await?;
            if !self.is_locked() {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("{} is still locked by another member", self.queue),
                ));
            }
        }
        let Some((generation, offset)) = self.place().await? else {
            return Ok(());
        };
        let options = PullOptions::default()
            .group(self.shared.group.as_str())
            .max_messages(PULL_MESSAGES)
            .max_bytes(PULL_BYTES)
            .filter(self.subscription.filter.clone())
            .wait(PULL_WAIT);
        let pulled = tokio::select! {
            pulled = self.shared.client.pull(&self.queue, offset, &options) => pulled?,
            () = self.sought.notified() => return Ok(()),
            () = self.stop.cancelled() => return Ok(()),
        };
        self.last_pull_ms
            .store(self.shared.client.now_ms(), Ordering::Relaxed);
        if MEASURES {
            self.end.store(pulled.max_offset, Ordering::Relaxed);
        }
        if pulled.status == PullStatus::OffsetMoved {
            tracing::warn!(
                queue = %self.queue, group = self.shared.group,
                "the broker moves offset {offset} to {} (it has {} to {})",
                pulled.next_offset, pulled.min_offset, pulled.max_offset
            );
            // What was read before may lie on either side of it.
            if self.generation() == generation {
                self.seek(pulled.next_offset);
            }
            return Ok(());
        }
        let messages: Vec<ReceivedMessage> = pulled
            .messages
            .into_iter()
            .filter(|message| self.subscription.filter.accepts(message.tag()))
            .collect();
        {
            let mut progress = self.progress.lock();
            if self.generation() != generation {
                return Ok(());
            }
            if let Some(progress) = progress.as_mut() {
                progress.read(
                    messages.iter().map(ReceivedMessage::queue_offset),
                    pulled.next_offset,
                );
            }
        }
        self.meters.received(messages.len());
        if MEASURES {
            self.note_lag();
        }
        if self.shared.settings.ordered {
            self.in_order(messages, generation).await;
        } else {
            self.hand_out(messages, generation).await;
        }
        Ok(())
    }

    /// Where to read, once there is room; `None`: something changed, look again.
    async fn place(&self) -> Result<Option<(u64, i64)>, Error> {
        {
            let progress = self.progress.lock();
            if let Some(progress) = progress.as_ref()
                && progress.open() < OPEN_MAX
            {
                return Ok(Some((self.generation(), progress.next())));
            }
        }
        if self.progress.lock().is_some() {
            tokio::select! {
                () = self.settled.notified() => {}
                () = self.stop.cancelled() => {}
            }
            return Ok(None);
        }
        let generation = self.generation();
        let (offset, kept_by) = self.start_offset().await?;
        let mut progress = self.progress.lock();
        if progress.is_none() && self.generation() == generation {
            *progress = Some(Progress::at(offset, kept_by));
        }
        Ok(None)
    }

    async fn start_offset(&self) -> Result<(i64, Option<Keeper>), Error> {
        let (admin, shared) = (self.shared.client.admin(), &self.shared);
        let is_member = !shared.is_broadcast();
        let from = shared.settings.from;
        match shared.kept_offset(&self.queue).await {
            Ok(Some((kept, keeper))) => return Ok((kept, Some(keeper))),
            Ok(None) => {}
            // Who begins with the oldest message passes none over, whatever the master knows.
            Err(error) if from.is_first(&self.queue) && error.is_of_replica() => {}
            Err(error) => return Err(error),
        }
        let offset = from.offset(&admin, &shared.group, &self.queue, is_member);
        Ok((offset.await?, None))
    }

    async fn hand_out(self: &Arc<Self>, messages: Vec<ReceivedMessage>, generation: u64) {
        for message in messages {
            let Some(bytes) = self.room_for(&message).await else {
                return;
            };
            let delivery = Delivery::new(message, Arc::clone(self), generation, 0, bytes);
            if self.generation() != generation {
                return delivery.discard();
            }
            self.shared.deliver(delivery);
        }
    }

    async fn room_for(&self, message: &ReceivedMessage) -> Option<u32> {
        let bytes = message.body().len();
        if self.stop.is_cancelled() {
            return None;
        }
        // The usual case: to wait for two things costs more than the message.
        if let Some(bytes) = self.shared.try_take_room(bytes) {
            return Some(bytes);
        }
        tokio::select! {
            bytes = self.shared.take_room(bytes) => Some(bytes),
            () = self.stop.cancelled() => None,
        }
    }

    /// One message after the other, each until it is done with.
    async fn in_order(self: &Arc<Self>, messages: Vec<ReceivedMessage>, generation: u64) {
        for message in messages {
            let mut repeated = 0;
            loop {
                if self.generation() != generation {
                    return;
                }
                if !self.is_locked() {
                    // Somebody else may consume it now: begin again after the last settled one, with the lock.
                    return self.begin_again(generation);
                }
                let Some(bytes) = self.room_for(&message).await else {
                    return;
                };
                self.outcome.lock().take();
                let delivery = Delivery::new(
                    message.clone(),
                    Arc::clone(self),
                    generation,
                    repeated,
                    bytes,
                );
                let inner = delivery.inner();
                self.shared.deliver(delivery);
                let outcome = self.outcome(generation, message.queue_offset()).await;
                let given_up = match outcome {
                    None => return,
                    Some(Outcome::Done) => {
                        self.settle(generation, message.queue_offset());
                        break;
                    }
                    Some(Outcome::DeadLetter(why)) => why,
                    Some(Outcome::Again(asked, why)) => match inner.local_pause(asked) {
                        Some(pause) => {
                            self.meters.retried();
                            tokio::select! {
                                () = sleep(pause) => {}
                                () = self.stop.cancelled() => return,
                            }
                            repeated += 1;
                            continue;
                        }
                        None => why.unwrap_or_else(|| "it failed too often".to_owned()),
                    },
                };
                if inner.to_dead_letters(&given_up).await.is_err() {
                    return;
                }
                break;
            }
        }
    }

    /// What became of the message that is out; `None` when nobody waits for it any more, or the end came before somebody took it.
    async fn outcome(&self, generation: u64, offset: i64) -> Option<Outcome> {
        loop {
            if let Some((of, outcome)) = self.outcome.lock().take()
                && of == generation
            {
                return Some(outcome);
            }
            let was_taken = self.taken.load(Ordering::Relaxed) >= offset;
            let is_over = self.is_gone() || (self.stop.is_cancelled() && !was_taken);
            if is_over || self.generation() != generation {
                return None;
            }
            self.settled.notified().await;
        }
    }

    fn begin_again(&self, generation: u64) {
        let mut progress = self.progress.lock();
        if self.generation() == generation
            && let Some(known) = progress.as_mut()
        {
            self.generation.fetch_add(1, Ordering::AcqRel);
            *progress = Some(Progress::at(known.position(), None));
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("queue", &self.queue)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
