//! A replica's way to its master.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;
use rmq_protocol::{MemberId, Seat};
use rmq_store::Follower;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::futures::Notified;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::ReplicationConfig;
use crate::event::{End, ReplicaEvent};
use crate::fetch::{Fetched, Wanted};
use crate::greeting::Identity;
use crate::guard::{Guarded, not_shaken};
use crate::outbox::Outbox;
use crate::reading::Reading;
use crate::reason::{Reason, ReasonKind};
use crate::serve::is_closed;
use crate::session::{Ended, ReplicaSession, Unwritten};
use crate::wire::{Decoder, Frame, Marks, encode};

/// This much is written on another thread, while more is received: a replica that catches up.
const APART_BYTES: u64 = 512 << 10;
/// The same for one that is far behind: nobody waits for what it has.
const FAR_APART_BYTES: u64 = 128 << 10;
/// Nothing more is received while this much waits to be written.
const UNWRITTEN_BYTES_MAX: u64 = 2 << 20;

/// What was confirmed is shown together, at most once in this time: that reads the log again.
const SHOW_PAUSE: Duration = Duration::from_millis(1);
/// So much later, if nothing more comes. A timer that is shorter than the system's own costs each message more than it is worth.
const SHOW_DELAY: Duration = Duration::from_millis(4);
/// A master that has closed so many connections in a row before anything was copied does not hand over: it is missing.
const CLOSED_MAX: u32 = 5;

/// Where events of a replica go. They are rare: a few for each connection.
pub type ReplicaEvents = UnboundedSender<ReplicaEvent>;

/// The master to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host and replication port, resolved again for each connection.
    pub address: String,
    /// Which member it has to be; `None`: whoever is master there, as with fixed roles.
    pub member: Option<MemberId>,
    /// The epoch that it must have at least.
    pub epoch: u64,
}

/// What a replica follows, and with what.
pub struct Following {
    /// Whom.
    pub target: Target,
    /// The store that is copied into. It is dropped when following ends.
    pub store: Arc<Follower>,
    /// Who this member is.
    pub identity: Identity,
    /// Limits and times.
    pub config: ReplicationConfig,
    /// Who is told.
    pub events: ReplicaEvents,
    /// Where the figures are kept.
    pub followed: Arc<Followed>,
}

/// How far a replica is behind its master, for figures, and for retention: nothing above the master's [begin](Self::master_begin) is
/// to be removed.
#[derive(Debug, Default)]
pub struct Followed {
    state: Mutex<State>,
    /// A stretch of the log that the master is to be asked for.
    wanted: Mutex<Option<Wanted>>,
    asks: Notify,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    master: Option<Seat>,
    epoch: u64,
    begin: Option<LogPosition>,
    end: LogPosition,
    /// The furthest that the log of a master of an earlier epoch reached.
    former_end: LogPosition,
    confirmed: LogPosition,
}

impl Followed {
    /// The master, while there is a connection that was greeted.
    #[must_use]
    pub fn master(&self) -> Option<Seat> {
        self.state.lock().master
    }

