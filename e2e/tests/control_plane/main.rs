//! The operator against a real API server without nodes: what stands in the schema, whose fields are whose, and who leads. Fast, and it
//! needs no root; what needs pods that run is in `tests/kubernetes`.

mod elections;
mod ends;
mod leading;
mod mending;
mod objects;
mod ownership;
#[path = "../../../election/tests/places/proxy.rs"]
mod proxy;
mod schema;
mod secured;
#[path = "../../../election/tests/places/suite.rs"]
mod suite;
mod users;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Trial};
use world::World;

type Scenario = fn(&World) -> Result<(), String>;

const ALL: &[(&str, Scenario)] = &[
    ("every_rule_accepts_and_refuses", schema::rules),
    ("defaults_and_columns", schema::defaults_and_columns),
    ("the_examples_are_accepted", schema::examples),
    ("lists_are_merged_by_their_keys", schema::lists),
    (
        "certificates_are_made_and_renewed",
        secured::made_and_renewed,
    ),
    ("a_named_secret_is_used_as_it_is", secured::named),
    (
        "fields_of_others_are_kept_and_ours_are_put_back",
        ownership::fields,
    ),
    (
        "an_object_of_somebody_else_is_not_overwritten",
        ownership::name_taken,
    ),
    ("two_writers_at_once", ownership::two_writers),
    ("the_status_is_a_subresource", ownership::status_subresource),
    ("what_cannot_be_read_is_told", objects::unparsable),
    ("what_is_refused_is_told", objects::refused),
    ("a_quota_is_told", objects::quota),
    ("two_objects_for_one_topic", objects::conflict),
    ("pause_and_go_on", objects::pause),
    ("elections_have_a_place", elections::the_suite),
    (
        "an_election_needs_two_objects_by_name",
        elections::rights_by_name,
    ),
    ("children_go_with_their_owner", objects::children_go),
    ("a_namespace_goes", objects::namespace_goes),
    ("what_never_served_goes", ends::never_served),
    ("what_served_is_waited_for", ends::served),
    ("a_member_is_made_anew", mending::made_anew),
    ("a_volume_that_is_gone_is_replaced", mending::volume_gone),
    ("a_node_that_does_not_answer", mending::node_down),
    (
        "a_group_begins_with_a_backup",
        mending::begins_with_a_backup,
    ),
    ("the_size_of_segments_stays", mending::segments_stay),
    ("both_signals_end_an_operator", leading::signals),
    ("one_of_two_operators_leads", leading::one_of_two),
    ("a_killed_leader_is_followed", leading::killed),
    ("a_leader_that_loses_the_lease_ends", leading::lease_is_lost),
    (
        "only_the_namespaces_it_is_told",
        leading::namespaces_and_rights,
    ),
    ("the_keys_of_a_cluster", users::keys_of_a_cluster),
    ("a_cluster_with_keys_of_its_own", users::keys_of_their_own),
    ("users_and_their_secrets", users::users),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait for the operator more than they work.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let missing = if arguments.list {
        None
    } else {
        rmq_lab::missing_for_control_plane()
    };
    if let (Some(why), false) = (&missing, in_ci) {
        #[expect(clippy::print_stdout, reason = "this is the test runner's output")]
        {
            println!("control_plane: skipped: {why}");
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
                let world = world.map_err(|error| format!("no control plane: {error}"))?;
                run(world).map_err(Into::into)
            })
            .with_ignored_flag(is_ignored)
        })
        .collect();
    // The world ends with its last owner, before the process does.
    libtest_mimic::run(&arguments, trials).exit_code()
}
