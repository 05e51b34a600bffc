//! What can happen next, and what must never be.

use rmq_election::machine::{BootMs, Event, State, Swapped};
use stateright::{Model as Check, Property};

use super::world::{Model, World};

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Time passes for a member, up to its next deadline.
    Tick(usize),
    /// A clock jumps past all deadlines.
    Jump(usize),
    /// The watch shows the record.
    Hear(usize),
    /// A producer sends a message.
    Write(usize),
    /// A member copies all that its master has, and reports.
    Copy(usize),
    /// The last report of a member reaches its master, perhaps again.
    Deliver(usize),
    /// Progress is looked at.
    Look(usize),
    /// The machine gets the progress that was looked at.
    Show(usize),
    /// The open swap takes place, and the answer comes.
    Swap(usize),
    /// The open swap takes place, and the answer is lost.
    SwapUnheard(usize),
    /// The open swap is given up and may take place later.
    GiveUp(usize),
    /// The open swap fails for certain.
    Fail(usize),
    /// A swap that was given up takes place.
    Late(usize),
    Crash(usize),
    /// As a crash, with the open swap still on its way.
    CrashInSwap(usize),
    LosePower(usize),
    Wipe(usize),
    Start(usize),
    LosePlace(usize),
    FindPlace(usize),
    Cut(usize),
    Heal,
    /// The place loses the record.
    Delete,
    /// A person has this member begin the record again.
    Ask(usize),
    /// A member connects to a master by itself.
    Connect(usize, usize),
}

impl Model {
    fn steps_of(&self, world: &World, id: usize, steps: &mut Vec<Step>) {
        let node = &world.nodes[id];
        let faults = &world.faults;
        if node.report.is_some() {
            steps.push(Step::Deliver(id));
        }
        if node.machine.is_none() {
            steps.push(Step::Start(id));
            return;
        }
        steps.extend([Step::Tick(id)]);
        if !node.is_away {
            steps.push(Step::Hear(id));
        }
        if node.link.is_some() {
            steps.push(Step::Copy(id));
        }
        if node.is_open && world.next_value < self.values {
            steps.push(Step::Write(id));
        }
        if node.appends.is_some() {
            steps.push(Step::Look(id));
        }
        if self.late_progress && node.seen.is_some() {
            steps.push(Step::Show(id));
        }
        if node.swap.is_some() {
            if !node.is_away {
                steps.push(Step::Swap(id));
                if faults.lost_answers > 0 {
                    steps.push(Step::SwapUnheard(id));
                }
            } else {
                steps.push(Step::Fail(id));
            }
            if faults.late_swaps > 0 {
                steps.push(Step::GiveUp(id));
            }
        }
        let may = |budget: u8, step: Step| (budget > 0).then_some(step);
        steps.extend(may(faults.jumps, Step::Jump(id)));
        steps.extend(may(faults.crashes, Step::Crash(id)));
        if node.swap.is_some() && faults.late_swaps > 0 {
            steps.extend(may(faults.crashes, Step::CrashInSwap(id)));
        }
        steps.extend(may(faults.power_cuts, Step::LosePower(id)));
        steps.extend(may(faults.wiped_disks, Step::Wipe(id)));
        match node.is_away {
            true => steps.push(Step::FindPlace(id)),
            false => steps.extend(may(faults.away, Step::LosePlace(id))),
        }
        if world.cut.is_none() {
            steps.extend(may(faults.cuts, Step::Cut(id)));
        }
        if world.record.is_none() && world.is_lost && !node.is_away {
            steps.push(Step::Ask(id));
        }
        let is_follower = node.appends.is_none();
        for master in world.nodes.iter().filter(|other| other.id != id) {
            let epoch = master
                .appends
                .filter(|_| is_follower && faults.stale_links > 0);
            let accepted = node
                .machine
                .as_ref()
                .map_or(0, |machine| machine.accepted());
            let may = |epoch| epoch >= accepted || !self.outer.refuse_lower;
            if node.disk.claim.is_none() && epoch.is_some_and(may) {
                steps.push(Step::Connect(id, master.id));
            }
        }
    }

