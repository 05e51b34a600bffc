//! The network: connections are two streams of bytes in order. Bytes wait while a link is cut or a member stands still.

use std::collections::VecDeque;
use std::time::Duration;

use rmq_election::machine::{BootMs, Event};
use rmq_election::place::Keeps;
use rmq_protocol::message::LogPosition;
use rmq_replication::session::{Ended, ReplicaSession};
use rmq_replication::wire::{Decoder, Frame, Outgoing, encode};
use rmq_replication::{MasterEvent, Parting, Reason, ReasonKind, Report};

use super::wrong::counted;
use super::{Happening, World};
use crate::mistakes::Mistake;
use crate::node::{Role, Served, flush};

/// A connection of a replica: two streams of bytes in order.
pub(super) struct Connection {
    pub(super) replica: (usize, u64),
    pub(super) master: (usize, u64),
    pub(super) to_master: VecDeque<Part>,
    pub(super) to_replica: VecDeque<Part>,
}

/// What a stream carries.
pub(super) enum Part {
    Bytes(Vec<u8>),
    End,
}

impl Connection {
    pub(super) fn new(replica: (usize, u64), master: (usize, u64)) -> Self {
        Self {
            replica,
            master,
            to_master: VecDeque::new(),
            to_replica: VecDeque::new(),
        }
    }
}

impl World {
    /// Whatever a member's sessions want to send, and what has come of what it sent before.
    pub(super) fn pump(&mut self, member: usize) {
        self.connect(member);
        self.pump_replica(member);
        self.pump_master(member);
        self.settle(member);
    }

    pub(super) fn connect(&mut self, member: usize) {
        let now = self.now;
        let Some(life) = &mut self.nodes[member].life else {
            return;
        };
        let number = life.number;
        let Some(follow) = &mut life.follow else {
            return;
        };
        if follow.connection.is_some() || now < follow.retry_at {
            return;
        }
        follow.retry_at = now + 50;
        let (to, epoch) = (follow.to, follow.epoch);
        if !self.reaches(member, to) || !self.reaches(to, member) || self.is_paused(to) {
            return;
        }
        let Some(there) = self.nodes[to].life.as_ref().map(|life| life.number) else {
            // The computer answers, and nobody listens.
            self.later(
                1,
                Happening::FromPlace {
                    member,
                    life: number,
                    event: Box::new(Event::MasterGone(epoch)),
                },
            );
            return;
        };
        if self.mistakes_at_connect(member, to) {
            return;
        }
        let connection = self.next_connection((member, number), (to, there));
        let time = Duration::from_millis(now);
        if let Some(life) = &mut self.nodes[to].life {
            life.served.insert(connection, Served::new(time));
        }
        let mut out = Vec::new();
        if let Some(life) = &mut self.nodes[member].life
            && let Some(follow) = &mut life.follow
        {
            let session = ReplicaSession::new(&follow.following, time, &mut out);
            follow.connection = Some((connection, session, Decoder::new()));
        }
        self.put(connection, true, out);
    }

    pub(super) fn put(&mut self, connection: u64, to_master: bool, out: Vec<Outgoing>) {
        if out.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        for frame in out {
            bytes.extend(frame.head);
            bytes.extend(frame.bytes);
        }
        self.put_part(connection, to_master, Part::Bytes(bytes));
    }

    pub(super) fn put_part(&mut self, connection: u64, to_master: bool, part: Part) {
        let Some(stream) = self.connections.get_mut(&connection) else {
            return;
        };
        let queue = match to_master {
            true => &mut stream.to_master,
            false => &mut stream.to_replica,
        };
        let was_empty = queue.is_empty();
        queue.push_back(part);
        if was_empty {
            let delay = self.latency();
            self.later(
                delay,
                Happening::Bytes {
                    connection,
                    to_master,
                },
            );
        }
    }

