//! The name servers and brokers of development clusters: the one place of this program that knows the servers.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use rmq_backup::StoreConfig;
use rmq_broker::{AckMode, BrokerConfig, BrokerServer, Listeners, RunningBroker};
use rmq_config::Election;
use rmq_namesrv::{Configuration as _, NameServer, NameServerConfig, RunningNameServer};

use super::place::Kept;
use super::plan::{BrokerPlan, ClusterPlan};
use crate::codes;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::when;

const NAME_SERVER_PORT: u16 = 9876;
const BROKER_PORT: u16 = 10911;
/// Between usual ports of brokers.
const BROKER_STEP: u16 = 10;
const NAME_SERVER_MANAGEMENT_PORT: u16 = 9878;
const BROKER_MANAGEMENT_PORT: u16 = 10999;
/// Small next to a server's: a laptop should not give away a gigabyte for the first message.
const SEGMENT_BYTES: u64 = 64 << 20;

/// With what the broker of a group opens the store in `folder`.
pub(crate) fn store_config(cluster: &str, group: &str, folder: &Path) -> StoreConfig {
    let config = BrokerConfig {
        cluster_name: cluster.to_owned(),
        broker_name: group.to_owned(),
        data_dir: folder.to_owned(),
        ..BrokerConfig::default()
    };
    rmq_broker::store_config(&config, when::now_ms())
}

/// Ports that were asked for; `None`: the usual one, or a free one when that is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) name_server: Option<u16>,
    pub(crate) broker: Option<u16>,
    /// Whether servers have management ports.
    pub(crate) management: bool,
}

/// Running clusters, one at least.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    clusters: Vec<Cluster>,
}

/// Name servers and the brokers that register with them.
#[derive(Debug)]
pub(crate) struct Cluster {
    name: String,
    name_servers: Vec<RunningNameServer>,
    addresses: Vec<String>,
    brokers: Vec<(RunningBroker, String)>,
}

/// A server that did not start: because its address is taken, or for another reason.
enum NotStarted {
    Taken(Failure),
    Other(Failure),
}

impl Servers {
    /// Starts all on loopback; returns when the brokers are in the routes. What runs is stopped when something does not start.
    pub(crate) async fn start(
        data: &Path,
        ports: Ports,
        plans: &[ClusterPlan],
    ) -> Result<Self, Failure> {
        let mut servers = Self::default();
        match servers.start_all(data, ports, plans).await {
            Ok(()) => Ok(servers),
            Err(failure) => {
                // What did not start is what there is to say.
                let _ = servers.stop().await;
                Err(failure)
            }
        }
    }

    async fn start_all(
        &mut self,
        data: &Path,
        ports: Ports,
        plans: &[ClusterPlan],
    ) -> Result<(), Failure> {
        let (mut name_servers, mut brokers) = (0, 0);
        for plan in plans {
            self.clusters.push(Cluster {
                name: plan.name.clone(),
                name_servers: Vec::new(),
                addresses: Vec::new(),
                brokers: Vec::new(),
            });
            let Some(cluster) = self.clusters.last_mut() else {
                continue;
            };
            for _ in 0..plan.name_servers {
                let managed = ports.management_addr(
                    ports.name_server,
                    NAME_SERVER_MANAGEMENT_PORT,
                    name_servers,
                );
                let start = async |port| name_server(port, &managed, plan).await;
                let port = Port::new(ports.name_server, NAME_SERVER_PORT, name_servers);
                let running = port.start(start).await?;
                cluster.addresses.push(running.local_addr().to_string());
                cluster.name_servers.push(running);
                name_servers += 1;
            }
            let addresses = cluster.addresses.join(";");
            for one in &plan.brokers {
                let mut bound = Vec::new();
                for slot in 0..one.members.max(1) {
                    let further = brokers * BROKER_STEP;
                    let managed =
                        ports.management_addr(ports.broker, BROKER_MANAGEMENT_PORT, further);
                    let bind =
                        async |port| bind(data, port, &managed, (one, slot), &addresses).await;
                    let port = Port::new(ports.broker, BROKER_PORT, further);
                    bound.push(port.start(bind).await?);
                    brokers += 1;
                }
                let deps = elect(&mut bound, data, one).await?;
                for (bound, deps) in bound.into_iter().zip(deps) {
                    let running = broker(bound, deps).await?;
                    let addr = running.addr().to_string();
                    cluster.brokers.push((running, addr));
                }
            }
        }
        for (broker, _) in self.clusters.iter().flat_map(|cluster| &cluster.brokers) {
            broker.registered().await;
        }
        Ok(())
    }

