//! The handshake towards a server.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};

use super::certificate;
use super::explain;
use super::files::{Fingerprint, Pem, TlsFile, TlsProblem, certified};
use super::socket::{Gulps, TlsSocket};
use crate::connector::{ConnectFuture, Connector, Stream};

/// Files are looked at again when a connection is opened, at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Whom a client trusts, and what it shows. By default: whom the system trusts, and nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsClientSettings {
    /// PEM file with the certificates of those who sign the servers'; `None`: whom the system trusts.
    pub authorities: Option<PathBuf>,
    /// PEM files with the own certificate and its key, for servers that ask for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// In place of the two: what the files would have.
    pub texts: TlsTexts,
    /// The name that certificates must have; `None`: the host that is connected to.
    pub server_name: Option<String>,
    /// Any server is believed, whatever its certificate says: whoever is in the way reads and changes everything.
    pub danger_accept_any_server: bool,
}

/// PEM texts of those who hold certificates in memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsTexts {
    /// The certificates of those who sign the servers'.
    pub authorities: Option<Vec<u8>>,
    /// The own certificate and its key.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for TlsTexts {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTexts")
            .field("authorities", &self.authorities.is_some())
            .field("certificate", &self.certificate.is_some())
            .finish()
    }
}

impl TlsClientSettings {
    fn read(&self) -> Vec<Result<Pem, TlsProblem>> {
        let mut files = Vec::new();
        if let Some((certificate, key)) = &self.texts.certificate {
            files.push(Ok(Pem::text(TlsFile::Certificate, certificate)));
            files.push(Ok(Pem::text(TlsFile::Key, key)));
        } else if let Some((certificate, key)) = &self.certificate {
            files.push(Pem::read(TlsFile::Certificate, certificate));
            files.push(Pem::read(TlsFile::Key, key));
        }
        if let Some(authorities) = &self.texts.authorities {
            files.push(Ok(Pem::text(TlsFile::Authorities, authorities)));
        } else if let Some(authorities) = &self.authorities {
            files.push(Pem::read(TlsFile::Authorities, authorities));
        }
        files
    }
}

/// The client's side of TLS. Its files are read again when they have changed, for new connections.
pub struct TlsClient {
    settings: TlsClientSettings,
    fingerprint: Fingerprint,
    loaded: ArcSwap<Loaded>,
    seen: Mutex<Seen>,
}

struct Loaded {
    config: Arc<ClientConfig>,
    /// The end of the own certificate.
    not_after_s: Option<i64>,
}

struct Seen {
    at: Instant,
    files: u64,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn open(settings: TlsClientSettings) -> Result<Arc<Self>, Vec<TlsProblem>> {
        let fingerprint = Fingerprint::new();
        let files = settings.read();
        let seen = Seen {
            at: Instant::now(),
            files: fingerprint.of(&files),
        };
        let loaded = load(&settings, files)?;
        Ok(Arc::new(Self {
            settings,
            fingerprint,
            loaded: ArcSwap::from_pointee(loaded),
            seen: Mutex::new(seen),
        }))
    }

    /// Looks at the files, and takes them for new connections when they have changed and can be used. Blocks. Connections that are opened do
    /// that themselves every 5 seconds.
    ///
    /// # Errors
    /// They have changed and cannot be used: what was there before stays in use.
    pub fn reload(&self) -> Result<(), Vec<TlsProblem>> {
        let mut seen = self.seen.lock();
        seen.at = Instant::now();
        let files = self.settings.read();
        let now = self.fingerprint.of(&files);
        if now == seen.files {
            return Ok(());
        }
        seen.files = now;
        let loaded = load(&self.settings, files)?;
        self.loaded.store(Arc::new(loaded));
        Ok(())
    }

    /// The last second of the own certificate, Unix; `None` without one.
    #[must_use]
    pub fn not_after_s(&self) -> Option<i64> {
        self.loaded.load().not_after_s
    }

    async fn look(self: &Arc<Self>) {
        let has_files = self.settings.authorities.is_some() || self.settings.certificate.is_some();
        if !has_files || self.seen.lock().at.elapsed() < LOOK_EVERY {
            return;
        }
        let this = Arc::clone(self);
        if let Ok(Err(problems)) = tokio::task::spawn_blocking(move || this.reload()).await {
            for problem in problems {
                tracing::error!(
                    "what was read before stays in use for TLS, because a new file cannot be used: {problem}"
                );
            }
        }
    }

