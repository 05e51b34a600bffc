//! Consuming by hand: the caller says which queues, when to read, and when to commit.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::consumer::{Filter, StartFrom};
use crate::error::{Error, ErrorKind};
use crate::message_traces::Ended;
use crate::pull::{PullOptions, Pulled};
use crate::queue::Queue;
use crate::received::ReceivedMessage;

const MESSAGES: u16 = 256;
const BYTES: u32 = 256 * 1024;
const WAIT: Duration = Duration::from_secs(15);

type Answer = (Queue, u64, Result<Pulled, Error>);

/// Reads the queues that it was told to, for a group, without being a member: no queue is given to or taken from it.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use std::time::Duration;
///
/// let mut consumer = client.pull_consumer("report");
/// consumer.assign(client.route("orders").await?.readable().to_vec()).await?;
/// for message in consumer.poll(100, Duration::from_secs(1)).await? {
///     println!("{:?}", message.body());
/// }
/// consumer.commit().await?;
/// # Ok(()) }
/// ```
pub struct PullConsumer {
    client: Client,
    group: String,
    filter: Filter,
    from: StartFrom,
    assigned: BTreeMap<Queue, Assigned>,
    /// Pulls that have no answer yet; they outlive a poll, so nothing is asked for twice.
    running: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Told apart after a seek.
    generation: u64,
}

#[derive(Debug)]
struct Assigned {
    /// The next offset to give to the caller.
    position: i64,
    /// The next offset to ask the broker for.
    fetch: i64,
    generation: u64,
    is_running: bool,
    is_paused: bool,
    ready: VecDeque<ReceivedMessage>,
}

impl PullConsumer {
    pub(crate) fn new(client: Client, group: String) -> Self {
        Self {
            client,
            group,
            filter: Filter::all(),
            from: StartFrom::default(),
            assigned: BTreeMap::new(),
            running: FuturesUnordered::new(),
            generation: 0,
        }
    }