    pub(crate) fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Addresses for people who wonder who runs here.
    pub(crate) fn name_servers(&self) -> String {
        let all: Vec<&str> = self
            .clusters
            .iter()
            .flat_map(|cluster| &cluster.addresses)
            .map(String::as_str)
            .collect();
        all.join(";")
    }

    /// As [`Servers::name_servers`].
    pub(crate) fn brokers(&self) -> String {
        let all: Vec<&str> = self
            .clusters
            .iter()
            .flat_map(Cluster::brokers)
            .map(|(_, addr)| addr)
            .collect();
        all.join(";")
    }

    /// Leaves the routes, writes everything to disk, ends all.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let mut stopped = Ok(());
        for cluster in self.clusters {
            // At once: no member is elected because another one ends.
            let brokers = cluster.brokers.into_iter();
            let brokers = join_all(brokers.map(|(broker, _)| broker.shutdown())).await;
            stopped = brokers.into_iter().fold(stopped, Result::and);
            for name_server in cluster.name_servers {
                name_server.shutdown().await;
            }
        }
        stopped.map_err(|error| {
            Failure::new(Exit::Failed, "the broker could not write its last messages")
                .cause(&error)
                .try_this(
                    "look at the disk: what was acknowledged before is there at the next start",
                )
        })
    }
}

impl Cluster {
    /// The NameServer object's.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn name_servers(&self) -> &[String] {
        &self.addresses
    }

    /// The management port of each name server; none without `--management`.
    pub(crate) fn name_server_management(&self) -> Vec<String> {
        let ports = self.name_servers.iter();
        ports
            .filter_map(|server| server.management_addr().map(|addr| addr.to_string()))
            .collect()
    }

    /// The management port of each broker; none without `--management`.
    pub(crate) fn broker_management(&self) -> Vec<Option<String>> {
        let brokers = self.brokers.iter();
        brokers
            .map(|(broker, _)| broker.management_addr().map(|addr| addr.to_string()))
            .collect()
    }

    /// Name and address of each.
    pub(crate) fn brokers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.brokers
            .iter()
            .map(|(broker, addr)| (broker.config().broker_name.as_str(), addr.as_str()))
    }

    /// The slot of each in its group; `None` of those that are alone.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Option<i64>> {
        self.brokers.iter().map(|(broker, _)| {
            let config = broker.config();
            config.is_elected().then_some(config.broker_id)
        })
    }
}

impl Ports {
    /// The address of a server's management port: the usual one, or a free one when that is taken or the system chooses ports; empty
    /// without `--management`.
    fn management_addr(self, asked: Option<u16>, usual: u16, further: u16) -> String {
        if !self.management {
            return String::new();
        }
        let port = usual.saturating_add(further);
        let is_free = || std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        let port = if asked != Some(0) && is_free() {
            port
        } else {
            0
        };
        format!("127.0.0.1:{port}")
    }
}

/// The port of one server: as asked for, or the usual one and another where that is taken.
struct Port {
    first: u16,
    or_free: bool,
}

impl Port {
    fn new(asked: Option<u16>, usual: u16, further: u16) -> Self {
        let first = match asked {
            Some(0) => 0,
            asked => asked.unwrap_or(usual).saturating_add(further),
        };
        Self {
            first,
            or_free: asked.is_none(),
        }
    }

    async fn start<T>(
        self,
        start: impl AsyncFn(u16) -> Result<T, NotStarted>,
    ) -> Result<T, Failure> {
        let started = match start(self.first).await {
            Err(NotStarted::Taken(_)) if self.or_free => start(0).await,
            started => started,
        };
        started.map_err(NotStarted::into_failure)
    }
}

impl NotStarted {
    fn into_failure(self) -> Failure {
        match self {
            Self::Taken(failure) | Self::Other(failure) => failure,
        }
    }
}

fn taken(what: &str, addr: &str, option: &str, error: &dyn std::error::Error) -> NotStarted {
    let in_use = {
        let mut source = Some(error);
        let mut found = false;
        while let Some(current) = source {
            found |= current
                .to_string()
                .contains(&std::io::Error::from(ErrorKind::AddrInUse).to_string());
            source = current.source();
        }
        found || error.to_string().contains("in use")
    };
    let failure = Failure::new(
        if in_use { Exit::Conflict } else { Exit::Failed },
        format!("the {what} did not start"),
    )
    .fact("address", addr)
    .because(error.to_string().replace('\n', "; "));
    if in_use {
        NotStarted::Taken(
            failure.try_this(format!("{option} 0   (lets the system choose a free port)")),
        )
    } else {
        NotStarted::Other(failure)
    }
}

