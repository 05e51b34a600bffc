//! Whole groups in a simulated world: the real store on a simulated disk, the real sessions and the real state machine of the election,
//! with processes killed, power cut, links cut one way and both, delays, damaged and doubled bytes, members that stand still, empty disks,
//! snapshots, messages that expire, clocks that jump, switchovers, and the place away, slow or with answers lost. Whatever happens: no
//! acknowledged message is lost, nothing that a consumer saw changes or goes, one master acknowledges in an epoch, none of an older one
//! afterwards; at every moment the set has what was acknowledged, and its master waits for it (`world/invariants.rs`); and when the faults
//! end the group is whole again. Mistakes that members make on purpose are found (`mistakes.rs`).
//!
//! `RMQ_SEEDS=10000 cargo test -p rmq-replication --test simulation groups` runs more histories (`alone`: of groups whose masters acknowledge alone); `RMQ_SEED=7` one, with its trace;
//! `RMQ_MISTAKE="a claim without the marker" cargo test -p rmq-replication --test simulation planted` one with that mistake. Budget: 90 s.

#![expect(clippy::print_stderr, reason = "a failing history is shown")]

mod checker;
mod installing;
mod mistakes;
mod node;
mod place;
mod random;
mod setting;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use mistakes::{Mistake, PLANTED, Planted};
use rmq_election::machine::Rules;
use rmq_election::place::AckMode;
use world::{Outcome, World};

const SEEDS: u64 = 200;
/// The same, of groups whose masters acknowledge alone.
const SEEDS_ALONE: u64 = 128;

fn mode(seed: u64) -> AckMode {
    // Each flush is done by the store's own thread, which has to be waited for.
    match seed % 8 {
        7 => AckMode::InSyncFlushed,
        _ => AckMode::InSync,
    }
}

fn run(seed: u64) -> Outcome {
    World::new(seed, mode(seed), Rules::ALL, Mistake::None).run()
}

fn of_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
    )
}

/// The same, with masters that acknowledge alone.
fn run_alone(seed: u64) -> Outcome {
    let mode = match seed % 4 {
        3 => AckMode::Flushed,
        _ => AckMode::Memory,
    };
    World::new(seed, mode, Rules::ALL, Mistake::None).run()
}

/// What histories have: acknowledged messages, masters, members that gave up what they had confirmed.
type Counts = (usize, usize, usize);

/// What a history of many has, or what is wrong with it.
type Found = Result<Counts, (u64, Outcome)>;

/// Runs histories on two threads until one is wrong.
fn run_all(run: fn(u64) -> Outcome, seeds: std::ops::Range<u64>) -> Vec<Found> {
    let (next, end) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
    let work = || {
        let mut found = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return found;
            }
            let outcome = run(seed);
            found.push(match &outcome.violation {
                Some(_) => {
                    end.store(0, Ordering::Relaxed);
                    Err((seed, outcome))
                }
                None => Ok((outcome.acked, outcome.masters, outcome.parted)),
            });
        }
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        let found = workers.map(|worker| worker.join().expect("a history"));
        found.into_iter().flatten().collect()
    })
}

fn show(trace: &str, lines_max: usize) {
    let lines: Vec<&str> = trace.lines().collect();
    for line in &lines[lines.len().saturating_sub(lines_max)..] {
        eprintln!("{line}");
    }
}

/// Runs as many histories as the environment says, or `seeds`. `test` runs one again. `None`: it was one.
fn run_many(run: fn(u64) -> Outcome, seeds: u64, test: &str) -> Option<(usize, Counts)> {
    if let Some(seed) = of_environment("RMQ_SEED") {
        let outcome = run(seed);
        show(&outcome.trace, usize::MAX);
        assert_eq!(outcome.violation, None);
        return None;
    }
    let seeds = of_environment("RMQ_SEEDS").unwrap_or(seeds);
    let from = of_environment("RMQ_FROM").unwrap_or(0);
    let (mut acked, mut masters, mut parted) = (0, 0, 0);
    for found in run_all(run, from..from + seeds) {
        match found {
            Ok(counts) => {
                acked += counts.0;
                masters += counts.1;
                parted += counts.2;
            }
            Err((seed, outcome)) => {
                show(&outcome.trace, 120);
                panic!(
                    "seed {seed}: {:?}\nagain, with the whole trace: RMQ_SEED={seed} cargo test -p rmq-replication --test simulation {test}",
                    outcome.violation
                );
            }
        }
    }
    eprintln!("{seeds} histories: {acked} messages acknowledged by {masters} masters");
    let count = seeds as usize;
    assert!(acked >= 50 * count, "{acked} messages in {count} histories");
    assert!(
        masters >= 2 * count,
        "{masters} masters in {count} histories"
    );
    Some((count, (acked, masters, parted)))
}

#[test]
fn groups_keep_their_promises() {
    if let Some((_, (_, _, parted))) = run_many(run, SEEDS, "groups") {
        assert_eq!(parted, 0, "nothing that is confirmed is given up");
    }
}

/// Where masters acknowledge alone an election may lose messages: they are in a quarantine, and every member follows again.
#[test]
fn masters_that_acknowledge_alone_leave_a_whole_group() {
    if let Some((count, (_, _, parted))) = run_many(run_alone, SEEDS_ALONE, "alone") {
        eprintln!("members gave up what they had confirmed {parted} times");
        assert!(40 * parted >= count, "{parted} times in {count} histories");
    }
}

#[test]
fn a_seed_has_one_history() {
    for seed in [0, 1, 2, 3, 4, 5] {
        let (one, other) = (run(seed), run(seed));
        if one.hash != other.hash {
            let differ = one
                .trace
                .lines()
                .zip(other.trace.lines())
                .find(|(a, b)| a != b);
            panic!("seed {seed} has two histories, which part at {differ:?}");
        }
    }
}

/// Each mistake that is made on purpose is found, by the seed in the table or another one of those that are run here.
#[test]
fn each_planted_mistake_is_found() {
    let mut missed = Vec::new();
    let only = std::env::var("RMQ_MISTAKE").ok();
    let wanted = |planted: &&Planted| only.as_ref().is_none_or(|only| only == planted.name);
    for planted in PLANTED.iter().filter(wanted) {
        let mut rules = Rules::ALL;
        (planted.without)(&mut rules);
        let first = of_environment("RMQ_SEED").unwrap_or(planted.seed);
        let others = (0..SEEDS).filter(|seed| *seed != first);
        let found = std::iter::once(first).chain(others).find_map(|seed| {
            let outcome = World::new(seed, mode(seed), rules, planted.mistake).run();
            if only.is_some() && seed == first {
                show(&outcome.trace, usize::MAX);
            }
            outcome.violation.map(|violation| (seed, violation.0))
        });
        match found {
            Some((seed, what)) => eprintln!("{}: seed {seed}: {what}", planted.name),
            None => missed.push(planted.name),
        }
    }
    assert_eq!(missed, Vec::<&str>::new(), "not found by {SEEDS} seeds");
}
