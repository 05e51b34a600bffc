//! Reading a topic without a group: nothing is committed, and no other client is affected.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::Client;
use crate::consumer::Filter;
use crate::error::Error;
use crate::pull::{PullOptions, PullStatus};
use crate::queue::Queue;
use crate::received::ReceivedMessage;

/// Answers that wait to be taken, over all queues.
const ANSWERS_WAITING: usize = 8;
const MESSAGES: u16 = 1_024;
const BYTES: u32 = 1024 * 1024;
const WAIT: Duration = Duration::from_secs(15);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// What one pull brought.
type Answer = Result<Vec<ReceivedMessage>, Error>;

/// Where to begin in each queue.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use std::time::{Duration, SystemTime};
/// use rmq_client::Position;
///
/// let last = client.reader("orders").from(Position::Last(10)).open().await?.all().await?;
/// let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
/// let since = client.reader("orders").from(Position::Time(hour_ago)).open().await?.all().await?;
/// println!("{} {}", last.len(), since.len());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Position {
    /// The oldest message.
    #[default]
    Earliest,
    /// The next message that comes.
    Latest,
    /// So many messages before the end.
    Last(u64),
    /// The first message stored at or after this time.
    Time(SystemTime),
    /// This offset.
    Offset(i64),
}

/// Builds a [`Reader`].
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use std::time::SystemTime;
/// use rmq_client::{Filter, Position, Queue};
///
/// let mut reader = client
///     .reader("orders")
///     .from(Position::Earliest)
///     .until(SystemTime::now())
///     .queues([Queue::new("orders", "broker-a", 0)])
///     .filter(Filter::tags(["paid"]))
///     .follow(false)
///     .open()
///     .await?;
/// while let Some(message) = reader.next().await? {
///     println!("{}", message.queue_offset());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct ReaderBuilder {
    client: Client,
    topic: String,
    from: Position,
    until: Option<SystemTime>,
    queues: Option<Vec<Queue>>,
    filter: Filter,
    follow: bool,
}

impl ReaderBuilder {
    pub(crate) fn new(client: Client, topic: String) -> Self {
        Self {
            client,
            topic,
            from: Position::default(),
            until: None,
            queues: None,
            filter: Filter::all(),
            follow: false,
        }
    }

    /// Where to begin. Default: the oldest message.
    pub fn from(mut self, position: Position) -> Self {
        self.from = position;
        self
    }

    /// Leaves out what was stored at or after this time.
    pub fn until(mut self, at: SystemTime) -> Self {
        self.until = Some(at);
        self
    }

    /// Only these queues. Default: all that can be read.
    pub fn queues(mut self, queues: impl IntoIterator<Item = Queue>) -> Self {
        self.queues = Some(queues.into_iter().collect());
        self
    }

    /// Only messages that pass the filter.
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.filter = filter.into();
        self
    }

    /// Goes on with messages that come later. Default: ends where the queues ended when it was opened.
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Opens the reader: where each queue begins and ends is known then.
    ///
    /// # Errors
    /// When the topic has no route or a broker does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn open(self) -> Result<Reader, Error> {
        self.filter.check()?;
        let route = self.client.refresh_route(&self.topic).await?;
        let queues = self.queues.unwrap_or_else(|| route.readable().to_vec());
        if let Some(foreign) = queues.iter().find(|queue| queue.topic() != self.topic) {
            return Err(Error::invalid(format!(
                "{foreign} is not a queue of topic \"{}\"",
                self.topic
            )));
        }
        let (out, answers) = async_channel::bounded(ANSWERS_WAITING);
        let stop = self.client.stopped().child_token();
        // Even when the rest is no longer awaited.
        let stops = stop.clone().drop_guard();
        for queue in queues {
            let (begin, end) = bounds(&self.client, &queue, self.from, self.until).await?;
            let part = Part {
                client: self.client.clone(),
                queue,
                filter: self.filter.clone(),
                end: (!self.follow || self.until.is_some()).then_some(end),
                out: out.clone(),
                stop: stop.clone(),
            };
            self.client.tasks().spawn(part.run(begin));
        }
        Ok(Reader {
            answers: Box::pin(answers),
            ready: Vec::new().into_iter(),
            _stop: stops,
        })
    }
}

