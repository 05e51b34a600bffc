//! Reading a queue from an offset, without being a member of a group.

use std::time::Duration;

use rmq_protocol::ResponseCode;
use rmq_protocol::requests::{PullMessage, PullMessageReply, Request, pull_flag};

use crate::client::Client;
use crate::consumer::Filter;
use crate::error::{Error, ErrorKind};
use crate::queue::Queue;
use crate::received::ReceivedMessage;

/// Added to the wait for the answer: brokers look at the time limit of waiting requests only now and then.
const WAIT_SLACK: Duration = Duration::from_secs(10);

/// Before the caller asks for the same offset again.
const STUCK_PAUSE: Duration = Duration::from_millis(100);

/// How much to pull, and for how long to wait.
///
/// ```
/// use std::time::Duration;
/// let options = rmq_client::PullOptions::default().max_messages(100).wait(Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct PullOptions {
    group: String,
    max_messages: i32,
    max_bytes: i32,
    wait: Duration,
    filter: Filter,
}

impl Default for PullOptions {
    /// 32 messages, no wait, everything, as the group of tools.
    fn default() -> Self {
        Self {
            group: rmq_protocol::names::TOOLS_GROUP.to_owned(),
            max_messages: 32,
            max_bytes: i32::MAX,
            wait: Duration::ZERO,
            filter: Filter::all(),
        }
    }
}

impl PullOptions {
    /// In the name of a group; its rights and settings count.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// Most messages of one answer. Brokers have a limit of their own.
    pub fn max_messages(mut self, messages: u16) -> Self {
        self.max_messages = i32::from(messages.max(1));
        self
    }

    /// Most bytes of one answer; one message is always given.
    pub fn max_bytes(mut self, bytes: u32) -> Self {
        self.max_bytes = i32::try_from(bytes.max(1)).unwrap_or(i32::MAX);
        self
    }

    /// How long the broker holds the request until there is a message. Default: not at all.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Only messages with one of these tags, `A || B`.
    pub fn tags(self, expression: impl Into<String>) -> Self {
        self.filter(expression.into())
    }

    /// Only messages that pass the filter.
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.filter = filter.into();
        self
    }
}

/// What was found at the offset.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::{PullOptions, PullStatus, Queue};
///
/// let pulled = client.pull(&Queue::new("orders", "broker-a", 0), 0, &PullOptions::default()).await?;
/// if pulled.status == PullStatus::OffsetMoved {
///     println!("continue at {}", pulled.next_offset);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullStatus {
    /// Messages.
    Found,
    /// Nothing new.
    NoNewMessage,
    /// Messages, but none that the filter matches; continue at the next offset.
    NoMatch,
    /// The offset is outside the queue; continue at the next offset.
    OffsetMoved,
}

/// The result of a pull.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use std::time::Duration;
/// use rmq_client::{PullOptions, Queue};
///
/// let options = PullOptions::default().group("audit").max_messages(64).max_bytes(1 << 20).wait(Duration::from_secs(5)).tags("paid");
/// let pulled = client.pull(&Queue::new("orders", "broker-a", 0), 0, &options).await?;
/// println!("{} messages, then {}", pulled.messages.len(), pulled.next_offset);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What was found.
    pub status: PullStatus,
    /// The messages, by offset.
    pub messages: Vec<ReceivedMessage>,
    /// The offset at which to continue.
    pub next_offset: i64,
    /// The queue's oldest offset.
    pub min_offset: i64,
    /// The offset after the queue's newest message.
    pub max_offset: i64,
}