    pub(crate) fn take(&self, world: &mut World, step: Step) {
        let faults = &mut world.faults;
        match step {
            Step::Tick(id) => world.tick(self, id),
            Step::Jump(id) => {
                faults.jumps -= 1;
                world.event(self, id, Event::Tick, BootMs(1_000_000));
            }
            Step::Hear(id) => world.hear(self, id),
            Step::Write(id) => {
                let value = world.next_value;
                world.next_value += 1;
                world.append(id, value);
            }
            Step::Copy(id) => world.copy(id),
            Step::Deliver(id) => world.deliver(self, id),
            Step::Look(id) => {
                world.look(id);
                if !self.late_progress {
                    world.show(self, id);
                }
            }
            Step::Show(id) => world.show(self, id),
            Step::Swap(id) => world.execute(self, id, true),
            Step::SwapUnheard(id) => {
                faults.lost_answers -= 1;
                world.execute(self, id, false);
            }
            Step::GiveUp(id) => {
                faults.late_swaps -= 1;
                let swap = world.nodes[id].swap.take();
                world.late.extend(swap);
                world.event(self, id, Event::Swapped(Swapped::Unknown), BootMs(0));
            }
            Step::Fail(id) => {
                world.nodes[id].swap = None;
                world.event(self, id, Event::Swapped(Swapped::Failed), BootMs(0));
                let machine = world.nodes[id].machine.as_ref();
                if machine.is_none_or(|it| it.state() != State::Claiming) {
                    world.nodes[id].open_claim = None;
                }
            }
            Step::Late(at) => {
                let (expected, next) = world.late.remove(at);
                world.compare_and_swap(expected, next);
            }
            Step::Crash(id) => {
                faults.crashes -= 1;
                world.crash(id, false);
            }
            Step::CrashInSwap(id) => {
                faults.crashes -= 1;
                faults.late_swaps -= 1;
                world.crash(id, true);
            }
            Step::LosePower(id) => {
                faults.power_cuts -= 1;
                world.lose_power(self, id);
            }
            Step::Wipe(id) => {
                faults.wiped_disks -= 1;
                world.wipe(id);
            }
            Step::Start(id) => world.boot(self, id),
            Step::LosePlace(id) => {
                faults.away -= 1;
                world.nodes[id].is_away = true;
            }
            Step::FindPlace(id) => world.nodes[id].is_away = false,
            Step::Cut(id) => {
                faults.cuts -= 1;
                world.cut = Some(id);
            }
            Step::Heal => world.cut = None,
            Step::Delete => {
                faults.deletions -= 1;
                world.delete();
            }
            Step::Ask(id) => world.ask(self, id),
            Step::Connect(id, to) => {
                faults.stale_links -= 1;
                world.nodes[id].link = world.nodes[to].appends.map(|epoch| (to, epoch));
            }
        }
    }
}

impl Check for Model {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::start(self)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for id in 0..self.members {
            self.steps_of(world, id, steps);
        }
        steps.extend((0..world.late.len()).map(Step::Late));
        if world.cut.is_some() {
            steps.push(Step::Heal);
        }
        if world.faults.deletions > 0 && world.record.is_some() {
            steps.push(Step::Delete);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        self.take(&mut next, step);
        (next != *world).then_some(next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        let mut epochs: Vec<u64> = world.masters.iter().map(|(epoch, _)| *epoch).collect();
        epochs.dedup();
        world.version <= 3 + self.swaps_max && epochs.len() as u64 <= self.epochs_max
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "one master an epoch, and epochs rise; a master has what was acknowledged; after a lost record there is none without a person",
                |_, world: &World| world.broken.is_none(),
            ),
            Property::always(
                "every member of the set has what was acknowledged",
                |_, world: &World| set_has_all(world),
            ),
            Property::always("whoever is in the set is waited for", |_, world: &World| {
                set_is_waited_for(world)
            }),
            Property::always(
                "who has claimed and knows nothing of the record since follows nobody",
                |_, world: &World| claimant_is_quiet(world),
            ),
        ]
    }
}

fn set_has_all(world: &World) -> bool {
    let Some(record) = &world.record else {
        return true;
    };
    let in_set = world
        .nodes
        .iter()
        .filter(|node| record.has_in_sync(node.seat()));
    let mut logs = in_set.map(|node| &node.log);
    logs.all(|log| {
        let has = |value: &u8| log.iter().any(|entry| entry.value == *value);
        world.seen.iter().all(has)
    })
}

fn set_is_waited_for(world: &World) -> bool {
    let Some(record) = &world.record else {
        return true;
    };
    world.nodes.iter().all(|node| {
        let is_current = node.appends == Some(record.epoch) && record.master == Some(node.seat());
        let is_waited =
            |seat: &rmq_election::place::Seat| *seat == node.seat() || node.required.contains(seat);
        !is_current || record.in_sync.iter().all(is_waited)
    })
}

fn claimant_is_quiet(world: &World) -> bool {
    let mut nodes = world.nodes.iter();
    nodes.all(|node| node.open_claim.is_none() || node.link.is_none())
}
