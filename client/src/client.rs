//! The client itself: connections, routes, and the way to everything else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rmq_protocol::message::UniqueIdGenerator;
use rmq_transport::{Caller, CallerConfig, CallerEvent, Clock, Connector};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::builder::{ClientBuilder, Timeouts};
use crate::consumer::ConsumerBuilder;
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind};
use crate::events::{Announcer, Event, Events, Health};
use crate::incoming::{Incoming, Notices};
use crate::life::Life;
use crate::membership::MembershipBuilder;
use crate::message_traces::{self, Traces};
use crate::metrics::{self, Meters};
use crate::missing::Missing;
use crate::producer::{self, Producer, ProducerBuilder};
use crate::pull_consumer::PullConsumer;
use crate::reader::ReaderBuilder;
use crate::reading::Reading;
use crate::remote::Remote;
use crate::routes::Routes;
use crate::url::ClusterUrl;

/// A connection to a cluster. Cheap to clone; clones share everything.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use std::time::Duration;
/// use rmq_client::{Client, Message, TopicSpec};
///
/// let client = Client::connect("rmq://ns-0:9876,ns-1:9876").await?;
/// client.admin().create_topic(&TopicSpec::new("orders")).await?;
/// let route = client.wait_for_route("orders", Duration::from_secs(5)).await?;
/// println!("{} of {:?}: {} queues", client.id(), client.url(), route.writable().len());
/// client.producer().send(Message::new("orders", "17")).await?;
/// println!("{:?}", client.cluster_info().await?.broker_addr_table.keys());
/// client.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    url: ClusterUrl,
    id: String,
    timeouts: Timeouts,
    connector: Arc<dyn Connector>,
    clock: Arc<dyn Clock>,
    caller: CallerConfig,
    credentials: Option<Arc<Credentials>>,
    remotes: Mutex<HashMap<String, Remote, RandomState>>,
    routes: Routes,
    reading: Reading,
    notices: Arc<Notices>,
    /// The name server that answered last.
    name_server: AtomicUsize,
    unique_ids: UniqueIdGenerator,
    stopped: CancellationToken,
    tasks: TaskTracker,
    /// The longest time that the end of a consumer of this client may take.
    longest_end_ms: AtomicU64,
    life: Arc<Life>,
    missing: Missing,
    meters: Meters,
    beats: producer::Beats,
    events: Announcer,
    isolation: producer::Isolation,
    /// What all handles of the default producer share.
    default_producer: OnceLock<Arc<producer::ProducerState>>,
    /// Where it says what it does with messages, when it does.
    traces: Option<Traces>,
    /// Its connections are closed, for good.
    closed: AtomicBool,
    /// Ends what only watches the client.
    _gone: DropGuard,
}

/// After the connections were closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// Between tries of the first connect; doubles with each.
const FIRST_PAUSE_MIN: Duration = Duration::from_millis(100);
const FIRST_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Clients of this process, to tell their ids apart.
static CLIENTS: AtomicU32 = AtomicU32::new(0);

impl Client {
    /// Connects to the cluster whose name servers `url` lists, such as `rmq://ns-0:9876,ns-1:9876`.
    ///
    /// # Errors
    /// When the address cannot be understood or no name server answers in time.
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn connect(url: impl Into<String>) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// Connects to the cluster that the environment names: `RMQ_URL`, else `NAMESRV_ADDR` as other clients have it, else a service
    /// binding: a folder under `SERVICE_BINDING_ROOT` whose file `type` says `rmq` or `rocketmq`, with a file `uri`, or `host` and
    /// perhaps `port`.
    ///
    /// Connections have TLS when `RMQ_TLS` is `true`, or one of these is set: `RMQ_TLS_CA_FILE`, `RMQ_TLS_CERTIFICATE_FILE` with
    /// `RMQ_TLS_KEY_FILE`, `RMQ_TLS_SERVER_NAME`. They are what the functions of `Tls` with these names take.
    ///
    /// # Errors
    /// When none of them is set, or as [`Client::connect`].
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn from_env() -> Result<Self, Error> {
        let url = crate::environment::cluster_url(|name| std::env::var_os(name))?;
        let builder = Self::builder(url);
        #[cfg(feature = "tls")]
        let builder = match crate::tls::Tls::from_env()? {
            Some(tls) => builder.tls(tls),
            None => builder,
        };
        builder.connect().await
    }

