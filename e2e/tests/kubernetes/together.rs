//! Scenarios that disturb nobody else run at the same time, each in namespaces of its own.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Instant;

use libtest_mimic::Arguments;
use rmq_e2e::foreign::is_chosen;

use crate::world::World;

pub(crate) type Scenario = fn(&World) -> Result<(), String>;

/// Scenarios of one turn; the first that is asked for starts all.
pub(crate) struct Together {
    chosen: Vec<(&'static str, Scenario)>,
    outcomes: OnceLock<BTreeMap<&'static str, Result<(), String>>>,
}

impl Together {
    pub(crate) fn new(arguments: &Arguments, all: &[(&'static str, Scenario)]) -> Self {
        let chosen = all.iter().filter(|(name, _)| is_chosen(arguments, name));
        Self {
            chosen: chosen.copied().collect(),
            outcomes: OnceLock::new(),
        }
    }

    /// How this one ended.
    pub(crate) fn outcome(&self, world: &World, name: &str) -> Result<(), String> {
        let outcomes = self.outcomes.get_or_init(|| self.run(world));
        let outcome = outcomes.get(name).cloned();
        outcome.unwrap_or_else(|| Err("it was not started".to_owned()))
    }

    fn run(&self, world: &World) -> BTreeMap<&'static str, Result<(), String>> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .chosen
                .iter()
                .map(|&(name, run)| (name, scope.spawn(move || self.one(world, name, run))))
                .collect();
            threads
                .into_iter()
                .map(|(name, thread)| {
                    let ended = thread.join();
                    (name, ended.unwrap_or_else(|_| Err("a panic".to_owned())))
                })
                .collect()
        })
    }

    fn one(&self, world: &World, name: &str, run: Scenario) -> Result<(), String> {
        // A load that is dropped half way ends its clients there.
        let _inside = world.runtime.enter();
        let began = Instant::now();
        let outcome = run(world).map_err(|error| {
            // The error last: a log that is cut keeps its end.
            format!("{}\n{name}: {error}", world.state())
        });
        if self.chosen.len() > 1 {
            #[expect(clippy::print_stdout, reason = "the runner knows the time of all only")]
            {
                println!("{name}: {:.0?}", began.elapsed());
            }
        }
        outcome
    }
}
