//! The name servers of a cluster, each at an address that it keeps.

use rmq_namesrv::{NameServer, NameServerConfig, RunningNameServer};
use rmq_ports::Port;
use tokio::sync::Mutex;

pub(crate) struct OneNameServer {
    address: String,
    /// Its own while it is stopped too.
    _port: Port,
    running: Mutex<Option<RunningNameServer>>,
}

impl OneNameServer {
    pub(crate) async fn start() -> Self {
        let port = Port::hold().expect("a port");
        let address = port.addr().to_string();
        Self {
            running: Mutex::new(Some(name_server(&address).await)),
            address,
            _port: port,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) async fn stop(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.shutdown().await;
        }
    }
}

async fn name_server(listen: &str) -> RunningNameServer {
    let config = NameServerConfig {
        listen: listen.to_owned(),
        management: String::new(),
        ..NameServerConfig::default()
    };
    NameServer::start(config, rmq_namesrv::Deps::default())
        .await
        .unwrap_or_else(|error| panic!("the name server does not start at {listen}: {error}"))
}

/// A name server of the cluster.
#[derive(Clone, Copy)]
pub struct NameServerHandle<'c>(&'c OneNameServer);

impl<'c> NameServerHandle<'c> {
    pub(crate) fn new(server: &'c OneNameServer) -> Self {
        Self(server)
    }

    /// Its address, which it keeps.
    #[must_use]
    pub fn address(&self) -> &'c str {
        self.0.address()
    }

    /// Ends it. Routes that clients know stay usable.
    pub async fn stop(&self) {
        self.0.stop().await;
    }

    /// Starts it again, empty: brokers register again by and by.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&self) {
        let mut running = self.0.running.lock().await;
        if running.is_none() {
            *running = Some(name_server(&self.0.address).await);
        }
    }
}

impl std::fmt::Debug for NameServerHandle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NameServerHandle")
            .field(&self.0.address)
            .finish()
    }
}
