//! Name servers and a broker in a folder of their own.

use std::path::PathBuf;
use std::time::Duration;

use rmq_client::{Client, Queue, TopicSpec};
use rmq_ports::Port;
use tempfile::TempDir;

use crate::process::Process;

/// Longest time for a route to follow a broker.
const ROUTE_WITHIN: Duration = Duration::from_secs(20);
/// Between two questions to a name server.
const AGAIN: Duration = Duration::from_millis(10);

/// How the broker acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// When the system has the message.
    Async,
    /// When the disk has it.
    Sync,
}

impl FlushMode {
    fn setting(self) -> &'static str {
        match self {
            Self::Async => "flush=async",
            Self::Sync => "flush=sync",
        }
    }
}

/// Waits until a name server lists a broker: one that serves has not told it at once.
///
/// # Errors
/// When that takes longer than 20 s.
pub fn registered(name_server: &str) -> Result<(), String> {
    let wait = async {
        let client = Client::connect(format!("rmq://{name_server}")).await?;
        while client.cluster_info().await?.broker_addr_table.is_empty() {
            tokio::time::sleep(AGAIN).await;
        }
        client.shutdown().await;
        Ok::<(), rmq_client::Error>(())
    };
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let waited = runtime
            .map_err(|error| error.to_string())?
            .block_on(async { tokio::time::timeout(ROUTE_WITHIN, wait).await });
        match waited {
            Ok(ended) => ended.map_err(|error| format!("name server {name_server}: {error}")),
            Err(_) => Err(format!("no broker registers at {name_server}")),
        }
    };
    // The caller may be a task of a runtime, which must not wait in another one.
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| Err("the wait for a broker panicked".to_owned()))
}

/// Name servers and one broker. Everything ends, and the folder goes, when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// `None` while one is down.
    name_servers: Vec<Option<Process>>,
    /// They keep their addresses over a restart.
    name_server_addrs: Vec<String>,
    _ports: Vec<Port>,
    broker: Option<Process>,
    flush: FlushMode,
    /// Further settings of the broker, `KEY=VALUE`.
    settings: Vec<String>,
    /// Further variables of its environment.
    environment: Vec<(&'static str, String)>,
    folder: TempDir,
}

impl Cluster {
    /// Starts `name_servers` name servers and a broker, and waits until each of them knows the broker.
    ///
    /// # Panics
    /// When one of them does not start.
    #[must_use]
    pub fn start(name_servers: usize, flush: FlushMode) -> Self {
        Self::start_with(name_servers, flush, &[], &[])
    }

    /// The same with further settings of the broker, `KEY=VALUE` each, and more variables in its environment.
    ///
    /// # Panics
    /// When one of them does not start.
    #[must_use]
    pub fn start_with(
        name_servers: usize,
        flush: FlushMode,
        settings: &[&str],
        environment: &[(&'static str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports: Vec<Port> = (0..name_servers)
            .map(|_| Port::hold().expect("a port"))
            .collect();
        let mut cluster = Self {
            name_servers: (0..name_servers).map(|_| None).collect(),
            name_server_addrs: ports.iter().map(|port| port.addr().to_string()).collect(),
            _ports: ports,
            broker: None,
            flush,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            environment: environment
                .iter()
                .map(|&(name, value)| (name, value.to_owned()))
                .collect(),
            folder,
        };
        for index in 0..name_servers {
            cluster.start_name_server(index);
        }
        cluster.start_broker();
        for addr in &cluster.name_server_addrs {
            registered(addr).unwrap_or_else(|error| panic!("{error}"));
        }
        cluster
    }

    /// Starts the broker on its data; it gets another port each time.
    ///
    /// # Panics
    /// When it runs already or does not start.
    pub fn start_broker(&mut self) {
        assert!(self.broker.is_none(), "the broker runs already");
        let mut args = vec![
            "--listen".to_owned(),
            "127.0.0.1:0".to_owned(),
            "--management".to_owned(),
            "127.0.0.1:0".to_owned(),
            "--advertise".to_owned(),
            "127.0.0.1".to_owned(),
            "--name-servers".to_owned(),
            self.name_server_addrs.join(";"),
            "--data".to_owned(),
            self.folder.path().join("data").display().to_string(),
            "--set".to_owned(),
            self.flush.setting().to_owned(),
            "--set".to_owned(),
            format!("segmentBytes={}", 16 << 20),
        ];
        for setting in &self.settings {
            args.extend(["--set".to_owned(), setting.clone()]);
        }
        self.broker = Some(Process::start_with(
            "rmq-broker",
            &args,
            &self.environment,
            &self.log("broker"),
        ));
    }

    /// Starts a name server, at the address that it always has.
    ///
    /// # Panics
    /// When it runs already or does not start.
    pub fn start_name_server(&mut self, index: usize) {
        assert!(
            self.name_servers[index].is_none(),
            "the name server runs already"
        );
        let args = [
            "--listen".to_owned(),
            self.name_server_addrs[index].clone(),
            "--management".to_owned(),
            String::new(),
        ];
        let process = Process::start("rmq-namesrv", &args, &self.log(&format!("namesrv-{index}")));
        self.name_servers[index] = Some(process);
    }

    /// Kills the broker with SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_broker(&mut self) {
        self.broker.take().expect("the broker runs").kill();
    }

    /// Kills a name server with SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_name_server(&mut self, index: usize) {
        self.name_servers[index]
            .take()
            .expect("the name server runs")
            .kill();
    }

