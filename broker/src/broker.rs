//! The parts of a broker, and the order in which they start and stop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rmq_protocol::bodies::TopicConfig;
use rmq_protocol::message::{QueueOffset, UniqueIdGenerator, properties, property};
use rmq_protocol::names;
use rmq_protocol::route::perm;
use rmq_store::fs::{Fs, RealFs};
use rmq_store::{
    AllMessages, OpenError, QueueRef, ReadLimits, ReadStatus, RecoveryReport, Store, Temperature,
};
use rmq_transport::{
    Clock, MemoryBudget, PendingReply, ServeReport, ServerConfig, SystemClock, memory_bytes,
};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock_watch::ClockWatch;
use crate::config::{BrokerConfig, ConfigError};
use crate::delay::{self, DelayDelivery};
use crate::groups::Groups;
use crate::handlers::pull;
use crate::kept;
use crate::limits::Limits;
use crate::locks::QueueLocks;
use crate::management;
use crate::offsets::ConsumerOffsets;
use crate::recovery;
use crate::registration::Registrations;
use crate::retention::Retention;
use crate::service::{Answering, BrokerService, LISTENERS};
use crate::sessions::Sessions;
use crate::stats::Stats;
use crate::stats::requests::Requests;
use crate::tasks::Tasks;
use crate::topics::{Topic, TopicError, Topics};
use crate::waiters::Waiters;

/// What a broker is given from outside.
#[derive(Clone)]
pub struct Deps {
    /// Where the time of messages comes from: delays, retention, long polls, rates. Only its wall time is stored and compared with what
    /// is stored; everything that lasts is measured by its monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Where the time of connections comes from: idle limits, heartbeats, locks. A test that moves `clock` by hours keeps its clients.
    pub connection_clock: Arc<dyn Clock>,
    /// Where files are.
    pub fs: Arc<dyn Fs>,
}

impl Default for Deps {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            connection_clock: Arc::new(SystemClock),
            fs: Arc::new(RealFs),
        }
    }
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deps").finish_non_exhaustive()
    }
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} ({key}): {source}; another address: --{key} HOST:PORT")]
    Listen {
        /// The address.
        addr: String,
        /// The key of the setting.
        key: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The data cannot be opened.
    #[error("cannot open the data in {}: {source}", dir.display())]
    Store {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The start was interrupted.
    #[error("the start was interrupted: {0}")]
    Interrupted(String),
}

/// How clients and name servers know this broker.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// `host:port` as advertised.
    pub(crate) addr: String,
    /// Address in records and message ids.
    pub(crate) store_host: SocketAddr,
}

/// A running broker's shared state.
pub(crate) struct Broker {
    pub(crate) config: BrokerConfig,
    pub(crate) limits: Limits,
    /// What connections hold together.
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) identity: Identity,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) connection_clock: Arc<dyn Clock>,
    pub(crate) store: Store,
    pub(crate) topics: Topics,
    pub(crate) groups: Groups,
    pub(crate) sessions: Sessions,
    pub(crate) offsets: ConsumerOffsets,
    pub(crate) locks: QueueLocks,
    pub(crate) delay: DelayDelivery,
    pub(crate) clock_watch: ClockWatch,
    pub(crate) retention: Retention,
    pub(crate) waiters: Waiters,
    pub(crate) stats: Stats,
    pub(crate) requests: Arc<Requests>,
    pub(crate) registrations: Registrations,
    pub(crate) unique_ids: UniqueIdGenerator,
    /// `MSG_REGION`, `CLUSTER` and `TRACE_ON` as every stored message ends.
    pub(crate) property_suffix: String,
    pub(crate) started_ms: i64,
    /// Why the fast port is not served although it shall be.
    pub(crate) fast_port_problem: Option<String>,
    started_monotonic_ms: i64,
    permission: AtomicI32,
    /// Open connections of each of [`LISTENERS`].
    pub(crate) open: [AtomicU64; LISTENERS.len()],
    next_queue: AtomicU32,
    stopping: AtomicBool,
    runtime: Handle,
}

impl Broker {
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Milliseconds of the clock that measures how long something takes.
    pub(crate) fn monotonic_ms(&self) -> i64 {
        self.clock.monotonic_ms()
    }

    /// Takes the samples of statistics whose time has come.
    pub(crate) fn catch_up(&self) {
        self.stats.catch_up(self.monotonic_ms(), self.now_ms());
    }

    /// How long the broker has run, milliseconds.
    pub(crate) fn uptime_ms(&self) -> i64 {
        self.monotonic_ms() - self.started_monotonic_ms
    }

    /// Monotonic milliseconds of the connections' clock: heartbeats, locks.
    pub(crate) fn connection_now_ms(&self) -> i64 {
        self.connection_clock.monotonic_ms()
    }

