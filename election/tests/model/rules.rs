//! Each rule switched off gives a counterexample.

use rmq_election::machine::Rules;
use stateright::{Checker as _, HasDiscoveries, Model as _};

use super::check::Step;
use super::world::{Faults, Model, OuterRules};

/// More than any of them needs.
const STATES: usize = 400_000;

/// Without the rule something breaks; with it the same steps end well.
fn breaks(model: Model, without: impl FnOnce(&mut Rules, &mut OuterRules)) {
    let mut lacks = model.clone();
    without(&mut lacks.rules, &mut lacks.outer);
    let checker = lacks
        .checker()
        .threads(2)
        .target_state_count(STATES)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = checker.discoveries();
    let (name, path) = found.iter().next().unwrap_or_else(|| {
        panic!(
            "nothing breaks in {} states, {} different, depth {}",
            checker.state_count(),
            checker.unique_state_count(),
            checker.max_depth()
        )
    });
    let steps = path.clone().into_actions();
    super::say(&format!(
        "{name}, after {} states: {steps:?}",
        checker.state_count()
    ));
    // The same steps with the rule end well.
    let mut world = stateright::Model::init_states(&model).remove(0);
    for step in steps {
        let mut possible = Vec::new();
        stateright::Model::actions(&model, &world, &mut possible);
        if possible.contains(&step) {
            world = stateright::Model::next_state(&model, &world, step).unwrap_or(world);
        }
        for property in stateright::Model::properties(&model) {
            assert!((property.condition)(&model, &world), "{}", property.name);
        }
    }
}

fn growing(members: usize) -> Model {
    Model {
        all_in_sync: false,
        ..Model::new(members)
    }
}

/// apache/rocketmq #5663.
#[test]
fn without_the_union_while_growing() {
    breaks(growing(2), |rules, _| rules.union_while_growing = false);
}

#[test]
fn without_the_wait_for_a_shrink() {
    let model = Model {
        faults: Faults {
            lost_answers: 1,
            ..Faults::default()
        },
        ..Model::new(2)
    };
    breaks(model, |rules, _| rules.shrink_after_commit = false);
}

#[test]
fn without_catching_up_before_growing() {
    let model = Model {
        late_progress: true,
        ..growing(2)
    };
    breaks(model, |rules, _| rules.grow_after_catching_up = false);
}

/// The master comes back on an empty disk and follows member 1, for which nothing is confirmed yet: it waits for the master's old data.
#[test]
fn without_what_the_log_had_when_the_epoch_began() {
    let model = Model {
        faults: Faults {
            wiped_disks: 1,
            ..Faults::default()
        },
        prefix: vec![
            Step::Wipe(0),
            Step::Start(0),
            Step::Tick(1),
            Step::Swap(1),
            Step::Hear(0),
            Step::Deliver(0),
            Step::Hear(2),
            Step::Deliver(2),
            Step::Look(1),
        ],
        ..Model::new(3)
    };
    breaks(model, |rules, _| rules.start_counts = false);
}

#[test]
fn without_the_claim_marker() {
    let model = Model {
        faults: Faults {
            crashes: 1,
            lost_answers: 1,
            late_swaps: 1,
            away: 1,
            ..Faults::default()
        },
        ..Model::new(2)
    };
    breaks(model, |rules, _| rules.claim_marker = false);
}

/// Member 1 has claimed, and has taken member 0 out of the set; member 2 follows member 1, and has what was acknowledged since. Member 0 has not
/// heard of any of it.
fn deposed() -> Vec<Step> {
    vec![
        Step::Tick(1),
        Step::Swap(1),
        Step::Hear(2),
        Step::Copy(2),
        Step::Deliver(2),
        Step::Look(1),
        Step::Tick(1),
        Step::Swap(1),
        Step::Write(1),
        Step::Copy(2),
        Step::Deliver(2),
    ]
}

#[test]
fn without_the_saved_epoch() {
    let mut prefix = deposed();
    prefix.extend([Step::LosePlace(2), Step::Crash(2)]);
    let model = Model {
        faults: Faults {
            crashes: 1,
            away: 1,
            ..Faults::default()
        },
        prefix,
        ..Model::new(3)
    };
    breaks(model, |rules, _| rules.persist_epoch = false);
}

#[test]
fn without_a_new_epoch_in_the_store() {
    breaks(Model::new(2), |rules, _| rules.begin_epoch = false);
}

#[test]
fn without_refusing_lower_epochs() {
    let model = Model {
        faults: Faults {
            stale_links: 1,
            ..Faults::default()
        },
        prefix: deposed(),
        ..Model::new(3)
    };
    breaks(model, |_, outer| outer.refuse_lower = false);
}

#[test]
fn without_following_nobody_before_the_claim() {
    breaks(Model::new(2), |rules, _| {
        rules.unfollow_before_claim = false
    });
}

#[test]
fn without_a_claimant_from_the_set() {
    breaks(growing(2), |rules, _| rules.claimant_in_set = false);
}

#[test]
fn without_a_look_at_the_incarnation() {
    let model = Model {
        faults: Faults {
            wiped_disks: 1,
            ..Faults::default()
        },
        ..Model::new(2)
    };
    breaks(model, |rules, _| rules.incarnation_checked = false);
}

#[test]
fn without_another_incarnation_for_lost_ends() {
    let model = Model {
        faults: Faults {
            power_cuts: 1,
            ..Faults::default()
        },
        ..Model::new(2)
    };
    breaks(model, |_, outer| outer.dirty_is_other = false);
}

#[test]
fn without_the_swap_that_decides() {
    breaks(Model::new(3), |rules, _| rules.swap_decides = false);
}

#[test]
fn without_reading_again_after_an_unknown_swap() {
    let model = Model {
        faults: Faults {
            lost_answers: 1,
            ..Faults::default()
        },
        ..growing(2)
    };
    breaks(model, |rules, _| rules.unknown_read_again = false);
}

#[test]
fn without_a_new_epoch_for_each_claim() {
    breaks(Model::new(2), |rules, _| rules.epoch_rises = false);
}

/// A model whose place loses the record.
fn losing(members: usize) -> Model {
    Model {
        faults: Faults {
            deletions: 1,
            ..Faults::default()
        },
        ..Model::new(members)
    }
}

/// A member that starts finds no record, and takes its group for a new one.
#[test]
fn without_a_person_for_a_lost_record() {
    let mut model = losing(2);
    model.faults.crashes = 1;
    model.prefix = vec![Step::Delete, Step::Crash(0), Step::Start(0)];
    breaks(model, |rules, _| rules.lost_needs_person = false);
}

/// Member 0 does not know that member 1 has claimed.
#[test]
fn without_epochs_apart_after_a_lost_record() {
    let model = Model {
        prefix: deposed(),
        ..losing(3)
    };
    breaks(model, |rules, _| rules.lost_epochs_apart = false);
}
