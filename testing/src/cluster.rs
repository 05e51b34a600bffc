//! A cluster in this process.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rmq_broker::BrokerConfig;
use rmq_client::Client;
use tokio::sync::OnceCell;

use crate::broker::{Broker, BrokerHandle, Change, Common};
use crate::broker_group::BrokerGroup;
use crate::clock::TestClock;
use crate::group::GroupHandle;
use crate::name_server::{NameServerHandle, OneNameServer};
use crate::topic::TopicHandle;

/// How many servers.
#[derive(Clone)]
#[must_use]
pub struct ClusterBuilder {
    name_servers: usize,
    brokers: usize,
    replicas: usize,
    elects: bool,
    change: Option<Change>,
    on_disk: bool,
}

/// A group has 16 members at most.
const REPLICAS_MAX: usize = 15;

/// Where files are in memory.
const MEMORY: &str = "/dev/shm";

/// Many tests run at once, and a broker reserves two segments; containers often have 64 MiB there in all.
const MEMORY_BYTES_MIN: u64 = 1 << 30;

fn has_room_in_memory() -> bool {
    rustix::fs::statvfs(MEMORY)
        .is_ok_and(|room| room.f_bavail.saturating_mul(room.f_frsize) >= MEMORY_BYTES_MIN)
}

impl ClusterBuilder {
    /// Keeps the data under the system's folder for temporary files. Default: in memory, where the system has files in memory.
    pub fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// Name servers; brokers register with all of them. Default 1.
    pub fn name_servers(mut self, count: usize) -> Self {
        self.name_servers = count.max(1);
        self
    }

    /// Broker groups, named `broker-0`, `broker-1` … Default 1.
    pub fn brokers(mut self, count: usize) -> Self {
        self.brokers = count.max(1);
        self
    }

    /// Replicas of each group, beside its master. Default 0. A group with replicas acknowledges what two members have (`ackMode: inSync`), and
    /// consumers may read from its replicas. Its members elect the master, with a lease of 1.5 seconds ([`TestCluster::wait_for_master`]).
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count.min(REPLICAS_MAX);
        self
    }

    /// Groups elect nobody: member 0 is the master until [`BrokerHandle::start_as_master`].
    pub fn fixed_roles(mut self) -> Self {
        self.elects = false;
        self
    }

    /// Changes the settings of all brokers.
    ///
    /// ```
    /// use rmq_testing::{TestCluster, BrokerConfig};
    ///
    /// let cluster = TestCluster::builder().brokers_with(|config: &mut BrokerConfig| config.auto_create_topic = false);
    /// ```
    pub fn brokers_with(
        mut self,
        change: impl Fn(&mut BrokerConfig) + Send + Sync + 'static,
    ) -> Self {
        self.change = Some(Arc::new(change));
        self
    }

    /// Starts them: all brokers are in the routes of all name servers, and replicas have what their masters have.
    ///
    /// # Panics
    /// When a server does not start.
    pub async fn start(self) -> TestCluster {
        let clock = TestClock::default();
        let mut name_servers = Vec::new();
        for _ in 0..self.name_servers {
            name_servers.push(OneNameServer::start().await);
        }
        let addresses: Vec<String> = name_servers
            .iter()
            .map(|server| server.address().to_owned())
            .collect();
        let mut folder = tempfile::Builder::new();
        folder.prefix("rmq-testing-");
        let folder = match !self.on_disk && has_room_in_memory() {
            // Not ours to write: the usual place.
            true => folder.tempdir_in(MEMORY).or_else(|_| folder.tempdir()),
            false => folder.tempdir(),
        };
        let folder = folder.expect("a temporary folder");
        let common = Common {
            name_servers: addresses.join(";"),
            clock: clock.clone(),
            change: self.change,
        };
        let names: Vec<String> = (0..self.brokers).map(|n| format!("broker-{n}")).collect();
        let members = self.replicas + 1;
        let groups = names
            .iter()
            .map(|name| BrokerGroup::start(name, members, self.elects, folder.path(), &common));
        let groups = join_all(groups).await;
        let cluster = TestCluster {
            inner: Arc::new(Inner {
                clock,
                name_servers,
                groups,
                url: format!("rmq://{}", addresses.join(",")),
                client: OnceCell::new(),
                _folder: folder,
            }),
        };
        if self.replicas > 0 {
            join_all((0..self.brokers).map(|group| cluster.replicas_caught_up(group))).await;
        }
        cluster
    }
}