/// Where to begin, and the end of what is there now.
async fn bounds(
    client: &Client,
    queue: &Queue,
    from: Position,
    until: Option<SystemTime>,
) -> Result<(i64, i64), Error> {
    let admin = client.admin();
    let end = match until {
        Some(at) => admin.offset_at(queue, at).await?,
        None => admin.max_offset(queue).await?,
    };
    let begin = match from {
        Position::Earliest => admin.min_offset(queue).await?,
        Position::Latest => end,
        Position::Last(count) => {
            let oldest = admin.min_offset(queue).await?;
            end.saturating_sub_unsigned(count).max(oldest)
        }
        Position::Time(at) => admin.offset_at(queue, at).await?,
        Position::Offset(offset) => offset.max(admin.min_offset(queue).await?),
    };
    Ok((begin, end))
}

/// The messages of a topic: in order within a queue, in any order among queues. It ends when all queues were read to their ends,
/// unless it follows.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::Position;
///
/// let mut reader = client.reader("orders").from(Position::Last(20)).follow(true).open().await?;
/// while let Some(message) = reader.next().await? {
///     println!("{} {:?}", message.queue(), message.body());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Reader {
    answers: Pin<Box<async_channel::Receiver<Answer>>>,
    ready: std::vec::IntoIter<ReceivedMessage>,
    _stop: DropGuard,
}

impl Reader {
    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// When a queue cannot be read for a reason that waiting does not mend; the others continue.
    ///
    /// # Cancel safety
    /// Safe: a dropped wait loses nothing, and the next call continues.
    pub async fn next(&mut self) -> Result<Option<ReceivedMessage>, Error> {
        StreamExt::next(self).await.transpose()
    }

    /// All that is there.
    ///
    /// # Errors
    /// As [`Reader::next`].
    ///
    /// # Cancel safety
    /// Only reads, but what was read is lost with a dropped call.
    pub async fn all(mut self) -> Result<Vec<ReceivedMessage>, Error> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await? {
            all.push(message);
        }
        Ok(all)
    }
}

impl Stream for Reader {
    type Item = Result<ReceivedMessage, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(message) = self.ready.next() {
                return Poll::Ready(Some(Ok(message)));
            }
            match self.answers.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(messages))) => self.ready = messages.into_iter(),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// One queue's part.
struct Part {
    client: Client,
    queue: Queue,
    filter: Filter,
    /// Where it ends; `None`: never.
    end: Option<i64>,
    out: async_channel::Sender<Answer>,
    stop: CancellationToken,
}

impl Part {
    async fn run(self, begin: i64) {
        let stop = self.stop.clone();
        tokio::select! {
            () = self.read(begin) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn read(self, mut offset: i64) {
        let mut pause = PAUSE_MIN;
        let options = PullOptions::default()
            .max_messages(MESSAGES)
            .max_bytes(BYTES)
            .filter(self.filter.clone())
            .wait(if self.end.is_some() {
                Duration::ZERO
            } else {
                WAIT
            });
        while self.end.is_none_or(|end| offset < end) {
            let pulled = match self.client.pull(&self.queue, offset, &options).await {
                Ok(pulled) => pulled,
                Err(error) if error.is_retryable() && self.end.is_none() => {
                    tracing::warn!(queue = %self.queue, "cannot read, trying again: {error}");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    continue;
                }
                Err(error) => {
                    let _ = self.out.send(Err(error)).await;
                    return;
                }
            };
            pause = PAUSE_MIN;
            let is_stuck = pulled.next_offset <= offset;
            if is_stuck && self.end.is_some() {
                match pulled.status {
                    // Shorter than it was: its end was lost with a broker.
                    PullStatus::NoNewMessage | PullStatus::OffsetMoved => return,
                    _ => sleep(Duration::from_millis(5)).await,
                }
            }
            offset = pulled.next_offset;
            let wanted: Vec<ReceivedMessage> = pulled
                .messages
                .into_iter()
                .filter(|message| {
                    self.end.is_none_or(|end| message.queue_offset() < end)
                        && self.filter.accepts(message.tag())
                })
                .collect();
            if !wanted.is_empty() && self.out.send(Ok(wanted)).await.is_err() {
                return;
            }
        }
    }
}
