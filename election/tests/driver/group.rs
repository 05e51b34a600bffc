//! A group in one process: drivers over a place in memory, with logs that are lists.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmq_election::driver::{Clock, Done, Driver, Handle, Hands};
use rmq_election::machine::{
    BootMs, Config, Durable, FenceReason, Finding, Machine, Master, MemberProgress, NewGroup,
    Position, Progress, Question, Standing, State, Timings, WritesClosed,
};
use rmq_election::place::memory::{Memory, MemoryPlace};
use rmq_election::place::{AckMode, Member, MemberId, Policy, Record, Seat};
use tokio::time::Instant;

/// What a master writes when it closes the writes for a switchover.
pub(crate) const LAST: u64 = u64::MAX;

/// One member's process and disk.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) log: Vec<u64>,
    pub(crate) disk: Option<Durable>,
    pub(crate) handle: Option<Handle>,
    pub(crate) epoch: Option<u64>,
    pub(crate) follows: Option<(MemberId, u64)>,
    pub(crate) is_open: bool,
    pub(crate) closed: Vec<WritesClosed>,
    pub(crate) serve_until: BootMs,
    pub(crate) required: Vec<Seat>,
    pub(crate) number: u64,
    pub(crate) fenced: Vec<FenceReason>,
    pub(crate) told: Vec<Finding>,
    /// The others do not reach it.
    pub(crate) is_cut: bool,
    /// It has closed its connection.
    pub(crate) is_closed: bool,
    /// It copies nothing, as a process that hangs.
    pub(crate) is_stuck: bool,
    /// Its log lacks the beginning that the group keeps.
    pub(crate) is_partial: bool,
    /// How many milliseconds its clock is ahead: it was stopped that long.
    ahead: Arc<AtomicU64>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Node {
    fn seat(&self, id: u64) -> Option<Seat> {
        let incarnation = self.disk.as_ref()?.incarnation;
        Some(Seat {
            member: MemberId(id),
            incarnation,
        })
    }
}

/// All members, and the network between them.
pub(crate) struct Group {
    nodes: Mutex<BTreeMap<u64, Node>>,
    pub(crate) ways: Vec<Arc<MemoryPlace>>,
    pub(crate) memory: Memory,
    pub(crate) timings: Timings,
    ack_mode: AckMode,
    min_in_sync: u32,
    began: Instant,
}

/// A clock on tokio's, which a test moves.
struct TestClock {
    began: Instant,
    ahead: Arc<AtomicU64>,
}

impl Clock for TestClock {
    fn now(&self) -> BootMs {
        let ms = u64::try_from(self.began.elapsed().as_millis()).expect("a short test");
        // The system was up for a while before.
        BootMs(1_000_000 + ms + self.ahead.load(Ordering::SeqCst))
    }
}

impl Group {
    pub(crate) fn new(members: u64, ack_mode: AckMode) -> Arc<Self> {
        Self::with_minimum(members, ack_mode, 1)
    }

    /// A group that takes writes while so many members are in sync.
    pub(crate) fn with_minimum(members: u64, ack_mode: AckMode, min_in_sync: u32) -> Arc<Self> {
        let memory = Memory::new();
        let ways = (0..members)
            .map(|id| Arc::new(memory.way(format!("member {id}"))))
            .collect::<Vec<_>>();
        Arc::new(Self {
            nodes: Mutex::new((0..members).map(|id| (id, Node::default())).collect()),
            ways,
            memory,
            timings: Timings::default(),
            ack_mode,
            min_in_sync,
            began: Instant::now(),
        })
    }

