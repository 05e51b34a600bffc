//! Members of broker groups leave: by saying so, by a lost connection, by silence, or replaced by another.

use std::sync::Arc;

use rmq_protocol::bodies::BrokerMemberGroup;
use rmq_protocol::requests::{NotifyMinBrokerIdChange, Request};
use rmq_transport::{CloseReason, Peer};

use super::{Group, Registry, Tables, WIPED_MAX};

/// Another member of a group has the lowest id now; its members may want to know.
#[derive(Debug)]
pub(crate) struct MinIdChange {
    group: String,
    min_id: i64,
    min_addr: String,
    ha_addr: Option<String>,
    offline_addr: Option<String>,
    peers: Vec<Arc<Peer>>,
}

impl MinIdChange {
    pub(super) fn between(
        tables: &Tables,
        group: &str,
        before: Option<(i64, String)>,
        after: Option<(i64, String)>,
        offline_addr: Option<&str>,
    ) -> Option<Self> {
        let (min_id, min_addr) =
            after.filter(|after| before.as_ref().is_some_and(|before| before.0 != after.0))?;
        let members = tables.groups.get(group)?.members.values();
        Some(Self {
            group: group.to_owned(),
            min_id,
            ha_addr: tables.live.get(&min_addr).map(|live| live.ha_addr.clone()),
            min_addr,
            offline_addr: offline_addr.map(str::to_owned),
            peers: members
                .filter_map(|addr| tables.live.get(addr)?.peer.clone())
                .collect(),
        })
    }

    /// Tells every member that is connected.
    pub(crate) fn notify(&self) {
        let notice = NotifyMinBrokerIdChange {
            min_broker_id: Some(self.min_id),
            broker_name: Some(self.group.as_str().into()),
            min_broker_addr: Some(self.min_addr.as_str().into()),
            offline_broker_addr: self.offline_addr.as_deref().map(Into::into),
            ha_broker_addr: self.ha_addr.as_deref().map(Into::into),
        };
        for peer in &self.peers {
            // A member that is gone needs no notice.
            let _ = peer.request_one_way(NotifyMinBrokerIdChange::CODE.as_i32(), &notice, b"");
        }
    }
}

/// Why a broker is not taken out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{addr} is registered with broker id {registered}, not {asked}: nothing was unregistered; use the id that it registers with"
)]
pub(crate) struct NotThisId {
    addr: String,
    registered: i64,
    asked: i64,
}

impl Group {
    pub(super) fn min(&self) -> Option<(i64, String)> {
        self.members
            .first_key_value()
            .map(|(id, addr)| (*id, addr.clone()))
    }
}

impl Registry {
    /// A broker says that it leaves.
    ///
    /// # Errors
    /// When the address is registered with another id: that is another broker, which stays (apache/rocketmq#11043).
    pub(crate) fn unregister(
        &self,
        group: &str,
        id: i64,
        addr: &str,
    ) -> Result<Option<MinIdChange>, NotThisId> {
        let mut tables = self.tables.write();
        if let Some(live) = tables.live.get(addr).filter(|live| live.group == group) {
            if live.id != id {
                return Err(NotThisId {
                    addr: addr.to_owned(),
                    registered: live.id,
                    asked: id,
                });
            }
            tables.live.remove(addr);
        }
        Ok(self.leave_group(&mut tables, group, id, addr))
    }

    /// A connection is gone, and with it the brokers that registered over it.
    pub(crate) fn closed(&self, peer: &Arc<Peer>) -> Vec<MinIdChange> {
        // Connections of clients are many and end often; they need no write lock.
        let over = |live: &super::Live| live.peer.as_ref().is_some_and(|of| of.id() == peer.id());
        if !self.tables.read().live.values().any(over) {
            return Vec::new();
        }
        self.drop_where(|live| over(live), "its connection is gone")
    }

    /// Drops brokers that have been silent for longer than they may, and closes their connections.
    /// `timeout_ms`: for those that did not name one.
    pub(crate) fn expire(&self, now_ms: i64, timeout_ms: i64) -> Vec<MinIdChange> {
        self.drop_where(
            |live| {
                live.last_ms
                    .saturating_add(live.timeout_ms.unwrap_or(timeout_ms))
                    < now_ms
            },
            "it has been silent for too long",
        )
    }

    fn drop_where(
        &self,
        wanted: impl Fn(&super::Live) -> bool,
        why: &'static str,
    ) -> Vec<MinIdChange> {
        let mut tables = self.tables.write();
        let gone: Vec<String> = tables
            .live
            .iter()
            .filter(|(_, live)| wanted(live))
            .map(|(addr, _)| addr.clone())
            .collect();
        let mut changes = Vec::new();
        for addr in gone {
            let Some(live) = tables.live.remove(&addr) else {
                continue;
            };
            tracing::warn!(
                broker = live.group,
                id = live.id,
                addr,
                "broker dropped: {why}"
            );
            changes.extend(self.leave_group(&mut tables, &live.group, live.id, &addr));
            if let Some(peer) = live.peer {
                peer.close(CloseReason::Local("the broker was dropped"));
            }
        }
        changes
    }

    /// Takes an address out of its group; the last one takes the group and its queues along.
    pub(super) fn leave_group(
        &self,
        tables: &mut Tables,
        name: &str,
        id: i64,
        addr: &str,
    ) -> Option<MinIdChange> {
        let group = tables.groups.get_mut(name)?;
        // Another address may have taken the id in the meantime.
        if group.members.get(&id).is_none_or(|member| member != addr) {
            return None;
        }
        let before = group.min();
        group.members.remove(&id);
        let after = group.min();
        self.forget_routes_of(tables, name);
        if after.is_none() {
            let was_wiped = tables.groups.remove(name).is_some_and(|group| group.wiped);
            if was_wiped && tables.wiped_when_left.len() < WIPED_MAX {
                tables.wiped_when_left.insert(name.to_owned());
            }
            tables.topics.remove_of(name, |_| true);
            tables.mappings.retain(|_, brokers| {
                brokers.remove(name);
                !brokers.is_empty()
            });
            return None;
        }
        MinIdChange::between(tables, name, before, after, Some(addr))
    }

    /// The addresses of a group; empty when it is unknown.
    pub(crate) fn member_group(&self, cluster: &str, name: &str) -> BrokerMemberGroup {
        let tables = self.tables.read();
        let members = tables
            .groups
            .get(name)
            .map(|group| group.members.clone())
            .unwrap_or_default();
        BrokerMemberGroup {
            broker_addrs: members,
            broker_name: name.to_owned(),
            cluster: cluster.to_owned(),
        }
    }
}