    /// The epoch of the master that was followed last; 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.state.lock().epoch
    }

    /// Where the log of the master begins, as it said last. `None` before the first connection.
    #[must_use]
    pub fn master_begin(&self) -> Option<LogPosition> {
        self.state.lock().begin
    }

    /// Where the log of the master ended, as it said last.
    #[must_use]
    pub fn master_end(&self) -> LogPosition {
        self.state.lock().end
    }

    /// The furthest that the logs of the masters before this epoch reached, as they said; `None`: nobody has said.
    #[must_use]
    pub fn end_before(&self, epoch: u64) -> Option<LogPosition> {
        let state = self.state.lock();
        let end = match state.epoch < epoch {
            true => state.former_end.max(state.end),
            false => state.former_end,
        };
        (end.0 > 0).then_some(end)
    }

    /// What the master has confirmed, as it said last.
    #[must_use]
    pub fn confirmed(&self) -> LogPosition {
        self.state.lock().confirmed
    }

    /// Asks the master for a stretch of its log that this member has received: what is damaged here. Dropped without an answer, there is no
    /// connection, or it has ended. One question at a time: a newer one takes the place of one that was not sent yet.
    pub fn fetch(&self, from: LogPosition, to: LogPosition) -> oneshot::Receiver<Fetched> {
        let (wanted, answer) = Wanted::new(from, to);
        // Held until it is there: the end of the connection takes it away.
        let state = self.state.lock();
        if state.master.is_some() {
            *self.wanted.lock() = Some(wanted);
        }
        drop(state);
        self.asks.notify_waiters();
        answer
    }

    pub(crate) fn wanted(&self) -> Option<Wanted> {
        self.wanted.lock().take()
    }

    fn asks(&self) -> Notified<'_> {
        self.asks.notified()
    }

    pub(crate) fn connected(&self, master: Seat, epoch: u64, end: LogPosition) {
        let mut state = self.state.lock();
        if epoch > state.epoch {
            state.former_end = state.former_end.max(state.end);
        }
        state.master = Some(master);
        state.epoch = epoch;
        state.end = end;
    }

    pub(crate) fn marked(&self, marks: Marks, end: LogPosition) {
        let mut state = self.state.lock();
        state.begin = Some(marks.begin);
        state.confirmed = state.confirmed.max(marks.confirmed);
        state.end = state.end.max(end);
    }

    fn lost(&self) {
        let mut state = self.state.lock();
        state.master = None;
        *self.wanted.lock() = None;
    }
}

/// Follows until `stop`, or until the store cannot continue: connects, compares the logs, cuts off what the master does not have, copies,
/// reports, and connects again when the connection ends.
pub async fn follow(following: Following, stop: CancellationToken) -> End {
    let writing = Writing::default();
    let (first, longest) = following.config.back_off;
    let mut pause = first;
    let mut last_told: Option<Reason> = None;
    let mut closed = 0;
    loop {
        let attempt = async {
            match TcpStream::connect(&following.target.address).await {
                Ok(stream) => {
                    // Reports are small and must not wait for each other.
                    let _ = stream.set_nodelay(true);
                    shaken(stream, &following, &writing).await
                }
                Err(error) => (unreachable_master(&following, &error), false),
            }
        };
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            ended = attempt => Some(ended),
        };
        writing.finish().await;
        following.followed.lost();
        let Some((ended, has_worked)) = ended else {
            return End::Stopped;
        };
        let mut reason = match ended {
            Ended::Store(reason) => return End::Store { reason },
            Ended::Diverged(parting) => return End::Diverged(parting),
            Ended::Expired(reason) => return End::NeedsSnapshot { reason },
            Ended::Again(reason) => reason,
        };
        if has_worked {
            pause = first;
            last_told = None;
            closed = 0;
        } else if reason.kind == ReasonKind::Stopping {
            closed += 1;
            // Nobody copies from one that closes each connection; one that hands over does so for a moment.
            if closed >= CLOSED_MAX {
                reason.kind = ReasonKind::Silence;
            }
        }
        if last_told.as_ref() != Some(&reason) {
            let event = match reason.kind.is_refusal() {
                true => ReplicaEvent::Refused {
                    reason: reason.clone(),
                },
                false => ReplicaEvent::Lost {
                    reason: reason.clone(),
                },
            };
            // Whoever drives the replica may have ended.
            let _ = following.events.send(event);
            last_told = Some(reason);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return End::Stopped,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(longest);
    }
}

fn unreachable_master(following: &Following, error: &io::Error) -> Ended {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused => ReasonKind::Gone,
        _ => ReasonKind::Silence,
    };
    Ended::Again(Reason::new(
        kind,
        format!(
            "the master at {} cannot be reached: {error}",
            following.target.address
        ),
    ))
}