    pub(crate) fn nodes(&self) -> MutexGuard<'_, BTreeMap<u64, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with<T>(&self, id: u64, look: impl FnOnce(&mut Node) -> T) -> T {
        look(self.nodes().get_mut(&id).expect("a member"))
    }

    /// As every member has it in its configuration.
    pub(crate) fn configured(&self) -> NewGroup {
        let nodes = self.nodes().len() as u64;
        let members = (0..nodes).map(|id| Member {
            id: MemberId(id),
            replication: format!("member-{id}:10912"),
            client: format!("member-{id}:10911"),
        });
        NewGroup {
            members: members.collect(),
            policy: Policy {
                ack_mode: self.ack_mode,
                min_in_sync: self.min_in_sync,
            },
        }
    }

    /// Starts a member. `lost_tail`: its computer has crashed.
    pub(crate) fn start(self: &Arc<Self>, id: u64, lost_tail: bool) {
        let config = Config {
            timings: self.timings,
            group: Some(self.configured()),
        };
        let (durable, ahead) = self.with(id, |node| {
            let random = u128::from(id) << 32 | self.began.elapsed().as_nanos();
            let durable = Durable::begin(node.disk.take(), lost_tail, random);
            node.disk = Some(durable.clone());
            (durable, Arc::clone(&node.ahead))
        });
        let machine = Machine::new(MemberId(id), config, durable);
        let hands = TestHands {
            id,
            group: Arc::clone(self),
        };
        let clock = TestClock {
            began: self.began,
            ahead,
        };
        let place = Arc::clone(&self.ways[usize::try_from(id).expect("small")]);
        let (driver, handle) = Driver::new(machine, place, Arc::new(hands), Arc::new(clock));
        let task = tokio::spawn(driver.run(false));
        self.with(id, |node| {
            node.handle = Some(handle);
            node.task = Some(task);
        });
    }

    /// Ends the process, as SIGKILL does.
    pub(crate) fn kill(&self, id: u64) {
        self.with(id, |node| {
            if let Some(task) = node.task.take() {
                task.abort();
            }
            node.handle = None;
            node.epoch = None;
            node.follows = None;
            node.is_open = false;
        });
    }

    /// The process was stopped for so long, and continues.
    pub(crate) fn freeze(&self, id: u64, ms: u64) {
        self.with(id, |node| node.ahead.fetch_add(ms, Ordering::SeqCst));
    }

    fn now(&self, node: &Node) -> BootMs {
        let clock = TestClock {
            began: self.began,
            ahead: Arc::clone(&node.ahead),
        };
        clock.now()
    }

    /// Sends a message to a member; whether it is acknowledged.
    pub(crate) fn send(&self, id: u64, value: u64) -> bool {
        let mut nodes = self.nodes();
        let Some(node) = nodes.get_mut(&id) else {
            return false;
        };
        let Some(epoch) = node.epoch.filter(|_| node.is_open) else {
            return false;
        };
        node.log.push(value);
        copy(&mut nodes, id, epoch);
        let node = nodes.get(&id).expect("a member");
        let confirmed = self.confirmed(&nodes, id, epoch);
        confirmed == node.log.len() && self.now(node) < node.serve_until
    }

    /// Whether a master has confirmed all that it has.
    pub(crate) fn has_confirmed_all(&self, id: u64) -> bool {
        let nodes = self.nodes();
        let node = nodes.get(&id);
        let epoch_and_end = node.and_then(|node| Some((node.epoch?, node.log.len())));
        epoch_and_end.is_some_and(|(epoch, end)| self.confirmed(&nodes, id, epoch) == end)
    }

    fn confirmed(&self, nodes: &BTreeMap<u64, Node>, id: u64, epoch: u64) -> usize {
        let Some(master) = nodes.get(&id) else {
            return 0;
        };
        let of = |seat: &Seat| {
            let node = nodes.get(&seat.member.0);
            let is_there = |node: &&Node| {
                node.seat(seat.member.0) == Some(*seat) && is_connected(master, node, id, epoch)
            };
            node.filter(is_there).map_or(0, |node| node.log.len())
        };
        master
            .required
            .iter()
            .map(of)
            .min()
            .unwrap_or(usize::MAX)
            .min(master.log.len())
    }

    /// Who takes writes.
    pub(crate) fn master(&self) -> Option<u64> {
        let nodes = self.nodes();
        let mut open = nodes.iter().filter(|(_, node)| node.is_open);
        let found = open.next().map(|(id, _)| *id);
        assert!(open.next().is_none(), "two members take writes");
        found
    }

    pub(crate) fn state(&self, id: u64) -> Option<State> {
        self.with(id, |node| {
            node.handle.as_ref().map(|handle| handle.facts().state)
        })
    }

    pub(crate) fn record(&self, id: u64) -> Option<Record> {
        self.with(id, |node| {
            node.handle
                .as_ref()
                .and_then(|handle| handle.facts().record)
        })
    }

    /// Waits until something is so, at most `limit_ms` of the test's time; how long it took.
    pub(crate) async fn until(
        &self,
        limit_ms: u64,
        what: &str,
        is_so: impl Fn(&Self) -> bool,
    ) -> u64 {
        let began = Instant::now();
        while !is_so(self) {
            let took = began.elapsed();
            let members = self.nodes().len() as u64;
            let states: Vec<_> = (0..members).map(|id| self.state(id)).collect();
            assert!(
                took < Duration::from_millis(limit_ms),
                "not in {limit_ms} ms: {what}; {states:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        u64::try_from(began.elapsed().as_millis()).expect("a short test")
    }

    /// Starts all members and waits until all are in the set.
    pub(crate) async fn start_all(self: &Arc<Self>) -> u64 {
        let ids: Vec<u64> = self.nodes().keys().copied().collect();
        for id in &ids {
            self.start(*id, false);
        }
        self.until(10_000, "all in sync", |group| {
            group.master().is_some_and(|master| {
                let record = group.record(master);
                record.is_some_and(|record| record.in_sync.len() == ids.len())
            })
        })
        .await;
        self.master().expect("a master")
    }
}

fn is_connected(master: &Node, node: &Node, id: u64, epoch: u64) -> bool {
    let is_up = master.handle.is_some() && node.handle.is_some();
    let follows = node.follows == Some((MemberId(id), epoch));
    is_up && follows && !master.is_cut && !node.is_cut
}

/// Every connected replica gets all that the master has.
fn copy(nodes: &mut BTreeMap<u64, Node>, id: u64, epoch: u64) {
    let Some(master) = nodes.remove(&id) else {
        return;
    };
    for node in nodes.values_mut() {
        if is_connected(&master, node, id, epoch) && !node.is_stuck {
            node.log.clone_from(&master.log);
        }
    }
    nodes.insert(id, master);
}

struct TestHands {
    id: u64,
    group: Arc<Group>,
}

impl TestHands {
    fn with<T>(&self, look: impl FnOnce(&mut Node) -> T) -> T {
        self.group.with(self.id, look)
    }
}

fn done<T: Send + 'static>(value: T) -> Done<T> {
    Box::pin(std::future::ready(value))
}

