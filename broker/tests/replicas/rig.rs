//! A group: its master, its replicas, and the wires between them.

use std::future::Future;
use std::sync::Arc;

use rmq_broker::{BrokerConfig, BrokerServer, Deps, RunningBroker};
use rmq_ports::Port;
use rmq_protocol::bodies::{HaRuntimeInfo, KvTable};
use rmq_protocol::code::RequestCode;
use rmq_transport::ManualClock;
use tempfile::TempDir;

use crate::support::{Client, PATIENCE, config};
pub(crate) use crate::wire::{Relay, Wire};

/// One member of a group.
pub(crate) struct Member {
    pub(crate) broker: RunningBroker,
    pub(crate) config: BrokerConfig,
    pub(crate) clock: Option<ManualClock>,
    /// Between the master and this replica.
    pub(crate) wire: Option<Relay>,
    ports: [Port; 2],
    folder: TempDir,
}

impl Member {
    pub(crate) fn client(&self) -> Client {
        Client::to(&self.broker)
    }

    /// How the member sees the copying.
    pub(crate) async fn copying(&self) -> HaRuntimeInfo {
        self.copying_now().await.expect("the state of replication")
    }

    /// The same; `None` while the member opens its store again.
    pub(crate) async fn copying_now(&self) -> Option<HaRuntimeInfo> {
        let code = RequestCode::GetBrokerHaStatus;
        let frame = self.client().try_call(code, &(), &[]).await.ok()?;
        HaRuntimeInfo::from_json(frame.body()).ok()
    }

    /// One line of what the member says of itself.
    pub(crate) async fn runtime(&self, key: &str) -> Option<String> {
        let code = RequestCode::GetBrokerRuntimeInfo;
        let answer = self.client().try_call(code, &(), &[]).await.ok()?;
        KvTable::from_json(answer.body())
            .ok()?
            .table
            .get(key)
            .cloned()
    }

    /// Waits until a replica has what its master has confirmed, and shows it.
    pub(crate) async fn catches_up_with(&self, master: &Self) {
        eventually("the replica has caught up", async || {
            let end = master.copying().await.master_commit_log_max_offset;
            let Some(there) = self.copying_now().await else {
                return false;
            };
            let there = there.ha_client_runtime_info;
            if there.max_offset < end || there.master_flush_offset < end {
                return false;
            }
            let shown = self.runtime("commitLogMaxOffset").await;
            let shown: Option<i64> = shown.and_then(|shown| shown.parse().ok());
            let behind = self.runtime("dispatchBehindBytes").await;
            shown.is_some_and(|shown| shown >= end) && behind.as_deref() == Some("0")
        })
        .await;
    }

    /// The process ends, and another one starts on the same data and ports.
    pub(crate) async fn start_again(self, is_killed: bool) -> Self {
        let stopped = self.stop(is_killed).await;
        Self::start(stopped).await
    }

    pub(crate) async fn stop(self, is_killed: bool) -> Stopped {
        if is_killed {
            self.broker.kill().await;
        } else {
            self.broker.shutdown().await.expect("a clean stop");
        }
        Stopped {
            config: self.config,
            clock: self.clock,
            wire: self.wire,
            ports: self.ports,
            folder: self.folder,
        }
    }

    pub(crate) async fn start(stopped: Stopped) -> Self {
        let config = stopped.config;
        let mut deps = Deps::default();
        if let Some(clock) = &stopped.clock {
            deps.clock = Arc::new(clock.clone());
        }
        let broker = BrokerServer::start(config.clone(), deps)
            .await
            .expect("the broker starts");
        Self {
            broker,
            config,
            clock: stopped.clock,
            wire: stopped.wire,
            ports: stopped.ports,
            folder: stopped.folder,
        }
    }
}

/// A member whose process has ended.
pub(crate) struct Stopped {
    pub(crate) config: BrokerConfig,
    /// The system's where there is none.
    pub(crate) clock: Option<ManualClock>,
    pub(crate) wire: Option<Relay>,
    /// Of its clients and its replicas, while it is off too.
    pub(crate) ports: [Port; 2],
    pub(crate) folder: TempDir,
}

impl Stopped {
    /// A member that never ran.
    pub(crate) fn new(id: i64, wire: Option<Relay>, change: impl Fn(&mut BrokerConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        let ports = [(); 2].map(|()| Port::hold().expect("a port"));
        config.listen = ports[0].addr().to_string();
        config.fast_port = false;
        config.replication_listen = ports[1].addr().to_string();
        config.broker_id = id;
        config.slave_read_enable = true;
        if let Some(wire) = &wire {
            config.replication_master = wire.addr.to_string();
        }
        change(&mut config);
        Self {
            config,
            clock: None,
            wire,
            ports,
            folder,
        }
    }
}

/// A master and its replicas.
pub(crate) struct Group {
    pub(crate) master: Member,
    pub(crate) replicas: Vec<Member>,
}

impl Group {
    pub(crate) async fn start(replicas: i64, change: impl Fn(&mut BrokerConfig)) -> Self {
        let master = Member::start(Stopped::new(0, None, &change)).await;
        let at = master.broker.replication_addr().expect("a port");
        let mut started = Vec::new();
        for id in 1..=replicas {
            let wire = Relay::to(at).await;
            started.push(Member::start(Stopped::new(id, Some(wire), &change)).await);
        }
        Self {
            master,
            replicas: started,
        }
    }

    /// Waits until all replicas show what the master shows.
    pub(crate) async fn caught_up(&self) {
        for replica in &self.replicas {
            replica.catches_up_with(&self.master).await;
        }
    }

    /// Waits until so many replicas are in sync.
    pub(crate) async fn in_sync(&self, replicas: i32) {
        eventually("so many replicas are in sync", async || {
            self.master.copying().await.in_sync_slave_nums == replicas
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        for replica in self.replicas {
            replica.broker.shutdown().await.expect("a clean stop");
        }
        self.master.broker.shutdown().await.expect("a clean stop");
    }
}

/// Waits until a condition holds that is asked over the wire.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("this did not happen: {what}"));
}
