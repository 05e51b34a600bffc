//! A group, its place and its name servers.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rmq_broker::{BrokerConfig, BrokerServer, Deps, RunningBroker};
use rmq_config::{AckMode, Election, NameServerConfig};
use rmq_election::driver::{BootClock, Clock};
use rmq_election::machine::BootMs;
use rmq_election::place::memory::{Memory, MemoryPlace};
use rmq_election::place::{self as places, MemberId, Place, Record};
use rmq_namesrv::{NameServer, RunningNameServer};
use rmq_ports::Port;
use rmq_protocol::bodies::BrokerMemberGroupBody;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::GetBrokerMemberGroup;
use rmq_transport::ManualClock;
use tempfile::TempDir;

use crate::support::{Client, PATIENCE, config, message, pull};
use crate::wire::Relay;

/// Short, so that tests are; not shorter than a busy machine needs.
pub(crate) const LEASE_MS: u64 = 1_500;
pub(crate) const TOPIC: &str = "orders";

/// A clock that a test moves, as if the process had been stopped.
#[derive(Clone, Default)]
pub(crate) struct Boot(Arc<AtomicU64>);

impl Boot {
    pub(crate) fn jump(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).expect("short");
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Boot {
    fn now(&self) -> BootMs {
        BootClock.now().after(self.0.load(Ordering::SeqCst))
    }
}

/// One member of the group.
pub(crate) struct Member {
    /// Its wall clock; the system's where there is none.
    pub(crate) clock: Option<ManualClock>,
    pub(crate) broker: Option<RunningBroker>,
    pub(crate) config: BrokerConfig,
    pub(crate) way: Arc<MemoryPlace>,
    pub(crate) boot: Boot,
    /// It may be off for a while.
    _ports: [Port; 2],
    /// Gone with the member.
    _folder: TempDir,
}

impl Member {
    fn deps(&self) -> Deps {
        let mut deps = Deps {
            place: Some(Arc::clone(&self.way) as Arc<dyn Place>),
            boot_clock: Arc::new(self.boot.clone()),
            ..Deps::default()
        };
        if let Some(clock) = &self.clock {
            deps.clock = Arc::new(clock.clone());
        }
        deps
    }

    /// Another process on the same data.
    pub(crate) async fn start(&mut self) {
        let broker = BrokerServer::start(self.config.clone(), self.deps()).await;
        self.broker = Some(broker.expect("it starts"));
    }

    pub(crate) async fn kill(&mut self) {
        self.broker.take().expect("it runs").kill().await;
    }

    pub(crate) async fn stop(&mut self) {
        let broker = self.broker.take().expect("it runs");
        broker.shutdown().await.expect("a clean stop");
    }

    pub(crate) fn client(&self) -> Client {
        Client::to(self.broker.as_ref().expect("it runs"))
    }
}

/// A group.
pub(crate) struct Group {
    pub(crate) members: Vec<Member>,
    pub(crate) name_servers: Vec<RunningNameServer>,
    /// To the replication port of each member.
    pub(crate) wires: Vec<Relay>,
    pub(crate) memory: Memory,
    place: MemoryPlace,
}

impl Group {
    /// A group of which nobody runs.
    pub(crate) async fn new(size: usize, change: impl Fn(&mut BrokerConfig)) -> Self {
        let filter = tracing_subscriber::EnvFilter::from_env("RMQ_LOG");
        let log = tracing_subscriber::fmt().with_test_writer();
        // The first test of the process has set it.
        let _ = log.with_env_filter(filter).try_init();
        let mut name_servers = Vec::new();
        for _ in 0..2 {
            let config = NameServerConfig {
                listen: "127.0.0.1:0".to_owned(),
                management: String::new(),
                ..NameServerConfig::default()
            };
            let server = NameServer::start(config, rmq_namesrv::Deps::default()).await;
            name_servers.push(server.expect("a name server"));
        }
        let addresses: Vec<String> = name_servers
            .iter()
            .map(|server| server.local_addr().to_string())
            .collect();
        let memory = Memory::new();
        let mut members = Vec::new();
        for id in 0..size {
            let folder = tempfile::tempdir().expect("a folder");
            let mut config = config(folder.path());
            config.fast_port = false;
            let ports = [(); 2].map(|()| Port::hold().expect("a port"));
            config.listen = ports[0].addr().to_string();
            config.replication_listen = ports[1].addr().to_string();
            config.broker_id = i64::try_from(id).expect("small");
            config.name_servers = addresses.join(";");
            config.election = Election::Memory;
            config.lease_ms = LEASE_MS;
            config.ack_mode = AckMode::InSync;
            change(&mut config);
            members.push(Member {
                clock: None,
                broker: None,
                config,
                way: Arc::new(memory.way(format!("member {id}"))),
                boot: Boot::default(),
                _ports: ports,
                _folder: folder,
            });
        }
        let mut wires = Vec::new();
        for member in &members {
            let at = member.config.replication_listen.parse();
            wires.push(Relay::to(at.expect("an address")).await);
        }
        let mut group = Self {
            members,
            name_servers,
            wires,
            memory: memory.clone(),
            place: memory.way("the test"),
        };
        let all: Vec<usize> = (0..size).collect();
        for member in 0..size {
            group.knows(member, &all);
        }
        group
    }

