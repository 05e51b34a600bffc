//! The operator, its resources and charts on a real Kubernetes: three nodes with kubelet and containerd, and our real image.
//!
//! One cluster for all tests, one turn after the other; each has a namespace of its own with Pod Security `restricted` enforced.

mod away;
mod clients;
mod ctl;
mod faults;
mod gone;
mod hurt;
mod images;
mod install;
mod java;
mod load;
mod mending;
mod moves;
mod nodes;
mod objects;
mod pages;
mod random;
mod replicas;
mod rolls;
mod settings;
mod sizes;
mod three;
mod together;
mod upgraded;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Trial};
use together::{Scenario, Together};
use world::World;

/// In turns: those of one run at the same time.
const ALL: &[&[(&str, Scenario)]] = &[
    &[("installed_by_charts", install::charts)],
    &[("pages_of_the_documentation", pages::run)],
    &[("rules_of_the_schema", install::rules_of_the_schema)],
    &[("rights_of_the_operator", install::rights_of_the_operator)],
    &[("clients_in_pods_and_outside", clients::in_pods_and_outside)],
    &[("verbs_through_the_api_server", ctl::verbs)],
    &[("java_and_go_through_the_tunnel", ctl::tunnel)],
    &[(
        "configuration_and_image_rolls_under_load",
        rolls::configuration_and_image,
    )],
    &[("operators_killed_during_a_roll", rolls::operators_killed)],
    &[(
        "api_server_restarted_during_a_roll",
        rolls::api_server_restarted,
    )],
    &[("pods_deleted_killed_and_evicted", nodes::pods_lost)],
    &[("a_broker_out_of_memory", nodes::out_of_memory)],
    &[("nodes_drained", nodes::drained)],
    &[("a_node_off_and_on", nodes::off_and_on)],
    &[("a_node_lost_for_good", nodes::lost)],
    &[("replicas_in_sync", replicas::of_three)],
    &[("replicas_lose_their_master", replicas::master_killed)],
    &[("replicas_lose_the_masters_node", replicas::masters_node_off)],
    &[
        ("replicas_evicted_full_and_frozen", hurt::master),
        (
            "replicas_without_name_servers_and_cut_apart",
            hurt::cut_apart,
        ),
        ("replicas_at_random", random::faults),
        ("replicas_come_and_go", upgraded::scaled),
        ("replicas_mended_by_a_person", mending::by_a_person),
    ],
    &[("replicas_without_the_api_server", away::api_server)],
    &[("replicas_lose_a_nodes_network", hurt::network_of_a_node)],
    &[("replicas_drained_and_grown", moves::drained_and_grown)],
    &[("replicas_rolled", replicas::rolled)],
    &[("replicas_lose_a_node_for_good", gone::with_its_volume)],
    &[("replicas_all_powered_off", away::all_nodes)],
    &[("name_servers_scaled", sizes::name_servers)],
    &[("topics_drift_conflict_and_deletion", settings::topics)],
    &[(
        "a_group_added_and_drained_away",
        sizes::group_added_and_drained,
    )],
    &[("bad_objects", objects::bad)],
    &[("volumes_grow", sizes::volumes_grow)],
    &[("a_namespace_goes", objects::namespace_goes)],
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
    let mut trials = Vec::new();
    for turn in ALL {
        let together = Arc::new(Together::new(&arguments, turn));
        for (name, _) in *turn {
            let (world, missing) = (Arc::clone(&world), missing.clone());
            let together = Arc::clone(&together);
            let is_ignored = missing.is_some() && !in_ci;
            let trial = Trial::test(*name, move || {
                if let Some(why) = missing {
                    return Err(format!("missing: {why}").into());
                }
                let world = world.get_or_init(World::start).as_ref();
                let world = world.map_err(|error| format!("no cluster: {error}"))?;
                together.outcome(world, name).map_err(|error| {
                    world.mend();
                    error.into()
                })
            });
            trials.push(trial.with_ignored_flag(is_ignored));
        }
    }
    let exit = libtest_mimic::run(&arguments, trials).exit_code();
    // A static would not be dropped: the cluster must not go on.
    if let Some(Ok(world)) = Arc::into_inner(world).and_then(OnceLock::into_inner) {
        world.end();
    }
    exit
}
