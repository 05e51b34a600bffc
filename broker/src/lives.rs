//! The lives of a broker. Its store is closed and opened again while the process and its ports stay: by a replica that takes a snapshot, and by a
//! master that another member has followed.
//!
//! ```text
//!  Lives: ports, settings, identity ──► begin(OpenAs) ──► Life: a store, an Arc<Broker>, servers, tasks ──► end(Ending) ──► begin …
//! ```
//! Between two lives, clients that connect wait in the queues of the ports; where that takes long they are told why ([`Lives::away`]). One
//! driver begins and ends lives, one after the other: with fixed roles [`fixed`](crate::group::fixed), with an election its hands. The driver
//! watches [`Lives::ends`]; [`RunningBroker`](crate::RunningBroker) ends the life that the driver leaves.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_config::{BrokerConfig, Configuration as _};
use rmq_protocol::message::LogPosition;
use rmq_replication::{Greeting, Reason, ReplicationConfig};
use rmq_store::{AppendError, Follower, History, Installed, Master, RecoveryReport, StoreConfig};
use rmq_transport::{
    Clock, MemoryBudget, ServeReport, ServerConfig, TransportLimits, memory_bytes,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::config;
use crate::data::Data;
use crate::group::Member;
use crate::group::elected::state::Elected;
use crate::group::proof::Proof;
use crate::group::repairs::Repairs;
use crate::identity::Identity;
use crate::listeners::{self, Listeners};
use crate::recovery;
use crate::registration::keep;
use crate::secrets::Secrets;
use crate::service::{Answering, Away, BrokerService};
use crate::start::{Deps, StartError};
use crate::tables::Tables;
use crate::tasks::{self, Tasks};
use crate::tls::{self, Tls};
use crate::waiters::Woken;

/// Why a replica serves nothing while it takes a snapshot.
pub(crate) const TAKES_SNAPSHOT: &str = "this replica takes a snapshot of its master, because its log ends before the master's begins; ask another member of the group, or ask again later";
/// Why a member serves nothing whose store does not open.
pub(crate) const NO_STORE: &str = "the store of this member does not open, and is tried again: its log says why; ask another member of the group";

/// As what the store of a life is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenAs {
    /// It appends; what is there is confirmed. Only with fixed roles.
    Master,
    /// It copies, until [`Broker::promote`].
    Follower,
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The broker stops. It leaves the routes, answers what waits, ends what is in flight, and writes everything to disk.
    Stop,
    /// Another life follows. As [`Stop`](Self::Stop), but the name servers hear of it meanwhile. A master was fenced before with
    /// [`rmq_store::Master::fence`]: so what is in flight ends at once, and nothing of it is acknowledged.
    Change,
    /// At once, with nothing more written, as when the process is killed. For tests.
    Kill,
}

/// What outlives the lives of a broker.
pub(crate) struct Lives {
    pub(crate) config: BrokerConfig,
    pub(crate) deps: Deps,
    secrets: Secrets,
    pub(crate) identity: Identity,
    pub(crate) listeners: Listeners,
    /// The election of the group, if it has one.
    pub(crate) elected: Option<Arc<Elected>>,
    /// What was repaired in the log, in all lives.
    pub(crate) repairs: Arc<Repairs>,
    /// Of its ports, and of the connections that it opens.
    pub(crate) tls: Arc<Tls>,
    life: Mutex<Option<Life>>,
    /// A life has ended, and another one was to follow.
    has_changed: AtomicBool,
    current: watch::Sender<Option<Arc<Broker>>>,
    ends: watch::Sender<Option<Ending>>,
}

/// One life: a store that was opened, and everything around it.
struct Life {
    broker: Arc<Broker>,
    stop_serving: CancellationToken,
    servers: Vec<JoinHandle<ServeReport>>,
    tasks: Tasks,
}

