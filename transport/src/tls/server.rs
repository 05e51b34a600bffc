//! The handshake of a port, and its certificate, which changes while connections run.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::HandshakeKind;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::certificate;
use super::explain;
use super::files::{Fingerprint, Pem, TlsFile, TlsProblem, certified};
use super::socket::{Gulps, TlsSocket};
use crate::accept::{Handshake, Identity, TLS_HANDSHAKE};
use crate::limits::TransportLimits;

/// Wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    None,
    /// They are asked for one. Who shows none is [`Identity::Unknown`]; one that cannot be verified is refused.
    Optional,
    /// Who shows none is refused.
    Required,
}

/// With what a server shakes hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsServerSettings {
    /// PEM file with the server's certificate, and behind it those that lead to its authority.
    pub certificate: PathBuf,
    /// PEM file with its key, not encrypted.
    pub key: PathBuf,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// PEM file with the certificates of those who sign the clients'. Needed when clients show some.
    pub authorities: PathBuf,
    /// Whether plain connections are served too.
    pub takes_plain: bool,
}

impl TlsServerSettings {
    fn read(&self) -> Vec<Result<Pem, TlsProblem>> {
        let mut files = vec![
            Pem::read(TlsFile::Certificate, &self.certificate),
            Pem::read(TlsFile::Key, &self.key),
        ];
        if self.client_certificates != ClientCertificates::None {
            files.push(Pem::read(TlsFile::Authorities, &self.authorities));
        }
        files
    }
}

/// What became of a look at the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// They are as before.
    Unchanged,
    /// New connections have the new certificate.
    Changed,
    /// They cannot be used: what was there before stays in use.
    Kept(Vec<TlsProblem>),
}

/// How TLS does at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsStatus {
    /// The last second of the certificate in use, Unix.
    pub not_after_s: i64,
    /// Whether the files on disk cannot be used, so that an older certificate is.
    pub is_stale: bool,
    /// Handshakes that ended well, with a new session.
    pub full: u64,
    /// Handshakes that resumed a session.
    pub resumed: u64,
    /// Handshakes that failed or took too long.
    pub failed: u64,
}

struct Loaded {
    config: Arc<ServerConfig>,
    not_after_s: i64,
}