    /// Only messages that pass the filter. Set it before [`PullConsumer::assign`].
    #[must_use]
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.filter = filter.into();
        self
    }

    /// Where to begin in a queue of which the group has no offset yet. Default [`StartFrom::Last`].
    #[must_use]
    pub fn from(mut self, start: StartFrom) -> Self {
        self.from = start;
        self
    }

    /// Reads exactly these queues from now on, each from the group's offset. Queues that it reads already continue where they are.
    ///
    /// # Errors
    /// When a broker does not answer; then nothing changes.
    ///
    /// # Cancel safety
    /// A dropped call changes nothing.
    pub async fn assign(&mut self, queues: Vec<Queue>) -> Result<(), Error> {
        self.filter.check()?;
        let mut fresh = BTreeMap::new();
        for queue in queues
            .iter()
            .filter(|queue| !self.assigned.contains_key(queue))
        {
            let admin = self.client.admin();
            let offset = match admin.committed_offset(&self.group, queue).await? {
                Some(offset) => offset,
                None => self.from.offset(&admin, &self.group, queue, true).await?,
            };
            fresh.insert(queue.clone(), offset);
        }
        self.assigned.retain(|queue, _| queues.contains(queue));
        for (queue, offset) in fresh {
            self.generation += 1;
            let begins = Assigned::at(offset, self.generation);
            self.assigned.insert(queue, begins);
        }
        Ok(())
    }

    /// The queues it reads.
    pub fn assignment(&self) -> impl Iterator<Item = &Queue> {
        self.assigned.keys()
    }

    /// The next messages, at most `max`; none when there are none within `wait`.
    ///
    /// # Errors
    /// When a queue cannot be read. The others are not affected; call again when [`Error::is_retryable`].
    ///
    /// # Cancel safety
    /// Safe: a dropped wait loses nothing; what has come meanwhile is given by the next call.
    pub async fn poll(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<ReceivedMessage>, Error> {
        let until = Instant::now() + wait;
        loop {
            let ready = self.take_ready(max);
            if !ready.is_empty() {
                self.trace(&ready);
                return Ok(ready);
            }
            self.start_pulls();
            if self.running.is_empty() {
                tokio::time::sleep_until(until).await;
                return Ok(Vec::new());
            }
            let Ok(Some((queue, generation, pulled))) =
                timeout_at(until, self.running.next()).await
            else {
                return Ok(Vec::new());
            };
            let Some(assigned) = self.assigned.get_mut(&queue) else {
                continue;
            };
            if assigned.generation != generation {
                continue;
            }
            assigned.is_running = false;
            let pulled = pulled?;
            assigned.fetch = pulled.next_offset;
            let filter = &self.filter;
            assigned.ready = pulled
                .messages
                .into_iter()
                .filter(|message| filter.accepts(message.tag()))
                .collect();
            if assigned.ready.is_empty() {
                assigned.position = assigned.fetch;
            }
        }
    }

    /// Says of messages that they are consumed: whoever polls them does not say it (`client/…/impl/consumer/DefaultLitePullConsumerImpl.java`).
    fn trace(&self, messages: &[ReceivedMessage]) {
        let Some(traces) = self.client.traces() else {
            return;
        };
        for message in messages {
            let retries = u32::try_from(message.reconsume_times()).unwrap_or(0);
            let begun = traces.received(&self.client, &self.group, message, retries);
            if let Some(begun) = begun {
                traces.consumed(&self.client, &self.group, message, &begun, Ended::Success);
            }
        }
    }

    fn take_ready(&mut self, max: usize) -> Vec<ReceivedMessage> {
        let mut taken = Vec::new();
        for assigned in self.assigned.values_mut() {
            if assigned.is_paused {
                continue;
            }
            while taken.len() < max
                && let Some(message) = assigned.ready.pop_front()
            {
                assigned.position = match assigned.ready.front() {
                    Some(next) => next.queue_offset(),
                    None => assigned.fetch,
                };
                taken.push(message);
            }
        }
        taken
    }

    fn start_pulls(&mut self) {
        for (queue, assigned) in &mut self.assigned {
            if assigned.is_running || assigned.is_paused || !assigned.ready.is_empty() {
                continue;
            }
            assigned.is_running = true;
            let options = PullOptions::default()
                .group(self.group.as_str())
                .max_messages(MESSAGES)
                .max_bytes(BYTES)
                .filter(self.filter.clone())
                .wait(WAIT);
            let (client, queue) = (self.client.clone(), queue.clone());
            let (offset, generation) = (assigned.fetch, assigned.generation);
            self.running.push(Box::pin(async move {
                let pulled = client.pull(&queue, offset, &options).await;
                (queue, generation, pulled)
            }));
        }
    }

    /// Goes on at another offset of a queue.
    ///
    /// # Errors
    /// When the queue is not assigned.
    pub fn seek(&mut self, queue: &Queue, offset: i64) -> Result<(), Error> {
        self.generation += 1;
        let generation = self.generation;
        let assigned = self.assigned_mut(queue)?;
        let is_paused = assigned.is_paused;
        *assigned = Assigned::at(offset, generation);
        assigned.is_paused = is_paused;
        Ok(())
    }

    /// Gives no messages of a queue until [`PullConsumer::resume`].
    ///
    /// # Errors
    /// When the queue is not assigned.
    pub fn pause(&mut self, queue: &Queue) -> Result<(), Error> {
        self.assigned_mut(queue)?.is_paused = true;
        Ok(())
    }

    /// Goes on after [`PullConsumer::pause`].
    ///
    /// # Errors
    /// When the queue is not assigned.
    pub fn resume(&mut self, queue: &Queue) -> Result<(), Error> {
        self.assigned_mut(queue)?.is_paused = false;
        Ok(())
    }

    /// The offset of the next message that [`PullConsumer::poll`] gives of a queue, and that [`PullConsumer::commit`] commits.
    #[must_use]
    pub fn position(&self, queue: &Queue) -> Option<i64> {
        Some(self.assigned.get(queue)?.position)
    }

    /// What the group has committed of a queue.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn committed(&self, queue: &Queue) -> Result<Option<i64>, Error> {
        self.client
            .admin()
            .committed_offset(&self.group, queue)
            .await
    }

    /// Commits the positions of all queues: what `poll` gave counts as consumed.
    ///
    /// # Errors
    /// When a broker does not answer; those before it have got theirs.
    ///
    /// # Cancel safety
    /// A dropped call may have committed some of the queues; the next one makes it whole.
    pub async fn commit(&self) -> Result<(), Error> {
        let admin = self.client.admin();
        for (queue, assigned) in &self.assigned {
            admin
                .commit_offset(&self.group, queue, assigned.position)
                .await?;
        }
        Ok(())
    }

    fn assigned_mut(&mut self, queue: &Queue) -> Result<&mut Assigned, Error> {
        let group = &self.group;
        self.assigned.get_mut(queue).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("{queue} is not assigned to the pull consumer of \"{group}\""),
            )
        })
    }
}

impl Assigned {
    fn at(offset: i64, generation: u64) -> Self {
        Self {
            position: offset,
            fetch: offset,
            generation,
            is_running: false,
            is_paused: false,
            ready: VecDeque::new(),
        }
    }
}

impl std::fmt::Debug for PullConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullConsumer")
            .field("group", &self.group)
            .field("assigned", &self.assigned)
            .finish_non_exhaustive()
    }
}
