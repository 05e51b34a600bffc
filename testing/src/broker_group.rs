//! A broker group: its members, and what is between them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use rmq_broker::{AckMode, BrokerConfig, Election, RunningBroker};
use rmq_election::place::Place;
use rmq_election::place::memory::{Memory, MemoryPlace};

use crate::broker::{Broker, Common};
use crate::relay::Relay;

/// The members of a group, by their slots.
pub(crate) struct BrokerGroup {
    pub(crate) members: Vec<Broker>,
    pub(crate) between: Arc<Between>,
}

impl BrokerGroup {
    pub(crate) async fn start(
        name: &str,
        members: usize,
        elects: bool,
        folder: &Path,
        common: &Common,
    ) -> Self {
        let between = Arc::new(Between::new(members, elects && members > 1));
        let member = |slot: usize| {
            let data = match members {
                1 => folder.join(name),
                _ => folder.join(format!("{name}-{slot}")),
            };
            Broker::new(name, slot, data, common.clone(), Arc::clone(&between))
        };
        let members: Vec<Broker> = (0..members).map(member).collect();
        join_all(members.iter().map(Broker::start)).await;
        Self { members, between }
    }
}

/// The networks of a group: from clients to each member, and between each two members.
pub(crate) struct Between {
    clients: Vec<Relay>,
    /// From the other members to the replication port of each; none to a lone broker.
    wires: Vec<Relay>,
    /// From each member to what holds who is master; none with fixed roles.
    places: Vec<Arc<MemoryPlace>>,
    /// Who is master of a group with fixed roles.
    master: AtomicUsize,
}

/// As short as a busy machine allows: a test waits for it.
const LEASE_MS: u64 = 1_500;

impl Between {
    fn new(members: usize, elects: bool) -> Self {
        let memory = Memory::new();
        let way = |slot| Arc::new(memory.way(format!("member {slot}")));
        Self {
            clients: (0..members).map(|_| Relay::reserve()).collect(),
            wires: match members {
                1 => Vec::new(),
                _ => (0..members).map(|_| Relay::reserve_wire()).collect(),
            },
            places: match elects {
                true => (0..members).map(way).collect(),
                false => Vec::new(),
            },
            master: AtomicUsize::new(0),
        }
    }

    /// Whether the members elect their master.
    pub(crate) fn elects(&self) -> bool {
        !self.places.is_empty()
    }

    pub(crate) fn place(&self, slot: usize) -> Option<Arc<dyn Place>> {
        let place = self.places.get(slot)?;
        Some(Arc::clone(place) as Arc<dyn Place>)
    }

    /// Between clients and a member.
    pub(crate) fn clients(&self, slot: usize) -> &Relay {
        &self.clients[slot]
    }

    /// Lets a member reach another one, or not.
    fn set_cut(&self, from: usize, to: usize, is_cut: bool) {
        // As it greets. With fixed roles only replicas do, which are numbered from 1.
        let member = if self.elects() { from } else { from + 1 };
        self.wires[to].set_cut_off(member as u64, is_cut);
    }

    pub(crate) fn configure(&self, slot: usize, config: &mut BrokerConfig) {
        if !self.wires.is_empty() {
            config.replication_listen = "127.0.0.1:0".to_owned();
            config.ack_mode = AckMode::InSync;
            config.slave_read_enable = true;
        }
        if self.elects() {
            config.election = Election::Memory;
            config.lease_ms = LEASE_MS;
            config.broker_id = slot as i64;
            let member = |other: usize| {
                let (copies, clients) = (&self.wires[other], &self.clients[other]);
                format!("{other}={}/{}", copies.addr(), clients.addr())
            };
            let members: Vec<String> = (0..self.clients.len()).map(member).collect();
            config.members = members.join(",");
            return;
        }
        let at = self.clients[slot].addr();
        config.advertise = at.ip().to_string();
        config.advertise_port = at.port();
        let master = self.master.load(Ordering::Relaxed);
        if slot != master && !self.wires.is_empty() {
            config.broker_id = slot as i64 + 1;
            config.replication_master = self.wires[master].addr().to_string();
        }
    }

    /// The member runs: others reach it.
    pub(crate) async fn open(&self, slot: usize, running: &RunningBroker) {
        self.clients[slot].open(running.addr()).await;
        if let (Some(wire), Some(upstream)) = (self.wires.get(slot), running.replication_addr()) {
            wire.open(upstream).await;
        }
    }

    /// The member is gone: its connections break.
    pub(crate) async fn close(&self, slot: usize) {
        let wire = self.wires.get(slot).into_iter();
        join_all(wire.chain([&self.clients[slot]]).map(Relay::close)).await;
    }

    pub(crate) fn set_master(&self, slot: usize) {
        self.master.store(slot, Ordering::Relaxed);
    }

    pub(crate) fn set_paused(&self, slot: usize, is_paused: bool) {
        self.clients[slot].set_cut(is_paused);
        for other in (0..self.wires.len()).filter(|other| *other != slot) {
            self.set_partition(slot, other, is_paused);
        }
        if let Some(place) = self.places.get(slot) {
            place.hold(is_paused);
        }
    }

    pub(crate) fn set_place_cut(&self, slot: usize, is_cut: bool) {
        if let Some(place) = self.places.get(slot) {
            place.cut_off(is_cut);
        }
    }

    pub(crate) fn set_partition(&self, a: usize, b: usize, is_cut: bool) {
        self.set_cut(a, b, is_cut);
        self.set_cut(b, a, is_cut);
    }

    /// Ends all partitions between members.
    pub(crate) fn heal(&self) {
        for (a, b) in (0..self.wires.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            self.set_partition(a, b, false);
        }
    }
}