    /// Takes the broker out, for example to stop it gently.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn take_broker(&mut self) -> Process {
        self.broker.take().expect("the broker runs")
    }

    /// The broker.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn broker(&mut self) -> &mut Process {
        self.broker.as_mut().expect("the broker runs")
    }

    /// A name server.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn name_server(&mut self, index: usize) -> &mut Process {
        self.name_servers[index]
            .as_mut()
            .expect("the name server runs")
    }

    /// A client that knows all name servers.
    ///
    /// # Panics
    /// When none of them answers.
    pub async fn client(&self) -> Client {
        let url = format!("rmq://{}", self.name_server_addrs.join(","));
        Client::connect(url).await.expect("a name server answers")
    }

    /// Waits until the routes show the broker where it is now; answers the topic's writable queues.
    ///
    /// # Panics
    /// When that takes longer than 20 s.
    pub async fn queues(&mut self, client: &Client, topic: &str) -> Vec<Queue> {
        let addr = self.broker().addr().to_owned();
        let followed = tokio::time::timeout(ROUTE_WITHIN, async {
            loop {
                if let Ok(route) = client.refresh_route(topic).await
                    && let Some(queue) = route.writable().first()
                    && route.master(queue.broker()) == Some(addr.as_str())
                {
                    return route.writable().to_vec();
                }
                // Asking again is what makes progress visible; a yield between keeps one core free for the servers.
                tokio::task::yield_now().await;
            }
        })
        .await;
        followed.unwrap_or_else(|_| {
            panic!(
                "the route of {topic} does not follow the broker; its log:\n{}",
                self.broker().log()
            )
        })
    }

    /// Creates topics of two queues for scenarios of a foreign client that has no administration. Blocks.
    ///
    /// # Errors
    /// When no runtime can be made.
    ///
    /// # Panics
    /// When a topic cannot be created.
    pub fn create_topics(&mut self, names: impl Iterator<Item = String>) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        runtime.block_on(async {
            let client = self.client().await;
            for name in names {
                self.create_topic(&client, &name, 2).await;
            }
            client.shutdown().await;
            Ok(())
        })
    }

    /// Creates a topic.
    ///
    /// # Panics
    /// When it cannot be created.
    pub async fn create_topic(&mut self, client: &Client, topic: &str, queues: u16) -> Vec<Queue> {
        let created = async {
            // One that was started again may not have registered yet.
            while client
                .cluster_info()
                .await
                .is_ok_and(|info| info.broker_addr_table.is_empty())
            {
                tokio::task::yield_now().await;
            }
            client
                .admin()
                .create_topic(&TopicSpec::new(topic).queues(queues))
                .await
        };
        tokio::time::timeout(ROUTE_WITHIN, created)
            .await
            .expect("the broker registers")
            .expect("a topic can be created");
        self.queues(client, topic).await
    }

    /// Where the broker keeps its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }
}
