//! TLS of the servers, by their settings: which files a port or a connection has, and which setting names a file that cannot be used.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rmq_config::{TlsClientAuth, TlsMode, TlsOutgoing, TlsPorts};
use rmq_transport::{
    ClientCertificates, TlsClient, TlsClientSettings, TlsFile, TlsProblem, TlsServer,
    TlsServerSettings,
};

/// Files that cannot be used: at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct TlsFilesError(Vec<(&'static str, TlsProblem)>);

impl TlsFilesError {
    /// Each problem with the setting that names the file.
    #[must_use]
    pub fn problems(&self) -> &[(&'static str, TlsProblem)] {
        &self.0
    }
}

impl fmt::Display for TlsFilesError {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (key, problem)) in self.0.iter().enumerate() {
            let line = if number == 0 { "" } else { "\n" };
            write!(f, "{line}TLS: {problem} ({key})")?;
        }
        Ok(())
    }
}

/// TLS of a server's ports. `None`: a port has none.
#[derive(Debug, Default)]
pub struct Ports {
    /// Of the ports for clients, brokers and members of the group.
    pub clients: Option<Arc<TlsServer>>,
    /// Of the management port.
    pub management: Option<Arc<TlsServer>>,
}

impl Ports {
    /// Reads the files of these settings. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn open(ports: TlsPorts<'_>) -> Result<Self, TlsFilesError> {
        if !ports.speak_tls() {
            return Ok(Self::default());
        }
        let open = |settings| {
            let opened = TlsServer::open(settings);
            opened.map_err(|problems| named(problems, Names::PORTS))
        };
        let clients = Some(open(settings(ports))?);
        let management = match ports.management {
            false => None,
            true => Some(open(TlsServerSettings {
                client_certificates: ClientCertificates::None,
                takes_plain: false,
                ..settings(ports)
            })?),
        };
        Ok(Self {
            clients,
            management,
        })
    }

    /// Each TLS that there is. Its files are to be watched.
    pub fn all(&self) -> impl Iterator<Item = &Arc<TlsServer>> {
        [&self.clients, &self.management].into_iter().flatten()
    }
}

/// Reads the files of the connections that a server opens; `None`: they have no TLS. Blocks.
///
/// # Errors
/// Everything that is wrong with them.
pub fn outgoing(wanted: TlsOutgoing<'_>) -> Result<Option<Arc<TlsClient>>, TlsFilesError> {
    if !wanted.is_on {
        return Ok(None);
    }
    let set = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    let opened = TlsClient::open(TlsClientSettings {
        authorities: set(wanted.authorities),
        certificate: set(wanted.certificate)
            .map(|certificate| (certificate, wanted.key.to_owned())),
        server_name: (!wanted.server_name.is_empty()).then(|| wanted.server_name.to_owned()),
        ..TlsClientSettings::default()
    });
    opened
        .map(Some)
        .map_err(|problems| named(problems, Names::OUTGOING))
}

/// The TLS of a server's ports and of the connections that it opens. Blocks.
///
/// # Errors
/// Everything that is wrong with the files of both.
pub fn open(
    ports: TlsPorts<'_>,
    wanted: TlsOutgoing<'_>,
) -> Result<(Ports, Option<Arc<TlsClient>>), TlsFilesError> {
    match (Ports::open(ports), outgoing(wanted)) {
        (Ok(ports), Ok(outgoing)) => Ok((ports, outgoing)),
        (ports, outgoing) => {
            let problems = [ports.err(), outgoing.err()].into_iter().flatten();
            Err(TlsFilesError(problems.flat_map(|error| error.0).collect()))
        }
    }
}

fn settings(ports: TlsPorts<'_>) -> TlsServerSettings {
    TlsServerSettings {
        certificate: ports.certificate.to_owned(),
        key: ports.key.to_owned(),
        client_certificates: match ports.client_auth {
            TlsClientAuth::None => ClientCertificates::None,
            TlsClientAuth::Optional => ClientCertificates::Optional,
            TlsClientAuth::Require => ClientCertificates::Required,
        },
        authorities: ports.authorities.to_owned(),
        takes_plain: ports.mode != TlsMode::Enforcing,
    }
}

/// The settings that name files.
struct Names {
    certificate: &'static str,
    key: &'static str,
    authorities: &'static str,
}

impl Names {
    const PORTS: Self = Self {
        certificate: "tlsCertificateFile",
        key: "tlsKeyFile",
        authorities: "tlsCaFile",
    };
    const OUTGOING: Self = Self {
        certificate: "tlsOutgoingCertificateFile",
        key: "tlsOutgoingKeyFile",
        authorities: "tlsOutgoingCaFile",
    };
}

fn named(problems: Vec<TlsProblem>, names: Names) -> TlsFilesError {
    let setting = |problem: &TlsProblem| match problem.of {
        TlsFile::Certificate => names.certificate,
        TlsFile::Key => names.key,
        TlsFile::Authorities => names.authorities,
    };
    let named = problems.into_iter();
    TlsFilesError(named.map(|problem| (setting(&problem), problem)).collect())
}

#[cfg(test)]
mod tests {
    use rmq_certificates::{Authority, Wanted};
    use rmq_config::BrokerConfig;

    use super::*;

    #[test]
    fn each_file_is_named_by_its_setting_and_all_problems_come_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing");
        let config = BrokerConfig {
            tls_certificate_file: missing.clone(),
            tls_key_file: missing.clone(),
            tls_outgoing: true,
            tls_outgoing_ca_file: missing.clone(),
            ..BrokerConfig::default()
        };
        let error = open(config.tls_ports(), config.tls_outgoing()).expect_err("no files");
        let keys: Vec<&str> = error.problems().iter().map(|(key, _)| *key).collect();
        assert_eq!(
            keys,
            ["tlsCertificateFile", "tlsKeyFile", "tlsOutgoingCaFile"]
        );
        let lines = error.to_string();
        assert!(
            lines.lines().all(|line| line.starts_with("TLS: the ")),
            "{lines}"
        );
        assert_eq!(lines.lines().count(), 3);
    }

    #[test]
    fn what_is_not_wanted_is_not_there() {
        let plain = BrokerConfig::default();
        let (ports, outgoing) = open(plain.tls_ports(), plain.tls_outgoing()).expect("no TLS");
        assert_eq!((ports.all().count(), outgoing.is_some()), (0, false));

        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("a");
        let files = authority.sign(&Wanted::names(&["localhost"]));
        let files = files.write(folder.path(), "server");
        let config = BrokerConfig {
            tls_certificate_file: files.certificate,
            tls_key_file: files.key,
            tls_management: true,
            tls_outgoing: true,
            tls_outgoing_ca_file: authority.write(folder.path(), "ca"),
            ..BrokerConfig::default()
        };
        let (ports, outgoing) = open(config.tls_ports(), config.tls_outgoing()).expect("TLS");
        assert_eq!((ports.all().count(), outgoing.is_some()), (2, true));
    }
}
