//! Groups of three real brokers that lose their master, their disks, their network and their etcd, with our client and the Java client
//! sending and consuming. `RMQ_CHAOS_CYCLES=N` kills the master N times and does everything else N/10 times.

mod classic;
mod faults;
mod group;
mod load;
mod three_nodes;
mod verdict;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use faults::Under;
use group::{Roles, World};
use libtest_mimic::{Arguments, Trial};
use rmq_e2e::process::{BINARIES_VARIABLE, binary};
use rmq_e2e::{foreign, java, net};

/// How often the master is killed.
const CYCLES: &str = "RMQ_CHAOS_CYCLES";
/// Set by `cargo xtask chaos`: times are checked as well, for a machine that does nothing else.
const TIMES: &str = "RMQ_CHAOS_TIMES";
/// A look at what is waited for.
const LOOK: Duration = Duration::from_millis(20);

type Fault = fn(&mut Under<'_>) -> Result<(), String>;
type Run = Box<dyn Fn(&World) -> Result<(), String> + Send>;

/// These have their fault in each cycle, the others in each tenth.
const KILLS: &str = "kills";
const SWITCHOVERS: &str = "switchovers";

/// A group of its own for each: its faults, one after the other.
const FAULTS: &[(&str, Roles, &[Fault])] = &[
    (KILLS, Roles::Elected, &[faults::kill_master]),
    (SWITCHOVERS, Roles::Elected, &[faults::switch_over]),
    (
        "pauses-and-disks",
        Roles::Elected,
        &[
            faults::pause_master,
            faults::wipe_replica,
            faults::wipe_master,
        ],
    ),
    (
        "cut-from-members",
        Roles::Elected,
        &[
            faults::cut_from_members,
            faults::cut_from_members_in,
            faults::cut_from_members_out,
            faults::cut_off_in_pairs,
        ],
    ),
    (
        "cut-from-others",
        Roles::Elected,
        &[
            faults::cut_from_etcd,
            faults::cut_from_clients,
            faults::kill_all,
        ],
    ),
    ("members", Roles::Elected, &[faults::change_members]),
    ("etcd-away", Roles::ElectedAlone, &[faults::etcd_away]),
    (
        "fixed-roles",
        Roles::Fixed,
        &[
            faults::restart_master,
            faults::cut_from_members,
            faults::kill_all,
        ],
    ),
];

/// Waits until something is so; the last reason why not, when it takes longer.
pub(crate) fn until<T>(
    within: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(why) if began.elapsed() > within => {
                return Err(format!("{why} (waited {} s)", within.as_secs()));
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

fn cycles() -> usize {
    let cycles = std::env::var(CYCLES).ok();
    cycles.and_then(|cycles| cycles.parse().ok()).unwrap_or(10)
}

fn missing() -> Option<String> {
    if let Some(missing) = net::missing() {
        return Some(missing);
    }
    for (tool, argument, package) in [
        ("etcd", "--version", "etcd-server"),
        ("java", "-version", "openjdk-17-jdk-headless"),
        ("mvn", "-version", "maven"),
    ] {
        if !foreign::has(tool, argument) {
            return Some(format!("`{tool}` is not installed (Debian: {package})"));
        }
    }
    None
}

/// Whatever needs the network outside is made before.
fn go_inside() -> Result<(), String> {
    let programs = binary("rmq-broker");
    let programs = programs.parent().ok_or("a program lies in a folder")?;
    let mut variables = vec![(BINARIES_VARIABLE, programs.display().to_string())];
    if std::env::var_os(java::BUILT).is_none() {
        variables.push((java::BUILT, java::build()?));
    }
    net::inside(&variables)
}

#[expect(clippy::print_stdout, reason = "this is the test runner's output")]
fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut missing = match arguments.list {
        true => None,
        false => missing(),
    };
    if missing.is_none() && !arguments.list {
        missing = go_inside().err();
    }
    if let (Some(why), false) = (&missing, in_ci) {
        println!("groups: skipped: {why}");
    }
    // They mostly wait.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    let world: Arc<OnceLock<Result<World, String>>> = Arc::default();
    let trial = |name: &'static str, run: Run| {
        let (world, missing) = (Arc::clone(&world), missing.clone());
        let is_ignored = missing.is_some() && !in_ci;
        Trial::test(name, move || {
            if let Some(why) = missing {
                return Err(format!("missing: {why}").into());
            }
            let world = world.get_or_init(World::start).as_ref();
            let world = world.map_err(|error| format!("no machines: {error}"))?;
            // A client that is dropped half way ends there.
            let _inside = world.runtime.enter();
            run(world).map_err(|error| format!("{name}: {error}").into())
        })
        .with_ignored_flag(is_ignored)
    };
    let mut trials: Vec<Trial> = FAULTS
        .iter()
        .map(|&(name, roles, faults)| {
            let run: Run = Box::new(move |world| run(world, name, roles, faults));
            trial(name, run)
        })
        .collect();
    trials.push(trial("classic-roles", Box::new(classic::run)));
    trials.push(trial("three-nodes", Box::new(three_nodes::run)));
    let exit = libtest_mimic::run(&arguments, trials).exit_code();
    let Some(Ok(world)) = Arc::into_inner(world).and_then(OnceLock::into_inner) else {
        return exit;
    };
    println!("{}", world.report());
    if std::env::var_os(TIMES).is_some() && world.is_late() {
        println!("too late: 5 s in the median and 10 s at most are allowed after a kill");
        return ExitCode::FAILURE;
    }
    exit
}

fn run(world: &World, name: &str, roles: Roles, faults: &[Fault]) -> Result<(), String> {
    let mut under = Under::start(world, name, roles)?;
    let cycles = match name {
        KILLS | SWITCHOVERS => cycles(),
        _ => (cycles() / 10).max(1),
    };
    for cycle in 0..cycles {
        for fault in faults {
            fault(&mut under).map_err(|error| format!("cycle {cycle}: {error}"))?;
        }
    }
    under.end()
}