    pub(super) fn deliver(&mut self, connection: u64, to_master: bool) {
        let Some(stream) = self.connections.get(&connection) else {
            return;
        };
        let (from, to) = match to_master {
            true => (stream.replica, stream.master),
            false => (stream.master, stream.replica),
        };
        let again = Happening::Bytes {
            connection,
            to_master,
        };
        // Lost packets are sent again until they get through, as long as the connection lives.
        if !self.reaches(from.0, to.0) || self.is_paused(to.0) {
            if self.is_alive(to.0, to.1) || self.is_alive(from.0, from.1) {
                let stands = self.nodes[to.0].paused_until.saturating_sub(self.now);
                let wait = if stands > 0 {
                    stands + self.random.below(4)
                } else {
                    25
                };
                self.later(wait, again);
            } else {
                self.connections.remove(&connection);
            }
            return;
        }
        let Some(stream) = self.connections.get_mut(&connection) else {
            return;
        };
        let queue = match to_master {
            true => &mut stream.to_master,
            false => &mut stream.to_replica,
        };
        let part = queue.pop_front();
        let is_empty = queue.is_empty();
        if !is_empty {
            let delay = self.latency();
            self.later(delay, again);
        }
        if !self.is_alive(to.0, to.1) {
            self.connections.remove(&connection);
            return;
        }
        match part {
            Some(Part::Bytes(mut bytes)) => {
                if self.faults && self.random.chance(2_000) {
                    // A switch with a broken memory.
                    let at = self.random.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << self.random.below(8);
                } else if self.faults && self.random.chance(2_000) {
                    bytes.extend(bytes.clone());
                }
                match to_master {
                    true => self.at_master(to.0, connection, &bytes),
                    false => self.at_replica(to.0, connection, &bytes),
                }
            }
            Some(Part::End) | None => self.over(to.0, connection, to_master),
        }
        self.pump(to.0);
    }

    /// The other side has ended a connection.
    pub(super) fn over(&mut self, member: usize, connection: u64, at_master: bool) {
        self.connections.remove(&connection);
        self.at_installing(member, connection, None);
        let reason = Reason::new(ReasonKind::Silence, "the connection broke");
        if let Some(life) = &mut self.nodes[member].life
            && let Some(served) = life.served.get_mut(&connection)
        {
            served.session.closed();
        }
        match at_master {
            true => self.end_served(member, connection, &reason, false),
            false => self.end_followed(member, connection, &reason, false),
        }
    }

    pub(super) fn end_served(
        &mut self,
        member: usize,
        connection: u64,
        reason: &Reason,
        is_told: bool,
    ) {
        if let Some(life) = &mut self.nodes[member].life
            && let Some(mut served) = life.served.remove(&connection)
        {
            served.session.end(&life.source, reason);
        }
        self.tell_end(connection, false, reason, is_told);
    }

    pub(super) fn end_followed(
        &mut self,
        member: usize,
        connection: u64,
        reason: &Reason,
        is_told: bool,
    ) {
        if let Some(life) = &mut self.nodes[member].life
            && let Some(follow) = &mut life.follow
            && follow
                .connection
                .as_ref()
                .is_some_and(|(number, ..)| *number == connection)
        {
            follow.connection = None;
            follow.retry_at = self.now + 20;
        }
        self.tell_end(connection, true, reason, is_told);
    }

    pub(super) fn tell_end(
        &mut self,
        connection: u64,
        to_master: bool,
        reason: &Reason,
        is_told: bool,
    ) {
        if is_told {
            self.put(
                connection,
                to_master,
                vec![encode(&Frame::Close(reason.clone()))],
            );
            self.put_part(connection, to_master, Part::End);
        }
    }

    pub(super) fn unfollow(&mut self, member: usize, why: &str) {
        let Some(life) = &mut self.nodes[member].life else {
            return;
        };
        let connection = life
            .follow
            .take()
            .and_then(|follow| follow.connection.map(|(number, ..)| number));
        if let Some(connection) = connection {
            let reason = Reason::new(ReasonKind::Stopping, why);
            self.tell_end(connection, true, &reason, true);
        }
    }

    /// All connections of a member end, and the other sides are told.
    pub(super) fn hang_up(&mut self, member: usize, why: &str) {
        self.unfollow(member, why);
        let reason = Reason::new(ReasonKind::Stopping, why);
        let served: Vec<u64> = match &self.nodes[member].life {
            Some(life) => life.served.keys().copied().collect(),
            None => Vec::new(),
        };
        for connection in served {
            self.end_served(member, connection, &reason, true);
        }
    }

