//! The port of a member: its log for those who copy, if it is the master, and answers to the questions of the election.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rmq_store::{Store, Taker};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::ReplicationConfig;
use crate::event::{Asked, MasterEvent};
use crate::greeting::Identity;
use crate::guard::Guarded;
use crate::lane::{Lane, Offering, Sending, TryWrite, Unwilling};
use crate::members::Members;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::reading::{Reading, read as read_piece};
use crate::reason::{Reason, ReasonKind};
use crate::session::{MasterSession, Want};
use crate::snapshot::send_snapshot;
use crate::wire::{Decoder, Frame, encode};

/// What lies this close to the end of the log is in memory, and is read on the thread that sends it, bytes.
const HOT_BYTES: u64 = 64 << 20;
/// Nothing more is read while this much waits to be sent, bytes: one piece is read while another one is sent.
const UNSENT_BYTES_MAX: usize = 2 << 20;
/// Pause after the system had no more sockets.
const NO_SOCKET_PAUSE: Duration = Duration::from_millis(100);

/// Connections that are being refused at once.
const REFUSING_MAX: usize = 64;
/// What a connection that is refused has sent, bytes.
const UNREAD_BYTES_MAX: usize = 16 << 10;
/// How long it may take to close its side.
const UNREAD_MAX: Duration = Duration::from_secs(1);

/// Where events of a master go. They are rare: a few for each connection.
pub type MasterEvents = UnboundedSender<MasterEvent>;

/// Where questions of other members go: one for each connection.
pub type Questions = UnboundedSender<Asked>;

/// What a member has at its port, during one epoch. One that is no master has [members of no master](Members::of_no_master): it answers
/// questions, and copies to nobody.
#[derive(Clone)]
pub struct Source {
    /// Who the master is.
    pub identity: Identity,
    /// Its epoch.
    pub epoch: u64,
    /// Its store.
    pub store: Store,
    /// The members of its group.
    pub members: Arc<Members>,
    /// Who is told.
    pub events: MasterEvents,
    /// Who answers the questions of the election.
    pub questions: Questions,
}

impl Source {
    pub(crate) fn tell(&self, event: MasterEvent) {
        // Whoever drives the master may have ended.
        let _ = self.events.send(event);
    }
}

/// Copies the log to everybody of the group who connects, until `stop`. Then all connections are closed.
///
/// # Errors
/// The listener does not accept any more.
pub async fn serve(
    listener: TcpListener,
    source: Source,
    config: ReplicationConfig,
    stop: CancellationToken,
) -> io::Result<()> {
    let take = |connections: &mut JoinSet<()>, stream, peer| {
        let (source, config) = (source.clone(), config.clone());
        let is_one_too_many = connections.len() >= config.connections_max;
        connections.spawn(async move {
            if is_one_too_many {
                turn_away(stream, peer, &source, config.connections_max).await;
            } else {
                let shaken = config.guard.accept(stream);
                let shaken = tokio::time::timeout(config.greeting_max, shaken).await;
                match shaken.unwrap_or_else(|late| Err(late.into())) {
                    Ok(Guarded::Plain(stream)) => {
                        serve_socket(stream, peer, &source, config).await;
                    }
                    Ok(Guarded::Other(stream)) => {
                        serve_stream(stream, Some(peer), &source, config).await;
                    }
                    Err(error) => source.tell(MasterEvent::Refused {
                        peer: Some(peer),
                        reason: Reason::new(
                            ReasonKind::Silence,
                            format!("there is no connection: {error}"),
                        ),
                    }),
                }
            }
        });
    };
    accept(&listener, &stop, take).await
}

/// Tells everybody who connects why there is nothing here now, until `stop`: for a member whose store is closed.
///
/// # Errors
/// The listener does not accept any more.
pub async fn refuse(
    listener: TcpListener,
    reason: Reason,
    config: ReplicationConfig,
    stop: CancellationToken,
) -> io::Result<()> {
    accept(&listener, &stop, |connections, stream, _| {
        // Who connects gets its answer; of many, the newest are let go.
        if connections.len() < REFUSING_MAX {
            let (reason, config) = (reason.clone(), config.clone());
            connections.spawn(async move {
                let shaken = config.guard.accept(stream);
                match tokio::time::timeout(config.greeting_max, shaken).await {
                    Ok(Ok(Guarded::Plain(stream))) => close(stream, reason).await,
                    Ok(Ok(Guarded::Other(stream))) => close(stream, reason).await,
                    // It asks again, and tells its own log why.
                    Ok(Err(_)) | Err(_) => {}
                }
            });
        }
    })
    .await
}

