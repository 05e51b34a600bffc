//! The client itself: connections, routes, and the way to everything else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rmq_protocol::message::UniqueIdGenerator;
use rmq_protocol::names::{NameError, validate_topic};
use rmq_protocol::requests::{GetBrokerClusterInfo, GetRouteinfoByTopic, Request};
use rmq_protocol::route::{ClusterInfo, TopicRoute};
use rmq_transport::{Caller, CallerConfig, CallerEvent, Connector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::builder::{ClientBuilder, Timeouts};
use crate::consumer::ConsumerBuilder;
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind};
use crate::events::{Announcer, Event, Events, Health};
use crate::incoming::{Incoming, Notices};
use crate::membership::MembershipBuilder;
use crate::producer::{self, Producer, ProducerBuilder};
use crate::pull_consumer::PullConsumer;
use crate::queue::Queue;
use crate::reader::ReaderBuilder;
use crate::remote::{Answer, Remote};
use crate::routes::{Route, Routes};
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
    caller: CallerConfig,
    credentials: Option<Arc<Credentials>>,
    remotes: Mutex<HashMap<String, Remote>>,
    routes: Routes,
    notices: Arc<Notices>,
    /// The name server that answered last.
    name_server: AtomicUsize,
    unique_ids: UniqueIdGenerator,
    stopped: CancellationToken,
    tasks: TaskTracker,
    events: Announcer,
    isolation: producer::Isolation,
    /// What all handles of the default producer share.
    default_producer: OnceLock<Arc<producer::Shared>>,
}

/// Clients of this process, to tell their ids apart.
static CLIENTS: AtomicU32 = AtomicU32::new(0);

impl Client {
    /// Connects to the cluster whose name servers `url` lists, such as `rmq://ns-0:9876,ns-1:9876`.
    ///
    /// # Errors
    /// When the address cannot be understood or no name server answers in time.
    pub async fn connect(url: impl Into<String>) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// Connects to the cluster that the environment names: `RMQ_URL`, else `NAMESRV_ADDR` as other clients have it, else a service
    /// binding: a folder under `SERVICE_BINDING_ROOT` whose file `type` says `rmq` or `rocketmq`, with a file `uri`, or `host` and
    /// perhaps `port`.
    ///
    /// # Errors
    /// When none of them is set, or as [`Client::connect`].
    pub async fn from_env() -> Result<Self, Error> {
        let url = crate::environment::cluster_url(|name| std::env::var_os(name))?;
        Self::connect(url).await
    }

    /// Connects with other than the usual settings.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    pub(crate) async fn start(url: ClusterUrl, builder: ClientBuilder) -> Result<Self, Error> {
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let ip = local_ip(url.name_servers());
        let name = builder.name.unwrap_or_else(|| {
            format!(
                "{pid}#{}",
                now_ms() % 1_000_000_000 * 100 + i64::from(number)
            )
        });
        let inner = Inner {
            id: format!("{ip}@{name}"),
            url,
            timeouts: builder.timeouts,
            connector: builder.connector,
            caller: builder.caller,
            credentials: builder.credentials.map(Arc::new),
            remotes: Mutex::default(),
            routes: Routes::default(),
            notices: Arc::default(),
            name_server: AtomicUsize::new(pid as usize),
            unique_ids: UniqueIdGenerator::new(ip, pid, (now_ms() as u32).wrapping_add(number)),
            stopped: CancellationToken::new(),
            tasks: TaskTracker::new(),
            events: Announcer::default(),
            isolation: producer::Isolation::default(),
            default_producer: OnceLock::new(),
        };
        let client = Self {
            inner: Arc::new(inner),
        };
        client
            .cluster_info()
            .await
            .map_err(|error| error.doing("connecting"))?;
        Ok(client)
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

