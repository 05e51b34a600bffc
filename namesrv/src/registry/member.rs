//! Members of broker groups leave: by saying so, by a lost connection, by silence, or replaced by another.

use std::sync::Arc;

use rmq_protocol::bodies::BrokerMemberGroup;
use rmq_protocol::requests::{NotifyMinBrokerIdChange, Request};
use rmq_transport::{CloseReason, Peer};

use super::register::Superseded;
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
    /// A member came whose id is lower than those before; who was there already is told
    /// (apache/rocketmq `RouteInfoManager.registerBroker`, `chooseBrokerAddrsToNotify`).
    pub(super) fn lowered(
        tables: &Tables,
        group: &str,
        before: Option<(i64, String)>,
        after: Option<(i64, String)>,
    ) -> Option<Self> {
        let (min_id, min_addr) =
            after.filter(|(id, _)| before.is_some_and(|(old, _)| *id < old))?;
        let members = &tables.groups.get(group)?.members;
        // The only member is told, too.
        let told = |id: i64| id != min_id || members.len() == 1;
        Some(Self {
            group: group.to_owned(),
            min_id,
            ha_addr: tables.live.get(&min_addr).map(|live| live.ha_addr.clone()),
            min_addr,
            offline_addr: None,
            peers: tables.peers(members.iter().filter(|(id, _)| told(**id))),
        })
    }

    /// The member with the lowest id left. Its group is told where a replica may act for it: others have nothing to do
    /// (apache/rocketmq `RouteInfoManager.notifyMinBrokerIdChanged`).
    fn left(
        tables: &Tables,
        group: &str,
        before: Option<(i64, String)>,
        addr: &str,
    ) -> Option<Self> {
        let name = group.to_owned();
        let group = tables.groups.get(group)?;
        if !group.enable_acting_master || before.is_none_or(|(_, lowest)| lowest != addr) {
            return None;
        }
        let (min_id, min_addr) = group.min()?;
        Some(Self {
            group: name,
            min_id,
            ha_addr: None,
            min_addr,
            offline_addr: Some(addr.to_owned()),
            peers: tables.peers(group.members.iter()),
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
pub(crate) enum Stays {
    #[error(
        "{addr} is registered with broker id {registered}, not {asked}: nothing was unregistered; use the id that it registers with"
    )]
    OtherId {
        addr: String,
        registered: i64,
        asked: i64,
    },
    #[error("nothing was unregistered: {0}")]
    Superseded(Superseded),
}

/// A broker that says that it leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Farewell<'a> {
    pub(crate) group: &'a str,
    pub(crate) id: i64,
    pub(crate) addr: &'a str,
    /// The epoch of an elected master.
    pub(crate) epoch: Option<i64>,
}

impl Tables {
    fn peers<'a>(&self, members: impl Iterator<Item = (&'a i64, &'a String)>) -> Vec<Arc<Peer>> {
        members
            .filter_map(|(_, addr)| self.live.get(addr)?.peer.clone())
            .collect()
    }
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
    /// When the address is registered with another id: that is another broker, which stays (apache/rocketmq#11043). When the epoch is
    /// lower than the group's: the word is late, and the address may be registered again since.
    pub(crate) fn unregister(&self, farewell: Farewell<'_>) -> Result<Option<MinIdChange>, Stays> {
        let Farewell {
            group,
            id,
            addr,
            epoch,
        } = farewell;
        let mut tables = self.tables.write();
        tables
            .check_epoch(group, epoch, addr)
            .map_err(Stays::Superseded)?;
        if let Some(live) = tables.live.get(addr).filter(|live| live.group == group) {
            if live.id != id {
                return Err(Stays::OtherId {
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
        self.tables.write().epochs.expire(now_ms);
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
        let is_empty = group.members.is_empty();
        self.forget_routes_of(tables, name);
        if is_empty {
            tables.epochs.went(name);
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
        MinIdChange::left(tables, name, before, addr)
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
