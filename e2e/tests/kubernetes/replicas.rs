//! A group of three brokers that elect their master: it is killed, its node goes, it is rolled. These scenarios share one cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::load::Load;
use crate::nodes::{node_of, power_off_now, power_on_node};
use crate::random;
use crate::three::{FAILOVER_MAX, SWITCHOVER_MAX, Three, written_again};
use crate::world::{NEXT_IMAGE, SYSTEM, World, chart, demand, pods_of_brokers, until};

const NAMESPACE: &str = "replicas";
const GROUP: &str = "brokergroup/a";
/// Namespace and release of another operator.
const SECOND: &str = "second";

/// The group of all these scenarios.
pub(crate) fn start(world: &World) -> Result<Three<'_>, String> {
    Three::start(world, NAMESPACE, "")
}

/// Three brokers on three nodes, in sync, with their roles to see; what their account may do is what they need.
pub(crate) fn of_three(world: &World) -> Result<(), String> {
    let three = start(world)?;
    let nodes = world.kubectl(
        NAMESPACE,
        &[
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/component=broker",
            "-o",
            "jsonpath={.items[*].spec.nodeName}",
        ],
    )?;
    let nodes: BTreeSet<&str> = nodes.split_whitespace().collect();
    demand(nodes.len() == 3, format!("the brokers are on {nodes:?}"))?;
    let columns = world.kubectl(NAMESPACE, &["get", GROUP])?;
    for column in ["MASTER", "IN-SYNC", "EPOCH"] {
        demand(
            columns.contains(column),
            format!("no {column} in {columns}"),
        )?;
    }
    roles_are_shown(&three)?;
    access(world)?;
    let load = Load::start(world, NAMESPACE)?;
    load.goes_on(200)?;
    let outcome = load.finish(world)?;
    outcome.expect_no_errors()?;
    outcome.expect_readable(world, NAMESPACE)
}

/// The pod of the master goes without a word; then its process is killed while the operator is away.
pub(crate) fn master_killed(world: &World) -> Result<(), String> {
    let three = start(world)?;
    let load = Load::start(world, NAMESPACE)?;
    let before = three.master()?;
    load.watch_gap();
    world.kubectl(
        NAMESPACE,
        &["delete", "pod", &before, "--grace-period=0", "--force"],
    )?;
    load.goes_on(100)?;
    written_again(&load, "pod of the master deleted", FAILOVER_MAX)?;
    world.wait_for(NAMESPACE, GROUP, ".status.master", |now| {
        !now.is_empty() && now != before
    })?;
    three.whole()?;
    roles_are_shown(&three)?;

    let before = three.master()?;
    let operators = |count: &str| {
        let scale = ["scale", "deployment/rmq-operator", "--replicas", count];
        world.kubectl(SYSTEM, &scale).map(drop)
    };
    operators("0")?;
    world.wait_for(
        SYSTEM,
        "deployment/rmq-operator",
        ".status.replicas",
        |count| count.is_empty(),
    )?;
    load.watch_gap();
    let failed_over = crate::nodes::kill_broker(world, NAMESPACE, &before)
        .and_then(|()| load.goes_on(100))
        .and_then(|()| written_again(&load, "the master killed, no operator", FAILOVER_MAX))
        .and_then(|_| {
            let path = ".status.master.slot";
            let slot = world.get(NAMESPACE, "brokergroupelection/a-broker", path)?;
            let now = format!("a-broker-{slot}");
            demand(now != before, format!("{before} is the master still"))
        });
    operators("2")?;
    failed_over?;
    world.wait_for(NAMESPACE, GROUP, ".status.master", |now| {
        !now.is_empty() && now != before
    })?;
    three.whole()?;
    load.finish(world)?.expect_readable(world, NAMESPACE)
}