    pub(crate) fn permission(&self) -> i32 {
        self.permission.load(Ordering::Relaxed)
    }

    /// Allows or forbids from now on: name servers are told at once, pulls that wait are asked again.
    pub(crate) fn set_permission(self: &Arc<Self>, permission: i32) {
        self.permission.store(permission, Ordering::Relaxed);
        self.topics.touch(self.now_ms());
        if !perm::is_readable(permission) {
            for waiter in self.waiters.take_of(None) {
                pull::again(self, waiter);
            }
        }
    }

    /// What this broker says to a message that it does not take.
    pub(crate) fn sending_forbidden(&self) -> String {
        format!(
            "the broker[{}] sending message is forbidden: its permission (brokerPermission) is {}, without 2 (write)",
            self.identity.addr,
            self.permission()
        )
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// A queue for a message that names none.
    pub(crate) fn random_queue(&self, queues: i32) -> i32 {
        let next = self.next_queue.fetch_add(1, Ordering::Relaxed);
        (next % u32::try_from(queues.max(1)).unwrap_or(1)) as i32
    }

    /// Where the retries of a group wait; made when it is missing.
    pub(crate) fn retry_topic(&self, group: &str, queues: i32) -> Result<Arc<Topic>, TopicError> {
        self.group_topic(names::retry_topic(group), queues)
    }

    /// Where the dead letters of a group go; made when it is missing.
    pub(crate) fn dead_letter_topic(&self, group: &str) -> Result<Arc<Topic>, TopicError> {
        self.group_topic(names::dlq_topic(group), 1)
    }

    fn group_topic(&self, name: String, queues: i32) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.topics.get(&name) {
            return Ok(topic);
        }
        let config = TopicConfig {
            perm: perm::READ | perm::WRITE,
            // The limit may have been lowered since the group was made.
            ..TopicConfig::new(name, queues.clamp(1, self.limits.queues_per_topic))
        };
        self.topics.create_now(config, self.now_ms())
    }

    /// Whether the first message of a queue is in memory.
    pub(crate) fn is_in_memory(&self, queue: &QueueRef) -> bool {
        let one = ReadLimits {
            messages_max: 1,
            bytes_max: 1,
            scan_entries_max: 1,
        };
        self.store
            .read(
                queue,
                QueueOffset(queue.min_offset()),
                one,
                &AllMessages,
                Temperature::HotOnly,
            )
            .status
            != ReadStatus::Cold
    }

    /// Runs what may wait for the disk, or works long, away from the connections.
    pub(crate) fn run_blocking(
        self: &Arc<Self>,
        reply: PendingReply,
        work: impl FnOnce(&Arc<Self>, PendingReply) + Send + 'static,
    ) {
        let broker = Arc::clone(self);
        self.runtime.spawn_blocking(move || work(&broker, reply));
    }

    /// Runs a request that has to wait for something, as a task.
    pub(crate) fn run_task<F>(self: &Arc<Self>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.runtime.spawn(task);
    }
}

/// A started broker. Dropping it stops nothing: use [`RunningBroker::shutdown`] or [`RunningBroker::kill`].
pub struct RunningBroker {
    broker: Arc<Broker>,
    addr: SocketAddr,
    fast_addr: Option<SocketAddr>,
    management_addr: Option<SocketAddr>,
    recovery: RecoveryReport,
    stop_serving: CancellationToken,
    servers: Vec<JoinHandle<ServeReport>>,
    management: Option<JoinHandle<()>>,
    tasks: Tasks,
}

impl std::fmt::Debug for RunningBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningBroker")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// A broker to be started.
#[derive(Debug)]
pub struct BrokerServer;

impl BrokerServer {
    /// Starts a broker: listens, opens the store, loads the tables, serves, registers. Returns when clients can be served;
    /// [`RunningBroker::registered`] waits for the name servers.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(config: BrokerConfig, deps: Deps) -> Result<RunningBroker, StartError> {
        config.validate()?;
        let listen_error = |addr: &str, key| {
            let addr = addr.to_owned();
            move |source| StartError::Listen { addr, key, source }
        };
        let (listener, addr) = rmq_transport::bind(&config.listen)
            .await
            .map_err(listen_error(&config.listen, "listen"))?;
        let (fast, fast_port_problem) = match fast_listener(&config, addr).await {
            Ok(fast) => (fast, None),
            Err(problem) => (None, Some(problem)),
        };
        let management_listener = match config.management.as_str() {
            "" => None,
            management => Some(
                TcpListener::bind(management)
                    .await
                    .map_err(listen_error(management, "management"))?,
            ),
        };
        let identity = identity(&config, addr).await;

