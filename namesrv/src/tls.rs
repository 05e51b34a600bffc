//! TLS of this name server's ports.

use std::sync::Arc;

use rmq_config::{NameServerConfig, TlsClientAuth, TlsMode, TlsPorts};
use rmq_transport::{ClientCertificates, TlsFile, TlsProblem, TlsServer, TlsServerSettings};

use crate::server::StartError;

/// TLS of the port for clients and brokers, and of the management port; `None`: it has none.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    pub(crate) clients: Option<Arc<TlsServer>>,
    pub(crate) management: Option<Arc<TlsServer>>,
}

impl Tls {
    /// Reads the files of the configuration. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn open(config: &NameServerConfig) -> Result<Self, StartError> {
        let ports = config.tls_ports();
        if !ports.speak_tls() {
            return Ok(Self::default());
        }
        let open = |settings: TlsServerSettings| {
            TlsServer::open(settings).map_err(|problems| {
                let named = problems.into_iter().map(|problem| (key(&problem), problem));
                StartError::Tls(named.collect())
            })
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

/// The setting that names the file.
fn key(problem: &TlsProblem) -> &'static str {
    match problem.of {
        TlsFile::Certificate => "tlsCertificateFile",
        TlsFile::Key => "tlsKeyFile",
        TlsFile::Authorities => "tlsCaFile",
    }
}