/// A cluster in this process. Clones are the same cluster; its data goes when the last one does.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use rmq_testing::TestCluster;
/// use rmq_testing::client::Message;
///
/// let cluster = TestCluster::start().await;
/// cluster.topic("orders").create().await;
/// cluster.client().await.producer().send(Message::new("orders", "1")).await?;
/// cluster.broker(0).kill().await;
/// cluster.broker(0).start().await;
/// cluster.topic("orders").assert_messages(1).await;
/// cluster.shutdown().await;
/// # Ok::<(), rmq_client::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct TestCluster {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    clock: TestClock,
    name_servers: Vec<OneNameServer>,
    pub(crate) groups: Vec<BrokerGroup>,
    url: String,
    client: OnceCell<Client>,
    _folder: tempfile::TempDir,
}

impl TestCluster {
    /// One name server and one broker.
    ///
    /// # Panics
    /// When a server does not start.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Another number of servers.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            name_servers: 1,
            brokers: 1,
            replicas: 0,
            elects: true,
            change: None,
            on_disk: false,
        }
    }

    /// Where it is, as [`Client::connect`] takes it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The name servers as other languages' clients take them: `host:port;host:port`.
    #[must_use]
    pub fn name_server_list(&self) -> String {
        let addresses = self.inner.name_servers.iter().map(OneNameServer::address);
        addresses.collect::<Vec<_>>().join(";")
    }

    /// A client of the test's own; always the same one. It asks for routes often, so that it sees faults end soon.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn client(&self) -> Client {
        let client = self.inner.client.get_or_init(|| self.connect());
        client.await.clone()
    }

    /// Another client, such as for a second member of a group.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn connect(&self) -> Client {
        let mut timeouts = rmq_client::Timeouts::default();
        timeouts.route_age = Duration::from_millis(200);
        Client::builder(self.url())
            .timeouts(timeouts)
            .connect()
            .await
            .unwrap_or_else(|error| panic!("the test's client cannot connect: {error}"))
    }

    /// The brokers' clock.
    #[must_use]
    pub fn clock(&self) -> &TestClock {
        &self.inner.clock
    }

    /// Moves the brokers' clock ahead: delayed messages and retries come, old messages expire. What becomes due begins at once; wait
    /// for its result, as the assertions here do. Connections and memberships of groups do not age by it.
    pub fn advance(&self, by: Duration) {
        self.inner.clock.advance(by);
    }

    /// A topic.
    pub fn topic(&self, name: impl Into<String>) -> TopicHandle<'_> {
        TopicHandle::new(self, name.into())
    }

    /// A consumer group.
    pub fn group(&self, name: impl Into<String>) -> GroupHandle<'_> {
        GroupHandle::new(self, name.into())
    }

    /// The only broker of a group, or its member 0; groups from 0.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn broker(&self, group: usize) -> BrokerHandle<'_> {
        self.member(group, 0)
    }

    /// A member of a group with replicas; both from 0.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn member(&self, group: usize, slot: usize) -> BrokerHandle<'_> {
        BrokerHandle::new(&self.inner.groups[group].members[slot])
    }

    /// A name server, from 0.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn name_server(&self, index: usize) -> NameServerHandle<'_> {
        NameServerHandle::new(&self.inner.name_servers[index])
    }

    /// Ends the client and the servers.
    pub async fn shutdown(&self) {
        if let Some(client) = self.inner.client.get() {
            client.shutdown().await;
        }
        let members = self.inner.groups.iter().flat_map(|group| &group.members);
        join_all(members.map(Broker::stop)).await;
        for name_server in &self.inner.name_servers {
            name_server.stop().await;
        }
    }
}

impl std::fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterBuilder")
            .field("name_servers", &self.name_servers)
            .field("brokers", &self.brokers)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TestCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestCluster")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}
