//! A group in a world where time, the network, the disks and the place do what a seed says.

mod at_place;
mod clients;
mod faults;
mod invariants;
mod members;
mod network;
mod snapshots;
mod wrong;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rmq_election::machine::{BootMs, Config, Event, NewGroup, Question, Rules, Standing, Timings};
use rmq_election::place::{AckMode, Lease, Member, Policy, Record, Version};
use rmq_protocol::MemberId;
use rmq_store::fs::SimulatedDisk;

use self::network::Connection;
use crate::checker::{Checker, Violation};
use crate::mistakes::Mistake;
use crate::node::Node;
use crate::place::Place;
use crate::random::Random;
use crate::setting::Setting;

pub(crate) const MEMBERS: usize = 3;
/// How often a member looks at the time, ms.
const TICK: u64 = 20;
/// How long faults happen, ms.
const FAULTS_MS: u64 = 10_000;
/// How long the group may take afterwards, ms.
const HEAL_MS: u64 = 15_000;

/// What happens, and when.
enum Happening {
    Tick {
        member: usize,
        life: u64,
    },
    Bytes {
        connection: u64,
        to_master: bool,
    },
    ToPlace {
        member: usize,
        life: u64,
        request: Request,
    },
    FromPlace {
        member: usize,
        life: u64,
        event: Box<Event>,
    },
    Question {
        from: (usize, u64),
        to: usize,
        round: u64,
        question: Question,
    },
    Standing {
        to: (usize, u64),
        from: usize,
        round: u64,
        standing: Standing,
    },
    Saved {
        member: usize,
        life: u64,
        event: Box<Event>,
    },
    Send,
    Consume,
    Expire,
    Fault,
    /// The process ends.
    Crash {
        member: usize,
        life: u64,
    },
    Start {
        member: usize,
    },
}

enum Request {
    Read,
    ReadLease,
    Swap(Option<Version>, Box<Record>),
    SwapLease(Option<Version>, Lease),
}

pub(crate) struct World {
    pub(crate) now: u64,
    random: Random,
    nodes: Vec<Node>,
    place: Place,
    happenings: BTreeMap<(u64, u64), Happening>,
    next_number: u64,
    connections: BTreeMap<u64, Connection>,
    /// Directed links between members that carry nothing.
    cut: BTreeSet<(usize, usize)>,
    /// Members that do not reach the place, or that the place does not reach.
    cut_to_place: BTreeSet<usize>,
    cut_from_place: BTreeSet<usize>,
    /// A member to which the answers of the place take long.
    slow: Option<usize>,
    setting: Setting,
    next_message: u64,
    faults: bool,
    /// Clocks jump too.
    clocks_jump: bool,
    /// A boot clock has jumped: two may think for a while that they are the master.
    has_jumped: bool,
    checker: Checker,
    /// How many times a member has given up what it had confirmed.
    parted: usize,
    /// Power was cut, or a disk is gone: messages may be nowhere.
    has_lost_disks: bool,
    trace: String,
    /// Over the whole trace.
    hash: u64,
}

/// What a run shows.
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    pub(crate) hash: u64,
    pub(crate) trace: String,
    pub(crate) acked: usize,
    pub(crate) masters: usize,
    pub(crate) parted: usize,
}

impl World {
    pub(crate) fn new(seed: u64, mode: AckMode, rules: Rules, mistake: Mistake) -> Self {
        let mut random = Random(seed);
        let members = (0..MEMBERS).map(|member| Member {
            id: MemberId(member as u64),
            replication: format!("member-{member}"),
            client: format!("client-{member}"),
        });
        let config = Config {
            timings: Timings::of_lease(1_000),
            group: Some(NewGroup {
                members: members.collect(),
                policy: Policy {
                    ack_mode: mode,
                    min_in_sync: random.between(1, 2) as u32,
                },
            }),
        };
        let nodes = (0..MEMBERS).map(|member| Node {
            disk: SimulatedDisk::with_seed(seed ^ (member as u64 + 1) << 40),
            saved: None,
            life: None,
            lives: 0,
            paused_until: 0,
            has_lost: false,
            installing: None,
            boot_ahead: random.below(1_000_000),
            wall_ahead: Arc::new(AtomicI64::new(random.below(200) as i64)),
            open_claim: None,
            accepted: 0,
        });
        let nodes = nodes.collect();
        let setting = Setting {
            mode,
            config,
            rules,
            mistake,
            retention_ms: (seed % 2 == 1).then_some(2_000),
            time: Arc::new(AtomicU64::new(0)),
        };
        let mut world = Self {
            now: 0,
            random,
            nodes,
            place: Place::default(),
            happenings: BTreeMap::new(),
            next_number: 0,
            connections: BTreeMap::new(),
            cut: BTreeSet::new(),
            cut_to_place: BTreeSet::new(),
            cut_from_place: BTreeSet::new(),
            slow: None,
            setting,
            next_message: 0,
            faults: true,
            clocks_jump: seed % 4 > 1,
            has_jumped: false,
            checker: Checker::new(!mode.needs_set()),
            parted: 0,
            has_lost_disks: false,
            trace: String::new(),
            hash: 0xcbf2_9ce4_8422_2325,
        };
        for member in 0..MEMBERS {
            let delay = world.random.below(50);
            world.later(delay, Happening::Start { member });
        }
        world.later(10, Happening::Send);
        world.later(15, Happening::Consume);
        world.later(300, Happening::Expire);
        world.later(1_500, Happening::Fault);
        world
    }

