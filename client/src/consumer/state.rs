//! What the parts of one consumer share: the queues it holds, the room for messages, and how its offsets are kept.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use rmq_protocol::bodies::{LockBatch, LockedQueues, MessageQueue, QueueMap, ResetOffsetBody};
use rmq_protocol::requests::{LockBatchMq, UnlockBatchMq};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::delivery::Delivery;
use super::held::Held;
use super::settings::{BroadcastOffsets, ConsumerSettings, Subscription};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::events::Event;
use crate::queue::Queue;
use crate::remote::Keeper;

pub(super) type Item = Result<Delivery, Error>;

pub(super) struct ConsumerState {
    pub(super) client: Client,
    pub(super) group: String,
    pub(super) settings: ConsumerSettings,
    pub(super) subscriptions: Vec<Subscription>,
    /// No more messages come.
    pub(super) closed: CancellationToken,
    /// Handlers have had their time.
    pub(super) abort: CancellationToken,
    pub(super) stop: CancellationToken,
    /// Whatever still runs is dropped.
    pub(super) ended: CancellationToken,
    /// How it ended, for all who wait.
    pub(super) ending: OnceCell<Result<(), Arc<Error>>>,
    /// Messages that workers left unfinished, with their ids.
    pub(super) left: Mutex<BTreeMap<(Queue, i64), String>>,
    pub(super) tasks: TaskTracker,
    /// Where it was started: what is dropped elsewhere ends here.
    pub(super) runtime: Handle,
    /// Look at once who holds what.
    pub(super) rebalance: Notify,
    held: Mutex<BTreeMap<Queue, Arc<Held>>>,
    room_messages: Semaphore,
    room_bytes: Semaphore,
    paused: watch::Sender<bool>,
    out: async_channel::Sender<Item>,
    waiting: async_channel::Receiver<Item>,
    /// Offsets of a broadcast consumer.
    kept: Mutex<BTreeMap<Queue, i64>>,
}

impl ConsumerState {
    pub(super) fn new(
        client: Client,
        group: String,
        settings: ConsumerSettings,
        subscriptions: Vec<Subscription>,
    ) -> Result<(Arc<Self>, async_channel::Receiver<Item>), Error> {
        // Room is taken before a message is handed out, so this never fills; one place more for each complaint.
        let (out, items) = async_channel::unbounded();
        let kept = match &settings.broadcast {
            Some(BroadcastOffsets::File(path)) => read_offsets(path)?,
            _ => BTreeMap::new(),
        };
        let shared = Self {
            closed: CancellationToken::new(),
            abort: CancellationToken::new(),
            stop: client.stopped().child_token(),
            ended: CancellationToken::new(),
            ending: OnceCell::new(),
            left: Mutex::default(),
            client,
            group,
            subscriptions,
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            rebalance: Notify::new(),
            held: Mutex::default(),
            room_messages: Semaphore::new(settings.prefetch_messages),
            room_bytes: Semaphore::new(settings.prefetch_bytes),
            paused: watch::Sender::new(false),
            out,
            waiting: items.clone(),
            kept: Mutex::new(kept),
            settings,
        };
        Ok((Arc::new(shared), items))
    }

