//! The servers of a cluster, each at an address that it keeps.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use std::time::Duration;

use rmq_broker::{BrokerConfig, BrokerServer, RunningBroker};
use rmq_client::protocol::{RequestCode, ResponseCode};
use rmq_namesrv::{NameServer, NameServerConfig, RunningNameServer};
use rmq_store::fs::{Fault, FaultyFs, Operation, RealFs};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::clock::TestClock;
use crate::relay::Relay;

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
    relay: Relay,
    disk: FaultyFs,
    running: Mutex<Option<RunningBroker>>,
}

impl Broker {
    pub(crate) async fn start(
        name: String,
        folder: &Path,
        name_servers: &str,
        clock: TestClock,
    ) -> Self {
        let (relay, listener) = Relay::reserve().await;
        let broker = Self {
            data: folder.join(&name),
            name,
            name_servers: name_servers.to_owned(),
            clock,
            relay,
            disk: FaultyFs::new(Arc::new(RealFs)),
            running: Mutex::new(None),
        };
        let running = broker.launch(Some(listener)).await;
        *broker.running.lock().await = Some(running);
        broker
    }

    async fn launch(&self, listener: Option<TcpListener>) -> RunningBroker {
        let config = BrokerConfig {
            broker_name: self.name.clone(),
            listen: "127.0.0.1:0".to_owned(),
            advertise: "127.0.0.1".to_owned(),
            advertise_port: self.relay.addr().port(),
            fast_port: false,
            management: String::new(),
            name_servers: self.name_servers.clone(),
            data_dir: self.data.clone(),
            segment_bytes: SEGMENT_BYTES,
            ..BrokerConfig::default()
        };
        let deps = rmq_broker::Deps {
            clock: Arc::new(self.clock.clone()),
            fs: Arc::new(self.disk.clone()),
            ..rmq_broker::Deps::default()
        };
        let running = BrokerServer::start(config, deps)
            .await
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.name));
        self.relay.open(listener, running.addr()).await;
        running.registered().await;
        running
    }

    pub(crate) async fn stop(&self) {
        if let Some(running) = self.running.lock().await.take() {
            let stopped = running.shutdown().await;
            self.relay.close().await;
            if let Err(error) = stopped {
                panic!("{} did not stop well: {error}", self.name);
            }
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
    pub fn address(&self) -> String {
        self.0.relay.addr().to_string()
    }

    /// Ends it as SIGKILL would: nothing is flushed or announced, connections break.
    pub async fn kill(&self) {
        if let Some(running) = self.0.running.lock().await.take() {
            running.kill().await;
            self.0.relay.close().await;
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
            *running = Some(self.0.launch(None).await);
        }
    }

    /// How many requests of this kind clients have sent it so far, those that were failed or lost among them.
    #[must_use]
    pub fn requests(&self, request: RequestCode) -> usize {
        self.0.relay.requests(request)
    }

    /// Cuts the network between it and the clients: nothing passes, connections stay, as when a cable is pulled. It stays in the
    /// routes: name servers still hear it.
    pub async fn cut(&self) {
        self.0.relay.set_cut(true);
    }

    /// Mends what [`BrokerHandle::cut`] cut; what waited passes now.
    pub async fn heal(&self) {
        self.0.relay.set_cut(false);
    }

    /// Lets everything between it and the clients take so much longer, each way.
    pub fn delay(&self, by: Duration) {
        self.0.relay.set_delay(by);
    }

    /// Answers the next `times` requests of this kind with `code`, in its stead: it does not see them.
    pub fn fail(&self, request: RequestCode, code: ResponseCode, times: usize) {
        self.0.relay.answer(request, code, Some(times));
    }

    /// Loses the next `times` requests of this kind: nobody answers.
    pub fn lose(&self, request: RequestCode, times: usize) {
        self.0.relay.lose(request, Some(times));
    }

    /// Holds each request of this kind back for `pause`, and what comes after it on the same connection.
    pub fn throttle(&self, request: RequestCode, pause: Duration) {
        self.0.relay.throttle(request, pause);
    }

    /// Lets its disk be full: no new segment finds room. What was reserved is used up first; what is there can be read.
    pub fn fill_disk(&self) {
        for operation in [Operation::Create, Operation::Allocate] {
            self.0.disk.plan(Fault {
                operation,
                path_contains: String::new(),
                after: 0,
                times: usize::MAX,
                kind: std::io::ErrorKind::StorageFull,
            });
        }
    }

    /// Takes all faults back: the network is whole and quick, requests pass, the disk has room.
    pub fn repair(&self) {
        self.0.relay.calm();
        self.0.disk.clear();
    }
}

impl std::fmt::Debug for BrokerHandle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BrokerHandle").field(&self.0.name).finish()
    }
}
