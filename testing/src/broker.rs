//! The brokers of a cluster, each at an address that it keeps.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rmq_broker::{BrokerConfig, BrokerServer, RunningBroker};
use rmq_client::protocol::{RequestCode, ResponseCode};
use rmq_store::fs::{Fault, FaultyFs, Operation, RealFs};
use tokio::sync::Mutex;

use crate::broker_group::Between;
use crate::clock::TestClock;
use crate::relay::Relay;

/// Small: a test writes little.
const SEGMENT_BYTES: u64 = 16 << 20;

/// The system's number for an error of a device.
const EIO: i32 = 5;

/// Changes the settings of a broker.
pub(crate) type Change = Arc<dyn Fn(&mut BrokerConfig) + Send + Sync>;

/// What all brokers of a cluster have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) name_servers: String,
    pub(crate) clock: TestClock,
    pub(crate) change: Option<Change>,
}

pub(crate) struct Broker {
    group: String,
    /// Its place among the members of its group.
    slot: usize,
    data: PathBuf,
    common: Common,
    clock: TestClock,
    between: Arc<Between>,
    disk: FaultyFs,
    running: Mutex<Option<RunningBroker>>,
}

impl Broker {
    pub(crate) fn new(
        group: &str,
        slot: usize,
        data: PathBuf,
        common: Common,
        between: Arc<Between>,
    ) -> Self {
        Self {
            group: group.to_owned(),
            slot,
            data,
            clock: common.clock.of_server(),
            common,
            between,
            disk: FaultyFs::new(Arc::new(RealFs)),
            running: Mutex::new(None),
        }
    }

    fn relay(&self) -> &Relay {
        self.between.clients(self.slot)
    }

    pub(crate) fn address(&self) -> String {
        self.relay().addr().to_string()
    }

    pub(crate) async fn is_running(&self) -> bool {
        self.running.lock().await.is_some()
    }

