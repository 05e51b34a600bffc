//! The state machine, checked with all that can happen to a group of two and of three: see `docs/decisions/0014-election.md`.

mod act;
mod check;
mod rules;
mod timed;
mod world;

use std::time::Duration;

use stateright::{Checker as _, HasDiscoveries, Model as _};

use check::Step;
use world::{Faults, Model, World};

/// The longest history that chance picks.
const STEPS_MAX: usize = 150;

/// How many states a check looks at; `RMQ_MODEL_STATES` for more.
fn states(few: usize) -> usize {
    let more = std::env::var("RMQ_MODEL_STATES").ok();
    more.map_or(few, |text| {
        text.parse().expect("RMQ_MODEL_STATES is a number")
    })
}

fn found_nothing<M: stateright::Model>(checker: &impl stateright::Checker<M>)
where
    M::State: Clone + PartialEq + std::fmt::Debug + std::hash::Hash,
    M::Action: Clone + PartialEq + std::fmt::Debug,
{
    let found = checker.discoveries().into_iter().next();
    let found = found.map(|(name, path)| format!("{name}: {:#?}", path.into_actions()));
    assert_eq!(found, None);
}

#[expect(clippy::print_stdout, reason = "how much a check has seen")]
fn say(line: &str) {
    println!("{line}");
}

/// No step, however the faults fall, breaks a property: all short histories, and long ones that chance picks.
fn holds(model: Model, few: usize) {
    let checker = model
        .clone()
        .checker()
        .threads(2)
        .target_state_count(states(few))
        .timeout(Duration::from_secs(3_600))
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    found_nothing(&checker);
    say(&format!(
        "{} states, {} of them different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    ));
    drop(checker);
    walk(&model, states(few) / 4);
}

/// Histories from the beginning, with so many steps together. Where the boundary or the end is reached, the next one begins.
fn walk(model: &Model, steps: usize) {
    let start = model.init_states().remove(0);
    let properties = model.properties();
    let (mut world, mut history, mut longest) = (start.clone(), Vec::new(), 0);
    // The same ones each time: splitmix64.
    let mut state = 0_u64;
    for _ in 0..steps {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut possible = Vec::new();
        model.actions(&world, &mut possible);
        let step = possible[(word >> 33) as usize % possible.len()];
        model.take(&mut world, step);
        history.push(step);
        longest = longest.max(history.len());
        for property in &properties {
            let holds = (property.condition)(model, &world);
            assert!(holds, "{}: {history:?}", property.name);
        }
        if !model.within_boundary(&world) || history.len() >= STEPS_MAX {
            world = start.clone();
            history.clear();
        }
    }
    say(&format!(
        "{steps} steps by chance, at most {longest} in a row"
    ));
}

/// A member comes back while the swap that lets it go is on its way: it is waited for all the time, and enters the set again.
#[test]
fn who_comes_back_while_it_leaves_enters_again() {
    let model = Model {
        faults: Faults {
            cuts: 1,
            ..Faults::default()
        },
        ..Model::new(2)
    };
    let mut world = World::start(&model);
    let in_sync = |world: &World| world.record.as_ref().map(|record| record.in_sync.len());
    for step in [
        Step::Cut(1),
        Step::Look(0),
        Step::Tick(0),
        Step::Heal,
        Step::Look(0),
        Step::Swap(0),
    ] {
        model.take(&mut world, step);
    }
    assert_eq!(in_sync(&world), Some(1), "{world:#?}");
    for step in [Step::Look(0), Step::Swap(0)] {
        model.take(&mut world, step);
    }
    assert_eq!(in_sync(&world), Some(2), "{world:#?}");
}

fn with_every_fault(members: usize) -> Model {
    Model {
        faults: Faults {
            crashes: 1,
            power_cuts: 1,
            wiped_disks: u8::from(members > 2),
            lost_answers: 1,
            late_swaps: 1,
            away: 1,
            cuts: 1,
            jumps: 1,
            stale_links: 1,
            deletions: 0,
        },
        late_progress: members > 2,
        answers: members > 2,
        ..Model::new(members)
    }
}

#[test]
fn two_members_with_every_fault() {
    holds(with_every_fault(2), 40_000);
}

#[test]
fn three_members_with_every_fault() {
    holds(with_every_fault(3), 40_000);
}

/// A member is out of the set to begin with, and enters it while things go wrong.
#[test]
fn a_set_that_grows_with_every_fault() {
    let model = Model {
        all_in_sync: false,
        ..with_every_fault(3)
    };
    holds(model, 40_000);
}

/// The place loses the record besides: nobody leads before a person asks, and then the one that was asked, in an epoch of its own.
#[test]
fn a_lost_record_with_every_fault() {
    for members in [2, 3] {
        let mut model = with_every_fault(members);
        model.faults.deletions = 1;
        model.faults.wiped_disks = 1;
        model.swaps_max += 2;
        holds(model, 30_000);
    }
}
