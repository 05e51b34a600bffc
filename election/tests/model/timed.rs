//! What clocks are good for when they run alike: at no moment do two members serve, whatever the place and the network do.

use std::collections::VecDeque;

use rmq_election::machine::{
    Action, BootMs, Config, Durable, Event, LeaseSwapped, Machine, MemberProgress, Progress, Rules,
    Swapped, Timings,
};
use rmq_election::place::{
    AckMode, Lease, MemberId, Record, Seat, Swap, UncleanElection, Version, Versioned,
};
use stateright::{Checker as _, HasDiscoveries, Model as Check, Property};

use super::world::{incarnation, vacant};

#[derive(Debug, Clone)]
struct Model {
    members: usize,
    rules: Rules,
    faults: Faults,
    /// Milliseconds that pass.
    ends: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Faults {
    away: u8,
    cuts: u8,
    late_answers: u8,
    crashes: u8,
    deletions: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    machine: Option<Machine>,
    disk: Durable,
    is_open: bool,
    serve_until: BootMs,
    follows: Option<(MemberId, u64)>,
    number: u64,
    is_away: bool,
    /// An answer of the place that is on its way.
    answer: Option<(Swap<()>, Option<Versioned<Lease>>)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: BootMs,
    nodes: Vec<Node>,
    /// `None`: the place has lost it.
    record: Option<Record>,
    lease: Option<Versioned<Lease>>,
    version: u64,
    cut: Option<usize>,
    faults: Faults,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// A millisecond passes for everybody.
    Pass,
    /// As that, and the answer to a renewal of this member is on its way for longer.
    PassWithoutAnswer(usize),
    Answer(usize),
    LosePlace(usize),
    FindPlace(usize),
    Cut(usize),
    Heal,
    Crash(usize),
    Start(usize),
    /// The place loses the record.
    Delete,
    /// A person has this member begin the record again.
    Ask(usize),
}

const TIMINGS: Timings = Timings {
    lease_ms: 5,
    renew_deadline_ms: 4,
    retry_ms: 1,
    lag_limit_ms: 1_000,
    silent_limit_ms: 1_000,
    reconnect_limit_ms: 1_000,
    recover_limit_ms: 0,
    transfer_limit_ms: 1_000,
    drain_limit_ms: 1_000,
    ask_ms: 0,
    away_ms: 2,
};

impl World {
    fn start(model: &Model) -> Self {
        let node = |id| Node {
            machine: None,
            disk: Durable::begin(None, false, incarnation(id, 0).0),
            is_open: false,
            serve_until: BootMs(0),
            follows: None,
            number: 0,
            is_away: false,
            answer: None,
        };
        let mut world = Self {
            now: BootMs(0),
            nodes: (0..model.members).map(node).collect(),
            record: Some(vacant(model.members, AckMode::Memory)),
            lease: None,
            version: 1,
            cut: None,
            faults: model.faults,
        };
        let sound = Model {
            rules: Rules {
                tell: false,
                ..Rules::ALL
            },
            ..model.clone()
        };
        for id in 0..model.members {
            world.boot(&sound, id);
        }
        for _ in 0..6 {
            world.pass(None);
        }
        let in_sync = world.record.as_ref().map(|record| record.in_sync.len());
        assert_eq!(in_sync, Some(model.members), "{world:#?}");
        assert!(world.nodes[0].is_open);
        for machine in world
            .nodes
            .iter_mut()
            .filter_map(|node| node.machine.as_mut())
        {
            machine.set_rules(model.rules);
        }
        world
    }

    fn boot(&mut self, model: &Model, id: usize) {
        let config = Config {
            timings: TIMINGS,
            group: None,
        };
        let disk = self.nodes[id].disk.clone();
        let machine = Machine::with_rules(MemberId(id as u64), config, disk, model.rules);
        self.nodes[id].machine = Some(machine);
        self.event(id, Event::Started { partial: false }, false);
    }

    fn seat(&self, id: usize) -> Seat {
        Seat {
            member: MemberId(id as u64),
            incarnation: self.nodes[id].disk.incarnation,
        }
    }

    fn is_reached(&self, from: usize, to: usize) -> bool {
        self.cut != Some(from) && self.cut != Some(to)
    }

    fn pass(&mut self, late: Option<usize>) {
        self.now = self.now.after(1);
        for id in 0..self.nodes.len() {
            let is_late = late == Some(id);
            self.show(id, is_late);
            self.event(id, Event::Tick, is_late);
        }
        self.watch();
    }

    fn watch(&mut self) {
        for id in 0..self.nodes.len() {
            if !self.nodes[id].is_away {
                let record = self.current();
                self.event(id, Event::Changed(record), false);
                let lease = self.lease.clone();
                self.event(id, Event::LeaseChanged(lease), false);
            }
        }
    }

    fn current(&self) -> Option<Versioned<Record>> {
        let value = self.record.clone()?;
        Some(Versioned {
            version: Version(self.version),
            value,
        })
    }