async fn accept(
    listener: &TcpListener,
    stop: &CancellationToken,
    mut take: impl FnMut(&mut JoinSet<()>, TcpStream, SocketAddr),
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_passing(&error) => {
                tracing::warn!(%error, "a replication connection cannot be accepted; it is tried again");
                tokio::time::sleep(NO_SOCKET_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        // The smallest piece is one message, and the acknowledgement waits for it.
        let _ = stream.set_nodelay(true);
        take(&mut connections, stream, peer);
    }
    connections.shutdown().await;
    Ok(())
}

/// Whether a connection has broken because the other side has closed it: its system says so, as when the process ends.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// Whether a failed accept says nothing about the listener.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    // No more files: 24 for this process, 23 for the system.
    matches!(error.raw_os_error(), Some(23 | 24))
        || matches!(
            error.kind(),
            ConnectionAborted | ConnectionReset | Interrupted | WouldBlock
        )
}

async fn turn_away(stream: TcpStream, peer: SocketAddr, source: &Source, connections_max: usize) {
    let reason = Reason::new(
        ReasonKind::Busy,
        format!("the master has {connections_max} replication connections already"),
    );
    close(stream, reason.clone()).await;
    source.tell(MasterEvent::Refused {
        peer: Some(peer),
        reason,
    });
}

/// Says the reason, and closes the connection.
async fn close(stream: impl AsyncRead + AsyncWrite, reason: Reason) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut outbox = Outbox::default();
    outbox.frames().push(encode(&Frame::Close(reason)));
    outbox.send_last(&mut writer).await;
    // A socket that is closed with bytes unread takes back what it has sent.
    let mut rest = Vec::with_capacity(UNREAD_BYTES_MAX);
    let mut reading = (&mut reader).take(UNREAD_BYTES_MAX as u64);
    let _ = tokio::time::timeout(UNREAD_MAX, reading.read_to_end(&mut rest)).await;
}

/// Copies the log over one connection, of any kind, until it ends.
pub async fn serve_stream<S>(
    stream: S,
    peer: Option<SocketAddr>,
    source: &Source,
    config: ReplicationConfig,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, writer) = tokio::io::split(stream);
    let session = MasterSession::new(config.clone(), Duration::ZERO);
    let cannot: TryWrite<_> = |_, _| Err(io::ErrorKind::WouldBlock.into());
    let lane = Lane::new(source.clone(), session, writer, cannot);
    serve_over(reader, &lane, Arc::new(Unwilling), peer, config).await;
}

/// As [`serve_stream`], over a socket, to which the thread that writes the log writes as well.
async fn serve_socket(
    stream: TcpStream,
    peer: SocketAddr,
    source: &Source,
    config: ReplicationConfig,
) {
    let (reader, writer) = stream.into_split();
    let session = MasterSession::new(config.clone(), Duration::ZERO);
    let lane = Lane::new(source.clone(), session, writer, try_write);
    let lane = Arc::new(lane);
    let taker: Arc<dyn Taker> = Arc::clone(&lane) as _;
    serve_over(reader, &lane, taker, Some(peer), config).await;
}

fn try_write(writer: &OwnedWriteHalf, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    match parts {
        [only] => writer.try_write(only),
        all => writer.try_write_vectored(all),
    }
}

/// Ends the session when the task is dropped.
struct Serving<'a, W>(&'a Lane<W>);

impl<W> Drop for Serving<'_, W> {
    fn drop(&mut self) {
        if let Some(mut sending) = self.0.close() {
            let reason = Reason::new(ReasonKind::Stopping, "the master stops");
            sending.session.end(self.0.source(), &reason);
        }
    }
}

async fn serve_over<R, W>(
    mut reader: R,
    lane: &Lane<W>,
    taker: Arc<dyn Taker>,
    peer: Option<SocketAddr>,
    config: ReplicationConfig,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let source = lane.source();
    let pace = Pace::new(config.catch_up_bytes_per_second);
    let serving = Serving(lane);
    let ended = run(&mut reader, lane, &taker, pace).await;
    let sending = lane.close();
    drop(serving);
    let Some(Sending {
        mut session,
        mut outbox,
        mut writer,
    }) = sending
    else {
        return;
    };
    let reason = match ended {
        Ok(()) => send_snapshot(&mut writer, &mut outbox, source).await,
        Err(reason) => reason,
    };
    if !session.is_welcome() && reason.kind != ReasonKind::Answered {
        source.tell(MasterEvent::Refused {
            peer,
            reason: reason.clone(),
        });
    }
    session.end(source, &reason);
    outbox.frames().push(encode(&Frame::Close(reason)));
    outbox.send_last(&mut writer).await;
}