    /// A task of the consumer: it runs where the consumer was started, and not beyond the consumer's end.
    pub(super) fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let ended = self.ended.clone();
        let task = async move { ended.run_until_cancelled(task).await };
        self.tasks.spawn_on(task, &self.runtime)
    }

    /// Tells what failed and concerns no single queue.
    pub(super) fn failed(&self, error: &Error) {
        self.client.tell(|| Event::Failed {
            group: self.group.clone(),
            queue: None,
            error: error.to_string(),
        });
    }

    pub(super) fn is_broadcast(&self) -> bool {
        self.settings.broadcast.is_some()
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    pub(super) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    pub(super) async fn unpaused(&self) {
        let mut paused = self.paused.subscribe();
        // The sender lives as long as `self`.
        let _ = paused.wait_for(|paused| !paused).await;
    }

    /// As [`Self::take_room`], when there is room now.
    pub(super) fn try_take_room(&self, bytes: usize) -> Option<u32> {
        let bytes = bytes.clamp(1, self.settings.prefetch_bytes) as u32;
        let message = self.room_messages.try_acquire().ok()?;
        let body = self.room_bytes.try_acquire_many(bytes).ok()?;
        message.forget();
        body.forget();
        Some(bytes)
    }

    /// Waits for room for one message; a message larger than all the room takes all of it. Returns the bytes taken.
    pub(super) async fn take_room(&self, bytes: usize) -> u32 {
        let bytes = bytes.clamp(1, self.settings.prefetch_bytes) as u32;
        // Neither is ever closed. Both are kept from here on or, when the wait is given up, neither.
        let message = self.room_messages.acquire().await;
        let body = self.room_bytes.acquire_many(bytes).await;
        for permit in [message, body].into_iter().flatten() {
            permit.forget();
        }
        bytes
    }

    /// `bytes` as they were taken; 0: none, and no message either.
    pub(super) fn give_room_back(&self, bytes: u32) {
        if bytes > 0 {
            self.room_messages.add_permits(1);
            self.room_bytes.add_permits(bytes as usize);
        }
    }

    pub(super) fn deliver(&self, delivery: Delivery) {
        // It is never full, only closed.
        if let Err(unsent) = self.out.try_send(Ok(delivery))
            && let Ok(delivery) = unsent.into_inner()
        {
            delivery.discard();
        }
    }

    pub(super) fn complain(&self, error: Error) {
        let _ = self.out.try_send(Err(error));
    }

    /// No more items come, and those that wait for a worker are forgotten: their offsets stay uncommitted.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.out.close();
        while let Ok(item) = self.waiting.try_recv() {
            if let Ok(delivery) = item {
                delivery.discard();
            }
        }
    }

    pub(super) fn held(&self) -> Vec<Arc<Held>> {
        self.held.lock().values().cloned().collect()
    }

    pub(super) fn find(&self, queue: &Queue) -> Option<Arc<Held>> {
        self.held.lock().get(queue).cloned()
    }

    /// False when the consumer ends: it takes no queue any more.
    pub(super) fn insert(&self, held: Arc<Held>) -> bool {
        let mut all = self.held.lock();
        // Under the lock: the end looks at the queues after it closed.
        if self.out.is_closed() {
            return false;
        }
        all.insert(held.queue().clone(), held);
        true
    }

    /// Queues and the consumer hold each other: this ends it.
    pub(super) fn let_go(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        held.values().for_each(|held| held.give_up());
    }

    pub(super) fn remove(&self, queue: &Queue) -> Option<Arc<Held>> {
        self.held.lock().remove(queue)
    }

    /// Where the group, or a broadcast member, left off, and who says so.
    pub(super) async fn kept_offset(&self, queue: &Queue) -> Result<Option<(i64, Keeper)>, Error> {
        if self.is_broadcast() {
            let kept = self.kept.lock().get(queue).copied();
            return Ok(kept.map(|offset| (offset, Keeper::local())));
        }
        let admin = self.client.admin();
        let Some(offset) = admin.committed_offset(&self.group, queue).await? else {
            return Ok(None);
        };
        let keeper = self.client.reader_of(queue).await?.keeper();
        Ok(Some((offset, keeper)))
    }

    /// Keeps the offsets of these queues where they have moved, or where who keeps them may have forgotten them: a master that is new, or
    /// that was connected to anew. While a group has no master, a replica is told, and the master when it is there.
    pub(super) async fn commit(&self, queues: &[Arc<Held>]) -> Result<(), Error> {
        if self.is_broadcast() {
            return self.keep(queues);
        }
        let admin = self.client.admin();
        let read = queues.iter().filter(|held| held.position().is_some());
        let done = join_all(read.map(|held| async {
            let keeper = self.client.reader_of(held.queue()).await?.keeper();
            let Some(offset) = held.to_commit(&keeper) else {
                return Ok(());
            };
            let told = admin.commit_offset(&self.group, held.queue(), offset);
            told.await.map(|()| held.committed(offset, keeper))
        }));
        let done: Result<(), Error> = done.await.into_iter().collect();
        if let Err(error) = &done {
            self.client.suspect(error).await;
        }
        done
    }

    /// As [`Self::commit`], of a broadcast consumer.
    fn keep(&self, queues: &[Arc<Held>]) -> Result<(), Error> {
        let mut kept = self.kept.lock();
        let mut moved = false;
        for held in queues {
            if let Some(offset) = held.to_commit(&Keeper::local()) {
                kept.insert(held.queue().clone(), offset);
                held.committed(offset, Keeper::local());
                moved = true;
            }
        }
        match &self.settings.broadcast {
            Some(BroadcastOffsets::File(path)) if moved => write_offsets(path, &kept),
            _ => Ok(()),
        }
    }

    /// Asks the brokers for the locks of these queues; each learns whether it has its own.
    pub(super) async fn lock(&self, queues: &[Arc<Held>]) -> Result<(), Error> {
        let done = join_all(
            by_broker(queues)
                .into_iter()
                .map(|(broker, queues)| async move {
                    // Counted from before the request: the broker's time runs from then on or later.
                    let asked = Instant::now();
                    let body = self.lock_body(&queues);
                    let remote = self.client.master_for(queues[0].queue()).await?;
                    let answer = remote.call(&LockBatchMq {}, &body).await?;
                    let locked = LockedQueues::from_json(answer.body())
                        .map_err(|error| Error::from(error).at(answer.addr()))?;
                    for held in queues {
                        let is_ours = locked
                            .lock_ok_mq_set
                            .iter()
                            .any(|queue| Queue::from(queue) == *held.queue());
                        held.set_locked(is_ours.then_some(asked));
                    }
                    tracing::trace!(broker, group = self.group, "locks renewed");
                    Ok(())
                }),
        );
        let done: Result<(), Error> = done.await.into_iter().collect();
        if let Err(error) = &done {
            self.client.suspect(error).await;
        }
        done
    }

    pub(super) async fn unlock(&self, queues: &[Arc<Held>]) {
        for (broker, queues) in by_broker(queues) {
            for held in &queues {
                held.set_locked(None);
            }
            let body = self.lock_body(&queues);
            let unlocked = async {
                let remote = self.client.master_for(queues[0].queue()).await?;
                remote.call(&UnlockBatchMq {}, &body).await
            };
            if let Err(error) = unlocked.await {
                tracing::debug!(broker, group = self.group, "cannot unlock: {error}");
            }
        }
    }

    fn lock_body(&self, queues: &[Arc<Held>]) -> Vec<u8> {
        LockBatch {
            client_id: self.client.id().to_owned(),
            consumer_group: self.group.clone(),
            mq_set: queues.iter().map(|held| held.queue().into()).collect(),
            only_this_broker: false,
        }
        .to_json()
    }
}