impl Lives {
    /// Of a broker with these ports, before its first life.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub(crate) async fn new(
        listeners: Listeners,
        config: BrokerConfig,
        deps: Deps,
    ) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        let secrets = Secrets::read(&config)?;
        let proof = Proof::new(secrets.signer.clone(), config.authentication);
        Ok(Arc::new(Self {
            tls: Tls::open(&config, proof).await?,
            secrets,
            elected: Elected::of(&config, &deps).await?,
            identity: Identity::of(&config, listeners.addr).await,
            config,
            deps,
            listeners,
            repairs: Arc::default(),
            life: Mutex::default(),
            has_changed: AtomicBool::new(false),
            current: watch::Sender::new(None),
            ends: watch::Sender::new(None),
        }))
    }

    /// Opens the store and begins a life: loads the tables, serves, starts the tasks, registers. Clients are served when it returns.
    ///
    /// # Errors
    /// See [`StartError`]: there is no life, and another attempt may be made.
    pub(crate) async fn begin(
        &self,
        open_as: OpenAs,
    ) -> Result<(Arc<Broker>, RecoveryReport), StartError> {
        let (life, recovery) = Life::begin(self, open_as).await?;
        let broker = Arc::clone(&life.broker);
        *self.life.lock() = Some(life);
        self.current.send_replace(Some(Arc::clone(&broker)));
        Ok((broker, recovery))
    }

    /// Ends the current life, if there is one. When it returns, the store is closed and nobody else writes its files: it may be opened again,
    /// or replaced.
    ///
    /// # Errors
    /// The last writes failed. The life has ended nevertheless.
    pub(crate) async fn end(&self, ending: Ending) -> Result<(), AppendError> {
        let Some(life) = self.life.lock().take() else {
            return Ok(());
        };
        if ending == Ending::Change {
            self.has_changed.store(true, Ordering::Relaxed);
        }
        let ended = life.end(ending).await;
        self.current.send_replace(None);
        ended
    }

    /// The broker of the current life, as lives come and go.
    pub(crate) fn current(&self) -> watch::Receiver<Option<Arc<Broker>>> {
        self.current.subscribe()
    }

    /// The broker of the current life.
    pub(crate) fn broker(&self) -> Option<Arc<Broker>> {
        self.current.borrow().clone()
    }

    /// Does work that takes long between two lives. Meanwhile each request is refused with `why`, so that clients ask another member, or
    /// this one later.
    pub(crate) async fn away<T>(&self, why: &str, work: impl Future<Output = T>) -> T {
        let stop = CancellationToken::new();
        let mut servers = Vec::new();
        for listener in [Some(&self.listeners.main), self.listeners.fast.as_ref()] {
            let Some(port) = listener.map(listeners::copy) else {
                continue;
            };
            let port = match port {
                Ok(port) => port,
                Err(error) => {
                    tracing::warn!("clients wait, and are not told that {why}: {error}");
                    continue;
                }
            };
            let service = Arc::new(Away(why.to_owned()));
            let budget = memory_bytes(self.config.memory_bytes);
            let memory = MemoryBudget::new(budget, self.config.connections_max);
            let clock = Arc::clone(&self.deps.connection_clock);
            let server = server_config(&self.config, memory, clock);
            let tls = Arc::clone(&self.tls);
            let served = tls.serve(port, service, server, stop.clone());
            servers.push(tasks::serve(served));
        }
        let done = work.await;
        stop.cancel();
        for server in servers {
            // A panic in there is reported by the runtime.
            let _ = server.await;
        }
        done
    }

    /// Waits until the broker is to end for good, and says how. The driver of the lives begins no other one then, and returns.
    pub(crate) async fn ends(&self) -> Ending {
        let mut ends = self.ends.subscribe();
        let ending = ends.wait_for(Option::is_some).await;
        // The sender lives as long as self.
        ending
            .ok()
            .and_then(|ending| *ending)
            .unwrap_or(Ending::Stop)
    }

    /// The broker is to end for good.
    pub(crate) fn end_for_good(&self, ending: Ending) {
        self.ends.send_replace(Some(ending));
        if let (Ending::Kill, Some(broker)) = (ending, self.broker()) {
            broker.stops();
        }
    }

    /// Makes the store from a snapshot of the master at `address` (host and replication port), between two lives; `greeting` is what the last life
    /// would say to the master. From the first chunk on, what the store had is gone, and after a failure an empty store opens: only a member that
    /// nobody counts on does this. The store copies the log from the beginning of the master's.
    ///
    /// # Errors
    /// Why there is no snapshot.
    pub(crate) async fn install(
        &self,
        address: &str,
        greeting: Greeting,
    ) -> Result<Installed, Reason> {
        let tables = Broker::tables(&self.config, &self.secrets, self.deps.clock.now_ms());
        let store = (self.store_config(&tables), Arc::clone(&self.deps.fs));
        let limits = ReplicationConfig {
            guard: self.tls.guard(),
            ..ReplicationConfig::default()
        };
        rmq_replication::install(address, greeting, History::All, store, &limits).await
    }

    /// With what the store of a life with these tables is opened.
    fn store_config(&self, tables: &Tables) -> StoreConfig {
        let mut store_config = config::store(&self.config, self.identity.store_host);
        store_config.tables = tables.declared();
        let clock = Arc::clone(&self.deps.clock);
        store_config.now_ms = Arc::new(move || clock.now_ms());
        store_config
    }

    /// Where other members copy, `host:port`; empty: nowhere.
    pub(crate) fn replication_addr(&self) -> String {
        if let Some(member) = self.config.own_member() {
            return member.replication;
        }
        let addr = self.listeners.replication_addr();
        addr.map_or_else(String::new, |addr| self.identity.with_port(addr.port()))
    }

    /// The socket of a port once more.
    fn port(
        &self,
        key: &'static str,
        listener: &TcpListener,
    ) -> Result<tokio::net::TcpListener, StartError> {
        listeners::copy(listener).map_err(|source| StartError::Listen {
            addr: self.listeners.addr.to_string(),
            key,
            source,
        })
    }

    async fn open_store(&self, open_as: OpenAs, tables: &Tables) -> Result<Opened, StartError> {
        let store_config = self.store_config(tables);
        let fs = Arc::clone(&self.deps.fs);
        let opened = tasks::blocking(move || match open_as {
            OpenAs::Master => Master::open(store_config, fs).map(|(master, recovery)| Opened {
                data: Data::of_master(master),
                follower: None,
                recovery,
            }),
            OpenAs::Follower => {
                Follower::open(store_config, fs).map(|(follower, recovery)| Opened {
                    data: Data::of_replica(&follower),
                    follower: Some(Arc::new(follower)),
                    recovery,
                })
            }
        });
        opened
            .await
            .map_err(|error| StartError::Interrupted(error.to_string()))?
            .map_err(|source| StartError::Store {
                dir: self.config.data_dir.clone(),
                source,
            })
    }
}

