//! TLS of this broker: of its ports, and of the connections that it opens.

use std::sync::Arc;
use std::time::Duration;

use rmq_config::BrokerConfig;
use rmq_replication::{Guard, GuardFuture, Guarded, MaybeGuard};
use rmq_tls::Ports;
use rmq_transport::{
    Connector, Handshake as _, ServeReport, ServerConfig, Service, TcpConnector, TlsClient,
    TlsConnector, TlsServer, TransportLimits,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::group::proof::{self, Begun, Proof};
use crate::start::StartError;

/// TLS of this broker. Without certificates there is none, and connections are what they would be without this.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    ports: Ports,
    outgoing: Option<Arc<TlsClient>>,
    /// What members prove to each other beside it.
    proof: Proof,
    /// Ends the looks at the files.
    _watching: Option<DropGuard>,
}

impl Tls {
    /// Reads the files of the configuration, and looks at them again from now on.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) async fn open(config: &BrokerConfig, proof: Proof) -> Result<Arc<Self>, StartError> {
        let every = Duration::from_millis(config.tls_reload_ms);
        let config = config.clone();
        let open = move || rmq_tls::open(config.tls_ports(), config.tls_outgoing());
        let opened = tokio::task::spawn_blocking(open).await;
        let (ports, outgoing) =
            opened.map_err(|error| StartError::Interrupted(error.to_string()))??;
        let stop = CancellationToken::new();
        for server in ports.all() {
            tokio::spawn(Arc::clone(server).watch(every, stop.clone()));
        }
        Ok(Arc::new(Self {
            ports,
            outgoing,
            proof,
            _watching: Some(stop.drop_guard()),
        }))
    }

    /// The TLS of the ports.
    pub(crate) fn ports(&self) -> Option<&Arc<TlsServer>> {
        self.ports.clients.as_ref()
    }

    /// The TLS of the management port.
    pub(crate) fn management(&self) -> Option<&Arc<TlsServer>> {
        self.ports.management.as_ref()
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
        MaybeGuard(Some(Arc::clone(self) as Arc<dyn Guard>))
    }

    /// Serves a port for clients.
    pub(crate) async fn serve<S: Service>(
        self: Arc<Self>,
        port: TcpListener,
        service: Arc<S>,
        config: ServerConfig,
        stop: CancellationToken,
    ) -> ServeReport {
        match &self.ports.clients {
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
            let mut socket = socket;
            let mut first = [0];
            if socket.peek(&mut first).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let tls = match &self.ports.clients {
                Some(tls) if tls.starts_with(first[0])? => tls,
                _ => {
                    let begins = first[0] == proof::FIRST;
                    self.proof.accept(&mut socket, begins).await?;
                    return Ok(Guarded::Plain(socket));
                }
            };
            let (stream, _) = tls.shake(socket).await?;
            let (first, mut begun) = Begun::peek(stream).await?;
            self.proof.accept(&mut begun, first == proof::FIRST).await?;
            Ok(Guarded::Other(Box::new(begun)))
        })
    }

    fn dial<'a>(&'a self, socket: TcpStream, address: &'a str) -> GuardFuture<'a> {
        Box::pin(async move {
            let mut socket = socket;
            let Some(client) = &self.outgoing else {
                self.proof.dial(&mut socket).await?;
                return Ok(Guarded::Plain(socket));
            };
            let mut stream = client.shake(socket, address, None).await?;
            self.proof.dial(&mut stream).await?;
            Ok(Guarded::Other(Box::new(stream)))
        })
    }
}

/// The limits of handshakes.
pub(crate) fn limits(config: &BrokerConfig, limits: &mut TransportLimits) {
    limits.handshakes_max = config.tls_handshakes_max;
    limits.handshake_timeout = Duration::from_millis(config.tls_handshake_timeout_ms);
}
