//! Queues, groups, timers and transactions as a small model (`model.rs`, `halves.rs`) against real brokers, whose clock the test moves and which crash
//! at random: one on a simulated disk, also with its power cut, and a group of three whose master is killed.
//!
//! Whatever happens: an acknowledged message is at its offset and stays there, once; nothing else is there. A message that waits comes as soon as
//! its time has come, never before, once; what was taken back never comes. A message that is given back comes again with one more attempt, and after the
//! last one it is among the dead letters. Nothing of a half message is seen before its commit; each transaction ends once; producers are asked when the
//! settings say. A group continues where it said; after a crash where it said before. A queue has one holder.
//!
//! A seed is a list of operations (`operations.rs`). One that fails prints what it did and the command that does it again. `RMQ_SEEDS=5000 cargo test -p
//! rmq-broker --test model alone` does more, `three` the same in groups; `RMQ_SEED=7` does one, and `RMQ_FROM` says where to begin. Mistakes that are made on purpose are found (`mistakes.rs`).
//! Budget: 90 s, and 60 s for the groups.

#![expect(clippy::print_stderr, reason = "a failing seed is shown")]

mod alone;
mod asking;
mod group;
mod halves;
mod mistakes;
mod model;
mod operations;
mod producer;
#[path = "../../../replication/tests/simulation/random.rs"]
mod random;
#[path = "../elected/rig.rs"]
#[allow(dead_code, reason = "the tests of elected groups use the rest")]
mod rig;
mod run;
#[path = "../messages/support.rs"]
#[allow(dead_code, reason = "the tests of messages use the rest")]
mod support;
#[path = "../replicas/wire.rs"]
#[allow(dead_code, reason = "the tests of replicas use the rest")]
mod wire;

use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use alone::Alone;
use futures_util::{StreamExt as _, stream};
use group::Three;
use mistakes::{Mistake, PLANTED};
use operations::Setting;
use run::{Brokers, Counts, Run};

const SEEDS: u64 = 200;
const SEEDS_OF_GROUPS: u64 = 12;
/// Groups at once: most of the time they wait for an election.
const GROUPS_AT_ONCE: usize = 4;
/// Seeds among which each mistake is found.
const SEEDS_OF_MISTAKES: u64 = 40;
/// What should come at once and does not in this time never comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same where something is wrong on purpose.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);

/// A seed and what is wrong with it.
struct Failure {
    seed: u64,
    done: Vec<String>,
    wrong: String,
}

fn setting(seed: u64) -> Setting {
    Setting {
        operations: 60,
        has_jumps: seed % 4 == 1,
        has_power_cuts: seed.is_multiple_of(3),
    }
}

const fn setting_of_group(_: u64) -> Setting {
    Setting {
        operations: 50,
        has_jumps: false,
        has_power_cuts: false,
    }
}

async fn run_at<B: Brokers>(
    seed: u64,
    setting: Setting,
    mistake: Mistake,
    patience: Duration,
    clock: &rmq_transport::ManualClock,
    brokers: B,
) -> Result<Counts, Failure> {
    let failure = |wrong, done| Failure { seed, done, wrong };
    let begun = Run::begin(brokers, clock, setting, mistake, patience).await;
    let mut run = begun.map_err(|wrong| failure(wrong, Vec::new()))?;
    let operations = operations::of_seed(seed, setting);
    let ended = Box::pin(run.all(&operations)).await;
    let done = std::mem::take(&mut run.done);
    let counts = run.finish().await;
    ended.map(|()| counts).map_err(|wrong| failure(wrong, done))
}

async fn run_alone(seed: u64, mistake: Mistake, patience: Duration) -> Result<Counts, Failure> {
    let (clock, setting) = (run::clock(), setting(seed));
    let alone = Alone::start(seed, &clock, setting, mistake).await;
    run_at(seed, setting, mistake, patience, &clock, alone).await
}

async fn run_three(seed: u64) -> Result<Counts, Failure> {
    let (clock, setting) = (run::clock(), setting_of_group(seed));
    let three = Three::start(&clock).await;
    run_at(seed, setting, Mistake::None, PATIENCE, &clock, three).await
}

fn of_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
    )
}

fn seeds(count: u64) -> Range<u64> {
    match of_environment("RMQ_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let from = of_environment("RMQ_FROM").unwrap_or(0);
            from..from + of_environment("RMQ_SEEDS").unwrap_or(count)
        }
    }
}

/// Runs seeds, `at_once` of them at a time, and shows the first one that fails. `test` runs one again.
async fn run_all<F: Future<Output = Result<Counts, Failure>>>(
    run: impl Fn(u64) -> F,
    seeds: Range<u64>,
    at_once: usize,
    test: &str,
) {
    let (began, count) = (Instant::now(), seeds.end - seeds.start);
    let mut all = Counts::default();
    let mut ended = stream::iter(seeds).map(run).buffer_unordered(at_once);
    while let Some(ended) = ended.next().await {
        match ended {
            Ok(counts) => all.add(&counts),
            Err(Failure { seed, done, wrong }) => {
                let mut text = String::new();
                for (number, operation) in done.iter().enumerate() {
                    let _ = writeln!(text, "{number:4} {operation}");
                }
                panic!(
                    "seed {seed}:\n{text}{wrong}\nagain: RMQ_SEED={seed} cargo test -p rmq-broker --test model {test}"
                );
            }
        }
    }
    eprintln!("{count} seeds in {:?}: {all:?}", began.elapsed());
    if count >= 8 {
        assert!(all.least() as u64 * 10 >= count, "seeds do too little");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_alone_keeps_its_promises() {
    let run = |seed| Box::pin(run_alone(seed, Mistake::None, PATIENCE));
    run_all(run, seeds(SEEDS), 1, "alone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_three_keeps_its_promises() {
    let run = |seed| Box::pin(run_three(seed));
    run_all(run, seeds(SEEDS_OF_GROUPS), GROUPS_AT_ONCE, "three").await;
}

#[test]
fn a_seed_is_one_list_of_operations() {
    for seed in 0..50 {
        let one = operations::of_seed(seed, setting(seed));
        assert_eq!(one, operations::of_seed(seed, setting(seed)));
        assert_ne!(one, operations::of_seed(seed + 1, setting(seed)));
        assert_eq!(one.len(), setting(seed).operations);
    }
}

/// Each mistake that is made on purpose is found, and found to be what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_planted_mistake_is_found() {
    let mut missed = Vec::new();
    for planted in PLANTED {
        let mut found = None;
        for seed in 0..SEEDS_OF_MISTAKES {
            let run = |patience| Box::pin(run_alone(seed, planted.mistake, patience));
            let mut ended = run(SHORT_PATIENCE).await;
            if ended
                .as_ref()
                .is_err_and(|failure| !planted.leads_to(&failure.wrong))
            {
                // On a busy machine what is right comes late too.
                ended = run(PATIENCE).await;
            }
            if let Err(failure) = ended {
                found = Some(failure);
                break;
            }
        }
        let Some(Failure { seed, wrong, .. }) = found else {
            missed.push(format!("{:?}", planted.mistake));
            continue;
        };
        eprintln!("{:?}: seed {seed}: {wrong}", planted.mistake);
        if !planted.leads_to(&wrong) {
            missed.push(format!("{:?} is taken for {wrong}", planted.mistake));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
