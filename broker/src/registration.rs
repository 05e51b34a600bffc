//! Tells every name server that this broker is here and what it serves: at once when that changes, and every 30 seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rmq_protocol::bodies::RegisterBrokerBody;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{RegisterBroker, UnregisterBroker};
use rmq_transport::{Caller, CallerConfig, RefuseIncoming, TcpConnector};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::tasks::{LEAVE_TIMEOUT, Tasks};

/// Registered again after this, milliseconds; a name server forgets a broker after 120 s.
pub(crate) const INTERVAL_MS: i64 = 30_000;
/// Time for one registration.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
/// Pause after a failure, milliseconds.
const RETRY_MS: i64 = 1_000;

/// How often names are looked up again where name servers come and go behind them, milliseconds.
const LOOK_UP_MS: i64 = 5_000;

/// The name servers, and what each knows.
pub(crate) struct Registrations {
    servers: RwLock<Vec<Arc<NameServer>>>,
    /// What is looked up again and again; empty when the list is fixed.
    names: Vec<String>,
    /// Nothing is registered any more.
    leaving: CancellationToken,
}

struct NameServer {
    caller: Caller,
    /// The change counter that it knows; `None` before the first registration.
    known: watch::Sender<Option<u64>>,
    again: Notify,
    /// A registration was sent, whatever came of it.
    told: AtomicBool,
    /// One word at a time, so that leaving is the last.
    turn: tokio::sync::Mutex<()>,
    last_error: Mutex<Option<String>>,
}

impl NameServer {
    fn new(addr: String) -> Arc<Self> {
        Arc::new(Self {
            caller: Caller::new(
                addr,
                Arc::new(TcpConnector),
                CallerConfig::default(),
                Arc::new(RefuseIncoming),
            ),
            known: watch::Sender::new(None),
            again: Notify::new(),
            told: AtomicBool::new(false),
            turn: tokio::sync::Mutex::new(()),
            last_error: Mutex::new(None),
        })
    }
}

/// A name server as the health checks see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameServerHealth {
    pub(crate) addr: String,
    pub(crate) registered: bool,
    pub(crate) error: Option<String>,
}

impl Registrations {
    /// `look_up`: each address stands for all addresses that its name has, now and later.
    pub(crate) fn new(addresses: Vec<String>, look_up: bool) -> Self {
        let (fixed, names) = if look_up {
            (Vec::new(), addresses)
        } else {
            (addresses, Vec::new())
        };
        Self {
            servers: RwLock::new(fixed.into_iter().map(NameServer::new).collect()),
            names,
            leaving: CancellationToken::new(),
        }
    }

    fn servers(&self) -> Vec<Arc<NameServer>> {
        self.servers.read().clone()
    }

    pub(crate) fn start(&self, broker: &Arc<Broker>, tasks: &Tasks) {
        let broker = Arc::clone(broker);
        tasks.spawn(async move {
            let leaving = broker.registrations.leaving.clone();
            tokio::select! {
                () = leaving.cancelled() => {}
                () = keep_all_registered(&broker) => {}
            }
        });
    }

    /// Something that name servers are told has changed, other than a topic.
    pub(crate) fn again(&self) {
        for server in self.servers() {
            server.again.notify_one();
        }
    }

    pub(crate) fn health(&self) -> Vec<NameServerHealth> {
        let unknown = self.names.iter().filter(|_| self.servers.read().is_empty());
        let unknown = unknown.map(|name| NameServerHealth {
            addr: name.clone(),
            registered: false,
            error: Some("the name has no address (yet)".to_owned()),
        });
        self.servers()
            .iter()
            .map(|server| NameServerHealth {
                addr: server.caller.addr().to_owned(),
                registered: server.known.borrow().is_some() && server.last_error.lock().is_none(),
                error: server.last_error.lock().clone(),
            })
            .chain(unknown)
            .collect()
    }

    /// Waits until all name servers know the topics as they are now.
    pub(crate) async fn all_current(&self, broker: &Broker) {
        let wanted = *broker.topics.changes().borrow();
        for server in self.servers() {
            // The sender lives as long as self.
            let _ = server
                .known
                .subscribe()
                .wait_for(|known| known.is_some_and(|known| known >= wanted))
                .await;
        }
    }

    /// Breaks the connections to the name servers without a word.
    pub(crate) fn forsake(&self) {
        self.leaving.cancel();
        for server in self.servers() {
            server.caller.close();
        }
    }

    /// Takes this broker out of the routes, as far as name servers answer in time. Nothing is registered after that.
    pub(crate) async fn leave(&self, broker: &Arc<Broker>) {
        self.leaving.cancel();
        let mut farewells = tokio::task::JoinSet::new();
        for server in self.servers() {
            let broker = Arc::clone(broker);
            farewells.spawn(async move { leave_one(&broker, &server).await });
        }
        while farewells.join_next().await.is_some() {}
    }
}

