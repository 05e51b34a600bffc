//! Tells every name server that this broker is here and what it serves: at once when that changes, and every 30 seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{AbortHandle, abortable, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rmq_protocol::bodies::{
    BrokerMemberGroupBody, DataVersion, RegisterBrokerBody, TopicConfig, TopicConfigTable,
};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{
    GetBrokerMemberGroup, RegisterBroker, RegisterBrokerReply, Reply, UnregisterBroker,
};
use rmq_protocol::route::{MASTER_ID, perm};
use rmq_transport::{CallerEvent, OwnedFrame};

use super::parts::{Part, parts, version_of_part};
use super::standing::{self, Refused, Standing};
use super::{Known, NameServer};
use crate::broker::Broker;
use crate::group::member::MasterAt;
use crate::secrets::signed;
use crate::topics::Topic;

/// Registered again after this, milliseconds; a name server forgets a broker after 120 s.
pub(crate) const INTERVAL_MS: i64 = 30_000;
/// How long leaving the name servers may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for one registration.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
/// Pause after a failure, milliseconds.
const RETRY_MS: i64 = 1_000;
/// How often names are looked up again where name servers come and go behind them, milliseconds.
const LOOK_UP_MS: i64 = 5_000;

/// Takes this broker out of the routes, as far as name servers answer in time. Nothing is registered after that.
pub(crate) async fn leave(broker: &Broker) {
    broker.registrations.leaving.cancel();
    let servers = broker.registrations.servers();
    join_all(servers.iter().map(|server| leave_one(broker, server))).await;
}