        let mut store_config = config.store(identity.store_host);
        let clock = Arc::clone(&deps.clock);
        store_config.now_ms = Arc::new(move || clock.now_ms());
        let fs = Arc::clone(&deps.fs);
        let opened = tokio::task::spawn_blocking(move || Store::open(store_config, fs)).await;
        let (store, recovery) = opened
            .map_err(|error| StartError::Interrupted(error.to_string()))?
            .map_err(|source| StartError::Store {
                dir: config.data_dir.clone(),
                source,
            })?;

        recovery::tell(&recovery);

        let unreadable = |source| StartError::Store {
            dir: config.data_dir.clone(),
            source: OpenError::Read(source),
        };
        let now = deps.clock.now_ms();
        let delays = delay::parse_levels(&config.delay_levels)
            .map_err(|error| ConfigError(vec![error.to_string()]))?;
        let system = Topics::system(
            &config.cluster_name,
            &config.broker_name,
            config.auto_create_topic,
            delays.len() as i32,
        );
        let mut suffix = properties::Builder::new();
        suffix.push(property::MSG_REGION, &config.region);
        suffix.push(property::CLUSTER, &config.cluster_name);
        suffix.push(property::TRACE_ON, "true");
        let limits = Limits::of(&config);
        let broker = Arc::new(Broker {
            limits,
            memory: MemoryBudget::new(memory_bytes(config.memory_bytes), config.connections_max),
            topics: Topics::load(&store, system, limits, now).map_err(unreadable)?,
            groups: Groups::load(&store, config.auto_create_subscription_group, limits, now),
            sessions: Sessions::default(),
            offsets: ConsumerOffsets::load(&store),
            locks: QueueLocks::default(),
            delay: DelayDelivery::load(&store, &delays).map_err(unreadable)?,
            clock_watch: ClockWatch::load(&store, Arc::clone(&deps.clock)),
            retention: Retention::default(),
            waiters: Waiters::default(),
            stats: Stats::new(deps.clock.monotonic_ms(), now),
            requests: Arc::new(Requests::new(Arc::clone(&deps.clock))),
            open: [AtomicU64::new(0), AtomicU64::new(0)],
            registrations: Registrations::new(
                config.name_server_list(),
                config.look_up_name_servers,
            ),
            unique_ids: UniqueIdGenerator::new(
                identity.store_host.ip(),
                std::process::id(),
                now as u32,
            ),
            property_suffix: suffix.finish(),
            started_ms: now,
            fast_port_problem,
            started_monotonic_ms: deps.clock.monotonic_ms(),
            permission: AtomicI32::new(kept::permission(&store, config.permission)),
            next_queue: AtomicU32::new(now as u32),
            stopping: AtomicBool::new(false),
            runtime: Handle::current(),
            clock: deps.clock,
            connection_clock: deps.connection_clock,
            store,
            identity,
            config,
        });
        broker
            .store
            .set_arrivals(Arc::new(Answering(Arc::downgrade(&broker))));

        let tasks = Tasks::start(&broker);
        let stop_serving = CancellationToken::new();
        let mut limits = rmq_transport::TransportLimits {
            connections_max: broker.config.connections_max,
            ..Default::default()
        };
        limits.connections_per_source_max = limits.connections_max;
        let server = ServerConfig {
            name: "broker",
            memory: Arc::clone(&broker.memory),
            limits,
            clock: Arc::clone(&broker.connection_clock),
            drain_timeout: Duration::from_millis(broker.config.drain_timeout_ms),
        };
        let mut servers = Vec::new();
        let mut fast_addr = None;
        let listeners = [Some(listener), fast];
        for (index, listener) in listeners.into_iter().enumerate() {
            let Some(listener) = listener else { continue };
            if index == 1 {
                fast_addr = listener.local_addr().ok();
            }
            let service = Arc::new(BrokerService {
                broker: Arc::clone(&broker),
                listener: index,
            });
            servers.push(tokio::spawn(rmq_transport::serve(
                listener,
                service,
                server.clone(),
                stop_serving.clone(),
            )));
        }
        let management_addr = management_listener
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        let management = management_listener
            .map(|listener| management::serve(listener, Arc::clone(&broker), stop_serving.clone()));
        broker.registrations.start(&broker, &tasks);
        tracing::info!(
            %addr, advertised = broker.identity.addr, management = management_addr.map(tracing::field::display), data = %broker.config.data_dir.display(),
            topics = broker.topics.len(), memory_bytes = memory_bytes(broker.config.memory_bytes), recovered_ms = recovery.took.as_millis() as u64, "broker ready"
        );
        Ok(RunningBroker {
            broker,
            addr,
            fast_addr,
            management_addr,
            recovery,
            stop_serving,
            servers,
            management,
            tasks,
        })
    }
}