async fn leave_one(broker: &Broker, server: &NameServer) {
    let _turn = server.turn.lock().await;
    if !server.told.load(Ordering::Acquire) {
        return;
    }
    let config = &broker.config;
    let request = UnregisterBroker {
        broker_id: config.broker_id,
        cluster_name: config.cluster_name.as_str().into(),
        broker_addr: broker.identity.addr.as_str().into(),
        broker_name: config.broker_name.as_str().into(),
    };
    let left = server
        .caller
        .call(
            RequestCode::UnregisterBroker.as_i32(),
            &request,
            &[],
            LEAVE_TIMEOUT,
        )
        .await;
    if let Err(error) = left {
        tracing::warn!(
            name_server = server.caller.addr(),
            "could not leave the routes; they forget this broker when its connection ends: {error}"
        );
    }
}

/// Registers with every name server for as long as it is one.
async fn keep_all_registered(broker: &Arc<Broker>) {
    let registrations = &broker.registrations;
    let mut running: HashMap<String, AbortHandle> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        if !registrations.names.is_empty() {
            registrations.look_up(&running).await;
        }
        let servers = registrations.servers();
        running.retain(|addr, task| {
            let stays = servers.iter().any(|server| server.caller.addr() == addr);
            if !stays {
                tracing::info!(name_server = addr, "is no name server any more");
                task.abort();
            }
            stays
        });
        for server in servers {
            let addr = server.caller.addr().to_owned();
            running.entry(addr).or_insert_with(|| {
                let broker = Arc::clone(broker);
                tasks.spawn(async move { keep_registered(&broker, &server).await })
            });
        }
        while tasks.try_join_next().is_some() {}
        if registrations.names.is_empty() {
            std::future::pending::<()>().await;
        }
        broker.clock.sleep_ms(LOOK_UP_MS).await;
    }
}

impl Registrations {
    /// Puts the addresses that the names have now into the list. A name that cannot be looked up changes nothing.
    async fn look_up(&self, running: &HashMap<String, AbortHandle>) {
        let mut found = Vec::new();
        for name in &self.names {
            match tokio::net::lookup_host(name.as_str()).await {
                Ok(addresses) => found.extend(addresses.map(|addr| addr.to_string())),
                Err(error) if running.is_empty() => {
                    tracing::warn!(name, "cannot look up the name servers: {error}; trying on");
                    return;
                }
                // They are where they were, as far as anybody knows.
                Err(_) => return,
            }
        }
        found.sort();
        found.dedup();
        let mut servers = self.servers.write();
        servers.retain(|server| {
            let stays = found.iter().any(|addr| addr == server.caller.addr());
            if !stays {
                server.caller.close();
            }
            stays
        });
        for addr in found {
            if !servers.iter().any(|server| server.caller.addr() == addr) {
                servers.push(NameServer::new(addr));
            }
        }
    }
}

async fn keep_registered(broker: &Broker, server: &NameServer) {
    let mut changes = broker.topics.changes();
    loop {
        let change = *changes.borrow_and_update();
        let pause_ms = match register(broker, server).await {
            Ok(()) => {
                if server.last_error.lock().take().is_some() {
                    tracing::info!(name_server = server.caller.addr(), "registered again");
                }
                server.known.send_replace(Some(change));
                INTERVAL_MS
            }
            Err(error) => {
                let mut last = server.last_error.lock();
                if last.as_ref() != Some(&error) {
                    tracing::warn!(
                        name_server = server.caller.addr(),
                        "cannot register: {error}; trying on"
                    );
                    *last = Some(error);
                }
                RETRY_MS
            }
        };
        tokio::select! {
            () = broker.clock.sleep_ms(pause_ms) => {}
            () = server.again.notified() => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

async fn register(broker: &Broker, server: &NameServer) -> Result<(), String> {
    let _turn = server.turn.lock().await;
    if broker.registrations.leaving.is_cancelled() {
        return Err("the broker is stopping".to_owned());
    }
    server.told.store(true, Ordering::Release);
    let config = &broker.config;
    let body = RegisterBrokerBody {
        topic_config_serialize_wrapper: broker.topics.registration(broker.permission()),
        ..RegisterBrokerBody::default()
    }
    .to_json();
    let crc = (crc32fast::hash(&body) & 0x7fff_ffff) as i32;
    let request = RegisterBroker {
        broker_id: config.broker_id,
        body_crc32: Some(crc),
        cluster_name: config.cluster_name.as_str().into(),
        broker_addr: broker.identity.addr.as_str().into(),
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(false),
        ha_server_addr: Some("".into()),
        compressed: Some(false),
        broker_name: config.broker_name.as_str().into(),
        zone_name: None,
    };
    let answer = server
        .caller
        .call(
            RequestCode::RegisterBroker.as_i32(),
            &request,
            &body,
            CALL_TIMEOUT,
        )
        .await
        .map_err(|error| error.to_string())?;
    if answer.code() == ResponseCode::Success.as_i32() {
        return Ok(());
    }
    let header = answer.header();
    let remark = header
        .remark
        .as_ref()
        .map(|remark| remark.to_cow().into_owned())
        .unwrap_or_default();
    Err(format!(
        "the name server answers {}: {remark}",
        answer.code()
    ))
}