    /// Starts it; it is in the routes then.
    pub(crate) async fn start(&self) {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return;
        }
        let mut config = BrokerConfig {
            broker_name: self.group.clone(),
            listen: "127.0.0.1:0".to_owned(),
            fast_port: false,
            management: String::new(),
            name_servers: self.common.name_servers.clone(),
            data_dir: self.data.clone(),
            segment_bytes: SEGMENT_BYTES,
            ..BrokerConfig::default()
        };
        self.between.configure(self.slot, &mut config);
        if let Some(change) = &self.common.change {
            change(&mut config);
        }
        let deps = rmq_broker::Deps {
            clock: Arc::new(self.clock.clone()),
            fs: Arc::new(self.disk.clone()),
            place: self.between.place(self.slot),
            ..rmq_broker::Deps::default()
        };
        let started = BrokerServer::start(config, deps)
            .await
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.group));
        self.between.open(self.slot, &started).await;
        if !self.between.elects() {
            started.registered().await;
        }
        *running = Some(started);
    }

    pub(crate) async fn stop(&self) {
        if let Some(running) = self.running.lock().await.take() {
            let stopped = running.shutdown().await;
            self.between.close(self.slot).await;
            if let Err(error) = stopped {
                panic!("{} did not stop well: {error}", self.group);
            }
        }
    }

    async fn kill(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.kill().await;
            self.between.close(self.slot).await;
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

    /// The name of its group.
    #[must_use]
    pub fn name(&self) -> &'c str {
        &self.0.group
    }

    /// Its place among the members of its group, from 0.
    #[must_use]
    pub fn slot(&self) -> usize {
        self.0.slot
    }

    /// Its address, which it keeps.
    #[must_use]
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// Ends it as SIGKILL would: nothing is flushed or announced, connections break.
    pub async fn kill(&self) {
        self.0.kill().await;
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// When it cannot write what it has.
    pub async fn stop(&self) {
        self.0.stop().await;
    }

    /// Starts it again with its data, in all routes. A member of a group that elects is there soon.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&self) {
        self.0.start().await;
    }

    /// Starts it again as the master of its group, for groups with [fixed roles](crate::ClusterBuilder::fixed_roles): from now on the others, when they are started again, copy
    /// from it.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_as_master(&self) {
        self.0.between.set_master(self.0.slot);
        self.0.start().await;
    }

    /// Kills it and removes all of its data: the machine has a new disk.
    ///
    /// # Panics
    /// When the data cannot be removed.
    pub async fn wipe_disk(&self) {
        self.0.kill().await;
        match std::fs::remove_dir_all(&self.0.data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                panic!("the data of {} stays: {error}", self.0.group)
            }
            _ => {}
        }
    }

    /// Lets nobody hear it: nothing passes between it and clients, the other members, and what holds who is master. Connections stay, and
    /// what it was sent passes after [`BrokerHandle::resume`]. To all others it is as a process that was stopped (SIGSTOP).
    pub fn pause(&self) {
        self.0.between.set_paused(self.0.slot, true);
    }

    /// Ends [`BrokerHandle::pause`], and partitions of this member.
    pub fn resume(&self) {
        self.0.between.set_paused(self.0.slot, false);
    }

    /// Cuts it off from what holds who is master of its group; clients and the other members reach it. [`BrokerHandle::heal_place`] ends it. A
    /// group without an election has no such thing.
    pub fn cut_place(&self) {
        self.0.between.set_place_cut(self.0.slot, true);
    }

    /// Ends [`BrokerHandle::cut_place`].
    pub fn heal_place(&self) {
        self.0.between.set_place_cut(self.0.slot, false);
    }

    /// Sets its wall clock by `by_ms`, ahead or back, and nobody else's: the clocks of a cluster differ then. No time passes.
    pub fn jump_clock_ms(&self, by_ms: i64) {
        self.0.clock.set_own(by_ms);
    }

    /// How many requests of this kind clients have sent it so far, those that were failed or lost among them.
    #[must_use]
    pub fn requests(&self, request: RequestCode) -> usize {
        self.0.relay().requests(request)
    }

    /// Cuts the network between it and the clients: nothing passes, connections stay, as when a cable is pulled. It stays in the
    /// routes: name servers still hear it.
    pub async fn cut(&self) {
        self.0.relay().set_cut(true);
    }

    /// Mends what [`BrokerHandle::cut`] cut; what waited passes now.
    pub async fn heal(&self) {
        self.0.relay().set_cut(false);
    }

    /// Lets the connections of clients that are there now pass nothing any more, and new ones everything: as a firewall that has forgotten
    /// them. They do not end.
    pub fn forget_connections(&self) {
        self.0.relay().forget();
    }

    /// Lets everything between it and the clients take so much longer, each way.
    pub fn delay(&self, by: Duration) {
        self.0.relay().set_delay(by);
    }

    /// Answers the next `times` requests of this kind with `code`, in its stead: it does not see them.
    pub fn fail(&self, request: RequestCode, code: ResponseCode, times: usize) {
        self.0.relay().answer(request, code, Some(times));
    }

    /// Loses the next `times` requests of this kind: no answer comes.
    pub fn lose(&self, request: RequestCode, times: usize) {
        self.0.relay().lose(request, Some(times));
    }

    /// Holds each request of this kind back for `pause`, and what comes after it on the same connection.
    pub fn throttle(&self, request: RequestCode, pause: Duration) {
        self.0.relay().throttle(request, pause);
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

    /// Lets its disk fail: each write ends with an error of the device. From the first one on the broker takes no message until it is started
    /// again after [`BrokerHandle::repair`]; what is there can be read. It does not stop in order any more: [`BrokerHandle::kill`] it.
    pub fn break_disk(&self) {
        let fault = Fault {
            operation: Operation::Write,
            path_contains: String::new(),
            after: 0,
            times: usize::MAX,
            kind: std::io::ErrorKind::Other,
        };
        self.0.disk.plan_errno(fault, EIO);
    }

    /// Takes all faults back: the network is whole and quick, requests pass, the disk has room.
    pub fn repair(&self) {
        self.0.relay().calm();
        self.0.disk.clear();
    }
}

impl std::fmt::Debug for BrokerHandle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BrokerHandle")
            .field(&self.0.group)
            .field(&self.0.slot)
            .finish()
    }
}