impl Hands for TestHands {
    fn save(&self, durable: Durable) -> Done<std::io::Result<()>> {
        self.with(|node| node.disk = Some(durable));
        done(Ok(()))
    }

    fn follow(&self, master: Master, epoch: u64) {
        self.with(|node| node.follows = Some((master.seat.member, epoch)));
    }

    fn unfollow(&self) -> Done<()> {
        self.with(|node| node.follows = None);
        done(())
    }

    fn promote(&self, epoch: u64) -> Done<Result<u64, String>> {
        done(Ok(self.with(|node| {
            node.epoch = Some(epoch);
            node.log.len() as u64
        })))
    }

    fn require(&self, number: u64, members: Vec<Seat>) {
        self.with(|node| {
            node.number = number;
            node.required = members;
        });
    }

    fn open_writes(&self, _epoch: u64) {
        self.with(|node| node.is_open = true);
    }

    fn close_writes(&self, why: WritesClosed) -> Done<()> {
        self.with(|node| {
            node.is_open = false;
            node.closed.push(why);
            if matches!(why, WritesClosed::Switchover(_)) {
                // What a broker writes at last.
                node.log.push(LAST);
            }
        });
        done(())
    }

    fn serve_until(&self, until: BootMs) {
        self.with(|node| node.serve_until = until);
    }

    fn fence(&self, why: FenceReason) {
        self.with(|node| {
            node.is_open = false;
            node.epoch = None;
            node.required.clear();
            node.fenced.push(why);
        });
    }

    fn demote(&self) -> Done<()> {
        done(())
    }

    fn ask(&self, member: Member, question: Question) -> Done<Option<Standing>> {
        let is_cut = self.with(|node| node.is_cut);
        let handle = self.group.with(member.id.0, |other| {
            other.handle.clone().filter(|_| !other.is_cut && !is_cut)
        });
        Box::pin(async move {
            match handle {
                Some(handle) => handle.question(question).await,
                None => None,
            }
        })
    }

    fn position(&self) -> Position {
        self.with(|node| Position {
            epoch: node.disk.as_ref().map_or(0, |disk| disk.epoch),
            end: node.log.len() as u64,
        })
    }

    fn progress(&self) -> Option<Progress> {
        let mut nodes = self.group.nodes();
        let epoch = nodes.get(&self.id)?.epoch?;
        copy(&mut nodes, self.id, epoch);
        let master = nodes.get(&self.id)?;
        let others = nodes.iter().filter(|(id, _)| **id != self.id);
        let members = others.filter_map(|(id, node)| {
            Some(MemberProgress {
                seat: node.seat(*id)?,
                stored: node.log.len() as u64,
                connected: is_connected(master, node, self.id, epoch),
                closed: node.handle.is_none() || node.is_closed,
                partial: node.is_partial,
            })
        });
        Some(Progress {
            required: master.number,
            confirmed: self.group.confirmed(&nodes, self.id, epoch) as u64,
            end: master.log.len() as u64,
            members: members.collect(),
        })
    }

    fn tell(&self, finding: Finding) {
        self.with(|node| node.told.push(finding));
    }
}