/// The TLS of one or more ports.
pub struct TlsServer {
    settings: TlsServerSettings,
    fingerprint: Fingerprint,
    loaded: ArcSwap<Loaded>,
    /// The files as they were looked at last, and what is wrong with them. Held while they are looked at.
    seen: Mutex<(u64, Vec<TlsProblem>)>,
    full: AtomicU64,
    resumed: AtomicU64,
    failed: AtomicU64,
}

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsServer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl TlsServer {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn open(settings: TlsServerSettings) -> Result<Arc<Self>, Vec<TlsProblem>> {
        let fingerprint = Fingerprint::new();
        let files = settings.read();
        let seen = fingerprint.of(&files);
        let loaded = load(&settings, files)?;
        if loaded.not_after_s < now_s() {
            tracing::warn!(certificate = %settings.certificate.display(), "the certificate of this server has expired: clients that verify it refuse to connect");
        }
        Ok(Arc::new(Self {
            settings,
            fingerprint,
            loaded: ArcSwap::from_pointee(loaded),
            seen: Mutex::new((seen, Vec::new())),
            full: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }))
    }

    /// Looks at the files, and takes them when they have changed and can be used: for new connections, those that are open keep what they
    /// have. Sessions of the old certificate are not resumed. Blocks.
    pub fn reload(&self) -> Reloaded {
        let mut seen = self.seen.lock();
        let files = self.settings.read();
        let now = self.fingerprint.of(&files);
        if now == seen.0 {
            return match seen.1.as_slice() {
                [] => Reloaded::Unchanged,
                problems => Reloaded::Kept(problems.to_vec()),
            };
        }
        let loaded = load(&self.settings, files).and_then(|loaded| {
            let is_expired = loaded.not_after_s < now_s();
            if is_expired && self.loaded.load().not_after_s >= now_s() {
                return Err(vec![TlsProblem {
                    of: TlsFile::Certificate,
                    path: self.settings.certificate.clone(),
                    what: "it has expired, and the certificate in use has not".to_owned(),
                }]);
            }
            Ok(loaded)
        });
        match loaded {
            Ok(loaded) => {
                self.loaded.store(Arc::new(loaded));
                *seen = (now, Vec::new());
                Reloaded::Changed
            }
            Err(problems) => {
                *seen = (now, problems.clone());
                Reloaded::Kept(problems)
            }
        }
    }

    /// Looks at the files again and again, and tells the log of what it finds.
    pub async fn watch(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        let mut told = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let this = Arc::clone(&self);
            let Ok(reloaded) = tokio::task::spawn_blocking(move || this.reload()).await else {
                continue;
            };
            match reloaded {
                Reloaded::Unchanged => told.clear(),
                Reloaded::Changed => {
                    told.clear();
                    tracing::info!(certificate = %self.settings.certificate.display(), "new connections have the new certificate");
                }
                Reloaded::Kept(problems) => {
                    if told != problems {
                        for problem in &problems {
                            tracing::error!(
                                "the certificate that is in use stays, because a new one cannot be used: {problem}"
                            );
                        }
                        told = problems;
                    }
                }
            }
        }
    }

    /// Accepts connections and shakes hands over each until `stop`, for a port with another protocol than remoting. Plain connections are
    /// closed, whatever the settings say.
    pub fn streams(
        self: &Arc<Self>,
        listener: TcpListener,
        limits: &TransportLimits,
        stop: CancellationToken,
    ) -> mpsc::Receiver<TlsSocket> {
        let (sender, streams) = mpsc::channel(1);
        let places = Arc::new(Semaphore::new(
            limits.handshakes_max.clamp(1, Semaphore::MAX_PERMITS),
        ));
        let (this, within) = (Arc::clone(self), limits.handshake_timeout);
        tokio::spawn(async move {
            loop {
                // The semaphore is never closed.
                let place = Arc::clone(&places).acquire_owned().await;
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((socket, peer)) = accepted else {
                    // No more files, or one connection that has gone.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let (this, sender, stop) = (Arc::clone(&this), sender.clone(), stop.clone());
                tokio::spawn(async move {
                    let shaken = tokio::select! {
                        () = stop.cancelled() => return,
                        shaken = tokio::time::timeout(within, this.shake(socket)) => shaken,
                    };
                    drop(place);
                    match shaken {
                        Ok(Ok((stream, _))) => {
                            // The server may have stopped.
                            let _ = sender.send(stream).await;
                        }
                        Ok(Err(error)) => tracing::debug!(%peer, "no connection: {error}"),
                        Err(_) => {
                            tracing::debug!(%peer, "no connection: the handshake took too long")
                        }
                    }
                });
            }
        });
        streams
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> TlsStatus {
        TlsStatus {
            not_after_s: self.loaded.load().not_after_s,
            is_stale: !self.seen.lock().1.is_empty(),
            full: self.full.load(Ordering::Relaxed),
            resumed: self.resumed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

fn load(
    settings: &TlsServerSettings,
    files: Vec<Result<Pem, TlsProblem>>,
) -> Result<Loaded, Vec<TlsProblem>> {
    let (mut read, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match file {
            Ok(pem) => read.push(pem),
            Err(problem) => problems.push(problem),
        }
    }
    let provider = super::algorithms();
    // What is there is checked also when something else is missing: all problems at once.
    let of = |wanted: TlsFile| read.iter().find(|pem| pem.of() == wanted);
    let own = match (of(TlsFile::Certificate), of(TlsFile::Key)) {
        (Some(certificate), Some(key)) => match certified(&provider, certificate, key) {
            Ok(own) => Some(own),
            Err(more) => {
                problems.extend(more);
                None
            }
        },
        (Some(certificate), None) => {
            problems.extend(certificate.certificates().err());
            None
        }
        (None, _) => None,
    };
    let roots = match of(TlsFile::Authorities).map(Pem::authorities) {
        Some(Err(problem)) => {
            problems.push(problem);
            None
        }
        Some(Ok(roots)) => Some(roots),
        None => None,
    };
    let verifier = match roots {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(roots) => {
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let built = match settings.client_certificates {
                ClientCertificates::Required => builder.build(),
                _ => builder.allow_unauthenticated().build(),
            };
            match built {
                Ok(verifier) => verifier,
                Err(error) => {
                    problems.push(TlsProblem {
                        of: TlsFile::Authorities,
                        path: settings.authorities.clone(),
                        what: error.to_string(),
                    });
                    WebPkiClientVerifier::no_client_auth()
                }
            }
        }
    };
    let wrong = |error: rustls::Error| TlsProblem {
        of: TlsFile::Certificate,
        path: settings.certificate.clone(),
        what: format!("it cannot be used: {error}"),
    };
    let Some(own) = own.filter(|_| problems.is_empty()) else {
        return Err(problems);
    };
    let not_after_s = own
        .cert
        .first()
        .and_then(|leaf| certificate::read(leaf).ok())
        .map_or(0, |leaf| leaf.not_after_s);
    let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| vec![wrong(error)])?;
    let mut config = versions
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    // Sessions are in tickets, which the server need not remember. Their key is new with each certificate and each CA.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| vec![wrong(error)])?;
    Ok(Loaded {
        config: Arc::new(config),
        not_after_s,
    })
}

/// The wall clock, seconds: certificates are good by it.
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

/// Counts a handshake as failed, unless it ended well: also one that is given up.
struct Counting<'a>(Option<&'a AtomicU64>);

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if let Some(failed) = self.0 {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Handshake for Arc<TlsServer> {
    const EXISTS: bool = true;

    /// A fatal alert, `unexpected_message`: a client of ours knows by it that the port takes only TLS.
    const REFUSAL: &'static [u8] = &[0x15, 3, 3, 0, 2, 2, 10];

    type Stream = TlsSocket;

    fn starts_with(&self, first: u8) -> io::Result<bool> {
        match first {
            TLS_HANDSHAKE => Ok(true),
            _ if self.settings.takes_plain => Ok(false),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer speaks plain, and this port takes only TLS: set up TLS in the client, or let the port take both (permissive)",
            )),
        }
    }

    async fn shake(&self, socket: TcpStream) -> io::Result<(TlsSocket, Identity)> {
        let mut counting = Counting(Some(&self.failed));
        let acceptor = TlsAcceptor::from(Arc::clone(&self.loaded.load().config));
        let stream = acceptor.accept(Gulps::new(socket)).await;
        let stream = stream.map_err(explain::client)?;
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let identity = match certificate.map(certificate::identity) {
            None => Identity::Unknown,
            Some(Ok(name)) => Identity::Certificate(name),
            Some(Err(why)) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
        };
        let ended = match session.handshake_kind() {
            Some(HandshakeKind::Resumed) => &self.resumed,
            _ => &self.full,
        };
        ended.fetch_add(1, Ordering::Relaxed);
        counting.0 = None;
        Ok((
            TlsSocket::new(tokio_rustls::TlsStream::from(stream)),
            identity,
        ))
    }
}
