//! A question of the election to another member, at the port where its log is copied.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::ReplicationConfig;
use crate::greeting::Greeting;
use crate::guard::{Guarded, not_shaken};
use crate::outbox::Outbox;
use crate::reason::{Reason, ReasonKind};
use crate::wire::{Decoder, Frame, encode};

/// Asks the member at `address` (host and replication port), which is to be of the same cluster and group, within
/// [`ReplicationConfig::greeting_max`].
///
/// # Errors
/// Why there is no answer. [`ReasonKind::Gone`]: the computer answers, and nobody listens there.
pub async fn ask(
    address: &str,
    greeting: Greeting,
    question: &[u8],
    config: &ReplicationConfig,
) -> Result<Vec<u8>, Reason> {
    let asked = async {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ReasonKind::Gone,
                _ => ReasonKind::Silence,
            };
            Reason::new(
                kind,
                format!("the member at {address} cannot be reached: {error}"),
            )
        })?;
        match config.guard.dial(stream, address).await {
            Ok(Guarded::Plain(stream)) => ask_stream(stream, greeting, question).await,
            Ok(Guarded::Other(stream)) => ask_stream(stream, greeting, question).await,
            Err(error) => Err(not_shaken(address, &error)),
        }
    };
    let max = config.greeting_max;
    tokio::time::timeout(max, asked).await.unwrap_or_else(|_| {
        Err(Reason::new(
            ReasonKind::Silence,
            format!(
                "the member at {address} has not answered within {} ms",
                max.as_millis()
            ),
        ))
    })
}

/// Asks over a connection of any kind.
///
/// # Errors
/// Why there is no answer.
pub async fn ask_stream<S>(
    stream: S,
    greeting: Greeting,
    question: &[u8],
) -> Result<Vec<u8>, Reason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lost = |error: io::Error| {
        Reason::new(
            ReasonKind::Silence,
            format!("the connection to the member broke: {error}"),
        )
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut outbox = Outbox::default();
    outbox
        .frames()
        .push(encode(&Frame::Greeting(greeting.clone())));
    outbox.frames().push(encode(&Frame::Question {
        number: 1,
        content: question,
    }));
    outbox.send(&mut writer).await.map_err(lost)?;
    let mut decoder = Decoder::new();
    loop {
        if reader.read_buf(decoder.buffer()).await.map_err(lost)? == 0 {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
        }
        while let Some(frame) = decoder.frame()? {
            match frame {
                Frame::Greeting(theirs) => greeting.check(&theirs)?,
                Frame::Answer { number: 1, content } => return Ok(content.to_vec()),
                Frame::Close(reason) => return Err(reason),
                _ => {
                    return Err(Reason::new(
                        ReasonKind::Protocol,
                        "something else came where an answer was due",
                    ));
                }
            }
        }
    }
}
