//! Snapshots: a member whose log ends before its master's begins makes its store from the master's tables.

use std::time::Duration;

use rmq_election::machine::Durable;
use rmq_replication::session::MasterSession;
use rmq_replication::wire::{Decoder, Frame, Outgoing, encode};
use rmq_replication::{Greeting, Reason, ReasonKind};

use super::network::Connection;
use super::{Happening, World};
use crate::installing::{Came, Installing};
use crate::mistakes::Mistake;
use crate::node::Served;
use crate::setting::{identity, limits};

impl World {
    /// Nobody must count any more on what the member has: from before the first byte of the snapshot on it is another one.
    pub(super) fn begin_snapshot(&mut self, member: usize, to: usize) {
        let Some(there) = self.nodes[to].life.as_ref().map(|life| life.number) else {
            return;
        };
        let random = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
        self.hang_up(member, "a snapshot is taken");
        let node = &mut self.nodes[member];
        let Some(mut life) = node.life.take() else {
            return;
        };
        let saved = node.saved.as_ref();
        let saved = saved.and_then(|text| Durable::decode(text.as_bytes()).ok());
        let mut durable = saved.expect("what a member is");
        if !self.setting.makes(Mistake::SnapshotOverHolder) {
            durable = durable.of_other_data(random);
        }
        let mut seat = life.machine.me();
        seat.incarnation = durable.incarnation;
        let greeting = life
            .store()
            .map(|store| Greeting::of(&identity(seat), durable.epoch, store));
        node.saved = Some(durable.encode());
        life.abandon();
        drop(life);
        node.lives += 1;
        let number = node.lives;
        let connection = self.next_connection((member, number), (to, there));
        self.nodes[member].installing = Some(Installing::new(number, connection));
        self.note(&format!(
            "member {member} takes a snapshot of {to}, as {seat}"
        ));
        let served = Served::new(Duration::from_millis(self.now));
        if let Some(life) = &mut self.nodes[to].life {
            life.served.insert(connection, served);
        }
        let hello = greeting.map(|greeting| encode(&Frame::Greeting(greeting)));
        let asks = hello.into_iter().chain([encode(&Frame::Snapshot)]);
        self.put(connection, true, asks.collect());
    }

    /// Bytes of a snapshot have come; `None`: the connection has ended.
    pub(super) fn at_installing(&mut self, member: usize, connection: u64, bytes: Option<&[u8]>) {
        let node = &mut self.nodes[member];
        let installing = node.installing.as_mut();
        let Some(installing) = installing.filter(|it| it.connection == connection) else {
            return;
        };
        let came = match bytes {
            Some(bytes) => installing.take(bytes, &node.disk, (&self.setting, &node.wall_ahead)),
            None => Came::Broken("the connection broke".to_owned()),
        };
        match came {
            Came::More => return,
            Came::Whole(installed) => self.note(&format!(
                "member {member} has a snapshot: {}, from {} on",
                installed.position, installed.begins
            )),
            Came::Broken(why) => self.note(&format!("member {member} has no snapshot: {why}")),
        }
        self.nodes[member].installing = None;
        self.later(20, Happening::Start { member });
    }
}

impl Served {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            session: MasterSession::new(limits(), now),
            decoder: Decoder::new(),
            snapshot: None,
            sent: None,
        }
    }

    /// Sends the next chunk of a snapshot. The reason is why the connection ends.
    pub(super) fn send_chunk(
        &mut self,
        source: &rmq_replication::Source,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Reason> {
        let mut snapshot = match self.snapshot.take() {
            Some(snapshot) => snapshot,
            None => MasterSession::snapshot(source)?,
        };
        let chunk = snapshot
            .next_chunk()
            .map_err(|error| Reason::new(ReasonKind::Store, error))?;
        out.push(encode(&Frame::Chunk(chunk.as_deref().unwrap_or_default())));
        self.snapshot = Some(snapshot);
        match chunk {
            Some(_) => Ok(()),
            None => Err(Reason::new(ReasonKind::Answered, "the snapshot is sent")),
        }
    }
}

impl World {
    pub(super) fn next_connection(&mut self, replica: (usize, u64), master: (usize, u64)) -> u64 {
        self.next_number += 1;
        let connection = Connection::new(replica, master);
        self.connections.insert(self.next_number, connection);
        self.next_number
    }
}
