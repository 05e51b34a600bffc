//! TLS of this broker: of its ports, and of the connections that it opens.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rmq_config::{BrokerConfig, TlsClientAuth, TlsMode, TlsPorts};
use rmq_replication::{Guard, GuardFuture, Guarded, MaybeGuard};
use rmq_transport::{
    ClientCertificates, Connector, Handshake as _, ServeReport, ServerConfig, Service,
    TcpConnector, TlsClient, TlsClientSettings, TlsConnector, TlsFile, TlsProblem, TlsServer,
    TlsServerSettings, TransportLimits,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::start::StartError;

/// TLS of this broker. Without certificates there is none, and connections are what they would be without this.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    ports: Option<Arc<TlsServer>>,
    management: Option<Arc<TlsServer>>,
    outgoing: Option<Arc<TlsClient>>,
    /// Ends the looks at the files.
    _watching: Option<DropGuard>,
}

impl Tls {
    /// Reads the files of the configuration, and looks at them again from now on.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) async fn open(config: &BrokerConfig) -> Result<Arc<Self>, StartError> {
        let every = Duration::from_millis(config.tls_reload_ms);
        let config = config.clone();
        let opened = tokio::task::spawn_blocking(move || open(&config)).await;
        let mut tls = opened
            .map_err(|error| StartError::Interrupted(error.to_string()))?
            .map_err(StartError::Tls)?;
        let stop = CancellationToken::new();
        for server in [&tls.ports, &tls.management].into_iter().flatten() {
            tokio::spawn(Arc::clone(server).watch(every, stop.clone()));
        }
        tls._watching = Some(stop.drop_guard());
        Ok(Arc::new(tls))
    }

    /// The TLS of the ports.
    pub(crate) fn ports(&self) -> Option<&Arc<TlsServer>> {
        self.ports.as_ref()
    }

    /// The TLS of the management port.
    pub(crate) fn management(&self) -> Option<&Arc<TlsServer>> {
        self.management.as_ref()
    }

    /// The last second of the certificate that this broker shows to others, Unix.
    pub(crate) fn own_not_after_s(&self) -> Option<i64> {
        self.outgoing.as_ref()?.not_after_s()
    }

    /// How addresses are connected to. `found_as`: the name that was looked up, where the address is another.
    pub(crate) fn connector(&self, found_as: Option<&str>) -> Arc<dyn Connector> {
        let Some(client) = &self.outgoing else {
            return Arc::new(TcpConnector);
        };
        let connector = TlsConnector::new(Arc::new(TcpConnector), Arc::clone(client));
        Arc::new(match found_as {
            Some(name) => connector.found_as(name),
            None => connector,
        })
    }

    /// What stands between the sockets of two members and their first frame.
    pub(crate) fn guard(self: &Arc<Self>) -> MaybeGuard {
        let is_there = self.ports.is_some() || self.outgoing.is_some();
        MaybeGuard(is_there.then(|| Arc::clone(self) as Arc<dyn Guard>))
    }

    /// Serves a port for clients.
    pub(crate) async fn serve<S: Service>(
        self: Arc<Self>,
        port: TcpListener,
        service: Arc<S>,
        config: ServerConfig,
        stop: CancellationToken,
    ) -> ServeReport {
        match &self.ports {
            None => rmq_transport::serve(port, service, config, stop).await,
            Some(tls) => {
                rmq_transport::serve_with(port, Arc::clone(tls), service, config, stop).await
            }
        }
    }
}

impl Guard for Tls {
    fn accept(&self, socket: TcpStream) -> GuardFuture<'_> {
        Box::pin(async move {
            let Some(tls) = &self.ports else {
                return Ok(Guarded::Plain(socket));
            };
            let mut first = [0];
            if socket.peek(&mut first).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if !tls.starts_with(first[0])? {
                return Ok(Guarded::Plain(socket));
            }
            let (stream, _) = tls.shake(socket).await?;
            Ok(Guarded::Other(Box::new(stream)))
        })
    }

    fn dial<'a>(&'a self, socket: TcpStream, address: &'a str) -> GuardFuture<'a> {
        Box::pin(async move {
            let Some(client) = &self.outgoing else {
                return Ok(Guarded::Plain(socket));
            };
            let stream = client.shake(socket, address, None).await?;
            Ok(Guarded::Other(Box::new(stream)))
        })
    }
}

/// The limits of handshakes.
pub(crate) fn limits(config: &BrokerConfig, limits: &mut TransportLimits) {
    limits.handshakes_max = config.tls_handshakes_max;
    limits.handshake_timeout = Duration::from_millis(config.tls_handshake_timeout_ms);
}

fn open(config: &BrokerConfig) -> Result<Tls, Vec<(&'static str, TlsProblem)>> {
    let mut problems = Vec::new();
    let mut open_ports = |settings: TlsServerSettings| match TlsServer::open(settings) {
        Ok(server) => Some(server),
        Err(more) => {
            problems.extend(
                more.into_iter()
                    .map(|problem| (of_ports(&problem), problem)),
            );
            None
        }
    };
    let ports = config.tls_ports();
    let (mut server, mut management) = (None, None);
    if ports.speak_tls() {
        server = open_ports(settings(ports));
        // What is wrong with the files was said already.
        if ports.management && server.is_some() {
            management = open_ports(TlsServerSettings {
                client_certificates: ClientCertificates::None,
                takes_plain: false,
                ..settings(ports)
            });
        }
    }
    let mut outgoing = None;
    let wanted = config.tls_outgoing();
    if wanted.is_on {
        let is_set = |path: &Path| !path.as_os_str().is_empty();
        let opened = TlsClient::open(TlsClientSettings {
            authorities: is_set(wanted.authorities).then(|| wanted.authorities.to_owned()),
            certificate: is_set(wanted.certificate)
                .then(|| (wanted.certificate.to_owned(), wanted.key.to_owned())),
            server_name: (!wanted.server_name.is_empty()).then(|| wanted.server_name.to_owned()),
            danger_accept_any_server: false,
        });
        match opened {
            Ok(client) => outgoing = Some(client),
            Err(more) => {
                problems.extend(
                    more.into_iter()
                        .map(|problem| (of_outgoing(&problem), problem)),
                );
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Tls {
        ports: server,
        management,
        outgoing,
        _watching: None,
    })
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
fn of_ports(problem: &TlsProblem) -> &'static str {
    match problem.of {
        TlsFile::Certificate => "tlsCertificateFile",
        TlsFile::Key => "tlsKeyFile",
        TlsFile::Authorities => "tlsCaFile",
    }
}

fn of_outgoing(problem: &TlsProblem) -> &'static str {
    match problem.of {
        TlsFile::Certificate => "tlsOutgoingCertificateFile",
        TlsFile::Key => "tlsOutgoingKeyFile",
        TlsFile::Authorities => "tlsOutgoingCaFile",
    }
}