impl Client {
    /// Reads messages of `queue` from `offset` on.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// use rmq_client::PullOptions;
    /// for queue in client.route("orders").await?.readable() {
    ///     let pulled = client.pull(queue, 0, &PullOptions::default()).await?;
    ///     println!("{queue}: {} messages", pulled.messages.len());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the broker does not answer in time or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn pull(
        &self,
        queue: &Queue,
        offset: i64,
        options: &PullOptions,
    ) -> Result<Pulled, Error> {
        options.filter.check()?;
        let waits = !options.wait.is_zero();
        let request = PullMessage {
            consumer_group: options.group.as_str().into(),
            topic: queue.topic().into(),
            queue_id: queue.id(),
            queue_offset: offset,
            max_msg_nums: options.max_messages,
            sys_flag: pull_flag::SUBSCRIPTION | if waits { pull_flag::SUSPEND } else { 0 },
            commit_offset: 0,
            suspend_timeout_millis: i64::try_from(options.wait.as_millis()).unwrap_or(i64::MAX),
            subscription: Some(options.filter.expression().into()),
            sub_version: 0,
            expression_type: Some(options.filter.expression_type().into()),
            max_msg_bytes: Some(options.max_bytes),
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: Some(queue.broker().into()),
        };
        let puller = async || {
            let remote = self.puller_of(queue).await?;
            Ok::<_, Error>(match waits {
                true => remote.with_timeout(self.timeouts().request + options.wait + WAIT_SLACK),
                false => remote,
            })
        };
        let code = PullMessage::CODE.as_i32();
        let mut remote = puller().await?;
        let mut answered = remote.call_any(code, &request, b"").await;
        // Connections to a master that has a successor are left: the successor is asked.
        if let Err(error) = &answered
            && error.kind() == ErrorKind::Unreachable
            && self.has_other_master(queue, remote.addr())
        {
            self.reading().silent(remote.addr());
            remote = puller().await?;
            answered = remote.call_any(code, &request, b"").await;
        }
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                // The next try asks where the broker is now, and passes over one that is silent.
                self.expire_route(queue.topic());
                if error.is_silence() {
                    self.reading().silent(remote.addr());
                }
                if waits && error.kind() == ErrorKind::Timeout {
                    // Its machine may be gone without a word.
                    self.disconnect(remote.addr());
                }
                let error = self.explain(queue.topic(), error);
                return Err(error.doing(&format!("pulling {queue} from {offset}")));
            }
        };
        let status = match ResponseCode::from_i32(answer.code()) {
            Some(ResponseCode::Success) => PullStatus::Found,
            Some(ResponseCode::PullNotFound) => PullStatus::NoNewMessage,
            Some(ResponseCode::PullRetryImmediately) => PullStatus::NoMatch,
            Some(ResponseCode::PullOffsetMoved) => PullStatus::OffsetMoved,
            _ => {
                return Err(answer
                    .error()
                    .doing(&format!("pulling {queue} from {offset}")));
            }
        };
        let reply: PullMessageReply = answer.fields()?;
        let messages = match status {
            PullStatus::Found => ReceivedMessage::parse_all(answer.body(), queue.broker())
                .map_err(|error| {
                    error
                        .at(answer.addr())
                        .doing(&format!("pulling {queue} from {offset}"))
                })?,
            _ => Vec::new(),
        };
        let suggested = reply.suggest_which_broker_id;
        self.reading().answered(queue, remote.addr(), suggested);
        if waits && status == PullStatus::NoMatch && reply.next_begin_offset == offset {
            // A replica that has no more, of a master that cannot be reached.
            tokio::time::sleep(options.wait.min(STUCK_PAUSE)).await;
        }
        Ok(Pulled {
            status,
            messages,
            next_offset: reply.next_begin_offset,
            min_offset: reply.min_offset,
            max_offset: reply.max_offset,
        })
    }

    /// Whether the known route has another master for the queue than the server at `addr`.
    fn has_other_master(&self, queue: &Queue, addr: &str) -> bool {
        let route = self.routes().any(queue.topic());
        route.is_some_and(|route| {
            route
                .master(queue.broker())
                .is_some_and(|master| master != addr)
        })
    }

    /// Reads everything that `queue` holds now.
    ///
    /// # Errors
    /// When the broker does not answer in time or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn pull_all(&self, queue: &Queue) -> Result<Vec<ReceivedMessage>, Error> {
        let options = PullOptions::default().max_messages(1_024);
        let mut all = Vec::new();
        let mut offset = 0;
        loop {
            let pulled = self.pull(queue, offset, &options).await?;
            let stuck = pulled.next_offset == offset;
            match pulled.status {
                PullStatus::NoNewMessage => return Ok(all),
                // An offset at or beyond the end is moved back to the end.
                PullStatus::OffsetMoved if pulled.next_offset <= offset => return Ok(all),
                PullStatus::NoMatch if stuck => tokio::time::sleep(Duration::from_millis(5)).await,
                PullStatus::Found if stuck => {
                    return Err(Error::protocol(
                        queue.broker(),
                        format!("{queue} stays at offset {offset}"),
                    ));
                }
                _ => {}
            }
            offset = pulled.next_offset;
            all.extend(pulled.messages);
        }
    }
}
