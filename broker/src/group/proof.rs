//! Members of a group prove to each other on the replication port that they belong to it: that they know the credentials of the brokers
//! (`innerClientAuthenticationCredentials`). Nothing that goes over the wire proves it a second time.
//!
//! After TLS, where there is TLS, and before the first frame:
//!
//! | from | bytes |
//! | --- | --- |
//! | the member that connects | `RMQP`, version (1), its nonce (32) |
//! | the other one | 0: it has no credentials, and nothing follows; or 1, its nonce (32), its MAC (32) |
//! | the member that connects | its MAC (32) |
//! | the other one | 1: the MAC is right; 0: it is not |
//!
//! A MAC is the HMAC-SHA256, with the secret key, of who makes it, the access key and both nonces. The first byte tells a proof from a frame,
//! whose length begins with 0, and from TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hmac::{Hmac, Mac};
use rmq_access::Secret;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::secrets::Signer;

/// The first byte of a proof.
pub(crate) const FIRST: u8 = b'R';
const MAGIC: &[u8; 5] = b"RMQP\x01";
const NONCE_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
const NOT_KNOWN: u8 = 0;
const KNOWN: u8 = 1;

const ASKED: &str = "and this member asks for it (authenticationEnabled): give all members of the group the same innerClientAuthenticationCredentials";

/// With what this member proves that it belongs to the group, and whether others must.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proof {
    signer: Option<Signer>,
    is_asked: bool,
}

/// Who makes a MAC.
#[derive(Clone, Copy)]
enum Side {
    Connects,
    Accepts,
}

fn refused(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text.into())
}

fn nonce() -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    // 24 random bytes as text.
    nonce.copy_from_slice(Secret::random().reveal().as_bytes());
    nonce
}

fn mac(signer: &Signer, by: Side, nonces: &[[u8; NONCE_BYTES]; 2]) -> Hmac<Sha256> {
    let mut mac = signer.mac();
    mac.update(match by {
        Side::Connects => b"rmq replication: the member that connects",
        Side::Accepts => b"rmq replication: the member that accepts",
    });
    nonces.iter().for_each(|nonce| mac.update(nonce));
    mac
}

impl Proof {
    /// With the credentials of the broker, if it has any. Without them there is nothing to ask for.
    pub(crate) fn new(signer: Option<Signer>, authenticates: bool) -> Self {
        let is_asked = authenticates && signer.is_some();
        Self { signer, is_asked }
    }

    /// Proves it to the member that was connected to, which proves it too.
    ///
    /// # Errors
    /// One of the two does not know the credentials, or the connection broke.
    pub(crate) async fn dial<S>(&self, stream: &mut S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(signer) = &self.signer else {
            return Ok(());
        };
        let own = nonce();
        stream.write_all(&[&MAGIC[..], &own].concat()).await?;
        stream.flush().await?;
        if stream.read_u8().await? == NOT_KNOWN {
            return match self.is_asked {
                true => Err(refused(format!(
                    "the other member has no credentials, {ASKED}"
                ))),
                false => Ok(()),
            };
        }
        let (mut theirs, mut proof) = ([0; NONCE_BYTES], [0; MAC_BYTES]);
        stream.read_exact(&mut theirs).await?;
        stream.read_exact(&mut proof).await?;
        let nonces = [own, theirs];
        let expected = mac(signer, Side::Accepts, &nonces);
        expected.verify_slice(&proof).map_err(|_| {
            refused("the other member has other innerClientAuthenticationCredentials than this one")
        })?;
        let proof = mac(signer, Side::Connects, &nonces).finalize();
        stream.write_all(&proof.into_bytes()).await?;
        stream.flush().await?;
        match stream.read_u8().await? {
            KNOWN => Ok(()),
            _ => Err(refused(
                "the other member does not recognise the innerClientAuthenticationCredentials of this one",
            )),
        }
    }

