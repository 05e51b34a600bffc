//! TLS of a client's connections.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rmq_transport::{Connector, TlsClient, TlsClientSettings, TlsConnector};

use crate::error::Error;

/// Whom a client trusts, and what it shows to servers. Servers are always verified: by the authorities that the system trusts unless others
/// are named, and by the host that is connected to unless another name is.
///
/// Files are read when the client connects, and again when they change: new connections have what is in them then.
///
/// ```no_run
/// # async fn example() -> Result<(), rmq_client::Error> {
/// use rmq_client::{Client, Tls};
///
/// let tls = Tls::new()
///     .ca_file("/etc/rmq/ca.crt")
///     .certificate_files("/etc/rmq/tls.crt", "/etc/rmq/tls.key");
/// let client = Client::builder("rmq://localhost:9876").tls(tls).connect().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Tls(TlsClientSettings);

impl Tls {
    /// Trusts whom the system trusts, and shows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts those whose certificates are in this PEM file, and nobody else.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.authorities = Some(path.into());
        self
    }

    /// Shows this certificate, where a server asks for one: PEM files, of the certificate (and behind it those that lead to its authority) and
    /// of its key.
    pub fn certificate_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.0.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// As [`Tls::ca_file`], of a PEM text that is held in memory.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.0.texts.authorities = Some(pem.into());
        self
    }

    /// As [`Tls::certificate_files`], of PEM texts that are held in memory.
    pub fn certificate_pem(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.0.texts.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// The name that the certificates of all servers have. Default: the host that is connected to, which for brokers is what routes say, often
    /// an address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.0.server_name = Some(name.into());
        self
    }

    /// Believes any server, whatever its certificate says. Whoever stands in between then reads and changes everything, so this is for a look
    /// at a cluster whose certificates are broken, and for nothing else.
    pub fn danger_accept_any_server(mut self) -> Self {
        self.0.danger_accept_any_server = true;
        self
    }

    /// TLS over what another connector opens, for those who do without a [`Client`](crate::Client). Reads the files, and blocks for that.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub fn connector(self, through: Arc<dyn Connector>) -> Result<Arc<dyn Connector>, Error> {
        let opened = TlsClient::open(self.0).map_err(|problems| {
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Error::invalid(format!("TLS cannot be used: {}", texts.join("; ")))
        })?;
        Ok(Arc::new(TlsConnector::new(through, opened)))
    }

    /// What the environment says; `None`: connections are plain. `RMQ_TLS` is `true` or `false`. `RMQ_TLS_CA_FILE`,
    /// `RMQ_TLS_CERTIFICATE_FILE` with `RMQ_TLS_KEY_FILE`, and `RMQ_TLS_SERVER_NAME` turn TLS on too.
    ///
    /// # Errors
    /// A variable that cannot be understood, or half of a pair.
    pub fn from_env() -> Result<Option<Self>, Error> {
        Self::of_environment(|name| std::env::var_os(name))
    }

    fn of_environment(get: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, Error> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let is_on = match get("RMQ_TLS").as_ref().map(|value| value.to_str()) {
            None => None,
            Some(Some("true")) => Some(true),
            Some(Some("false")) => Some(false),
            Some(_) => return Err(Error::invalid("RMQ_TLS must be true or false")),
        };
        if is_on == Some(false) {
            return Ok(None);
        }
        let mut tls = Self::new();
        let mut is_named = false;
        if let Some(path) = get("RMQ_TLS_CA_FILE") {
            (tls, is_named) = (tls.ca_file(path), true);
        }
        match (get("RMQ_TLS_CERTIFICATE_FILE"), get("RMQ_TLS_KEY_FILE")) {
            (Some(certificate), Some(key)) => {
                (tls, is_named) = (tls.certificate_files(certificate, key), true);
            }
            (None, None) => {}
            _ => {
                return Err(Error::invalid(
                    "RMQ_TLS_CERTIFICATE_FILE and RMQ_TLS_KEY_FILE belong together: set both or none",
                ));
            }
        }
        if let Some(name) = get("RMQ_TLS_SERVER_NAME") {
            let name = name.into_string();
            let name = name.map_err(|_| Error::invalid("RMQ_TLS_SERVER_NAME is not text"))?;
            (tls, is_named) = (tls.server_name(name), true);
        }
        Ok((is_on == Some(true) || is_named).then_some(tls))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Option<Tls>, Error> {
        Tls::of_environment(|name| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_turns_it_on() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[("RMQ_TLS", "true")]).unwrap().is_some());
        let set = [("RMQ_TLS_CA_FILE", "/ca.crt"), ("RMQ_TLS_SERVER_NAME", "a")];
        let tls = read(&set).unwrap().expect("on").0;
        assert_eq!(tls.authorities, Some(PathBuf::from("/ca.crt")));
        assert_eq!(tls.server_name.as_deref(), Some("a"));
        let set = [("RMQ_TLS", "false"), ("RMQ_TLS_CA_FILE", "/ca.crt")];
        assert!(read(&set).unwrap().is_none());
        for wrong in [("RMQ_TLS", "yes"), ("RMQ_TLS_KEY_FILE", "/a.key")] {
            assert!(read(&[wrong]).is_err(), "{wrong:?}");
        }
    }
}