/// The node of the master loses its power and gets it back; `RMQ_CHAOS_CYCLES=5`: five times.
pub(crate) fn masters_node_off(world: &World) -> Result<(), String> {
    let three = start(world)?;
    let load = three.load()?;
    let mut gaps = Vec::new();
    for _ in 0..random::cycles().unwrap_or(1) {
        let before = three.master()?;
        let node = node_of(world, NAMESPACE, &before)?;
        load.watch_gap();
        power_off_now(world, &node)?;
        load.goes_on(100)?;
        let gap = written_again(&load, "the master's node off", FAILOVER_MAX);
        // The operator may have been on the node too: its successor tells who is the master now.
        let told = three.other_master(&before);
        power_on_node(world, &node)?;
        told?;
        gaps.push(gap?);
        three.whole()?;
    }
    gaps.sort();
    if let (Some(median), Some(worst)) = (gaps.get(gaps.len() / 2), gaps.last()) {
        three.told(&format!(
            "the master's node off {} times: median {median:.2?}, worst {worst:.2?}",
            gaps.len()
        ));
    }
    load.finish(world)?.expect_readable(world, NAMESPACE)
}

/// Configuration and image change: replicas first, the master last and after it has handed over, and nobody is missed for long. During the
/// second roll two operators act that do not know of each other, as when somebody installs the chart twice.
pub(crate) fn rolled(world: &World) -> Result<(), String> {
    let three = start(world)?;
    let load = Load::start(world, NAMESPACE)?;
    let image = format!(r#"{{"spec":{{"image":{{"reference":"{NEXT_IMAGE}"}}}}}}"#);
    for (patch, reason) in [
        (
            r#"{"spec":{"config":{"extra":{"flushIntervalMs":100}}}}"#,
            "ConfigurationChanged",
        ),
        (&image, "ImageChanged"),
    ] {
        if reason == "ImageChanged" {
            second_operator(world)?;
        }
        let last = three.master()?;
        let before = pods_of_brokers(world, NAMESPACE)?;
        load.watch_gap();
        world.patch(NAMESPACE, GROUP, patch)?;
        let mut order: Vec<String> = Vec::new();
        until(Duration::from_secs(240), || {
            let now = pods_of_brokers(world, NAMESPACE)?;
            for pod in now.difference(&before) {
                let name = pod.split('=').next().unwrap_or_default();
                if !order.iter().any(|known| known == name) {
                    order.push(name.to_owned());
                }
            }
            demand(order.len() == 3, format!("restarted: {order:?}"))
        })?;
        three.whole()?;
        demand(
            order.last() == Some(&last) && (order[0] > order[1]),
            format!("the master {last} restarts last, and the highest before: {order:?}"),
        )?;
        written_again(&load, &format!("roll, {reason}"), SWITCHOVER_MAX)?;
        let told = world.kubectl(
            NAMESPACE,
            &[
                "get",
                "events",
                "--field-selector",
                "reason=BrokerSwitchingOver",
                "-o",
                "jsonpath={.items[*].message}",
            ],
        )?;
        demand(told.contains(reason), format!("events: {told}"))?;
    }
    world.lab.helm(&["uninstall", SECOND, "-n", SECOND])?;
    world.discard(SECOND)?;
    let outcome = load.finish(world)?;
    outcome.expect_no_errors()?;
    outcome.expect_readable(world, NAMESPACE)
}

/// Installs the operator once more, with a lease of its own: both act.
fn second_operator(world: &World) -> Result<(), String> {
    world.namespace(SECOND)?;
    let chart = chart("rmq-operator");
    let install = ["upgrade", "--install", SECOND, &chart, "-n", SECOND];
    let one = ["--set", "replicas=1", "--wait", "--timeout", "2m"];
    world.lab.helm(&[&install[..], &one].concat())?;
    let leads = |holder: &str| !holder.is_empty();
    let lease = format!("lease/{SECOND}");
    world
        .wait_for(SECOND, &lease, ".spec.holderIdentity", leads)
        .map(drop)
}

/// The labels of the pods name the master, and the Services for people follow them.
fn roles_are_shown(three: &Three<'_>) -> Result<(), String> {
    let master = three.master()?;
    until(Duration::from_secs(30), || {
        let pods = |role: &str| {
            let label = format!("app.kubernetes.io/component=broker,rmq.rs/role={role}");
            let path = "jsonpath={.items[*].metadata.name}";
            three.kubectl(&["get", "pods", "-l", &label, "-o", path])
        };
        let shown = pods("master")?;
        demand(
            shown == master,
            format!("{master} is the master, not {shown}"),
        )?;
        let replicas = pods("replica")?;
        demand(
            replicas.split_whitespace().count() == 2,
            format!("the replicas are {replicas}"),
        )?;
        let path = "jsonpath={.items[*].endpoints[*].targetRef.name}";
        let label = "kubernetes.io/service-name=a-broker-master";
        let behind = ["get", "endpointslices", "-l", label, "-o", path];
        let behind = three.kubectl(&behind)?;
        demand(
            behind == master,
            format!("behind a-broker-master: {behind}"),
        )
    })
}

/// What the account of the brokers may do, for every verb: its own two objects, and no others.
fn access(world: &World) -> Result<(), String> {
    const VERBS: [&str; 8] = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ];
    let (rmq, coordination) = ("rmq.rs", "coordination.k8s.io");
    let read = ["get", "list", "watch"];
    let held = ["get", "list", "watch", "patch"];
    let rows: [(&str, &str, &str, &str, &[&str]); 14] = [
        (rmq, "brokergroupelections", "", "a-broker", &read),
        (
            rmq,
            "brokergroupelections",
            "status",
            "a-broker",
            &["patch"],
        ),
        (coordination, "leases", "", "a-broker", &held),
        (rmq, "brokergroupelections", "", "b-broker", &[]),
        (rmq, "brokergroupelections", "", "", &[]),
        (rmq, "brokergroupelections", "status", "b-broker", &[]),
        (coordination, "leases", "", "b-broker", &[]),
        (coordination, "leases", "", "", &[]),
        (rmq, "brokergroups", "", "a", &[]),
        (rmq, "topics", "", "orders", &[]),
        ("", "secrets", "", "", &[]),
        ("", "pods", "", "a-broker-0", &[]),
        ("", "configmaps", "", "a-broker", &[]),
        ("rbac.authorization.k8s.io", "roles", "", "a-broker", &[]),
    ];
    let mut reviews = String::new();
    let mut wanted = Vec::new();
    for (api, resource, subresource, name, allowed) in rows {
        for verb in VERBS {
            reviews.push_str(&format!(
                "---\napiVersion: authorization.k8s.io/v1\nkind: SubjectAccessReview\nspec:\n  user: system:serviceaccount:{NAMESPACE}:a-broker\n  groups: [\"system:serviceaccounts\", \"system:serviceaccounts:{NAMESPACE}\", \"system:authenticated\"]\n  resourceAttributes: {{namespace: {NAMESPACE}, verb: {verb}, group: \"{api}\", resource: {resource}, subresource: \"{subresource}\", name: \"{name}\"}}\n"
            ));
            let what = format!("{verb} {resource}/{subresource} {name:?}");
            wanted.push((what, allowed.contains(&verb)));
        }
    }
    let create = [
        "create",
        "-f",
        "-",
        "-o",
        "jsonpath={.status.allowed}{\"\\n\"}",
    ];
    let answers = world.lab.kubectl_with(&create, &reviews)?;
    let answers: Vec<&str> = answers.lines().collect();
    demand(
        answers.len() == wanted.len(),
        format!("{} answers to {} questions", answers.len(), wanted.len()),
    )?;
    for ((what, wanted), answer) in wanted.into_iter().zip(answers) {
        demand(
            answer == wanted.to_string(),
            format!("the brokers' account: {what}: {answer}, not {wanted}"),
        )?;
    }
    let path = ".spec.template.spec['serviceAccountName','automountServiceAccountToken']";
    let mounted = world.get(NAMESPACE, "statefulset/a-broker", path)?;
    demand(
        mounted == "a-broker true",
        format!("the pods have {mounted}"),
    )
}
