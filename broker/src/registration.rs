//! Tells every name server that this broker is here and what it serves: at once when that changes, and every 30 seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rmq_protocol::bodies::{
    BrokerMemberGroupBody, DataVersion, RegisterBrokerBody, TopicConfig, TopicConfigTable,
};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::{FieldSink, FieldSource};
use rmq_protocol::requests::{
    GetBrokerMemberGroup, PART_FIELD, RegisterBroker, RegisterBrokerReply, Reply, UnregisterBroker,
};
use rmq_protocol::route::perm;
use rmq_transport::{Caller, CallerConfig, CallerEvent, OwnedFrame, RefuseIncoming, TcpConnector};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::tasks::{LEAVE_TIMEOUT, Tasks};
use crate::topics::Topic;

/// Registered again after this, milliseconds; a name server forgets a broker after 120 s.
pub(crate) const INTERVAL_MS: i64 = 30_000;
/// Time for one registration.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
/// Pause after a failure, milliseconds.
const RETRY_MS: i64 = 1_000;

/// Longest wait, milliseconds, for name servers to hear of a change before it is answered.
const TOLD_MS: i64 = 2_000;
/// Topics of a part of a registration, at least: a name server takes a broker's first registration only with several.
const PART_TOPICS_MIN: usize = 2;

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
    /// A registration was sent, whatever came of it.
    told: AtomicBool,
    /// One word at a time, so that leaving is the last.
    turn: tokio::sync::Mutex<()>,
    last_error: Mutex<Option<String>>,
    /// Another address that was seen in this broker's place.
    rival: Mutex<Option<String>>,
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
            told: AtomicBool::new(false),
            turn: tokio::sync::Mutex::new(()),
            last_error: Mutex::new(None),
            rival: Mutex::new(None),
        })
    }
}