    /// Has the member that connected prove it, when the first byte that it sends begins a proof.
    ///
    /// # Errors
    /// The member does not know the credentials, it proves nothing and must, or the connection broke.
    pub(crate) async fn accept<S>(&self, stream: &mut S, begins: bool) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !begins {
            return match self.is_asked {
                true => Err(refused(format!(
                    "the member that connects does not prove that it belongs to this group, {ASKED}"
                ))),
                false => Ok(()),
            };
        }
        let (mut magic, mut theirs) = ([0; MAGIC.len()], [0; NONCE_BYTES]);
        stream.read_exact(&mut magic).await?;
        if magic != *MAGIC {
            return Err(refused(
                "the member that connects proves itself by a version that is not known here",
            ));
        }
        stream.read_exact(&mut theirs).await?;
        let Some(signer) = &self.signer else {
            stream.write_all(&[NOT_KNOWN]).await?;
            return stream.flush().await;
        };
        let own = nonce();
        let nonces = [theirs, own];
        let proof = mac(signer, Side::Accepts, &nonces).finalize().into_bytes();
        stream
            .write_all(&[&[KNOWN][..], &own, &proof].concat())
            .await?;
        stream.flush().await?;
        let mut proof = [0; MAC_BYTES];
        stream.read_exact(&mut proof).await?;
        let expected = mac(signer, Side::Connects, &nonces);
        let is_right = expected.verify_slice(&proof).is_ok();
        stream.write_all(&[u8::from(is_right)]).await?;
        stream.flush().await?;
        match is_right {
            true => Ok(()),
            false => Err(refused(
                "the member that connects has other innerClientAuthenticationCredentials than this one",
            )),
        }
    }
}

/// A stream whose first byte was read already.
pub(crate) struct Begun<S> {
    first: Option<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Reads the first byte, which is read again from what this returns.
    ///
    /// # Errors
    /// The connection broke, or the other side said nothing.
    pub(crate) async fn peek(mut stream: S) -> io::Result<(u8, Self)> {
        let first = stream.read_u8().await?;
        let begun = Self {
            first: Some(first),
            stream,
        };
        Ok((first, begun))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buf.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use rmq_access::User;

    use super::*;

    fn proof(password: &str, is_asked: bool) -> Proof {
        let json = format!(r#"{{"accessKey":"inner","secretKey":"{password}"}}"#);
        let user = User::of_configuration(&json).expect("a user");
        Proof::new(Signer::of(&user), is_asked)
    }

    /// What both sides make of each other.
    async fn meet(connects: Proof, accepts: Proof) -> [Result<(), String>; 2] {
        let (one, other) = tokio::io::duplex(1_024);
        let accepted = async {
            let (first, mut begun) = Begun::peek(other).await?;
            accepts.accept(&mut begun, first == FIRST).await?;
            // What went well stays open for the first frame, and what failed is closed, as a connection is.
            Ok::<_, io::Error>(begun)
        };
        let dialled = async {
            let mut one = one;
            connects.dial(&mut one).await?;
            // The first frame.
            one.write_all(&[0; 8]).await?;
            Ok::<_, io::Error>(one)
        };
        let (one, other) = tokio::join!(dialled, accepted);
        [one.map(drop), other.map(drop)].map(|ended| ended.map_err(|error| error.to_string()))
    }

    #[tokio::test]
    async fn members_prove_what_they_know() {
        let none = || Proof::new(None, true);
        for (connects, accepts) in [
            (proof("one", true), proof("one", true)),
            // From an open group to a closed one: step by step.
            (none(), none()),
            (none(), proof("one", false)),
            (proof("one", false), none()),
            (proof("one", false), proof("one", true)),
        ] {
            assert_eq!(meet(connects, accepts).await, [Ok(()), Ok(())]);
        }
        let [_, accepted] = meet(none(), proof("one", true)).await;
        let why = accepted.expect_err("nothing is proven");
        assert!(why.contains("authenticationEnabled"), "{why}");
        let [dialled, _] = meet(proof("one", true), none()).await;
        let why = dialled.expect_err("nothing is proven");
        assert!(why.contains("the other member has no credentials"), "{why}");
        let [dialled, accepted] = meet(proof("one", true), proof("two", true)).await;
        let why = dialled.expect_err("another secret");
        assert!(
            why.contains("other innerClientAuthenticationCredentials"),
            "{why}"
        );
        accepted.expect_err("another secret");
    }

    #[tokio::test]
    async fn what_was_seen_once_proves_nothing_again() {
        let accepts = proof("one", true);
        let (mut one, mut other) = tokio::io::duplex(1_024);
        let attack = async {
            one.write_all(&[&MAGIC[..], &[7; NONCE_BYTES]].concat())
                .await?;
            let mut answer = [0; 1 + NONCE_BYTES + MAC_BYTES];
            one.read_exact(&mut answer).await?;
            // The MAC of the other side, sent back to it.
            one.write_all(&answer[1 + NONCE_BYTES..]).await?;
            one.read_u8().await
        };
        let (verdict, accepted) = tokio::join!(attack, accepts.accept(&mut other, true));
        assert_eq!(verdict.expect("a verdict"), NOT_KNOWN);
        accepted.expect_err("its own MAC");
    }
}
