//! A group: its master, its replicas, and the wires between them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use rmq_broker::{BrokerConfig, BrokerServer, Deps, RunningBroker};
use rmq_protocol::bodies::HaRuntimeInfo;
use rmq_protocol::code::RequestCode;
use rmq_transport::ManualClock;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, PATIENCE, config};

/// What a wire does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// It passes them on.
    Whole,
    /// It keeps them until it is whole again.
    Held,
    /// It has no connections.
    Cut,
    /// It passes on so many bytes to the replica, and then is [`Held`](Self::Held).
    Budget(usize),
}

/// A wire to a replication port.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    state: watch::Sender<Wire>,
    to: watch::Sender<SocketAddr>,
    stop: CancellationToken,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let (state, seen) = watch::channel(Wire::Whole);
        let (to, target) = watch::channel(target);
        let stop = CancellationToken::new();
        tokio::spawn(relay(listener, target, seen, stop.clone()));
        Self {
            addr,
            state,
            to,
            stop,
        }
    }

    pub(crate) fn set(&self, wire: Wire) {
        self.state.send_replace(wire);
    }

    /// It leads there from the next connection on.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.to.send_replace(target);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn relay(
    listener: TcpListener,
    target: watch::Receiver<SocketAddr>,
    state: watch::Receiver<Wire>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((near, _)) = accepted else { continue };
        if *state.borrow() == Wire::Cut {
            continue;
        }
        let target = *target.borrow();
        let state = state.clone();
        let budget = match *state.borrow() {
            Wire::Budget(bytes) => bytes,
            _ => usize::MAX,
        };
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let mut cut = state.clone();
            tokio::select! {
                () = pass(near_in, far_out, state.clone(), usize::MAX) => {}
                () = pass(far_in, near_out, state, budget) => {}
                _ = cut.wait_for(|wire| *wire == Wire::Cut) => {}
            }
        });
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<Wire>,
    mut budget: usize,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        budget = budget.saturating_sub(read);
        let passes = |wire: &Wire| match wire {
            Wire::Held => false,
            Wire::Budget(_) => budget > 0,
            Wire::Whole | Wire::Cut => true,
        };
        let passes = state.wait_for(passes).await.map(|wire| *wire);
        if read == 0 || matches!(passes, Err(_) | Ok(Wire::Cut)) {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// One member of a group.
pub(crate) struct Member {
    pub(crate) broker: RunningBroker,
    pub(crate) config: BrokerConfig,
    pub(crate) clock: Option<ManualClock>,
    /// Between the master and this replica.
    pub(crate) wire: Option<Relay>,
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

    /// The process ends, and another one starts on the same data and ports.
    pub(crate) async fn start_again(self, is_killed: bool) -> Self {
        let stopped = self.stop(is_killed).await;
        Self::start(stopped).await
    }

    pub(crate) async fn stop(self, is_killed: bool) -> Stopped {
        let listen = self.broker.addr().to_string();
        let replication = self.broker.replication_addr().expect("a port").to_string();
        if is_killed {
            self.broker.kill().await;
        } else {
            self.broker.shutdown().await.expect("a clean stop");
        }
        Stopped {
            config: BrokerConfig {
                listen,
                replication_listen: replication,
                fast_port: false,
                ..self.config
            },
            clock: self.clock,
            wire: self.wire,
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
    pub(crate) folder: TempDir,
}

impl Stopped {
    /// A member that never ran.
    pub(crate) fn new(id: i64, wire: Option<Relay>, change: impl Fn(&mut BrokerConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
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
            eventually("the replica has caught up", async || {
                let end = self.master.copying().await.master_commit_log_max_offset;
                let there = replica.copying_now().await;
                there.is_some_and(|there| {
                    let there = there.ha_client_runtime_info;
                    there.max_offset >= end && there.master_flush_offset >= end
                })
            })
            .await;
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