/// Runs until the replica wants a snapshot, or the connection ends. An acknowledgement waits for each turn of it: what has happened is looked
/// at once, and what there is to send is written at once, by the turn that finds it.
async fn run<R, W>(
    reader: &mut R,
    lane: &Lane<W>,
    taker: &Arc<dyn Taker>,
    mut pace: Pace,
) -> Result<(), Reason>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let lost = |session: &mut MasterSession, error: io::Error| {
        if is_closed(&error) {
            session.closed();
        }
        Reason::new(
            ReasonKind::Silence,
            format!("the connection to the replica broke: {error}"),
        )
    };
    let (source, origin) = (lane.source(), lane.origin());
    let mut offering = None;
    let mut decoder = Decoder::new();
    let mut alarm = pin!(tokio::time::sleep_until(origin));
    let mut reading = Reading::default();
    let mut fetching = Reading::default();
    let mut progressed = pin!(source.store.progressed());
    let mut changed = pin!(source.members.changed());
    poll_fn(|cx| {
        let mut sending = lane.lock();
        let Some(Sending {
            session,
            outbox,
            writer,
        }) = &mut *sending
        else {
            let reason = Reason::new(ReasonKind::Stopping, "the connection is closed");
            return Poll::Ready(Err(reason));
        };
        // Everything but the stream was looked at since the last thing that has happened.
        let mut has_looked = false;
        loop {
            let read = pin!(reader.read_buf(decoder.buffer())).poll(cx);
            match read.map_err(|error| lost(session, error))? {
                Poll::Pending if has_looked => return Poll::Pending,
                Poll::Pending => {}
                Poll::Ready(0) => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(lost(session, error)));
                }
                Poll::Ready(_) => {
                    // Nothing is waited for here: what a report brings on would wake this task itself, and another thread with it.
                    progressed.set(source.store.progressed());
                    let now = origin.elapsed();
                    while let Some(frame) = decoder.frame()? {
                        session.receive(frame, source, now, outbox.frames())?;
                    }
                    if session.wants_snapshot() {
                        return Poll::Ready(Ok(()));
                    }
                    progressed.set(source.store.progressed());
                    if offering.is_none() && session.is_welcome() {
                        offering = Some(Offering::begin(&source.store, taker));
                    }
                }
            }
            has_looked = true;
            if let Poll::Ready(answer) = session.poll_answered(cx) {
                session.answer(answer, outbox.frames())?;
            }
            if let Poll::Ready(piece) = reading.poll_done(cx) {
                session.send(piece?, source, origin.elapsed(), outbox.frames());
            }
            if let Poll::Ready(read) = fetching.poll_done(cx) {
                session.fetched(read, outbox.frames());
            }
            // Waited for before the store and the members are looked at.
            while progressed.as_mut().poll(cx).is_ready() {
                progressed.set(source.store.progressed());
            }
            while changed.as_mut().poll(cx).is_ready() {
                changed.set(source.members.changed());
            }
            let now = origin.elapsed();
            if fetching.is_idle()
                && let Some(want) = session.fetches()
            {
                fetching.begin(&source.store, want, Vec::new());
                has_looked = false;
            }
            session.tick(source, now, outbox.frames())?;
            loop {
                while reading.is_idle() && outbox.bytes() < UNSENT_BYTES_MAX {
                    let Some(want) = session.wants(source) else {
                        break;
                    };
                    let written = source.store.written().0;
                    if written - want.from.0 <= HOT_BYTES {
                        let piece = read_piece(&source.store, want, outbox.spare())?;
                        session.send(piece, source, now, outbox.frames());
                        continue;
                    }
                    let Poll::Ready(bytes_max) = pace.poll_turn(written, cx) else {
                        break;
                    };
                    let want = Want {
                        bytes_max: want.bytes_max.min(bytes_max),
                        ..want
                    };
                    reading.begin(&source.store, want, outbox.spare());
                    has_looked = false;
                }
                let is_full = outbox.bytes() >= UNSENT_BYTES_MAX;
                let sent = outbox.poll_send(writer, cx);
                let is_sent = sent.map_err(|error| lost(session, error))?.is_ready();
                if !is_full || !is_sent {
                    break;
                }
            }
            let due = origin + session.due();
            if alarm.is_elapsed() || due < alarm.deadline() {
                alarm.as_mut().reset(due);
            }
            // When it is over, the next turn looks at the time.
            has_looked &= alarm.as_mut().poll(cx).is_pending();
        }
    })
    .await
}