    /// Shakes hands over `io`, which is connected to `addr` (`host:port`). The certificate must be for `name`, or for the name of the
    /// settings, or for the host. The caller applies the time limit.
    ///
    /// # Errors
    /// Why there is no connection, and what to do.
    pub async fn shake<IO: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        io: IO,
        addr: &str,
        name: Option<&str>,
    ) -> io::Result<TlsSocket<IO>> {
        self.look().await;
        let host = name
            .or(self.settings.server_name.as_deref())
            .unwrap_or_else(|| host_of(addr));
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("TLS: {host} is neither a host name nor an address"),
            )
        })?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.loaded.load().config));
        let shaken = connector.connect(name, Gulps::new(io)).await;
        match shaken {
            Ok(stream) => Ok(TlsSocket::new(tokio_rustls::TlsStream::from(stream))),
            Err(error) => Err(explain::server(addr, error)),
        }
    }
}

/// `host` of `host:port` or of `host` alone, without the brackets of IPv6.
fn host_of(addr: &str) -> &str {
    let host = match addr.rsplit_once(':') {
        Some((host, _)) if !addr.ends_with(']') => host,
        _ => addr,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

fn load(
    settings: &TlsClientSettings,
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
    let of = |wanted: TlsFile| read.iter().find(|pem| pem.of() == wanted);
    let own = match (of(TlsFile::Certificate), of(TlsFile::Key)) {
        (Some(certificate), Some(key)) => match certified(&provider, certificate, key) {
            Ok(own) => Some(own),
            Err(more) => {
                problems.extend(more);
                None
            }
        },
        _ => None,
    };
    let roots = match of(TlsFile::Authorities) {
        Some(pem) => pem.authorities().unwrap_or_else(|problem| {
            problems.push(problem);
            RootCertStore::empty()
        }),
        None if settings.danger_accept_any_server || settings.authorities.is_some() => {
            RootCertStore::empty()
        }
        None => of_the_system(&mut problems),
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let failed = |error: rustls::Error| TlsProblem {
        of: TlsFile::Authorities,
        path: settings.authorities.clone().unwrap_or_default(),
        what: format!("TLS cannot be set up: {error}"),
    };
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| vec![failed(error)])?;
    let trusting = match settings.danger_accept_any_server {
        true => versions
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        false => versions.with_root_certificates(roots),
    };
    let leaf = own.as_ref().and_then(|own| own.cert.first());
    let not_after_s = leaf.and_then(|leaf| Some(certificate::read(leaf).ok()?.not_after_s));
    let config = match own {
        Some(own) => trusting.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
        None => trusting.with_no_client_auth(),
    };
    Ok(Loaded {
        config: Arc::new(config),
        not_after_s,
    })
}

/// Whom the system trusts.
fn of_the_system(problems: &mut Vec<TlsProblem>) -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        problems.push(TlsProblem {
            of: TlsFile::Authorities,
            path: PathBuf::from("of the system"),
            what: format!(
                "there is none{}{}: install ca-certificates, or give a CA file",
                if errors.is_empty() {
                    ""
                } else {
                    " that can be read: "
                },
                errors.join("; ")
            ),
        });
    }
    roots
}

/// Believes any server.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Opens streams with another connector, and shakes hands over each.
#[derive(Clone)]
pub struct TlsConnector {
    through: Arc<dyn Connector>,
    tls: Arc<TlsClient>,
    name: Option<Arc<str>>,
}

impl TlsConnector {
    /// TLS over what `through` opens.
    #[must_use]
    pub fn new(through: Arc<dyn Connector>, tls: Arc<TlsClient>) -> Self {
        Self {
            through,
            tls,
            name: None,
        }
    }

    /// For a server that was found by another name than the address that is connected to: its certificate must be for `name`, unless the
    /// settings name another one for all.
    #[must_use]
    pub fn found_as(mut self, name: &str) -> Self {
        if self.tls.settings.server_name.is_none() {
            self.name = Some(host_of(name).into());
        }
        self
    }
}

impl Connector for TlsConnector {
    fn connect<'a>(&'a self, addr: &'a str) -> ConnectFuture<'a> {
        Box::pin(async move {
            let stream = self.through.connect(addr).await?;
            let shaken = self.tls.shake(stream, addr, self.name.as_deref()).await?;
            Ok(Box::new(shaken) as Box<dyn Stream>)
        })
    }
}