    pub(super) fn at_master(&mut self, member: usize, connection: u64, bytes: &[u8]) {
        let time = Duration::from_millis(self.now);
        let mut out = Vec::new();
        let mut ended = None;
        if let Some(life) = &mut self.nodes[member].life
            && let Some(served) = life.served.get_mut(&connection)
        {
            served.decoder.push(bytes);
            loop {
                let outcome = match served.decoder.frame() {
                    Ok(Some(Frame::Report(_))) if served.sent.is_some() => {
                        let frame = counted(served.sent);
                        served.session.receive(frame, &life.source, time, &mut out)
                    }
                    Ok(Some(frame)) => served.session.receive(frame, &life.source, time, &mut out),
                    Ok(None) => break,
                    Err(error) => Err(error.into()),
                };
                if let Err(reason) = outcome {
                    ended = Some(reason);
                    break;
                }
            }
        }
        self.put(connection, false, out);
        if let Some(reason) = ended {
            self.end_served(member, connection, &reason, true);
        }
    }

    pub(super) fn at_replica(&mut self, member: usize, connection: u64, bytes: &[u8]) {
        self.at_installing(member, connection, Some(bytes));
        let time = Duration::from_millis(self.now);
        let mut out = Vec::new();
        let mut ended = None;
        if let Some(life) = &mut self.nodes[member].life
            && let Some(follow) = &mut life.follow
            && let Some((number, session, decoder)) = &mut follow.connection
            && *number == connection
        {
            decoder.push(bytes);
            loop {
                let outcome = match decoder.frame() {
                    Ok(Some(frame)) => session.receive(frame, &follow.following, time, &mut out),
                    Ok(None) => break,
                    Err(error) => Err(Ended::Again(error.into())),
                };
                if let Err(reason) = outcome {
                    ended = Some(reason);
                    break;
                }
            }
        }
        self.put(connection, true, out);
        if let Some(ended) = ended {
            self.replica_ended(member, connection, &ended);
        }
    }

    pub(super) fn replica_ended(&mut self, member: usize, connection: u64, ended: &Ended) {
        match ended {
            Ended::Again(reason) => {
                if !matches!(
                    reason.kind,
                    ReasonKind::Stopping
                        | ReasonKind::Silence
                        | ReasonKind::NotMaster
                        | ReasonKind::StaleMaster
                        | ReasonKind::Replaced
                ) {
                    self.note(&format!("member {member}: {reason}"));
                }
            }
            Ended::Store(reason) => {
                self.checker
                    .fails(format!("member {member} cannot follow: {reason}"));
            }
            Ended::Diverged(parting) => return self.parted(member, connection, parting),
            Ended::Expired(_) => {}
        }
        self.end_followed(member, connection, ended.reason(), true);
        if let Ended::Expired(reason) = ended {
            self.note(&format!("member {member}: {reason}"));
            self.begin_snapshot_of_master(member);
        }
    }

    fn begin_snapshot_of_master(&mut self, member: usize) {
        let life = self.nodes[member].life.as_ref();
        let to = life.and_then(|life| life.follow.as_ref().map(|follow| follow.to));
        if let Some(to) = to {
            self.begin_snapshot(member, to);
        }
    }

    /// A member has confirmed what its master does not have. It gives that up when the record proves that the group has, and tries again later
    /// when the record is not known yet.
    fn parted(&mut self, member: usize, connection: u64, parting: &Parting) {
        self.note(&format!("member {member}: {}", parting.reason));
        self.end_followed(member, connection, &parting.reason, true);
        let Some(life) = &self.nodes[member].life else {
            return;
        };
        let (master, record) = (&parting.master, life.machine.facts(BootMs(0)).record);
        let epochs = master.epochs.iter();
        let epochs = epochs.map(|epoch| (epoch.number, epoch.first.0));
        let given_up = match record {
            Some(record) => record.gives_up(master.identity.seat, master.epoch, epochs),
            None => Err(Keeps::OtherMaster),
        };
        match given_up {
            Ok(()) => {}
            Err(Keeps::OtherMaster | Keeps::NotRecovered { .. }) => return,
            Err(keeps) => {
                return self
                    .checker
                    .fails(format!("member {member} cannot follow: {keeps}"));
            }
        }
        if let Role::Follower(store) = &life.role {
            let kept = store.put_aside(parting.common).expect("kept");
            self.parted += 1;
            self.note(&format!("member {member} gives up {kept:?}"));
        }
        self.begin_snapshot_of_master(member);
    }

