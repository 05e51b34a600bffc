//! A member: its disk, and its life while its process runs. The store, the sessions and the machine are the real ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_election::machine::{BootMs, Durable, Machine, MemberProgress, Position, Progress};
use rmq_election::place::{Seat, Version};
use rmq_protocol::MemberId;
use rmq_protocol::message::{LogPosition, QueueOffset, RecordView};
use rmq_replication::session::{MasterSession, ReplicaSession};
use rmq_replication::wire::Decoder;
use rmq_replication::{
    Counts, Followed, Following, MasterEvent, Members, ReplicaEvent, Source, Target,
};
use rmq_store::fs::{Fs, SimulatedDisk};
use rmq_store::{
    AllMessages, Follower, LastEnd, Master, NewMessage, ReadLimits, Snapshot, Store, Temperature,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::checker::Stored;
use crate::installing::Installing;
use crate::mistakes::Mistake;
use crate::setting::{Setting, identity, limits};

pub(crate) const QUEUES: u64 = 2;

/// What survives the end of a process.
pub(crate) struct Node {
    pub(crate) disk: SimulatedDisk,
    /// The file of the election. It lies on the disk.
    pub(crate) saved: Option<String>,
    pub(crate) life: Option<Life>,
    /// A snapshot is being taken instead.
    pub(crate) installing: Option<Installing>,
    pub(crate) lives: u64,
    pub(crate) paused_until: u64,
    /// Power was cut since the last start, and not all that was acknowledged was on the disk.
    pub(crate) has_lost: bool,
    /// Its boot clock is this much ahead of the world's time.
    pub(crate) boot_ahead: u64,
    /// And its wall clock, milliseconds.
    pub(crate) wall_ahead: Arc<AtomicI64>,
    /// The version that the member's last claim is about, in this life or before, while it may still take place as far as the member can
    /// know.
    pub(crate) open_claim: Option<Version>,
    /// The highest epoch whose master it has followed, with the data that it has.
    pub(crate) accepted: u64,
}

impl Node {
    /// Messages in the files of what was cut off.
    pub(crate) fn quarantined(&self) -> Vec<u64> {
        let folder = Path::new("store/quarantine");
        // The folder is made with the first file.
        let names = self.disk.list(folder).unwrap_or_default();
        let mut found = Vec::new();
        for name in names.iter().filter(|name| name.ends_with(".log")) {
            let content = self.disk.read(&folder.join(name), 1 << 30);
            let content = content.expect("readable");
            for record in RecordView::iter(&content) {
                let record = record.expect("a whole record");
                let message = record.body().first_chunk::<8>();
                if record.topic() == "t"
                    && let Some(message) = message
                {
                    found.push(u64::from_be_bytes(*message));
                }
            }
        }
        found
    }
}

pub(crate) struct Served {
    pub(crate) session: MasterSession,
    pub(crate) decoder: Decoder,
    pub(crate) snapshot: Option<Snapshot>,
    /// With [`Mistake::CountsSent`]: what was sent.
    pub(crate) sent: Option<LogPosition>,
}

pub(crate) struct Follow {
    pub(crate) following: Following,
    pub(crate) to: usize,
    pub(crate) epoch: u64,
    pub(crate) connection: Option<(u64, ReplicaSession, Decoder)>,
    pub(crate) retry_at: u64,
    /// With [`Mistake::ReportsUnwritten`]: when it writes next, and what it has reported.
    pub(crate) writes_at: u64,
    pub(crate) claimed: u64,
    pub(crate) events: UnboundedReceiver<ReplicaEvent>,
}

pub(crate) enum Role {
    Follower(Arc<Follower>),
    Master(Master),
    /// In between, or broken.
    None,
}

/// Messages that were settled, or not, on whichever thread.
pub(crate) type Settled = Arc<Mutex<Vec<(u64, bool)>>>;

/// A message on its way.
pub(crate) struct Sent {
    pub(crate) stored: Stored,
    pub(crate) end: u64,
    pub(crate) epoch: u64,
}

pub(crate) struct Life {
    pub(crate) number: u64,
    setting: Setting,
    wall_ahead: Arc<AtomicI64>,
    pub(crate) machine: Machine,
    pub(crate) role: Role,
    pub(crate) members: Arc<Members>,
    pub(crate) source: Source,
    pub(crate) served: BTreeMap<u64, Served>,
    pub(crate) follow: Option<Follow>,
    pub(crate) required: (u64, Vec<Seat>),
    /// With [`Mistake::RequiresLate`]: when that counts.
    pub(crate) requires_at: Duration,
    /// With [`Mistake::CountsOldReports`].
    old: Old,
    pub(crate) serve_until: BootMs,
    /// With [`Mistake::FencesByWallClock`]: the same by the wall clock, Unix milliseconds.
    pub(crate) serve_until_wall: i64,
    pub(crate) open: Option<u64>,
    pub(crate) questions: BTreeMap<u64, (usize, u64, u64)>,
    pub(crate) next_question: u64,
    pub(crate) settled: Settled,
    pub(crate) sent: BTreeMap<u64, Sent>,
    pub(crate) events: UnboundedReceiver<MasterEvent>,
    tell: UnboundedSender<MasterEvent>,
    /// How far a consumer has read, by queue.
    pub(crate) read: BTreeMap<u64, i64>,
}

impl Life {
    /// The process starts.
    pub(crate) fn start(node: &mut Node, member: usize, setting: &Setting, random: u128) -> Self {
        node.lives += 1;
        node.has_lost = false;
        let config = setting.store(&node.wall_ahead);
        let (store, _) = Follower::open(config, Arc::new(node.disk.clone()))
            .unwrap_or_else(|error| panic!("member {member} does not open: {error}"));
        let has_lost = store.last_end() == LastEnd::PowerCut
            && !setting.mode.is_flushed()
            && !setting.makes(Mistake::KeepsLostEnd);
        let saved = node
            .saved
            .as_ref()
            .and_then(|text| Durable::decode(text.as_bytes()).ok());
        let durable = Durable::begin(saved, has_lost, random);
        node.saved = Some(durable.encode());
        let machine = Machine::with_rules(
            MemberId(member as u64),
            setting.config.clone(),
            durable,
            setting.rules,
        );
        let (tell, events) = unbounded_channel();
        let identity = identity(machine.me());
        let members = Arc::new(Members::of_no_master(MemberId(member as u64)));
        let source = Source {
            identity,
            epoch: store.epoch(),
            store: (*store).clone(),
            members: Arc::clone(&members),
            events: tell.clone(),
            questions: unbounded_channel().0,
        };
        Self {
            number: node.lives,
            setting: setting.clone(),
            wall_ahead: Arc::clone(&node.wall_ahead),
            machine,
            role: Role::Follower(Arc::new(store)),
            members,
            source,
            served: BTreeMap::new(),
            follow: None,
            required: (0, Vec::new()),
            requires_at: Duration::ZERO,
            old: Arc::default(),
            serve_until: BootMs(0),
            serve_until_wall: 0,
            open: None,
            questions: BTreeMap::new(),
            next_question: 0,
            settled: Settled::default(),
            sent: BTreeMap::new(),
            events,
            tell,
            read: BTreeMap::new(),
        }
    }

    pub(crate) fn store(&self) -> Option<&Store> {
        match &self.role {
            Role::Follower(follower) => Some(follower),
            Role::Master(master) => Some(master),
            Role::None => None,
        }
    }

    /// Where the log ends, and in which epoch.
    pub(crate) fn position(&self) -> Position {
        let Some(store) = self.store() else {
            return Position::default();
        };
        Position {
            epoch: store.epoch(),
            end: store.positions().appended,
        }
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        let Role::Master(master) = &self.role else {
            return None;
        };
        let positions = master.positions();
        let mut members = self.members.progress(LogPosition(positions.appended));
        if self.setting.makes(Mistake::CountsOldReports) {
            count_old(&mut members, &self.old);
        }
        let members = members.into_iter().map(|member| MemberProgress {
            seat: member.seat,
            stored: match self.setting.mode.is_flushed() {
                true => member.flushed.0,
                false => member.received.0,
            },
            connected: member.is_connected,
            closed: member.has_closed,
            partial: member.is_connected && member.begin.0 > positions.min,
        });
        Some(Progress {
            required: self.required.0,
            confirmed: positions.confirmed,
            end: positions.appended,
            members: members.collect(),
        })
    }

    pub(crate) fn follow(&mut self, to: usize, member: MemberId, epoch: u64, now: u64) {
        let Role::Follower(store) = &self.role else {
            return;
        };
        let (tell, events) = unbounded_channel();
        self.follow = Some(Follow {
            following: Following {
                target: Target {
                    address: format!("member-{to}"),
                    member: Some(member),
                    epoch,
                },
                store: Arc::clone(store),
                identity: identity(self.machine.me()),
                config: limits(),
                events: tell,
                followed: Arc::<Followed>::default(),
            },
            to,
            epoch,
            connection: None,
            retry_at: now,
            writes_at: 0,
            claimed: 0,
            events,
        });
    }

    /// The store becomes a master's. Where it begins.
    pub(crate) fn promote(&mut self, epoch: u64) -> Result<u64, String> {
        let Role::Follower(store) = std::mem::replace(&mut self.role, Role::None) else {
            return Err("no follower".to_owned());
        };
        let Ok(store) = Arc::try_unwrap(store) else {
            return Err("the store is still in use".to_owned());
        };
        // The port holds a handle on the same store, which stays the same.
        let master = store.promote(epoch).map_err(|error| error.to_string())?;
        let start = master.positions().appended;
        let setting = self.setting.clone();
        let counts = match setting.mode.is_flushed() && !setting.makes(Mistake::FlushesNothing) {
            true => Counts::Flushed,
            false => Counts::Received,
        };
        let replicated = master.clone();
        let (old, required) = (Arc::clone(&self.old), self.required.1.clone());
        let counts_old = setting.makes(Mistake::CountsOldReports);
        self.members = Arc::new_cyclic(|members: &Weak<Members>| {
            let members = members.clone();
            let tell = move |position| {
                let members = members.upgrade().filter(|_| counts_old);
                let position = members.map_or(position, |members| with_old(&members, &old));
                replicated.replicated(position);
            };
            let clock = Arc::new(move || setting.time());
            Members::new(self.machine.me().member, counts, clock, Box::new(tell))
        });
        self.require_now(&required);
        self.source = Source {
            identity: identity(self.machine.me()),
            epoch,
            store: (*master).clone(),
            members: Arc::clone(&self.members),
            events: self.tell.clone(),
            questions: unbounded_channel().0,
        };
        self.role = Role::Master(master);
        Ok(start)
    }

    pub(crate) fn require(&mut self, number: u64, members: Vec<Seat>) {
        if matches!(self.role, Role::Master(_)) && !self.setting.makes(Mistake::RequiresLate) {
            self.require_now(&members);
        }
        self.requires_at = self.setting.time() + Duration::from_millis(100);
        self.required = (number, members);
    }

    pub(crate) fn require_now(&self, members: &[Seat]) {
        let nobody = self.setting.makes(Mistake::AcksAlone);
        self.members.require(if nobody { &[] } else { members });
    }

    /// Not the master any more: the store is opened again as a follower's.
    pub(crate) fn demote(&mut self, disk: &SimulatedDisk) {
        if matches!(self.role, Role::Follower(_)) {
            // Fenced before it was promoted.
            return;
        }
        self.members.close();
        if let Role::Master(master) = std::mem::replace(&mut self.role, Role::None) {
            master.fence("the member is fenced");
            // What was on its way is told by nobody any more.
            let _ = master.close();
        }
        // A promotion that failed has left the store behind.
        self.source.store.abandon();
        self.read.clear();
        // Closures of the store and of the members hold each other.
        self.members = Arc::new(Members::of_no_master(self.machine.me().member));
        let config = self.setting.store(&self.wall_ahead);
        let (store, _) = Follower::open(config, Arc::new(disk.clone()))
            .unwrap_or_else(|error| panic!("{}: does not open: {error}", self.machine.me()));
        self.source.store = (*store).clone();
        self.source.epoch = store.epoch();
        self.source.members = Arc::clone(&self.members);
        self.role = Role::Follower(Arc::new(store));
    }

    /// Appends a message, as a client that takes this member for the master. It is settled later.
    pub(crate) fn send(&mut self, message: u64, queue: u64, bytes: usize) -> bool {
        let (Role::Master(master), Some(epoch)) = (&self.role, self.open) else {
            return false;
        };
        let mut body = message.to_be_bytes().to_vec();
        body.resize(8 + bytes, b'.');
        let of_queue = master.queue("t", queue as i32).expect("a queue");
        let new = NewMessage {
            queue: &of_queue,
            topic: "t",
            flag: 0,
            sys_flag: 0,
            born_ms: 1,
            born_host: SocketAddr::from(([127, 0, 0, 1], 1)),
            reconsume_times: 0,
            prepared_position: 0,
            body: &body,
            properties: b"",
            tag_hash: 0,
            keys: "",
            unique_key: "",
            further: &[],
        };
        let Ok(appended) = master.append(&new) else {
            return false;
        };
        let stored = Stored {
            message,
            queue,
            offset: appended.queue_offset.0,
            position: appended.position.0,
        };
        let end = appended.end.0;
        self.sent.insert(message, Sent { stored, end, epoch });
        let settled = Arc::clone(&self.settled);
        let is_settled = master.try_settle(appended.end);
        match is_settled {
            Some(outcome) => settled.lock().push((message, outcome.is_ok())),
            None => master.settle(
                appended.end,
                Box::new(move |outcome| settled.lock().push((message, outcome.is_ok()))),
            ),
        }
        flush(master);
        true
    }

    /// The messages of a queue from an offset on, as consumers get them.
    pub(crate) fn consume(&self, number: u64, from: i64) -> Vec<Stored> {
        let store = self
            .store()
            .filter(|store| store.incomplete_below().is_none());
        let Some(store) = store else {
            return Vec::new();
        };
        let limits = ReadLimits {
            messages_max: 1_000,
            bytes_max: 1 << 24,
            scan_entries_max: 10_000,
        };
        let Ok(Some(queue)) = store.find_queue("t", number as i32) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut from = from;
        loop {
            let outcome = store.read(
                &queue,
                QueueOffset(from),
                limits,
                &AllMessages,
                Temperature::MayWait,
            );
            for record in &outcome.records {
                let view = record.view().expect("a record");
                let message = view.body().first_chunk::<8>().expect("a message");
                found.push(Stored {
                    message: u64::from_be_bytes(*message),
                    queue: number,
                    offset: view.queue_offset().0,
                    position: view.position().0,
                });
            }
            if outcome.next_offset <= from || outcome.next_offset >= outcome.max_offset {
                return found;
            }
            from = outcome.next_offset;
        }
    }

    /// All that consumers can get.
    pub(crate) fn messages(&self) -> BTreeMap<(u64, i64), Stored> {
        let all = (0..QUEUES).flat_map(|queue| self.consume(queue, 0));
        all.map(|stored| ((stored.queue, stored.offset), stored))
            .collect()
    }

    /// Whether the member may act as master, as far as it looks at a clock.
    pub(crate) fn may_serve(&self, now: BootMs) -> bool {
        match self.setting.mistake {
            Mistake::AcksWithoutClock => true,
            Mistake::FencesByWallClock => {
                self.setting.wall_ms(&self.wall_ahead) < self.serve_until_wall
            }
            _ => now < self.serve_until,
        }
    }

    pub(crate) fn serve_until(&mut self, until: BootMs, now: BootMs) {
        self.serve_until = until;
        self.serve_until_wall = self.setting.wall_ms(&self.wall_ahead) + until.since(now) as i64;
    }

    /// Up to where it has the log, as acknowledgements count it.
    pub(crate) fn has(&self) -> Option<u64> {
        let positions = self.store()?.positions();
        Some(match self.setting.mode.is_flushed() {
            true => positions.flushed.min(positions.written),
            false => positions.written,
        })
    }

    pub(crate) fn abandon(&mut self) {
        self.follow = None;
        self.served.clear();
        self.members.close();
        if let Some(store) = self.store() {
            store.abandon();
        }
        self.role = Role::None;
    }
}

/// With sync flush: waits until the disk has everything, so that time passes nowhere but in the world.
pub(crate) fn flush(store: &Store) {
    if !store.settles_in_place() {
        let (tell, told) = std::sync::mpsc::channel();
        let end = LogPosition(store.positions().appended);
        store.flush(end, Box::new(move |_| tell.send(()).expect("waited for")));
        told.recv().expect("told");
    }
}

/// What members ever had.
type Old = Arc<Mutex<BTreeMap<MemberId, LogPosition>>>;

fn count_old(members: &mut [rmq_replication::MemberProgress], old: &Old) {
    let mut old = old.lock();
    for member in members {
        let had = old.entry(member.seat.member).or_insert(member.received);
        *had = member.received.max(*had);
        member.received = *had;
    }
}

/// What all of those ever had that are waited for.
fn with_old(members: &Members, old: &Old) -> Option<LogPosition> {
    let mut progress = members.progress(LogPosition(0));
    count_old(&mut progress, old);
    let required = progress.iter().filter(|member| member.is_required);
    required.map(|member| member.received).min()
}
