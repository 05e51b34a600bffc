//! Restarts that the operator makes, and what may happen meanwhile. These scenarios share one cluster.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::world::{
    NEXT_IMAGE, SYSTEM, World, admin, demand, outside, pods_of_brokers, start, until,
};

const NAMESPACE: &str = "rolls";
const GROUPS: [&str; 2] = ["brokergroup/a", "brokergroup/b"];

/// Both groups are restarted, one at a time, and nobody notices.
pub(crate) fn configuration_and_image(world: &World) -> Result<(), String> {
    start(world, NAMESPACE, "")?;
    let load = Load::start(world, NAMESPACE)?;
    for (patch, reason) in [
        (
            r#"{"spec":{"config":{"extra":{"flushIntervalMs":100}}}}"#.to_owned(),
            "ConfigurationChanged",
        ),
        (
            format!(r#"{{"spec":{{"image":{{"reference":"{NEXT_IMAGE}"}}}}}}"#),
            "ImageChanged",
        ),
        (
            r#"{"spec":{"resources":{"limits":{"memory":"512Mi"}}}}"#.to_owned(),
            "PodTemplateChanged",
        ),
    ] {
        roll(world, |group| world.patch(NAMESPACE, group, &patch))?;
        let reasons = world.kubectl(
            NAMESPACE,
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
            reasons.matches(reason).count() == 2,
            format!("events say {reason} for both: {reasons}"),
        )?;
        // The other changes are about the operator: none waits for clients as long.
        for group in GROUPS {
            world.patch(
                NAMESPACE,
                group,
                r#"{"spec":{"updateStrategy":{"quiesceTimeoutSeconds":10}}}"#,
            )?;
        }
    }
    let images = world.kubectl(
        NAMESPACE,
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
    changed_while_it_runs(world)?;
    load.goes_on(100)?;
    load.finish(world)?.expect_no_errors()
}

/// What a broker takes while it runs restarts nothing.
fn changed_while_it_runs(world: &World) -> Result<(), String> {
    let before = pods_of_brokers(world, NAMESPACE)?;
    let patch = r#"{"spec":{"config":{"retentionHours":24,"maxMessageBytes":1048576}}}"#;
    world.patch(NAMESPACE, GROUPS[0], patch)?;
    let addresses = outside(world, NAMESPACE)?;
    until(Duration::from_secs(60), || {
        let config = admin(world, &addresses, async |client| {
            client.admin().broker_config("a").await
        })?;
        let has = |key: &str, value: &str| {
            let known = config.get(key);
            demand(
                known.is_some_and(|known| known == value),
                format!("{key} of the broker is {known:?}"),
            )
        };
        has("fileReservedTime", "24")?;
        has("maxMessageSize", "1048576")
    })?;
    world.wait_settled(NAMESPACE, GROUPS[0])?;
    world.wait_condition(NAMESPACE, GROUPS[0], "ConfigSynced", "True", "")?;
    let after = pods_of_brokers(world, NAMESPACE)?;
    demand(
        before == after,
        format!("brokers restarted: {before:?} {after:?}"),
    )
}

/// Two operators run, and one acts. The one that does is killed during a roll, then both are; the roll ends as it would have.
pub(crate) fn operators_killed(world: &World) -> Result<(), String> {
    start(world, NAMESPACE, "")?;
    let load = Load::start(world, NAMESPACE)?;
    let wanted = world.get(SYSTEM, "deployment/rmq-operator", ".spec.replicas")?;
    demand(wanted == "2", format!("two operators, not {wanted}"))?;
    let first = leader(world)?;
    roll(world, |group| {
        world.kubectl(
            NAMESPACE,
            &["annotate", group, "rmq.rs/restart=operators", "--overwrite"],
        )?;
        if group == GROUPS[0] {
            return Ok(());
        }
        // In the middle of the first restart.
        until(Duration::from_secs(30), || {
            let steps = world.kubectl(
                NAMESPACE,
                &[
                    "get",
                    "brokergroups",
                    "-o",
                    "jsonpath={.items[*].status.rollout.step}",
                ],
            )?;
            demand(!steps.is_empty(), "no broker is being restarted")
        })?;
        kill_operators(world, &[&first])?;
        // It may lead before the kubelet has reported that it runs.
        until(Duration::from_secs(60), || {
            let now = leader(world)?;
            demand(now != first, format!("{first} is dead and leads"))?;
            demand(
                operators(world)?.contains(&now),
                format!("{now} leads and does not run"),
            )
        })?;
        for pause in [2, 5] {
            std::thread::sleep(Duration::from_secs(pause));
            let all = until(Duration::from_secs(60), || {
                let all = operators(world)?;
                demand(!all.is_empty(), "no operator runs").map(|()| all)
            })?;
            kill_operators(world, &all.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(())
    })?;
    load.finish(world)?.expect_no_errors()
}

fn kill_operators(world: &World, pods: &[&str]) -> Result<(), String> {
    let mut args = vec!["delete", "pod", "--grace-period=0", "--force"];
    args.extend(pods);
    world.kubectl(SYSTEM, &args).map(drop)
}

fn operators(world: &World) -> Result<Vec<String>, String> {
    let names = world.kubectl(
        SYSTEM,
        &[
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=rmq-operator",
            "--field-selector=status.phase=Running",
            "-o",
            "jsonpath={.items[*].metadata.name}",
        ],
    )?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

/// Who leads, by the Lease; never do two say so of themselves.
fn leader(world: &World) -> Result<String, String> {
    let mut leading = Vec::new();
    for pod in operators(world)? {
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:8080/proxy/metrics");
        // One that starts or ends has no figures. The line itself: the explanation before it begins alike.
        let figures = world.lab.kubectl(&["get", "--raw", &path]);
        if figures.is_ok_and(|text| text.lines().any(|line| line == "rmq_operator_leader 1")) {
            leading.push(pod);
        }
    }
    demand(leading.len() < 2, format!("two lead: {leading:?}"))?;
    world.get(SYSTEM, "lease/rmq-operator", ".spec.holderIdentity")
}

/// The API server is away in the middle of a restart; messages flow on.
pub(crate) fn api_server_restarted(world: &World) -> Result<(), String> {
    start(world, NAMESPACE, "")?;
    let load = Load::start(world, NAMESPACE)?;
    world.kubectl(
        NAMESPACE,
        &["annotate", GROUPS[0], "rmq.rs/restart=api", "--overwrite"],
    )?;
    world.wait_for(NAMESPACE, GROUPS[0], ".status.rollout.step", |step| {
        !step.is_empty()
    })?;
    world.lab.restart_api_server(Duration::from_secs(5))?;
    load.goes_on(50)?;
    world.wait_settled(NAMESPACE, GROUPS[0])?;
    load.finish(world)?.expect_no_errors()?;
    world.discard(NAMESPACE)
}

/// Changes both groups, and looks until they are settled: each broker is restarted once, and never are both away.
fn roll(world: &World, change: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    let before = pods_of_brokers(world, NAMESPACE)?;
    let made_before = scheduled(world)?;
    GROUPS.iter().try_for_each(|group| change(group))?;
    let started = Instant::now();
    loop {
        let ready = world.kubectl(
            NAMESPACE,
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
        let state = world.kubectl(NAMESPACE, &["get", "brokergroups", "-o", "jsonpath={range .items[*]}{.metadata.generation}={.status.observedGeneration}:{.status.conditions[?(@.type==\"Ready\")].status}{.status.conditions[?(@.type==\"Progressing\")].status} {end}"])?;
        let settled = state.split_whitespace().all(|group| {
            let (generations, conditions) = group.split_once(':').unwrap_or_default();
            generations
                .split_once('=')
                .is_some_and(|(wanted, seen)| wanted == seen)
                && conditions == "TrueFalse"
        });
        let after = pods_of_brokers(world, NAMESPACE)?;
        if settled && !state.is_empty() && after.is_disjoint(&before) {
            let made = scheduled(world)?;
            let made: BTreeSet<_> = made.difference(&made_before).cloned().collect();
            return demand(
                made == after,
                format!("each broker is restarted once, not: {made:?}"),
            );
        }
        demand(
            started.elapsed() < Duration::from_secs(240),
            format!("the roll does not end: {state}"),
        )?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Every pod of a broker that there ever was, as `name=uid`.
fn scheduled(world: &World) -> Result<BTreeSet<String>, String> {
    let events = world.kubectl(
        NAMESPACE,
        &[
            "get",
            "events",
            "--field-selector=reason=Scheduled",
            "-o",
            "jsonpath={range .items[*]}{.involvedObject.name}={.involvedObject.uid} {end}",
        ],
    )?;
    let pods = events.split_whitespace();
    Ok(pods
        .filter(|pod| pod.contains("-broker-"))
        .map(str::to_owned)
        .collect())
}