/// A store that was opened in the role of its broker.
struct Opened {
    data: Data,
    /// What a replica copies with.
    follower: Option<Arc<Follower>>,
    recovery: RecoveryReport,
}

impl Life {
    async fn begin(lives: &Lives, open_as: OpenAs) -> Result<(Self, RecoveryReport), StartError> {
        let listeners = &lives.listeners;
        // What may fail comes before anything is started.
        let mut ports = vec![lives.port("listen", &listeners.main)?];
        if let Some(fast) = &listeners.fast {
            ports.push(lives.port("fastPort", fast)?);
        }
        let replication = listeners.replication.as_ref().map(TcpListener::try_clone);
        let replication = replication
            .transpose()
            .map_err(|source| StartError::Listen {
                addr: lives.replication_addr(),
                key: "replicationListen",
                source,
            })?;
        let config = lives.config.clone();
        let tables = Broker::tables(&config, &lives.secrets, lives.deps.clock.now_ms());
        let opened = lives.open_store(open_as, &tables).await?;
        let (store, recovery) = (opened.data, opened.recovery);
        recovery::tell(&recovery, lives.has_changed.load(Ordering::Relaxed));
        let elected = match &lives.elected {
            None => None,
            Some(elected) => {
                let (then, opened) = (Arc::clone(elected), (*store).clone());
                let seat = tasks::blocking(move || then.seat(&opened)).await;
                let seat = seat.map_err(|error| StartError::Interrupted(error.to_string()))??;
                Some((Arc::clone(elected), seat))
            }
        };
        let boot_clock = Arc::clone(&lives.deps.boot_clock);
        let (repairs, tls) = (Arc::clone(&lives.repairs), Arc::clone(&lives.tls));
        let settings = (&config, boot_clock, repairs, tls);
        let copied_at = lives.replication_addr();
        let member = Member::new(
            settings,
            &store,
            elected,
            opened.follower,
            replication,
            copied_at,
        );
        if let Ok(master) = store.master()
            && member.check_writes().is_err()
        {
            // Replicas are still to come: what is appended from now on waits for them.
            master.replicated(Some(LogPosition(master.positions().confirmed)));
        }
        let broker = Broker::assemble(
            config,
            lives.deps.clone(),
            store,
            member,
            (tables, &lives.secrets),
            lives.identity.clone(),
            listeners.fast_port_problem.clone(),
        )?;
        broker
            .store
            .set_arrivals(Arc::new(Answering(Arc::downgrade(&broker))));

        let stop_serving = CancellationToken::new();
        let memory = Arc::clone(&broker.memory);
        let clock = Arc::clone(&broker.connection_clock);
        let server = server_config(&broker.config, memory, clock);
        let ports = ports.into_iter().enumerate();
        let servers = ports.map(|(listener, port)| {
            let service = Arc::new(BrokerService {
                broker: Arc::clone(&broker),
                listener,
            });
            let (server, stop) = (server.clone(), stop_serving.clone());
            let tls = Arc::clone(&lives.tls);
            tasks::serve(tls.serve(port, service, server, stop))
        });
        let servers = servers.collect();
        // Name servers hear of this broker when it serves.
        let tasks = Tasks::start(&broker);
        tracing::info!(
            addr = %listeners.addr, advertised = broker.identity.addr, management = listeners.management_addr().map(tracing::field::display), data = %broker.config.data_dir.display(), role = %broker.role.get(),
            topics = broker.topics.len(), memory_bytes = memory_bytes(broker.config.memory_bytes), recovered_ms = recovery.took.as_millis() as u64, "broker ready"
        );
        let life = Self {
            broker,
            stop_serving,
            servers,
            tasks,
        };
        Ok((life, recovery))
    }