async fn leave_one(broker: &Broker, server: &NameServer) {
    let _turn = server.turn.lock().await;
    if !server.told.load(Ordering::Acquire) {
        return;
    }
    let config = &broker.config;
    let standing = *broker.registrations.standing.borrow();
    let request = UnregisterBroker {
        master_epoch: standing.wire_epoch(),
        broker_id: standing.id,
        cluster_name: config.cluster_name.as_str().into(),
        broker_addr: broker.identity.addr.as_str().into(),
        broker_name: config.broker_name.as_str().into(),
    };
    let left = server
        .caller
        .call(
            RequestCode::UnregisterBroker.as_i32(),
            &signed(broker.signer.as_ref(), request, &[]),
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

/// Keeps every name server told of this broker until it leaves the routes.
pub(crate) async fn keep_told(broker: &Broker) {
    tokio::select! {
        () = broker.registrations.leaving.cancelled() => {}
        () = keep_all_registered(broker) => {}
    }
}

/// Registers with every name server for as long as it is one.
async fn keep_all_registered(broker: &Broker) {
    let registrations = &broker.registrations;
    let mut known: HashMap<String, AbortHandle> = HashMap::new();
    let mut running = FuturesUnordered::new();
    if !registrations.names.is_empty() {
        registrations.look_up(&known).await;
    }
    loop {
        let servers = registrations.servers();
        known.retain(|addr, registering| {
            let stays = servers.iter().any(|server| server.caller.addr() == addr);
            if !stays {
                tracing::info!(name_server = addr, "is no name server any more");
                registering.abort();
            }
            stays
        });
        for server in servers {
            let addr = server.caller.addr().to_owned();
            known.entry(addr).or_insert_with(|| {
                let registering = async move { keep_registered(broker, &server).await };
                let (registering, handle) = abortable(registering);
                running.push(registering);
                handle
            });
        }
        let mut next_look = std::pin::pin!(async {
            if registrations.names.is_empty() {
                std::future::pending::<()>().await;
            }
            broker.clock.sleep_ms(LOOK_UP_MS).await;
            registrations.look_up(&known).await;
        });
        loop {
            tokio::select! {
                () = &mut next_look => break,
                // One that ends was aborted.
                Some(_) = running.next() => {}
            }
        }
    }
}

async fn keep_registered(broker: &Broker, server: &NameServer) {
    let mut changes = broker.topics.changes();
    let mut standings = broker.registrations.standing.subscribe();
    let mut connection = server.caller.events();
    let mut look = false;
    loop {
        let change = *changes.borrow_and_update();
        let standing = *standings.borrow_and_update();
        if look {
            look_for_rival(broker, server).await;
        }
        let pause_ms = match register(broker, server, standing).await {
            Ok(()) => {
                if server.last_error.lock().take().is_some() {
                    tracing::info!(name_server = server.caller.addr(), "registered again");
                }
                server.known.send_replace(Some(Known { change, standing }));
                match broker.is_without_master() {
                    // The answer says where the master is.
                    true => RETRY_MS,
                    false => INTERVAL_MS,
                }
            }
            Err(Refused { error, superseded }) => {
                let pause_ms = match &superseded {
                    // Another word from a master of the past is refused, too.
                    Some(_) => INTERVAL_MS,
                    None => RETRY_MS,
                };
                let mut last = server.last_error.lock();
                if last.as_ref() != Some(&error) {
                    tracing::warn!(
                        name_server = server.caller.addr(),
                        "cannot register: {error}; trying on"
                    );
                    *last = Some(error);
                }
                drop(last);
                if let Some(by) = superseded {
                    broker.registrations.hear(by);
                }
                pause_ms
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
            changed = standings.changed() => {
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
            &signed(broker.signer.as_ref(), request, &[]),
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
    let id = broker.registrations.standing.borrow().id;
    let rival = there
        .get(&id)
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
            id,
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
async fn register(broker: &Broker, server: &NameServer, standing: Standing) -> Result<(), Refused> {
    let _turn = server.turn.lock().await;
    if broker.registrations.leaving.is_cancelled() {
        return Err("the broker is stopping".to_owned().into());
    }
    server.told.store(true, Ordering::Release);
    let version = DataVersion {
        // Name servers of Apache RocketMQ know no other epoch: of two masters they keep the one with the higher state version.
        state_version: standing.wire_epoch().unwrap_or_default(),
        ..broker.topics.version()
    };
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
        let answer = register_part(broker, server, standing, &body, parts.len() > 1).await?;
        standing::accepted(&answer, standing, server.caller.addr())?;
        let reply = RegisterBrokerReply::decode(&answer.header().fields);
        if let Ok(reply) = &reply
            && standing.id != MASTER_ID
            && let (Some(replication), Some(client)) = (&reply.ha_server_addr, &reply.master_addr)
        {
            broker.member.heard_master(MasterAt {
                replication: replication.clone(),
                client: client.clone(),
            });
        }
        if reply.is_ok_and(|reply| reply.write_perm_given_again == Some(true)) {
            tracing::warn!(
                name_server = server.caller.addr(),
                "clients may send to this broker again: its write permission was wiped at the name server before the restart, which ends that; brokerPermission=4 lasts"
            );
        }
        let over = *connection.borrow();
        if *begun.get_or_insert(over) != over {
            let error = "the connection was lost between two parts of the registration";
            return Err(error.to_owned().into());
        }
    }
    Ok(())
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

async fn register_part(
    broker: &Broker,
    server: &NameServer,
    standing: Standing,
    body: &[u8],
    is_part: bool,
) -> Result<OwnedFrame, String> {
    let config = &broker.config;
    let crc = (crc32fast::hash(body) & 0x7fff_ffff) as i32;
    let request = RegisterBroker {
        master_epoch: standing.wire_epoch(),
        broker_id: standing.id,
        body_crc32: Some(crc),
        cluster_name: config.cluster_name.as_str().into(),
        broker_addr: broker.identity.addr.as_str().into(),
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(false),
        ha_server_addr: Some(broker.member.replication_addr.as_str().into()),
        compressed: Some(false),
        broker_name: config.broker_name.as_str().into(),
        zone_name: None,
    };
    server
        .caller
        .call(
            RequestCode::RegisterBroker.as_i32(),
            &signed(broker.signer.as_ref(), Part { request, is_part }, body),
            body,
            CALL_TIMEOUT,
        )
        .await
        .map_err(|error| error.to_string())
}