    fn note(&mut self, text: &str) {
        let line = format!("{:>6} {text}\n", self.now);
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.trace.push_str(&line);
    }

    fn later(&mut self, delay: u64, happening: Happening) {
        self.next_number += 1;
        self.happenings
            .insert((self.now + delay, self.next_number), happening);
    }

    /// Runs until a violation, or to the end.
    pub(crate) fn run(mut self) -> Outcome {
        let end = FAULTS_MS + HEAL_MS;
        let mut is_whole = false;
        while let Some(((at, _), happening)) = self.happenings.pop_first() {
            self.now = at;
            self.setting.time.store(at, Ordering::Relaxed);
            if self.faults && at >= FAULTS_MS {
                self.heal();
            }
            if at >= end || self.checker.violation().is_some() {
                break;
            }
            self.happen(happening);
            if !self.faults && self.now > FAULTS_MS + 2_000 && self.is_whole() {
                is_whole = true;
                break;
            }
        }
        if self.checker.violation().is_none() && !is_whole {
            let machines: Vec<String> = self
                .nodes
                .iter()
                .map(|node| {
                    let life = node.life.as_ref();
                    let progress = life.and_then(|life| life.progress());
                    let facts = life.map(|life| life.machine.facts(BootMs(0)));
                    format!("{facts:?} {progress:?}")
                })
                .collect();
            self.note(&machines.join("\n"));
            self.checker
                .fails("the group is not whole again after all faults have ended".to_owned());
        }
        if self.checker.violation().is_none() {
            self.compare();
        }
        let outcome = Outcome {
            violation: self.checker.violation().cloned(),
            hash: self.hash,
            acked: self.checker.acked_count(),
            masters: self.checker.masters_count(),
            parted: self.parted,
            trace: std::mem::take(&mut self.trace),
        };
        for node in &mut self.nodes {
            if let Some(life) = &mut node.life {
                life.abandon();
            }
        }
        outcome
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Start { member } => self.start(member),
            Happening::Tick { member, life } => {
                if self.is_alive(member, life) {
                    if !self.is_paused(member) {
                        self.tick(member);
                    }
                    self.later(TICK, Happening::Tick { member, life });
                }
            }
            Happening::Bytes {
                connection,
                to_master,
            } => self.deliver(connection, to_master),
            Happening::ToPlace {
                member,
                life,
                request,
            } => self.at_place(member, life, request),
            Happening::FromPlace {
                member,
                life,
                event,
            }
            | Happening::Saved {
                member,
                life,
                event,
            } => {
                if self.is_paused(member) {
                    // What is looked at first afterwards is chance.
                    let wait = self.nodes[member].paused_until - self.now + self.random.below(40);
                    self.later(
                        wait,
                        Happening::Saved {
                            member,
                            life,
                            event,
                        },
                    );
                } else if self.is_alive(member, life) {
                    self.event(member, *event);
                }
            }
            Happening::Question {
                from,
                to,
                round,
                question,
            } => {
                if self.reaches(from.0, to)
                    && !self.is_paused(to)
                    && let Some(life) = &mut self.nodes[to].life
                {
                    life.next_question += 1;
                    let id = life.next_question;
                    life.questions.insert(id, (from.0, from.1, round));
                    self.event(to, Event::Asked { id, question });
                }
            }
            Happening::Standing {
                to,
                from,
                round,
                standing,
            } => {
                if self.reaches(from, to.0) && self.is_alive(to.0, to.1) && !self.is_paused(to.0) {
                    self.event(to.0, Event::Answered { round, standing });
                }
            }
            Happening::Send => {
                self.send();
                let pause = self.random.between(5, 60);
                self.later(pause, Happening::Send);
            }
            Happening::Consume => {
                self.consume();
                let pause = self.random.between(50, 200);
                self.later(pause, Happening::Consume);
            }
            Happening::Crash { member, life } => {
                if self.is_alive(member, life) {
                    self.crash(member);
                }
            }
            Happening::Expire => {
                self.expire();
                self.later(300, Happening::Expire);
            }
            Happening::Fault => {
                if self.faults {
                    self.fault();
                    let pause = self.random.between(50, 1_500);
                    self.later(pause, Happening::Fault);
                }
            }
        }
    }

    fn is_alive(&self, member: usize, life: u64) -> bool {
        let node = &self.nodes[member];
        let running = node.life.as_ref().map(|running| running.number);
        let installing = node.installing.as_ref().map(|installing| installing.number);
        running.or(installing) == Some(life)
    }

    fn is_paused(&self, member: usize) -> bool {
        self.nodes[member].paused_until > self.now
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    fn boot(&self, member: usize) -> BootMs {
        BootMs(self.now + self.nodes[member].boot_ahead)
    }

    fn latency(&mut self) -> u64 {
        match self.random.chance(20) {
            true => self.random.between(5, 60),
            false => self.random.between(0, 2),
        }
    }
}