    fn show(&mut self, id: usize, is_late: bool) {
        let machine = self.nodes[id].machine.as_ref();
        let Some(epoch) = machine.and_then(Machine::mastership) else {
            return;
        };
        let others = (0..self.nodes.len()).filter(|other| *other != id);
        let members = others.map(|other| MemberProgress {
            seat: self.seat(other),
            stored: 0,
            connected: self.nodes[other].follows == Some((MemberId(id as u64), epoch))
                && self.is_reached(id, other),
            closed: false,
            partial: false,
        });
        let progress = Progress {
            required: self.nodes[id].number,
            members: members.collect(),
            ..Progress::default()
        };
        self.event(id, Event::Progress(progress), is_late);
    }

    fn event(&mut self, id: usize, event: Event, is_late: bool) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.now;
            let Some(machine) = &mut self.nodes[id].machine else {
                return;
            };
            for action in machine.step(event, now) {
                self.act(id, action, is_late, &mut events);
            }
        }
    }

    fn act(&mut self, id: usize, action: Action, is_late: bool, events: &mut VecDeque<Event>) {
        let is_away = self.nodes[id].is_away;
        match action {
            Action::ReadPlace if is_away => events.push_back(Event::ReadFailed),
            Action::ReadPlace => events.push_back(Event::Read(self.current())),
            Action::ReadLease if is_away => events.push_back(Event::LeaseReadFailed),
            Action::ReadLease => events.push_back(Event::LeaseRead(self.lease.clone())),
            Action::Swap { .. } if is_away => events.push_back(Event::Swapped(Swapped::Failed)),
            Action::Swap { expected, next } => {
                let current = self.record.as_ref().map(|_| Version(self.version));
                let swap = match expected == current {
                    true => {
                        self.record = Some(*next);
                        self.version += 1;
                        Swap::Won(Version(self.version))
                    }
                    false => Swap::Lost(self.current()),
                };
                events.push_back(Event::Swapped(Swapped::Known(swap)));
            }
            Action::SwapLease { .. } if is_away => {
                events.push_back(Event::LeaseSwapped(LeaseSwapped::Failed));
            }
            Action::SwapLease { expected, next } => {
                let current = self.lease.as_ref().map(|lease| lease.version);
                let swap = match expected == current {
                    true => {
                        let version = Version(current.map_or(1, |version| version.0 + 1));
                        self.lease = Some(Versioned {
                            version,
                            value: next,
                        });
                        Swap::Won(version)
                    }
                    false => Swap::Lost(None),
                };
                self.nodes[id].answer = Some((swap, self.lease.clone()));
                if !is_late {
                    events.extend(self.answer(id));
                }
            }
            Action::Save(durable) => {
                self.nodes[id].disk = durable.clone();
                events.push_back(Event::Saved(durable));
            }
            Action::Follow { master, epoch } => {
                self.nodes[id].follows = Some((master.seat.member, epoch));
            }
            Action::Unfollow => self.nodes[id].follows = None,
            Action::Promote { epoch } => events.push_back(Event::Promoted { epoch, start: 0 }),
            Action::Require { number, .. } => self.nodes[id].number = number,
            Action::OpenWrites { .. } => self.nodes[id].is_open = true,
            Action::CloseWrites { .. } => self.nodes[id].is_open = false,
            Action::ServeUntil(until) => self.nodes[id].serve_until = until,
            Action::Fence { .. } => {
                self.nodes[id].is_open = false;
                events.push_back(Event::Fenced);
            }
            Action::Ask {
                round,
                members,
                question,
            } => {
                for member in members {
                    let other = member.id.0 as usize;
                    let now = self.now;
                    let is_reached = self.is_reached(id, other);
                    let Some(machine) = self.nodes[other].machine.as_mut().filter(|_| is_reached)
                    else {
                        continue;
                    };
                    for answer in machine.step(Event::Asked { id: 0, question }, now) {
                        if let Action::Answer { standing, .. } = answer {
                            events.push_back(Event::Answered { round, standing });
                        }
                    }
                }
            }
            Action::Answer { .. } | Action::Tell(_) => {}
        }
    }

    fn answer(&mut self, id: usize) -> Option<Event> {
        let (swap, lease) = self.nodes[id].answer.take()?;
        let swap = match swap {
            Swap::Won(version) => Swap::Won(version),
            Swap::Lost(_) => Swap::Lost(lease),
        };
        Some(Event::LeaseSwapped(LeaseSwapped::Known(swap)))
    }
}