    async fn end(self, ending: Ending) -> Result<(), AppendError> {
        let broker = Arc::clone(&self.broker);
        match ending {
            Ending::Stop => {
                keep::leave(&broker).await;
                self.close().await
            }
            Ending::Change => tokio::join!(self.close(), keep::leave(&broker)).0,
            Ending::Kill => {
                self.kill().await;
                Ok(())
            }
        }
    }

    /// Answers what waits, ends what is in flight, writes everything to disk.
    async fn close(self) -> Result<(), AppendError> {
        let broker = &self.broker;
        broker.stops();
        for waiter in broker.waiters.take_of(None) {
            waiter.wake(Woken::Ended);
        }
        self.stop_serving.cancel();
        for server in self.servers {
            if let Err(error) = server.await {
                tracing::error!("the server ended badly: {error}");
            }
        }
        self.tasks.stop().await;
        broker.backups.end_all();
        if broker.role.is_master()
            && let Err(error) = broker.save_progress(true)
        {
            tracing::error!("progress could not be saved: {error}");
        }
        let store = broker.store.clone();
        tasks::blocking(move || store.close())
            .await
            .unwrap_or(Err(AppendError::Closed))
    }

    async fn kill(self) {
        self.broker.stops();
        self.broker.registrations.forsake();
        self.broker.backups.end_all();
        let store = self.broker.store.clone();
        // A panic in there is reported by the runtime.
        let _ = tasks::blocking(move || store.abandon()).await;
        self.tasks.stop().await;
        for waiter in self.broker.waiters.take_of(None) {
            waiter.wake(Woken::Gone);
        }
        // With nothing in flight and nothing that waits, the drain closes every connection at once.
        self.stop_serving.cancel();
        for server in self.servers {
            // A panic in there is reported by the runtime.
            let _ = server.await;
        }
    }
}

fn server_config(
    config: &BrokerConfig,
    memory: Arc<MemoryBudget>,
    clock: Arc<dyn Clock>,
) -> ServerConfig {
    let mut limits = TransportLimits {
        connections_max: config.connections_max,
        ..Default::default()
    };
    limits.connections_per_source_max = limits.connections_max;
    tls::limits(config, &mut limits);
    ServerConfig {
        name: "broker",
        memory,
        limits,
        clock,
        drain_timeout: Duration::from_millis(config.drain_timeout_ms),
    }
}