    pub(super) fn pump_replica(&mut self, member: usize) {
        let time = Duration::from_millis(self.now);
        let mut out = Vec::new();
        let Some(life) = &mut self.nodes[member].life else {
            return;
        };
        let Some(follow) = &mut life.follow else {
            return;
        };
        let Some((connection, session, _)) = &mut follow.connection else {
            return;
        };
        let connection = *connection;
        let store = &follow.following.store;
        if self.setting.makes(Mistake::ReportsUnwritten)
            && session.is_following()
            && self.now < follow.writes_at
        {
            let (appended, flushed) = (store.positions().appended, store.positions().flushed);
            if follow.claimed < appended {
                follow.claimed = appended;
                let report = Report {
                    received: LogPosition(appended),
                    flushed: LogPosition(flushed),
                };
                self.put(connection, true, vec![encode(&Frame::Report(report))]);
            }
            return;
        }
        follow.writes_at = self.now + 200;
        let mut outcome = session.store(&follow.following, time, &mut out);
        if outcome.is_ok() && session.is_following() {
            // The disk is done at once; time passes nowhere but in the world.
            flush(store);
            outcome = session.store(&follow.following, time, &mut out);
        }
        if self.setting.makes(Mistake::ShowsReceived) && session.is_following() {
            let written = LogPosition(store.positions().written);
            store.confirm(written).expect("shown");
        }
        let outcome = outcome
            .and_then(|()| session.tick(&follow.following, time, &mut out))
            .and_then(|()| session.confirm(&follow.following));
        let mut news = Vec::new();
        while let Ok(event) = follow.events.try_recv() {
            news.push(event);
        }
        for event in news {
            self.note(&format!("member {member}: {event:?}"));
        }
        self.put(connection, true, out);
        if let Err(ended) = outcome {
            self.replica_ended(member, connection, &ended);
        }
    }

    pub(super) fn pump_master(&mut self, member: usize) {
        let time = Duration::from_millis(self.now);
        let Some(life) = &mut self.nodes[member].life else {
            return;
        };
        let mut sent: Vec<(u64, Vec<Outgoing>, Option<Reason>)> = Vec::new();
        for (connection, served) in &mut life.served {
            let mut out = Vec::new();
            let mut ended = None;
            if served.session.wants_snapshot() {
                let ended = served.send_chunk(&life.source, &mut out).err();
                sent.push((*connection, out, ended));
                continue;
            }
            while let Some(want) = served.session.wants(&life.source) {
                match life.source.store.log_piece(want.from, want.bytes_max) {
                    Ok(Some(piece)) => {
                        let end = piece.end;
                        served.session.send(piece, &life.source, time, &mut out);
                        if self.setting.makes(Mistake::CountsSent) {
                            served.sent = Some(end);
                            let frame = counted(served.sent);
                            let counts =
                                served.session.receive(frame, &life.source, time, &mut out);
                            ended = counts.err();
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        ended = Some(Reason::new(ReasonKind::Store, error));
                        break;
                    }
                }
            }
            // What has come is read before anybody counts as silent.
            let stream = self.connections.get(connection);
            let is_read = stream.is_none_or(|stream| {
                stream.to_master.is_empty() || self.cut.contains(&(stream.replica.0, member))
            });
            if is_read {
                ended = ended.or(served.session.tick(&life.source, time, &mut out).err());
            }
            sent.push((*connection, out, ended));
        }
        let mut news = Vec::new();
        while let Ok(event) = life.events.try_recv() {
            news.push(event);
        }
        for (connection, out, ended) in sent {
            self.put(connection, false, out);
            if let Some(reason) = ended {
                self.end_served(member, connection, &reason, true);
            }
        }
        for event in news {
            if let MasterEvent::Superseded { epoch, .. } = event
                && let Some(life) = self.nodes[member].life.as_ref().map(|life| life.number)
            {
                self.later(
                    0,
                    Happening::FromPlace {
                        member,
                        life,
                        event: Box::new(Event::EpochSeen(epoch)),
                    },
                );
            }
        }
    }
}
