//! A snapshot of the master, for a replica whose log ends before the master's begins.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmq_protocol::message::LogPosition;
use rmq_store::fs::Fs;
use rmq_store::{History, InstallError, Installed, Installer, Snapshot, StoreConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::ReplicationConfig;
use crate::greeting::Greeting;
use crate::guard::{Guarded, not_shaken};
use crate::outbox::{Outbox, may_block};
use crate::reason::{Reason, ReasonKind};
use crate::serve::Source;
use crate::wire::{Decoder, Frame, encode};

/// How long the master keeps the log of a snapshot for the replica that took it.
const HOLD: Duration = Duration::from_secs(600);

/// Takes a snapshot of the master at `address` (host and replication port) into the folder of `store`, which nobody has open. What is in the
/// folder stays until the first chunk is there: it is for the caller to know that nobody counts on it. Afterwards the store is opened and
/// follows as always, from the beginning of the history or of the segment that the snapshot lies in.
///
/// # Errors
/// Why there is no snapshot. A folder that was begun is no store; the next call begins it again.
pub async fn install(
    address: &str,
    greeting: Greeting,
    history: History,
    store: (StoreConfig, Arc<dyn Fs>),
    config: &ReplicationConfig,
) -> Result<Installed, Reason> {
    let stream = TcpStream::connect(address).await.map_err(|error| {
        Reason::new(
            ReasonKind::Silence,
            format!("the master at {address} cannot be reached: {error}"),
        )
    })?;
    let silence_max = config.silence_max;
    let shaken = tokio::time::timeout(config.greeting_max, config.guard.dial(stream, address));
    match shaken.await.unwrap_or_else(|late| Err(late.into())) {
        Ok(Guarded::Plain(stream)) => {
            install_stream(stream, greeting, history, store, silence_max).await
        }
        Ok(Guarded::Other(stream)) => {
            install_stream(stream, greeting, history, store, silence_max).await
        }
        Err(error) => Err(not_shaken(address, &error)),
    }
}

async fn install_stream<S>(
    stream: S,
    greeting: Greeting,
    history: History,
    (store, fs): (StoreConfig, Arc<dyn Fs>),
    silence_max: Duration,
) -> Result<Installed, Reason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut outbox = Outbox::default();
    outbox
        .frames()
        .push(encode(&Frame::Greeting(greeting.clone())));
    outbox.frames().push(encode(&Frame::Snapshot));
    outbox
        .send(&mut writer)
        .await
        .map_err(|error| lost(&error))?;
    let mut decoder = Decoder::new();
    let mut installer: Option<Installer> = None;
    loop {
        let read = tokio::time::timeout(silence_max, reader.read_buf(decoder.buffer())).await;
        let Ok(read) = read else {
            return Err(Reason::new(
                ReasonKind::Silence,
                format!(
                    "nothing was heard of the master for {} ms",
                    silence_max.as_millis()
                ),
            ));
        };
        if read.map_err(|error| lost(&error))? == 0 {
            return Err(lost(&io::ErrorKind::UnexpectedEof.into()));
        }
        while let Some(frame) = decoder.frame()? {
            match frame {
                Frame::Greeting(theirs) => {
                    greeting.check(&theirs)?;
                    let made = Installer::new(store.clone(), Arc::clone(&fs), history);
                    installer = Some(made.map_err(|error| not_installed(&error))?);
                }
                Frame::Close(reason) => return Err(reason),
                Frame::Chunk([]) => {
                    let Some(installer) = installer.take() else {
                        return Err(out_of_turn());
                    };
                    let installed = may_block(true, || installer.finish());
                    return installed.map_err(|error| not_installed(&error));
                }
                Frame::Chunk(chunk) => {
                    let Some(installer) = &mut installer else {
                        return Err(out_of_turn());
                    };
                    may_block(true, || installer.take(chunk))
                        .map_err(|error| not_installed(&error))?;
                }
                _ => return Err(out_of_turn()),
            }
        }
    }
}

fn lost(error: &io::Error) -> Reason {
    Reason::new(
        ReasonKind::Silence,
        format!("the connection broke while a snapshot was sent: {error}"),
    )
}

fn out_of_turn() -> Reason {
    Reason::new(
        ReasonKind::Protocol,
        "something else came where a chunk of the snapshot was due",
    )
}

fn not_installed(error: &InstallError) -> Reason {
    Reason::new(
        ReasonKind::Store,
        format!("the snapshot of the master is not installed: {error}"),
    )
}

/// Sends the tables of the master's store. The reason is why the connection ends.
pub(crate) async fn send_snapshot(
    writer: &mut (impl AsyncWrite + Unpin),
    outbox: &mut Outbox,
    source: &Source,
) -> Reason {
    match send_chunks(writer, outbox, source).await {
        Ok(()) => Reason::new(ReasonKind::Answered, "the snapshot is sent"),
        Err(reason) => reason,
    }
}

fn none(error: &dyn std::fmt::Display) -> Reason {
    Reason::new(
        ReasonKind::Store,
        format!("the master's store gives no snapshot: {error}"),
    )
}

/// A snapshot of the master's store, whose log stays for the replica. Blocks.
pub(crate) fn take_snapshot(source: &Source) -> Result<Snapshot, Reason> {
    let snapshot = source.store.snapshot().map_err(|error| none(&error))?;
    let header = snapshot.header();
    let from = header.begins.min(header.segment);
    source.members.hold(LogPosition(from.0), HOLD);
    Ok(snapshot)
}

async fn send_chunks(
    writer: &mut (impl AsyncWrite + Unpin),
    outbox: &mut Outbox,
    source: &Source,
) -> Result<(), Reason> {
    let of = source.clone();
    let taken = tokio::task::spawn_blocking(move || take_snapshot(&of)).await;
    let mut snapshot = taken.map_err(|error| none(&error))??;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let chunk = snapshot.next_chunk();
            (snapshot, chunk)
        });
        let chunk;
        (snapshot, chunk) = read.await.map_err(|error| none(&error))?;
        let chunk = chunk.map_err(|error| none(&error))?;
        let is_last = chunk.is_none();
        let frame = encode(&Frame::Chunk(chunk.as_deref().unwrap_or_default()));
        outbox.frames().push(frame);
        outbox.send(writer).await.map_err(|error| lost(&error))?;
        if is_last {
            return Ok(());
        }
    }
}
