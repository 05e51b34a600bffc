//! The operator, its resources and charts on a real Kubernetes: three nodes with kubelet and containerd, and our real image.
//!
//! One cluster for all tests, one test after the other; each has a namespace of its own with Pod Security `restricted` enforced.

mod load;
mod scenarios;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Trial};
use world::World;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share nodes, and some power a node off.
    arguments.test_threads = Some(1);
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let missing = if arguments.list {
        None
    } else {
        world::missing()
    };
    if let (Some(why), false) = (&missing, in_ci) {
        #[expect(clippy::print_stdout, reason = "this is the test runner's output")]
        {
            println!("kubernetes: skipped: {why}");
        }
    }
    let world: Arc<OnceLock<Result<World, String>>> = Arc::default();
    let trials = scenarios::ALL
        .iter()
        .map(|(name, run)| {
            let (world, missing) = (Arc::clone(&world), missing.clone());
            let is_ignored = missing.is_some() && !in_ci;
            Trial::test(*name, move || {
                if let Some(why) = missing {
                    return Err(format!("missing: {why}").into());
                }
                let world = world.get_or_init(World::start).as_ref();
                let world = world.map_err(|error| format!("no cluster: {error}"))?;
                run(world).map_err(|error| {
                    let state = world.state();
                    format!("{error}\n{state}").into()
                })
            })
            .with_ignored_flag(is_ignored)
        })
        .collect();
    let exit = libtest_mimic::run(&arguments, trials).exit_code();
    // A static would not be dropped: the cluster must not go on.
    if let Some(Ok(world)) = Arc::into_inner(world).and_then(OnceLock::into_inner) {
        world.end();
    }
    exit
}