    /// Connects with other than the usual settings.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    pub(crate) async fn start(url: ClusterUrl, builder: ClientBuilder) -> Result<Self, Error> {
        metrics::describe();
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let ip = local_ip(url.name_servers());
        let now_ms = builder.clock.now_ms();
        let name = builder.name.unwrap_or_else(|| {
            format!("{pid}#{}", now_ms % 1_000_000_000 * 100 + i64::from(number))
        });
        let stopped = CancellationToken::new();
        let gone = stopped.child_token();
        let life = Arc::new(Life::default());
        let (traces, records) = builder.message_traces.map(Traces::new).unzip();
        let inner = Inner {
            id: format!("{ip}@{name}"),
            url,
            timeouts: builder.timeouts,
            connector: builder.connector,
            clock: builder.clock,
            caller: builder.caller,
            credentials: builder.credentials.map(Arc::new),
            remotes: Mutex::default(),
            routes: Routes::default(),
            reading: Reading::default(),
            notices: Arc::default(),
            name_server: AtomicUsize::new(pid as usize),
            unique_ids: UniqueIdGenerator::new(ip, pid, (now_ms as u32).wrapping_add(number)),
            stopped,
            tasks: TaskTracker::new(),
            longest_end_ms: AtomicU64::new(0),
            life: Arc::clone(&life),
            missing: Missing::default(),
            meters: Meters::default(),
            beats: producer::Beats::default(),
            events: Announcer::default(),
            isolation: producer::Isolation::default(),
            default_producer: OnceLock::new(),
            traces,
            closed: AtomicBool::new(false),
            _gone: gone.clone().drop_guard(),
        };
        let client = Self {
            inner: Arc::new(inner),
        };
        let weak = Arc::downgrade(&client.inner);
        client.inner.tasks.spawn(life.watch(gone, move || {
            if let Some(inner) = weak.upgrade() {
                inner.close();
            }
        }));
        let answered = client.first_answer(builder.first_connect_within).await;
        answered.map_err(|error| error.doing("connecting"))?;
        if let Some(records) = records {
            let producer = message_traces::producer(&client);
            // Not one of the client's tasks: it writes what they say until the last of them has ended.
            tokio::spawn(records.send(client.downgrade(), producer));
        }
        Ok(client)
    }

    /// Waits until a name server has answered.
    async fn first_answer(&self, within: Duration) -> Result<(), Error> {
        let began = tokio::time::Instant::now();
        let mut pause = FIRST_PAUSE_MIN;
        loop {
            let error = match self.cluster_info().await {
                Ok(_) => return Ok(()),
                // It answers. Name servers that ask who administrates do not know the users of brokers, and give them routes.
                Err(error) if error.kind() == ErrorKind::Denied => return Ok(()),
                Err(error) => error,
            };
            if !error.is_retryable() || began.elapsed() + pause >= within {
                return Err(error);
            }
            if pause == FIRST_PAUSE_MIN {
                tracing::warn!("the cluster is not there yet, trying for {within:?}: {error}");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(FIRST_PAUSE_MAX);
        }
    }

    /// The id that brokers know this client by.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The name servers.
    #[must_use]
    pub fn url(&self) -> &ClusterUrl {
        &self.inner.url
    }

    /// A producer with the usual settings; always the same one.
    #[must_use]
    pub fn producer(&self) -> Producer {
        let shared = self
            .inner
            .default_producer
            .get_or_init(|| self.producer_builder().shared());
        Producer::new(self.clone(), Arc::clone(shared))
    }

    /// A producer with other than the usual settings.
    pub fn producer_builder(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// Topics, groups, offsets and brokers.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// A consumer: a member of a group that gets its share of the messages.
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), group.into())
    }

    /// Reads a topic without a group: nothing is committed, and no other client is affected.
    pub fn reader(&self, topic: impl Into<String>) -> ReaderBuilder {
        ReaderBuilder::new(self.clone(), topic.into())
    }

    /// Consumes for a group by hand: the caller says which queues, when to read, and when to commit.
    #[must_use]
    pub fn pull_consumer(&self, group: impl Into<String>) -> PullConsumer {
        PullConsumer::new(self.clone(), group.into())
    }

    /// Registers as a member of a consumer group, with heartbeats and change notices.
    pub fn member_of(&self, group: impl Into<String>) -> MembershipBuilder {
        MembershipBuilder::new(self.clone(), group.into())
    }

    /// The server at `addr` (`host:port`), for requests that have no method of their own.
    #[must_use]
    pub fn remote(&self, addr: &str) -> Remote {
        let inner = &self.inner;
        let mut remotes = inner.remotes.lock();
        if let Some(remote) = remotes.get(addr) {
            return remote.clone();
        }
        let incoming = Arc::new(Incoming(Arc::clone(&inner.notices)));
        let caller = Caller::new(
            addr,
            Arc::clone(&inner.connector),
            inner.caller.clone(),
            incoming,
        );
        let remote = Remote::new(
            caller,
            inner.timeouts.request,
            inner.credentials.clone(),
            Arc::clone(&inner.life),
        );
        // While it ends in order it may need a server that it has not needed before.
        if inner.closed.load(Ordering::Relaxed) || inner.life.has_ended() {
            remote.close();
        }
        remotes.insert(addr.to_owned(), remote.clone());
        drop(remotes);
        self.watch(&remote);
        remote
    }

    /// Tells when the connection comes and goes, until the client stops.
    fn watch(&self, remote: &Remote) {
        if tokio::runtime::Handle::try_current().is_err() || self.inner.stopped.is_cancelled() {
            return;
        }
        let (addr, mut connection) = (remote.addr().to_owned(), remote.connection());
        // The task must not keep the client alive.
        let inner = Arc::downgrade(&self.inner);
        let stopped = self.inner.stopped.clone();
        self.inner.tasks.spawn(async move {
            let mut was_connected = false;
            loop {
                tokio::select! {
                    changed = connection.changed() => if changed.is_err() {
                        return;
                    },
                    () = stopped.cancelled() => return,
                }
                let event = *connection.borrow_and_update();
                let is_connected = matches!(event, CallerEvent::Connected(_));
                let Some(inner) = inner.upgrade() else {
                    return;
                };
                if is_connected != was_connected {
                    was_connected = is_connected;
                    let addr = addr.clone();
                    if is_connected {
                        inner.beats.connected(&addr);
                        inner.reading.connected(&addr);
                        if event != CallerEvent::Connected(1) {
                            inner.routes.connected_again(&addr);
                        }
                    }
                    inner.events.tell(|| match is_connected {
                        true => Event::Connected { addr },
                        false => Event::Disconnected { addr },
                    });
                }
            }
        });
    }

    /// What happens to this client from now on.
    pub fn events(&self) -> Events {
        self.inner.events.listen()
    }

    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        self.inner.events.tell(event);
    }

    pub(crate) fn isolation(&self) -> &producer::Isolation {
        &self.inner.isolation
    }

    /// Whether the cluster can be worked with now: asks a name server. Not ready too while a consumer of this client subscribes to a
    /// topic that no name server knows.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn health(&self) -> Health {
        let problem = match self.cluster_info().await {
            Ok(info) if info.broker_addr_table.is_empty() => {
                Some("no broker is registered at the name servers".to_owned())
            }
            Ok(_) => self.inner.missing.any().map(|missing| missing.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let remotes = self.inner.remotes.lock();
        let mut connections: Vec<(String, bool)> = remotes
            .iter()
            .map(|(addr, remote)| {
                let state = *remote.connection().borrow();
                (addr.clone(), matches!(state, CallerEvent::Connected(_)))
            })
            .collect();
        drop(remotes);
        connections.sort();
        Health {
            problem,
            connections,
        }
    }

    /// Ends all that the client does and closes its connections; what is in flight has the time of one request, and consumers that
    /// were dropped have theirs ([`drain_within`](crate::ConsumerBuilder::drain_within)), then it fails. What members and consumers
    /// hold must be given back before. Message traces that wait are sent last, and have the time of one more request.
    ///
    /// # Cancel safety
    /// From its first poll on the client begins nothing new. Of a dropped call, the rest is done by the next one, or when the last clone
    /// is dropped.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.stopped.cancel();
        inner.tasks.close();
        let longest = Duration::from_millis(inner.longest_end_ms.load(Ordering::Relaxed));
        let limit = longest.max(inner.timeouts.request);
        let in_order = tokio::time::timeout(limit, inner.tasks.wait()).await;
        if let Some(traces) = &inner.traces {
            // What is not sent by then is lost.
            let _ = tokio::time::timeout(inner.timeouts.request, traces.end()).await;
        }
        inner.close();
        if in_order.is_err() {
            // Nothing is left to wait for: all calls have failed.
            let _ = tokio::time::timeout(CLOSED_WITHIN, inner.tasks.wait()).await;
        }
    }

    /// What the end of a consumer may take.
    pub(crate) fn waits_at_most(&self, end: Duration) {
        let ms = u64::try_from(end.as_millis()).unwrap_or(u64::MAX);
        self.inner.longest_end_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// Records of message traces that nobody will read: more waited than there is room for, or no broker took them. 0 where the client
    /// writes none ([`ClientBuilder::message_traces`]).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), rmq_client::Error> {
    /// use rmq_client::Client;
    ///
    /// let client = Client::builder("rmq://localhost:9876").message_traces(None).connect().await?;
    /// println!("{} lost", client.message_traces_lost());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn message_traces_lost(&self) -> u64 {
        self.inner.traces.as_ref().map_or(0, Traces::lost)
    }

    /// Where it says what it does with messages, when it does.
    pub(crate) fn traces(&self) -> Option<&Traces> {
        self.inner.traces.as_ref()
    }

    pub(crate) fn routes(&self) -> &Routes {
        &self.inner.routes
    }

    pub(crate) fn reading(&self) -> &Reading {
        &self.inner.reading
    }

    /// Ends the connection to this server: calls that wait for it fail, and the next one connects again.
    pub(crate) fn disconnect(&self, addr: &str) {
        let remote = self.inner.remotes.lock().get(addr).cloned();
        remote.inspect(Remote::disconnect);
    }

    /// The place of the name server that answered last.
    pub(crate) fn name_server(&self) -> usize {
        self.inner.name_server.load(Ordering::Relaxed)
    }

    pub(crate) fn set_name_server(&self, index: usize) {
        self.inner.name_server.store(index, Ordering::Relaxed);
    }

    pub(crate) fn missing(&self) -> &Missing {
        &self.inner.missing
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    pub(crate) fn beats(&self) -> &producer::Beats {
        &self.inner.beats
    }

    pub(crate) fn downgrade(&self) -> WeakClient {
        WeakClient(Arc::downgrade(&self.inner))
    }

    /// The route is asked for again when it is next needed; until there is an answer it is better than nothing.
    pub(crate) fn expire_route(&self, topic: &str) {
        self.inner.routes.expire(topic);
    }

    pub(crate) fn forget_route(&self, topic: &str) {
        self.inner.routes.forget(topic);
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.inner.timeouts
    }

    pub(crate) fn notices(&self) -> &Notices {
        &self.inner.notices
    }

    pub(crate) fn requests(&self) -> &producer::Requests {
        &self.inner.notices.requests
    }

    /// Unix milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.inner.clock.now_ms()
    }

    /// The id of a message that is made at `now_ms`, Unix milliseconds.
    pub(crate) fn unique_id(&self, now_ms: i64) -> String {
        self.inner.unique_ids.next(now_ms)
    }

    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.inner.stopped
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }
}

/// For tasks that must not keep a client alive.
#[derive(Clone)]
pub(crate) struct WeakClient(Weak<Inner>);

impl WeakClient {
    pub(crate) fn upgrade(&self) -> Option<Client> {
        Some(Client {
            inner: self.0.upgrade()?,
        })
    }
}

impl Inner {
    /// Closes all connections, for good.
    fn close(&self) {
        let mut remotes = self.remotes.lock();
        // Under the lock: nothing is connected afterwards.
        self.closed.store(true, Ordering::Relaxed);
        let remotes = std::mem::take(&mut *remotes);
        remotes.values().for_each(Remote::close);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.inner.url)
            .field("id", &self.inner.id)
            .finish()
    }
}

/// The address of this machine as the name servers' side sees it; nothing is sent for that.
fn local_ip(name_servers: &[String]) -> IpAddr {
    let towards = |server: &String| {
        // Numbers only: resolving a name would block.
        let server: std::net::SocketAddr = server.parse().ok()?;
        let any: std::net::SocketAddr = if server.is_ipv4() {
            "0.0.0.0:0".parse().ok()?
        } else {
            "[::]:0".parse().ok()?
        };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(server).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    name_servers
        .iter()
        .find_map(towards)
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
