//! The servers of a cluster, each at an address that it keeps.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rmq_broker::{BrokerConfig, BrokerServer, RunningBroker};
use rmq_namesrv::{NameServer, NameServerConfig, RunningNameServer};
use tokio::sync::Mutex;

use crate::clock::TestClock;

/// Small: a test writes little.
const SEGMENT_BYTES: u64 = 16 << 20;

pub(crate) struct OneNameServer {
    address: String,
    running: Mutex<Option<RunningNameServer>>,
}

impl OneNameServer {
    pub(crate) async fn start() -> Self {
        let running = name_server("127.0.0.1:0").await;
        Self {
            address: running.local_addr().to_string(),
            running: Mutex::new(Some(running)),
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

pub(crate) struct Broker {
    name: String,
    data: PathBuf,
    name_servers: String,
    clock: TestClock,
    address: String,
    running: Mutex<Option<RunningBroker>>,
}

impl Broker {
    pub(crate) async fn start(
        name: String,
        folder: &Path,
        name_servers: &str,
        clock: TestClock,
    ) -> Self {
        let mut broker = Self {
            data: folder.join(&name),
            name,
            name_servers: name_servers.to_owned(),
            clock,
            address: "127.0.0.1:0".to_owned(),
            running: Mutex::new(None),
        };
        let running = broker.launch().await;
        broker.address = running.addr().to_string();
        broker.running = Mutex::new(Some(running));
        broker
    }

    async fn launch(&self) -> RunningBroker {
        let config = BrokerConfig {
            broker_name: self.name.clone(),
            listen: self.address.clone(),
            advertise: "127.0.0.1".to_owned(),
            fast_port: false,
            management: String::new(),
            name_servers: self.name_servers.clone(),
            data_dir: self.data.clone(),
            segment_bytes: SEGMENT_BYTES,
            ..BrokerConfig::default()
        };
        let deps = rmq_broker::Deps {
            clock: Arc::new(self.clock.clone()),
            ..rmq_broker::Deps::default()
        };
        let running = BrokerServer::start(config, deps)
            .await
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.name));
        running.registered().await;
        running
    }

    pub(crate) async fn stop(&self) {
        if let Some(running) = self.running.lock().await.take()
            && let Err(error) = running.shutdown().await
        {
            panic!("{} did not stop well: {error}", self.name);
        }
    }
}

/// A broker of the cluster.
#[derive(Clone, Copy)]
pub struct BrokerHandle<'c>(&'c Broker);

impl<'c> BrokerHandle<'c> {
    pub(crate) fn new(broker: &'c Broker) -> Self {
        Self(broker)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'c str {
        &self.0.name
    }

    /// Its address, which it keeps.
    #[must_use]
    pub fn address(&self) -> &'c str {
        &self.0.address
    }

    /// Ends it as SIGKILL would: nothing is flushed or announced, connections break.
    pub async fn kill(&self) {
        if let Some(running) = self.0.running.lock().await.take() {
            running.kill().await;
        }
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// When it cannot write what it has.
    pub async fn stop(&self) {
        self.0.stop().await;
    }

    /// Starts it again with its data, in all routes.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&self) {
        let mut running = self.0.running.lock().await;
        if running.is_none() {
            *running = Some(self.0.launch().await);
        }
    }
}

impl std::fmt::Debug for BrokerHandle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BrokerHandle").field(&self.0.name).finish()
    }
}
