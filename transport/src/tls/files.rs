//! Certificates and keys in PEM files.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::certificate;

/// Largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// The own certificate, and those that lead to its authority.
    Certificate,
    /// The key of the own certificate.
    Key,
    /// The certificates of those who sign the other side's.
    Authorities,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::Authorities => "CA",
        })
    }
}

/// What is wrong with a file, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {of} file {}: {what}", path.display())]
pub struct TlsProblem {
    /// Which file.
    pub of: TlsFile,
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
}

/// A file as it was read.
pub(super) struct Pem {
    of: TlsFile,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Pem {
    pub(super) fn read(of: TlsFile, path: &Path) -> Result<Self, TlsProblem> {
        let problem = |what: String| TlsProblem {
            of,
            path: path.to_owned(),
            what,
        };
        let unread = |error: std::io::Error| problem(format!("it cannot be read: {error}"));
        let bytes = std::fs::metadata(path).map_err(unread)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(problem(format!(
                "it has {bytes} bytes, and at most {FILE_BYTES_MAX} are read"
            )));
        }
        Ok(Self {
            of,
            path: path.to_owned(),
            bytes: std::fs::read(path).map_err(unread)?,
        })
    }

    /// What somebody holds in memory.
    pub(super) fn text(of: TlsFile, pem: &[u8]) -> Self {
        Self {
            of,
            path: PathBuf::from("given as text"),
            bytes: pem.to_owned(),
        }
    }

    pub(super) fn of(&self) -> TlsFile {
        self.of
    }

    fn problem(&self, what: impl Into<String>) -> TlsProblem {
        TlsProblem {
            of: self.of,
            path: self.path.clone(),
            what: what.into(),
        }
    }

    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
        let read: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        let certificates =
            read.map_err(|error| self.problem(format!("it is no PEM file: {error}")))?;
        if certificates.is_empty() {
            return Err(self.problem(
                "it has no certificate: a PEM file with -----BEGIN CERTIFICATE----- is needed",
            ));
        }
        for (number, certificate) in certificates.iter().enumerate() {
            certificate::read(certificate).map_err(|error| {
                self.problem(format!("its certificate {} is none: {error}", number + 1))
            })?;
        }
        Ok(certificates)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsProblem> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| {
            let text = String::from_utf8_lossy(&self.bytes);
            if text.contains("ENCRYPTED") {
                return self.problem(
                    "the key is encrypted, and there is nowhere to give its password: write it without one (openssl pkcs8 -topk8 -nocrypt), readable by this program alone",
                );
            }
            match error {
                PemError::NoItemsFound => self.problem(
                    "it has no key: a PEM file with -----BEGIN PRIVATE KEY----- is needed",
                ),
                error => self.problem(format!("it is no PEM file: {error}")),
            }
        })
    }

    /// Trust in those who are in this file.
    pub(super) fn authorities(&self) -> Result<RootCertStore, TlsProblem> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots
                .add(certificate)
                .map_err(|error| self.problem(format!("a certificate cannot be used: {error}")))?;
        }
        Ok(roots)
    }
}

/// The own certificate with its key, which belong together.
pub(super) fn certified(
    provider: &CryptoProvider,
    certificate: &Pem,
    key: &Pem,
) -> Result<Arc<CertifiedKey>, Vec<TlsProblem>> {
    let (certificates, der) = match (certificate.certificates(), key.key()) {
        (Ok(certificates), Ok(key)) => (certificates, key),
        (certificates, key) => {
            return Err(certificates.err().into_iter().chain(key.err()).collect());
        }
    };
    let signing = provider.key_provider.load_private_key(der);
    let signing =
        signing.map_err(|error| vec![key.problem(format!("the key cannot be used: {error}"))])?;
    let certified = CertifiedKey::new(certificates, signing);
    match certified.keys_match() {
        // Some kinds of keys do not say their public half.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(_)) => Err(vec![key.problem(format!(
            "it is not the key of the certificate in {}: both files must be of one request",
            certificate.path.display()
        ))]),
        Err(error) => Err(vec![
            certificate.problem(format!("it cannot be used: {error}")),
        ]),
    }
}

/// Tells whether files have changed, by what is in them.
pub(super) struct Fingerprint(RandomState);

impl Fingerprint {
    pub(super) fn new() -> Self {
        Self(RandomState::new())
    }

    pub(super) fn of(&self, files: &[Result<Pem, TlsProblem>]) -> u64 {
        let mut hasher = self.0.build_hasher();
        for file in files {
            match file {
                Ok(pem) => pem.bytes.hash(&mut hasher),
                Err(problem) => problem.what.hash(&mut hasher),
            }
        }
        hasher.finish()
    }
}
