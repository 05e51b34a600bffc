//! Restarts that the operator makes, and what may happen meanwhile.

use std::time::{Duration, Instant};

use crate::load::Load;
use crate::world::{NEXT_IMAGE, SYSTEM, World, demand, pods_of_brokers, start};

/// Both groups are restarted, one at a time, and nobody notices.
pub(crate) fn configuration_and_image(world: &World) -> Result<(), String> {
    start(world, "rolls")?;
    let before = pods_of_brokers(world, "rolls")?;
    let load = Load::start(world, "rolls")?;
    for name in ["a", "b"] {
        world.kubectl(
            "rolls",
            &[
                "patch",
                "brokergroup",
                name,
                "--type=merge",
                "-p",
                r#"{"spec":{"config":{"retentionHours":24}}}"#,
            ],
        )?;
    }
    watch_one_at_a_time(world, "rolls")?;
    let between = pods_of_brokers(world, "rolls")?;
    demand(
        before
            .split(' ')
            .all(|pod| pod.is_empty() || !between.contains(pod)),
        format!("both brokers restart: {before} {between}"),
    )?;
    for name in ["a", "b"] {
        world.kubectl(
            "rolls",
            &[
                "patch",
                "brokergroup",
                name,
                "--type=merge",
                "-p",
                &format!(r#"{{"spec":{{"image":{{"reference":"{NEXT_IMAGE}"}}}}}}"#),
            ],
        )?;
    }
    watch_one_at_a_time(world, "rolls")?;
    let images = world.kubectl(
        "rolls",
        &[
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/component=broker",
            "-o",
            "jsonpath={.items[*].spec.containers[0].image}",
        ],
    )?;
    demand(
        images == format!("{NEXT_IMAGE} {NEXT_IMAGE}"),
        format!("the images are {images}"),
    )?;
    load.goes_on(100)?;
    load.finish(world)?.expect_no_errors()?;
    let reasons = world.kubectl(
        "rolls",
        &[
            "get",
            "events",
            "--field-selector",
            "reason=BrokerRestarted",
            "-o",
            "jsonpath={.items[*].message}",
        ],
    )?;
    demand(
        reasons.contains("ConfigurationChanged") && reasons.contains("ImageChanged"),
        format!("events say why: {reasons}"),
    )?;
    world.discard("rolls")
}

/// Until both groups are settled; never are both away.
pub(crate) fn watch_one_at_a_time(world: &World, namespace: &str) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let ready = world.kubectl(
            namespace,
            &[
                "get",
                "pods",
                "-l",
                "app.kubernetes.io/component=broker",
                "-o",
                "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}",
            ],
        )?;
        demand(ready.contains("True"), "both brokers are away")?;
        let state = world.kubectl(namespace, &["get", "brokergroups", "-o", "jsonpath={range .items[*]}{.metadata.generation}={.status.observedGeneration}:{.status.conditions[?(@.type==\"Ready\")].status}{.status.conditions[?(@.type==\"Progressing\")].status} {end}"])?;
        let settled = state.split_whitespace().all(|group| {
            let (generations, conditions) = group.split_once(':').unwrap_or_default();
            generations
                .split_once('=')
                .is_some_and(|(wanted, seen)| wanted == seen)
                && conditions == "TrueFalse"
        });
        if settled && !state.is_empty() {
            return Ok(());
        }
        demand(
            started.elapsed() < Duration::from_secs(240),
            format!("the roll does not end: {state}"),
        )?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The operator's processes are killed again and again while it restarts brokers.
pub(crate) fn operator_killed(world: &World) -> Result<(), String> {
    start(world, "killed")?;
    let load = Load::start(world, "killed")?;
    for name in ["a", "b"] {
        world.kubectl(
            "killed",
            &["annotate", "brokergroup", name, "rmq.rs/restart=now"],
        )?;
    }
    let before = pods_of_brokers(world, "killed")?;
    for pause in [2, 7, 4] {
        std::thread::sleep(Duration::from_secs(pause));
        world.kubectl(
            SYSTEM,
            &[
                "delete",
                "pod",
                "-l",
                "app.kubernetes.io/name=rmq-operator",
                "--grace-period=0",
                "--force",
            ],
        )?;
    }
    watch_one_at_a_time(world, "killed")?;
    let after = pods_of_brokers(world, "killed")?;
    demand(
        before
            .split(' ')
            .all(|pod| pod.is_empty() || !after.contains(pod)),
        format!("both brokers restart: {before} {after}"),
    )?;
    load.finish(world)?.expect_no_errors()?;
    let leases = world.get(SYSTEM, "lease/rmq-operator", ".spec.holderIdentity")?;
    demand(!leases.is_empty(), "somebody leads")?;
    world.discard("killed")
}

/// The API server is away in the middle of a restart; messages flow on.
pub(crate) fn api_server_restarted(world: &World) -> Result<(), String> {
    start(world, "api")?;
    let load = Load::start(world, "api")?;
    world.kubectl(
        "api",
        &["annotate", "brokergroup", "a", "rmq.rs/restart=now"],
    )?;
    world.wait_for("api", "brokergroup/a", ".status.rollout.step", |step| {
        !step.is_empty()
    })?;
    world.lab.restart_api_server(Duration::from_secs(5))?;
    load.goes_on(50)?;
    world.wait_settled("api", "brokergroup/a")?;
    load.finish(world)?.expect_no_errors()?;
    world.discard("api")
}