impl Check for Model {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::start(self)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.push(Step::Pass);
        for (id, node) in world.nodes.iter().enumerate() {
            if world.faults.late_answers > 0 && node.answer.is_none() {
                steps.push(Step::PassWithoutAnswer(id));
            }
            if node.answer.is_some() {
                steps.push(Step::Answer(id));
            }
            match (node.is_away, world.faults.away > 0) {
                (true, _) => steps.push(Step::FindPlace(id)),
                (false, true) => steps.push(Step::LosePlace(id)),
                (false, false) => {}
            }
            if world.cut.is_none() && world.faults.cuts > 0 {
                steps.push(Step::Cut(id));
            }
            match (&node.machine, world.faults.crashes > 0) {
                (None, _) => steps.push(Step::Start(id)),
                (Some(_), true) => steps.push(Step::Crash(id)),
                (Some(_), false) => {}
            }
        }
        if world.cut.is_some() {
            steps.push(Step::Heal);
        }
        if world.faults.deletions > 0 && world.record.is_some() {
            steps.push(Step::Delete);
        }
        if world.record.is_none() {
            let reach = |id: &usize| !world.nodes[*id].is_away;
            steps.extend((0..self.members).filter(reach).map(Step::Ask));
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        match step {
            Step::Pass => next.pass(None),
            Step::PassWithoutAnswer(id) => {
                next.faults.late_answers -= 1;
                next.pass(Some(id));
            }
            Step::Answer(id) => {
                if let Some(event) = next.answer(id) {
                    next.event(id, event, false);
                }
            }
            Step::LosePlace(id) => {
                next.faults.away -= 1;
                next.nodes[id].is_away = true;
            }
            Step::FindPlace(id) => next.nodes[id].is_away = false,
            Step::Cut(id) => {
                next.faults.cuts -= 1;
                next.cut = Some(id);
            }
            Step::Heal => next.cut = None,
            Step::Crash(id) => {
                next.faults.crashes -= 1;
                let node = &mut next.nodes[id];
                node.machine = None;
                node.is_open = false;
                node.follows = None;
                node.answer = None;
            }
            Step::Start(id) => next.boot(self, id),
            Step::Delete => {
                next.faults.deletions -= 1;
                next.record = None;
                next.version += 1;
            }
            Step::Ask(id) => {
                let mut record = vacant(self.members, AckMode::Memory);
                record.unclean = Some(UncleanElection {
                    to: MemberId(id as u64),
                    request: String::new(),
                    accept_loss: true,
                });
                next.record = Some(record);
                next.version += 1;
            }
        }
        Some(next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.now.0 <= 6 + self.ends
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(
            "no two members serve at one moment",
            |_, world: &World| {
                let serves = |node: &&Node| node.is_open && world.now < node.serve_until;
                world.nodes.iter().filter(serves).count() <= 1
            },
        )]
    }
}

fn model(members: usize, faults: Faults) -> Model {
    Model {
        members,
        rules: Rules {
            tell: false,
            ..Rules::ALL
        },
        faults,
        ends: 10,
    }
}

/// With the rule nothing breaks, and without it something does.
fn needs(model: Model, without: impl FnOnce(&mut Rules)) {
    let mut lacks = model.clone();
    without(&mut lacks.rules);
    let check = |model: Model| {
        model
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join()
    };
    let broken = check(lacks);
    let found = broken.discoveries();
    let (name, path) = found
        .iter()
        .next()
        .unwrap_or_else(|| panic!("nothing breaks in {} states", broken.state_count()));
    super::say(&format!("{name}: {:?}", path.clone().into_actions()));
    let sound = check(model);
    super::found_nothing(&sound);
    super::say(&format!(
        "{} states, {} different",
        sound.state_count(),
        sound.unique_state_count()
    ));
}

#[test]
fn without_the_promise_of_every_member() {
    let faults = Faults {
        away: 1,
        cuts: 1,
        ..Faults::default()
    };
    needs(model(3, faults), |rules| rules.failsafe_needs_all = false);
}

#[test]
fn without_the_wait_that_was_promised() {
    let faults = Faults {
        away: 1,
        ..Faults::default()
    };
    needs(model(2, faults), |rules| rules.promise_holds = false);
}

/// The answer to a renewal comes late, and the master is alone then: by its own clock the time would begin with the answer.
#[test]
fn without_the_deadline_from_when_it_was_sent() {
    let faults = Faults {
        away: 1,
        cuts: 1,
        late_answers: 1,
        ..Faults::default()
    };
    needs(model(2, faults), |rules| rules.deadline_from_sent = false);
}

/// A master that does not reach the place serves until its lease is over, though a person has another member begin the record again.
#[test]
fn without_the_wait_for_the_lease_of_a_lost_record() {
    let faults = Faults {
        away: 1,
        deletions: 1,
        ..Faults::default()
    };
    needs(model(2, faults), |rules| rules.lost_waits = false);
}

#[test]
fn no_two_serve_while_members_crash_and_the_place_is_away() {
    let faults = Faults {
        away: 2,
        crashes: 1,
        late_answers: 1,
        ..Faults::default()
    };
    let checker = model(2, faults)
        .checker()
        .threads(2)
        .target_state_count(super::states(150_000))
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    super::found_nothing(&checker);
    super::say(&format!(
        "{} states, depth {}",
        checker.state_count(),
        checker.max_depth()
    ));
}