/// As [`follow`], on a thread of its own: the disk and the other work of the process do not hold up the copying, nor the copying them. Dropped
/// before it is done, it stops.
pub fn follow_apart(
    following: Following,
    stop: CancellationToken,
) -> impl Future<Output = End> + Send + use<> {
    let stop = stop.child_token();
    // The thread takes it, if there is one.
    let following = Arc::new(Mutex::new(Some(following)));
    let (ended, end) = oneshot::channel();
    let (theirs, ends) = (Arc::clone(&following), stop.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let started = runtime.and_then(|runtime| {
        let thread = std::thread::Builder::new().name("rmq-copy".to_owned());
        thread.spawn(move || {
            let following = theirs.lock().take();
            if let Some(following) = following {
                let end = runtime.block_on(follow(following, ends));
                // A look-up of a name may take long.
                runtime.shutdown_background();
                // Whoever has asked may be gone.
                let _ = ended.send(end);
            }
        })
    });
    let left = match started {
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%error, "the master's log is copied without a thread of its own");
            following.lock().take()
        }
    };
    let stops = stop.clone().drop_guard();
    async move {
        let end = match left {
            Some(following) => follow(following, stop).await,
            None => end.await.unwrap_or_else(|_| End::Store {
                reason: Reason::new(ReasonKind::Store, "the thread that copied has panicked"),
            }),
        };
        drop(stops);
        end
    }
}

/// Follows over one connection, of any kind: why it ended, and whether the two have understood each other.
pub async fn follow_stream<S>(stream: S, following: &Following) -> (Ended, bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let writing = Writing::default();
    let ended = follow_over(stream, following, &writing).await;
    writing.finish().await;
    ended
}

/// Follows over a socket that was connected, after what stands between it and its first frame.
async fn shaken(stream: TcpStream, following: &Following, writing: &Writing) -> (Ended, bool) {
    let (config, address) = (&following.config, &following.target.address);
    let shaken = tokio::time::timeout(config.greeting_max, config.guard.dial(stream, address));
    match shaken.await.unwrap_or_else(|late| Err(late.into())) {
        Ok(Guarded::Plain(stream)) => follow_over(stream, following, writing).await,
        Ok(Guarded::Other(stream)) => follow_over(stream, following, writing).await,
        Err(error) => (Ended::Again(not_shaken(address, &error)), false),
    }
}

async fn follow_over<S>(stream: S, following: &Following, writing: &Writing) -> (Ended, bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = stream;
    let mut outbox = Outbox::default();
    let origin = Instant::now();
    let mut session = ReplicaSession::new(following, Duration::ZERO, outbox.frames());
    let ended = run(
        &mut stream,
        &mut outbox,
        &mut session,
        following,
        writing,
        origin,
    )
    .await;
    let ended = match ended {
        Ok(never) => match never {},
        Err(ended) => ended,
    };
    outbox
        .frames()
        .push(encode(&Frame::Close(ended.reason().clone())));
    outbox.send_last(&mut stream).await;
    (ended, session.is_following())
}

