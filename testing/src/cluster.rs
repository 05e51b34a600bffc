//! A cluster in this process.

use std::sync::Arc;
use std::time::Duration;

use rmq_client::Client;
use tokio::sync::OnceCell;

use crate::clock::TestClock;
use crate::group::GroupHandle;
use crate::server::{Broker, BrokerHandle, NameServerHandle, OneNameServer};
use crate::topic::TopicHandle;

/// How many servers.
#[derive(Debug, Clone)]
#[must_use]
pub struct ClusterBuilder {
    name_servers: usize,
    brokers: usize,
    on_disk: bool,
}

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

    /// Broker groups of one master each, named `broker-0`, `broker-1` … Default 1.
    pub fn brokers(mut self, count: usize) -> Self {
        self.brokers = count.max(1);
        self
    }

    /// Starts them: all brokers are in the routes of all name servers.
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
        let mut brokers = Vec::new();
        for index in 0..self.brokers {
            let name = format!("broker-{index}");
            let broker =
                Broker::start(name, folder.path(), &addresses.join(";"), clock.clone()).await;
            brokers.push(broker);
        }
        TestCluster {
            inner: Arc::new(Inner {
                clock,
                name_servers,
                brokers,
                url: format!("rmq://{}", addresses.join(",")),
                client: OnceCell::new(),
                _folder: folder,
            }),
        }
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
    inner: Arc<Inner>,
}

struct Inner {
    clock: TestClock,
    name_servers: Vec<OneNameServer>,
    brokers: Vec<Broker>,
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

    /// A broker, from 0.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn broker(&self, index: usize) -> BrokerHandle<'_> {
        BrokerHandle::new(&self.inner.brokers[index])
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
        for broker in &self.inner.brokers {
            broker.stop().await;
        }
        for name_server in &self.inner.name_servers {
            name_server.stop().await;
        }
    }
}

impl std::fmt::Debug for TestCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestCluster")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}