impl RunningBroker {
    /// Where clients connect on this machine.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address that routes carry, `host:port`.
    #[must_use]
    pub fn advertised(&self) -> &str {
        &self.broker.identity.addr
    }

    /// The second port, if there is one.
    #[must_use]
    pub fn fast_addr(&self) -> Option<SocketAddr> {
        self.fast_addr
    }

    /// Where health and metrics are, if anywhere.
    #[must_use]
    pub fn management_addr(&self) -> Option<SocketAddr> {
        self.management_addr
    }

    /// The settings it runs with.
    #[must_use]
    pub fn config(&self) -> &BrokerConfig {
        &self.broker.config
    }

    /// What was found when the store was opened.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Waits until every name server has taken this broker's topics as they are now.
    pub async fn registered(&self) {
        self.broker.registrations.all_current(&self.broker).await;
    }

    /// Leaves the routes, answers what waits, ends what is in flight, writes everything to disk.
    ///
    /// # Errors
    /// When the last writes failed.
    pub async fn shutdown(self) -> Result<(), rmq_store::AppendError> {
        let broker = &self.broker;
        broker.registrations.leave(broker).await;
        broker.stopping.store(true, Ordering::Release);
        for waiter in broker.waiters.take_of(None) {
            pull::end_waiting(broker, waiter);
        }
        self.stop_serving.cancel();
        for server in self.servers {
            if let Err(error) = server.await {
                tracing::error!("the server ended badly: {error}");
            }
        }
        if let Some(management) = self.management {
            // Ends with the token; nothing depends on how.
            let _ = management.await;
        }
        self.tasks.stop().await;
        for saved in [
            broker.offsets.save(),
            broker.delay.save(),
            broker.clock_watch.save(&broker.store, true),
        ] {
            if let Err(error) = saved {
                tracing::error!("progress could not be saved: {error}");
            }
        }
        let store = broker.store.clone();
        tokio::task::spawn_blocking(move || store.close())
            .await
            .unwrap_or(Err(rmq_store::AppendError::Closed))
    }

    /// Ends at once and writes nothing more, as a killed process would. For tests.
    pub async fn kill(self) {
        self.broker.stopping.store(true, Ordering::Release);
        self.broker.registrations.forsake();
        let store = self.broker.store.clone();
        // A panic in there is reported by the runtime.
        let _ = tokio::task::spawn_blocking(move || store.abandon()).await;
        self.tasks.stop().await;
        for waiter in self.broker.waiters.take_of(None) {
            waiter.reply.forget();
        }
        // With nothing in flight and nothing that waits, the drain closes every connection at once.
        self.stop_serving.cancel();
        for server in self.servers {
            // A panic in there is reported by the runtime.
            let _ = server.await;
        }
        if let Some(management) = self.management {
            let _ = management.await;
        }
    }
}

/// The listener of the fast port, when there is to be one.
///
/// # Errors
/// Why it cannot be used; the broker serves without it.
async fn fast_listener(
    config: &BrokerConfig,
    addr: SocketAddr,
) -> Result<Option<TcpListener>, String> {
    let Ok(configured) = config.listen.parse::<SocketAddr>() else {
        return Ok(None);
    };
    if !config.fast_port || configured.port() <= 2 {
        return Ok(None);
    }
    let fast = SocketAddr::new(configured.ip(), addr.port() - 2);
    match rmq_transport::bind(&fast.to_string()).await {
        Ok((listener, _)) => Ok(Some(listener)),
        Err(error) => {
            tracing::warn!(
                "the fast port {fast} cannot be used, only clients with vipChannelEnabled miss it: {error}"
            );
            Err(format!("{fast}: {error}"))
        }
    }
}

async fn identity(config: &BrokerConfig, addr: SocketAddr) -> Identity {
    let port = match config.advertise_port {
        0 => addr.port(),
        port => port,
    };
    let host = if !config.advertise.is_empty() {
        config.advertise.clone()
    } else if addr.ip().is_unspecified() {
        outward_address(config)
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
            .to_string()
    } else {
        addr.ip().to_string()
    };
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => match tokio::net::lookup_host((host.as_str(), port))
            .await
            .map(|mut found| found.next())
        {
            Ok(Some(found)) => found.ip(),
            _ => {
                tracing::warn!(
                    host,
                    "the advertised host cannot be resolved here; message ids carry the loopback address"
                );
                IpAddr::V4(Ipv4Addr::LOCALHOST)
            }
        },
    };
    let addr_text = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    Identity {
        addr: addr_text,
        store_host: SocketAddr::new(ip, port),
    }
}

/// The address of the interface towards the first name server; nothing is sent.
fn outward_address(config: &BrokerConfig) -> Option<IpAddr> {
    let server = config.name_server_list().into_iter().next()?;
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(server).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}