async fn name_server(
    port: u16,
    management: &str,
    plan: &ClusterPlan,
) -> Result<RunningNameServer, NotStarted> {
    let addr = format!("127.0.0.1:{port}");
    let config = NameServerConfig::load(None, [], &plan.name_server_config)
        .map_err(|error| misconfigured(&format!("NameServer {}", plan.name), &error))?;
    let config = NameServerConfig {
        listen: addr.clone(),
        management: management.to_owned(),
        ..config
    };
    NameServer::start(config, rmq_namesrv::Deps::default())
        .await
        .map_err(|error| taken("name server", &addr, "--port", &error))
}

/// A member whose ports are bound.
struct Bound {
    config: BrokerConfig,
    listeners: Listeners,
}

/// Where the data of a member is. A broker that is alone keeps its data apart from those of groups.
fn folder(plan: &BrokerPlan, slot: usize) -> PathBuf {
    match plan.members {
        0 | 1 => plan.folder.clone(),
        _ => PathBuf::from(format!("{}.{slot}", plan.folder.display())),
    }
}

/// Makes the brokers members of one group, and returns what each is given; a broker that is alone stays as it is.
///
/// # Errors
/// What was kept of the group cannot be read.
async fn elect(
    bound: &mut [Bound],
    data: &Path,
    plan: &BrokerPlan,
) -> Result<Vec<rmq_broker::Deps>, Failure> {
    if bound.len() < 2 {
        return Ok(bound.iter().map(|_| rmq_broker::Deps::default()).collect());
    }
    let members: Vec<String> = bound
        .iter()
        .map(|one| {
            let replication = one.listeners.replication_addr();
            let replication = replication.map(|addr| addr.to_string()).unwrap_or_default();
            let (slot, client) = (one.config.broker_id, one.listeners.addr());
            format!("{slot}={replication}/{client}")
        })
        .collect();
    let is_set = |key: &str| plan.config.iter().any(|(name, _)| name == key);
    for one in bound.iter_mut() {
        one.config.election = Election::Memory;
        one.config.members = members.join(",");
        if !is_set("ackMode") {
            one.config.ack_mode = AckMode::InSync;
        }
        if !is_set("slaveReadEnable") {
            one.config.slave_read_enable = true;
        }
    }
    let file = data.join(format!("{}.election", plan.folder.display()));
    let kept = Kept::open(file).await?;
    let deps = bound.iter().map(|one| rmq_broker::Deps {
        place: Some(Arc::new(kept.way(one.config.broker_id))),
        ..rmq_broker::Deps::default()
    });
    Ok(deps.collect())
}

/// The ports of a member, and its settings.
async fn bind(
    data: &Path,
    port: u16,
    management: &str,
    (plan, slot): (&BrokerPlan, usize),
    name_servers: &str,
) -> Result<Bound, NotStarted> {
    let addr = format!("127.0.0.1:{port}");
    let mut config = BrokerConfig::load(None, std::iter::empty(), &plan.config)
        .map_err(|error| misconfigured(&format!("broker {}", plan.name), &error))?;
    if !plan.config.iter().any(|(key, _)| key == "segmentBytes") {
        config.segment_bytes = SEGMENT_BYTES;
    }
    let config = BrokerConfig {
        listen: addr.clone(),
        management: management.to_owned(),
        name_servers: name_servers.to_owned(),
        cluster_name: plan.cluster.clone(),
        broker_name: plan.name.clone(),
        broker_id: i64::try_from(slot).unwrap_or(0),
        data_dir: data.join(folder(plan, slot)),
        // Old clients look for it two ports below; with port 0 they cannot find it.
        fast_port: port != 0,
        ..config
    };
    match Listeners::bind(&config).await {
        Ok(listeners) => Ok(Bound { config, listeners }),
        Err(error) => Err(taken("broker", &addr, "--broker-port", &error)),
    }
}

async fn broker(bound: Bound, deps: rmq_broker::Deps) -> Result<RunningBroker, Failure> {
    let Bound { config, listeners } = bound;
    let what = format!("broker {}", config.broker_name);
    config
        .validate()
        .map_err(|error| misconfigured(&what, &error).into_failure())?;
    let addr = listeners.addr().to_string();
    let started = BrokerServer::start_on(listeners, config, deps).await;
    started.map_err(|error| taken("broker", &addr, "--broker-port", &error).into_failure())
}

fn misconfigured(what: &str, error: &(dyn std::error::Error + 'static)) -> NotStarted {
    NotStarted::Other(
        Failure::coded(
            &codes::INVALID,
            format!("the configuration of {what} cannot be used"),
        )
        // A configuration tells all of its problems, a line each.
        .because(crate::causes::chain(error).replace('\n', "; ")),
    )
}