/// The master waits for the reports: each turn takes what has come, writes it, and reports it before it looks at anything else.
async fn run<S>(
    stream: &mut S,
    outbox: &mut Outbox,
    session: &mut ReplicaSession,
    following: &Following,
    writing: &Writing,
    origin: Instant,
) -> Result<Infallible, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lost = |error: io::Error| {
        // As a master does that hands over, or whose process ends.
        let kind = match is_closed(&error) {
            true => ReasonKind::Stopping,
            false => ReasonKind::Silence,
        };
        Ended::Again(Reason::new(
            kind,
            format!("the connection to the master broke: {error}"),
        ))
    };
    let store = &*following.store;
    let mut decoder = Decoder::new();
    let mut fetching = Reading::default();
    let mut alarm = pin!(tokio::time::sleep_until(origin));
    let mut progressed = pin!(store.progressed());
    let mut asks = pin!(following.followed.asks());
    let mut next_show = Duration::ZERO;
    poll_fn(|cx| {
        // Everything but the stream was looked at since the last thing that has happened.
        let mut has_looked = false;
        loop {
            // The end of a write wakes this task, too.
            let is_full = session.unwritten() >= UNWRITTEN_BYTES_MAX && writing.is_busy();
            let read = match is_full {
                true => Poll::Pending,
                false => pin!(stream.read_buf(decoder.buffer())).poll(cx),
            };
            let has_read = match read.map_err(lost)? {
                Poll::Pending if has_looked => return Poll::Pending,
                Poll::Pending => false,
                Poll::Ready(0) => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(lost(error)));
                }
                Poll::Ready(_) => true,
            };
            has_looked = true;
            let now = origin.elapsed();
            // Nothing is waited for here: what is stored and shown would wake this task itself, and another thread with it.
            progressed.set(store.progressed());
            if writing.poll_done(cx).is_ready() {
                session.end_write();
            }
            if has_read {
                while let Some(frame) = decoder.frame().map_err(Reason::from)? {
                    session.receive(frame, following, now, outbox.frames())?;
                }
            }
            let apart = match session.is_far_behind() {
                true => FAR_APART_BYTES,
                false => APART_BYTES,
            };
            if session.unwritten() >= apart
                && let Some(unwritten) = session.begin_write()
            {
                writing.begin(Arc::clone(&following.store), unwritten);
                has_looked = false;
            }
            session.store(following, now, outbox.frames())?;
            let is_sent = outbox.poll_send(stream, cx).map_err(lost)?.is_ready();
            // After the reports have left: the master waits for them, and nobody for this.
            if is_sent && now >= next_show && session.has_to_show() {
                session.confirm(following)?;
                next_show = now + SHOW_PAUSE;
            }
            progressed.set(store.progressed());
            while progressed.as_mut().poll(cx).is_ready() {
                progressed.set(store.progressed());
            }
            while asks.as_mut().poll(cx).is_ready() {
                asks.set(following.followed.asks());
            }
            if let Poll::Ready(read) = fetching.poll_done(cx) {
                session.fetched(read, outbox.frames());
            }
            if fetching.is_idle()
                && let Some(want) = session.fetches()
            {
                fetching.begin(store, want, Vec::new());
                has_looked = false;
            }
            session.tick(following, now, outbox.frames())?;
            let is_sent = outbox.poll_send(stream, cx).map_err(lost)?.is_ready();
            // Not before the reports have left, and that wakes this task anyway.
            let due = match is_sent && session.has_to_show() {
                true => session.due().min(next_show + SHOW_DELAY),
                false => session.due(),
            };
            let due = origin + due;
            if alarm.is_elapsed() || due < alarm.deadline() {
                alarm.as_mut().reset(due);
            }
            // When it is over, the next turn looks at the time.
            has_looked &= alarm.as_mut().poll(cx).is_pending();
        }
    })
    .await
}

/// A write on another thread, one at a time.
#[derive(Default)]
struct Writing(Mutex<Option<JoinHandle<()>>>);

impl Writing {
    fn is_busy(&self) -> bool {
        self.0.lock().is_some()
    }

    fn begin(&self, store: Arc<Follower>, unwritten: Unwritten) {
        let write = move || {
            unwritten.write(&store);
            // Dropped before the write is seen to have ended: the next user of the store may need it alone.
            drop(store);
        };
        *self.0.lock() = Some(tokio::task::spawn_blocking(write));
    }

    /// Ready once, when a write has ended. A panic in it has made the store read-only.
    fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut writing = self.0.lock();
        let Some(running) = &mut *writing else {
            return Poll::Pending;
        };
        let ended = Pin::new(running).poll(cx);
        ended.map(|_| *writing = None)
    }

    /// Waits for its end.
    async fn finish(&self) {
        poll_fn(|cx| match self.is_busy() {
            true => self.poll_done(cx),
            false => Poll::Ready(()),
        })
        .await;
    }
}