    /// Reads a topic without a group: nothing is committed, nobody else is affected.
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
        let remote = Remote::new(caller, inner.timeouts.request, inner.credentials.clone());
        if inner.stopped.is_cancelled() {
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
                let is_connected =
                    matches!(*connection.borrow_and_update(), CallerEvent::Connected(_));
                let Some(inner) = inner.upgrade() else {
                    return;
                };
                if is_connected != was_connected {
                    was_connected = is_connected;
                    let addr = addr.clone();
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

    /// Whether the cluster can be worked with now: asks a name server.
    pub async fn health(&self) -> Health {
        let problem = match self.cluster_info().await {
            Ok(info) if info.broker_addr_table.is_empty() => {
                Some("no broker is registered at the name servers".to_owned())
            }
            Ok(_) => None,
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

    /// Asks the name servers, one after the other until one answers.
    pub(crate) async fn ask_name_server<'a, R: Request<'a> + Sync>(
        &self,
        request: &R,
        body: &[u8],
    ) -> Result<Answer, Error> {
        let servers = self.inner.url.name_servers();
        let first = self.inner.name_server.load(Ordering::Relaxed);
        let mut last = None;
        for step in 0..servers.len() {
            let index = first.wrapping_add(step) % servers.len();
            match self
                .remote(&servers[index])
                .call_any(R::CODE.as_i32(), request, body)
                .await
            {
                Ok(answer) => {
                    self.inner.name_server.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(Error::closed);
        Err(error
            .doing("asking the name servers")
            .advice("check that a name server listens there: rmq-ctl dev starts one"))
    }

    /// All clusters and brokers.
    ///
    /// # Errors
    /// When no name server answers.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, Error> {
        let answer = self
            .ask_name_server(&GetBrokerClusterInfo {}, b"")
            .await?
            .success()?;
        ClusterInfo::from_json(answer.body()).map_err(|error| Error::from(error).at(answer.addr()))
    }

    /// The route of a topic, at most as old as [`Timeouts::route_age`]. While no name server answers, an older one is given.
    ///
    /// # Errors
    /// [`ErrorKind::NoRoute`] when the name servers know none.
    pub async fn route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        if let Some(route) = self
            .inner
            .routes
            .fresh(topic, self.inner.timeouts.route_age)
        {
            return Ok(route);
        }
        match self.refresh_route(topic).await {
            Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout) => {
                self.inner.routes.any(topic).ok_or(error)
            }
            result => result,
        }
    }

    /// The route of a topic, asked for now.
    ///
    /// # Errors
    /// [`ErrorKind::NoRoute`] when the name servers know none.
    pub async fn refresh_route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        validate_topic(topic).map_err(|error: NameError| Error::invalid(error.to_string()))?;
        let request = GetRouteinfoByTopic {
            topic: topic.into(),
            accept_standard_json_only: Some(true),
        };
        let answer = self.ask_name_server(&request, b"").await?;
        if answer.code() == rmq_protocol::ResponseCode::TopicNotExist.as_i32() {
            self.inner.routes.forget(topic);
            return Err(Error::new(
                ErrorKind::NoRoute,
                format!("topic \"{topic}\" has no route"),
            )
            .at(answer.addr())
            .advice("no broker has registered it: create it, or check its name"));
        }
        let answer = answer.success()?;
        let raw = TopicRoute::from_json(answer.body())
            .map_err(|error| Error::from(error).at(answer.addr()))?;
        let before = self.inner.routes.any(topic);
        let route = self.inner.routes.learn(Route::new(topic, raw));
        if before.is_some_and(|before| before != route) {
            self.tell(|| Event::Rerouted {
                topic: topic.to_owned(),
            });
        }
        Ok(route)
    }

    /// Waits until the name servers know a route of `topic` with a writable queue.
    ///
    /// # Errors
    /// The last failure when `within` is over.
    pub async fn wait_for_route(&self, topic: &str, within: Duration) -> Result<Arc<Route>, Error> {
        self.wait_for_route_that(topic, within, |route| {
            if route.writable().is_empty() {
                return Err(format!("topic \"{topic}\" has no writable queue yet"));
            }
            Ok(())
        })
        .await
    }

    /// Asks for the route until `accept` takes it; its refusal becomes the error when time is up.
    pub(crate) async fn wait_for_route_that(
        &self,
        topic: &str,
        within: Duration,
        accept: impl Fn(&Route) -> Result<(), String>,
    ) -> Result<Arc<Route>, Error> {
        let deadline = tokio::time::Instant::now() + within;
        let mut pause = Duration::from_millis(5);
        loop {
            let error = match self.refresh_route(topic).await {
                Ok(route) => match accept(&route) {
                    Ok(()) => return Ok(route),
                    Err(why) => Error::new(ErrorKind::NoRoute, why),
                },
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => error,
            };
            if tokio::time::Instant::now() + pause > deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// The broker to read `queue` from.
    pub(crate) async fn reader_of(&self, queue: &Queue) -> Result<Remote, Error> {
        let route = self.route(queue.topic()).await?;
        let addr = match route.reader(queue.broker()) {
            Some(addr) => addr.to_owned(),
            // The broker may be new.
            None => self
                .refresh_route(queue.topic())
                .await?
                .reader(queue.broker())
                .map(str::to_owned)
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::NoRoute,
                        format!(
                            "broker \"{}\" does not serve topic \"{}\"",
                            queue.broker(),
                            queue.topic()
                        ),
                    )
                })?,
        };
        Ok(self.remote(&addr))
    }

    /// The address of a broker group's master, asked for now.
    pub(crate) async fn master_of(&self, broker: &str) -> Result<Remote, Error> {
        let info = self.cluster_info().await?;
        let addr = info
            .broker_addr_table
            .get(broker)
            .and_then(|data| data.master())
            .ok_or_else(|| {
                let known: Vec<_> = info.broker_addr_table.keys().map(String::as_str).collect();
                Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "broker \"{broker}\" has no master; known brokers: {}",
                        known.join(", ")
                    ),
                )
            })?;
        Ok(self.remote(addr))
    }

    /// Stops heartbeats and closes all connections; requests in flight fail. What members and producers hold must be given back before.
    pub async fn shutdown(&self) {
        self.inner.stopped.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        let remotes = std::mem::take(&mut *self.inner.remotes.lock());
        remotes.values().for_each(Remote::close);
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

    pub(crate) fn next_unique_id(&self) -> String {
        self.inner.unique_ids.next(now_ms())
    }

    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.inner.stopped
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
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

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
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