    /// Gives a member this list of members, from its next start on. In Kubernetes they are in the record alone.
    pub(crate) fn knows(&mut self, member: usize, members: &[usize]) {
        let list: Vec<String> = members
            .iter()
            .map(|id| {
                let member = self.member(*id);
                format!("{}={}/{}", member.id, member.replication, member.client)
            })
            .collect();
        let config = &mut self.members[member].config;
        if config.election != Election::Kubernetes {
            config.members = list.join(",");
        }
    }

    /// A member as records have it.
    pub(crate) fn member(&self, id: usize) -> places::Member {
        places::Member {
            id: self.id(id),
            replication: self.wires[id].addr.to_string(),
            client: self.members[id].config.listen.clone(),
        }
    }

    /// A group that runs, with all members in sync.
    pub(crate) async fn start(size: usize, change: impl Fn(&mut BrokerConfig)) -> Self {
        let mut group = Self::new(size, change).await;
        for member in &mut group.members {
            member.start().await;
        }
        group.in_sync(size).await;
        group
    }

    pub(crate) fn place(&self) -> &dyn Place {
        &self.place
    }

    pub(crate) async fn record(&self) -> Option<Record> {
        let record = self.place.read().await.expect("a place");
        record.map(|record| record.value)
    }

    /// Waits until so many members are in the set.
    pub(crate) async fn in_sync(&self, members: usize) {
        eventually("so many members are in sync", async || {
            let record = self.record().await;
            record.is_some_and(|record| record.in_sync.len() == members)
        })
        .await;
    }

    /// The member that the record names.
    pub(crate) async fn master(&self) -> usize {
        let record = self.record().await.expect("a record");
        let master = record.master.expect("a master").member;
        usize::try_from(master.0).expect("small")
    }

    /// Who runs and is not the master.
    pub(crate) async fn replica(&self) -> usize {
        let master = self.master().await;
        let runs = |id: &usize| self.members[*id].broker.is_some();
        let mut others = (0..self.members.len()).filter(|id| *id != master);
        others.find(runs).expect("a replica")
    }

    /// As what each name server knows the members: address by broker id.
    pub(crate) async fn routes(&self) -> Vec<HashMap<i64, String>> {
        let mut all = Vec::new();
        for server in &self.name_servers {
            let client = Client::at(&server.local_addr().to_string());
            let request = GetBrokerMemberGroup {
                cluster_name: "DefaultCluster".into(),
                broker_name: "broker-a".into(),
            };
            let answer = client
                .call(RequestCode::GetBrokerMemberGroup, &request, &[])
                .await;
            let body = BrokerMemberGroupBody::from_json(answer.body()).expect("a group");
            let addrs = body.broker_member_group.broker_addrs;
            all.push(addrs.into_iter().collect());
        }
        all
    }

    /// Waits until both name servers have this member as the master, and these as replicas.
    pub(crate) async fn routed(&self, master: usize, replicas: &[usize]) {
        let listen = |id: usize| self.members[id].config.listen.clone();
        let mut wanted = HashMap::from([(0, listen(master))]);
        wanted.extend(
            replicas
                .iter()
                .map(|id| (i64::try_from(*id).expect("small") + 1, listen(*id))),
        );
        eventually("the routes are right", async || {
            let routes = self.routes().await;
            routes.iter().all(|route| *route == wanted)
        })
        .await;
    }

    /// Sends to whoever takes it, again and again until it is acknowledged. How long that took.
    pub(crate) async fn send(&self, body: &str) -> Duration {
        let began = Instant::now();
        let mut last = String::new();
        while began.elapsed() < PATIENCE {
            for member in &self.members {
                let Some(broker) = &member.broker else {
                    continue;
                };
                match try_send(&Client::to(broker), body).await {
                    Ok(()) => return began.elapsed(),
                    Err(refused) => last = refused,
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{body} is not acknowledged: {last}");
    }

    /// All messages that consumers of a member see, in order.
    pub(crate) async fn messages(&self, member: usize) -> Vec<String> {
        messages(&self.members[member].client()).await
    }

    pub(crate) async fn stop(self) {
        for mut member in self.members {
            if member.broker.is_some() {
                member.stop().await;
            }
        }
        for server in self.name_servers {
            server.shutdown().await;
        }
    }

    pub(crate) fn id(&self, member: usize) -> MemberId {
        MemberId(u64::try_from(member).expect("small"))
    }
}

/// Sends once; why it is not acknowledged.
pub(crate) async fn try_send(client: &Client, body: &str) -> Result<(), String> {
    let message = message(TOPIC, 0, "");
    let answer = client
        .try_call(RequestCode::SendMessageV2, &message, body.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    match crate::support::sent(&answer) {
        Ok(_) => Ok(()),
        Err(refused) => Err(format!("{refused:?}")),
    }
}

pub(crate) async fn messages(client: &Client) -> Vec<String> {
    let mut found = Vec::new();
    let mut offset = 0;
    loop {
        let pulled = client.pull(&pull(TOPIC, 0, offset)).await;
        if pulled.code == ResponseCode::SystemBusy.as_i32() {
            // It is about to be the master.
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        found.extend(pulled.bodies().into_iter().map(str::to_owned));
        if pulled.records.is_empty() {
            return found;
        }
        offset = pulled.next();
    }
}

/// Waits until a condition holds that is asked over the wire.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("this did not happen: {what}"));
}