impl std::fmt::Debug for ConsumerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerState")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

fn by_broker(queues: &[Arc<Held>]) -> BTreeMap<String, Vec<Arc<Held>>> {
    let mut brokers: BTreeMap<String, Vec<Arc<Held>>> = BTreeMap::new();
    for held in queues {
        brokers
            .entry(held.queue().broker().to_owned())
            .or_default()
            .push(Arc::clone(held));
    }
    brokers
}

/// As Java's `LocalFileOffsetStore` writes it.
fn read_offsets(path: &Path) -> Result<BTreeMap<Queue, i64>, Error> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(file_error(path, "cannot be read").source(error)),
    };
    let body = ResetOffsetBody::from_json(&text)
        .map_err(|error| file_error(path, "is not a file of offsets").source(error))?;
    Ok(body
        .offset_table
        .0
        .iter()
        .map(|(queue, offset)| (queue.into(), *offset))
        .collect())
}

fn write_offsets(path: &Path, offsets: &BTreeMap<Queue, i64>) -> Result<(), Error> {
    let table = offsets
        .iter()
        .map(|(queue, offset)| (MessageQueue::from(queue), *offset))
        .collect();
    let body = ResetOffsetBody {
        offset_table: QueueMap(table),
    };
    let beside = path.with_extension("new");
    // Renamed whole: a crash leaves the old file or the new one.
    std::fs::write(&beside, body.to_json())
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|error| file_error(path, "cannot be written").source(error))
}

fn file_error(path: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!(
            "the offsets of a broadcast consumer: {} {what}",
            path.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_survive_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("offsets.json");
        assert!(read_offsets(&path).unwrap().is_empty());
        let offsets = BTreeMap::from([(Queue::new("t", "b", 1), 5), (Queue::new("t", "b", 0), 7)]);
        write_offsets(&path, &offsets).unwrap();
        assert_eq!(read_offsets(&path).unwrap(), offsets);
        std::fs::write(&path, b"nonsense").unwrap();
        let error = read_offsets(&path).unwrap_err();
        assert!(error.to_string().contains("offsets.json"), "{error}");
    }
}