/// A name server as the health checks see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameServerHealth {
    pub(crate) addr: String,
    pub(crate) registered: bool,
    pub(crate) error: Option<String>,
    /// Another broker's address, registered there under this broker's name and id.
    pub(crate) rival: Option<String>,
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

    pub(crate) fn health(&self) -> Vec<NameServerHealth> {
        let unknown = self.names.iter().filter(|_| self.servers.read().is_empty());
        let unknown = unknown.map(|name| NameServerHealth {
            addr: name.clone(),
            registered: false,
            error: Some("the name has no address (yet)".to_owned()),
            rival: None,
        });
        self.servers()
            .iter()
            .map(|server| NameServerHealth {
                addr: server.caller.addr().to_owned(),
                registered: server.known.borrow().is_some() && server.last_error.lock().is_none(),
                error: server.last_error.lock().clone(),
                rival: server.rival.lock().clone(),
            })
            .chain(unknown)
            .collect()
    }

    /// Addresses that are registered under this broker's name and id, one for each name server that shows another broker.
    pub(crate) fn rivals(&self) -> Vec<String> {
        let rival = |server: &Arc<NameServer>| server.rival.lock().clone();
        self.servers().iter().filter_map(rival).collect()
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

    /// Waits a moment until all name servers know the topics as they are now.
    pub(crate) async fn soon_current(&self, broker: &Broker) {
        tokio::select! {
            () = self.all_current(broker) => {}
            () = broker.clock.sleep_ms(TOLD_MS) => {}
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
    let mut connection = server.caller.events();
    let mut look = false;
    loop {
        let change = *changes.borrow_and_update();
        if look {
            look_for_rival(broker, server).await;
        }
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
        look = false;
        tokio::select! {
            () = broker.clock.sleep_ms(pause_ms) => look = pause_ms == INTERVAL_MS,
            // It may have restarted, and then knows nothing.
            _ = connection.wait_for(|event| pause_ms == INTERVAL_MS && *event == CallerEvent::Disconnected) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Asks who stands in this broker's place. A broker that finds another one there has lost it since its last registration: both run, and
/// take turns.
async fn look_for_rival(broker: &Broker, server: &NameServer) {
    let config = &broker.config;
    let request = GetBrokerMemberGroup {
        cluster_name: config.cluster_name.as_str().into(),
        broker_name: config.broker_name.as_str().into(),
    };
    let answer = server
        .caller
        .call(
            RequestCode::GetBrokerMemberGroup.as_i32(),
            &request,
            &[],
            CALL_TIMEOUT,
        )
        .await;
    // A name server that does not answer is reported by the registration; one of an old version does not know the request.
    let Ok(answer) = answer else { return };
    if answer.code() != ResponseCode::Success.as_i32() {
        return;
    }
    let Ok(body) = BrokerMemberGroupBody::from_json(answer.body()) else {
        return;
    };
    let there = body.broker_member_group.broker_addrs;
    let rival = there
        .get(&config.broker_id)
        .filter(|addr| **addr != broker.identity.addr)
        .cloned();
    let mut known = server.rival.lock();
    if *known == rival {
        return;
    }
    match &rival {
        Some(addr) => tracing::error!(
            name_server = server.caller.addr(),
            own = broker.identity.addr,
            other = addr,
            broker = config.broker_name,
            id = config.broker_id,
            "another broker is registered under this broker's name and id; both take turns in the routes, and clients find only a part of their messages. Give one of them another brokerName, or stop it"
        ),
        None => tracing::info!(
            name_server = server.caller.addr(),
            "no other broker has this broker's name and id any more"
        ),
    }
    *known = rival;
}

/// Registers all topics: at once, or in parts, each of which a name server adds to those before
/// (apache/rocketmq `BrokerController.registerBrokerAll`, `enableSplitRegistration`).
async fn register(broker: &Broker, server: &NameServer) -> Result<(), String> {
    let _turn = server.turn.lock().await;
    if broker.registrations.leaving.is_cancelled() {
        return Err("the broker is stopping".to_owned());
    }
    server.told.store(true, Ordering::Release);
    let version = broker.topics.version();
    let topics = broker.topics.all();
    let parts = parts(&topics, broker.config.registration_bytes);
    let connection = server.caller.events();
    let mut begun = None;
    for (number, part) in parts.iter().enumerate() {
        let later = (parts.len() - 1 - number) as i64;
        let body = RegisterBrokerBody {
            topic_config_serialize_wrapper: table(broker, part, version_of_part(version, later)),
            ..RegisterBrokerBody::default()
        }
        .to_json();
        let answer = register_part(broker, server, &body, parts.len() > 1).await?;
        accepted(&answer)?;
        let reply = RegisterBrokerReply::decode(&answer.header().fields);
        if reply.is_ok_and(|reply| reply.write_perm_given_again == Some(true)) {
            tracing::warn!(
                name_server = server.caller.addr(),
                "clients may send to this broker again: its write permission was wiped at the name server before the restart, which ends that; brokerPermission=4 lasts"
            );
        }
        let over = *connection.borrow();
        if *begun.get_or_insert(over) != over {
            return Err("the connection was lost between two parts of the registration".to_owned());
        }
    }
    Ok(())
}

/// A name server takes topics only with a version that differs from the one before. The last part has the version of the whole.
fn version_of_part(version: DataVersion, parts_after: i64) -> DataVersion {
    DataVersion {
        timestamp: version.timestamp - parts_after,
        ..version
    }
}

/// Cuts the topics into parts of at most so many bytes in a registration.
fn parts(topics: &[Arc<Topic>], bytes_max: usize) -> Vec<&[Arc<Topic>]> {
    let mut parts = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, topic) in topics.iter().enumerate() {
        let more = topic.registered_bytes();
        if bytes + more > bytes_max && at - from >= PART_TOPICS_MIN {
            parts.push(&topics[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += more;
    }
    parts.push(&topics[from..]);
    parts
}

/// Topics as they are registered: with the broker's own permission applied.
fn table(broker: &Broker, topics: &[Arc<Topic>], data_version: DataVersion) -> TopicConfigTable {
    let allowed = broker.permission() | perm::INHERIT;
    let registered = |topic: &Arc<Topic>| TopicConfig {
        perm: topic.config.perm & allowed,
        ..topic.config.clone()
    };
    TopicConfigTable {
        data_version,
        topic_config_table: topics
            .iter()
            .map(|topic| (topic.name().to_owned(), registered(topic)))
            .collect(),
        ..TopicConfigTable::default()
    }
}

/// The fields of a registration.
struct Part<'a> {
    request: RegisterBroker<'a>,
    is_part: bool,
}

impl FieldSource for Part<'_> {
    fn visit(&self, sink: &mut dyn FieldSink) {
        self.request.visit(sink);
        if self.is_part {
            sink.bool(PART_FIELD, true);
        }
    }
}

async fn register_part(
    broker: &Broker,
    server: &NameServer,
    body: &[u8],
    is_part: bool,
) -> Result<OwnedFrame, String> {
    let config = &broker.config;
    let crc = (crc32fast::hash(body) & 0x7fff_ffff) as i32;
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
    server
        .caller
        .call(
            RequestCode::RegisterBroker.as_i32(),
            &Part { request, is_part },
            body,
            CALL_TIMEOUT,
        )
        .await
        .map_err(|error| error.to_string())
}

fn accepted(answer: &OwnedFrame) -> Result<(), String> {
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
