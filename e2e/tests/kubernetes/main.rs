//! The operator, its resources and charts on a real Kubernetes: three nodes with kubelet and containerd, and our real image.
//!
//! One cluster for all tests, one test after the other; each has a namespace of its own with Pod Security `restricted` enforced.

mod clients;
mod ctl;
mod images;
mod install;
mod load;
mod nodes;
mod objects;
mod pages;
mod replicas;
mod rolls;
mod settings;
mod sizes;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Trial};
use world::World;

type Scenario = fn(&World) -> Result<(), String>;

const ALL: &[(&str, Scenario)] = &[
    ("installed_by_charts", install::charts),
    ("pages_of_the_documentation", pages::run),
    ("rules_of_the_schema", install::rules_of_the_schema),
    ("rights_of_the_operator", install::rights_of_the_operator),
    ("clients_in_pods_and_outside", clients::in_pods_and_outside),
    ("verbs_through_the_api_server", ctl::verbs),
    ("java_and_go_through_the_tunnel", ctl::tunnel),
    (
        "configuration_and_image_rolls_under_load",
        rolls::configuration_and_image,
    ),
    ("operators_killed_during_a_roll", rolls::operators_killed),
    (
        "api_server_restarted_during_a_roll",
        rolls::api_server_restarted,
    ),
    ("pods_deleted_killed_and_evicted", nodes::pods_lost),
    ("a_broker_out_of_memory", nodes::out_of_memory),
    ("nodes_drained", nodes::drained),
    ("a_node_off_and_on", nodes::off_and_on),
    ("a_node_lost_for_good", nodes::lost),
    ("replicas_in_sync", replicas::of_three),
    ("replicas_lose_their_master", replicas::master_killed),
    ("replicas_lose_the_masters_node", replicas::masters_node_off),
    ("replicas_rolled", replicas::rolled),
    ("replicas_come_and_go", replicas::scaled),
    ("name_servers_scaled", sizes::name_servers),
    ("topics_drift_conflict_and_deletion", settings::topics),
    (
        "a_group_added_and_drained_away",
        sizes::group_added_and_drained,
    ),
    ("bad_objects", objects::bad),
    ("volumes_grow", sizes::volumes_grow),
    ("a_namespace_goes", objects::namespace_goes),
];

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
    let trials = ALL
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
                // A load that is dropped half way ends its clients there.
                let _inside = world.runtime.enter();
                run(world).map_err(|error| {
                    let state = world.state();
                    world.mend();
                    // The error last: a log that is cut keeps its end.
                    format!("{state}\n{name}: {error}").into()
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
