//! The charts, and what the API server and the rights of the operator hold by themselves.

use std::path::Path;

use crate::world::{SYSTEM, World, chart, demand, group};

/// The chart of a cluster: everything of one values file is ready.
pub(crate) fn charts(world: &World) -> Result<(), String> {
    world.namespace("chart")?;
    world.lab.helm(&[
        "install",
        "main",
        &chart("rmq-cluster"),
        "-n",
        "chart",
        "--set",
        "brokerDefaults.storage.size=1Gi",
        "--set",
        "brokerDefaults.resources.requests.cpu=50m",
        "--set",
        "topics.orders.queues=2",
        "--set",
        "topics.Big_Topic.queues=1",
        "--set",
        "subscriptionGroups.billing.consume=false",
    ])?;
    world.wait_ready(
        "chart",
        &[
            "nameserver/main",
            "brokergroup/main-a",
            "brokergroup/main-b",
            "topic/main-orders",
            "topic/main-big-topic",
            "subscriptiongroup/main-billing",
        ],
    )?;
    let topic = world.get("chart", "topic/main-big-topic", ".status.topicName")?;
    demand(topic == "Big_Topic", format!("the topic is called {topic}"))?;
    // Everything in one namespace passed Pod Security "restricted"; say why not otherwise.
    let pods = world.kubectl("chart", &["get", "pods", "-o", "name"])?;
    demand(
        pods.lines().count() == 4,
        format!("two name servers and two brokers, not {pods}"),
    )?;
    world.discard("chart")
}

/// Rules that the API server itself holds.
pub(crate) fn rules_of_the_schema(world: &World) -> Result<(), String> {
    world.namespace("rules")?;
    world.lab.apply(&group("rules", "probe", ""))?;
    let refused = |patch: &str, why: &str| {
        let patched = world.kubectl(
            "rules",
            &["patch", "brokergroup", "probe", "--type=merge", "-p", patch],
        );
        match patched {
            Err(error) if error.contains(why) => Ok(()),
            other => Err(format!(
                "{patch} should be refused because {why}, not: {other:?}"
            )),
        }
    };
    refused(
        r#"{"spec":{"storage":{"size":"512Mi"}}}"#,
        "size can only grow",
    )?;
    refused(r#"{"spec":{"storage":{"size":null}}}"#, "either size")?;
    refused(r#"{"spec":{"storage":{"size":"plenty"}}}"#, "quantity")?;
    refused(
        r#"{"spec":{"brokerName":"other"}}"#,
        "brokerName cannot be changed",
    )?;
    refused(
        r#"{"spec":{"nameServerRef":{"name":"other"}}}"#,
        "nameServerRef cannot be changed",
    )?;
    refused(
        r#"{"spec":{"listeners":{"external":{"type":"HostPort"}}}}"#,
        "needs hostPort",
    )?;
    refused(
        r#"{"spec":{"config":{"flush":"Sometimes"}}}"#,
        "Unsupported value",
    )?;
    // The examples are taken as they are.
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/examples");
    let examples = examples.display().to_string();
    world.kubectl("rules", &["create", "--dry-run=server", "-f", &examples])?;
    let explained = world
        .lab
        .kubectl(&["explain", "brokergroups.spec.storage.size"])?;
    demand(
        explained.contains("It can grow"),
        format!("kubectl explain says {explained}"),
    )?;
    world.discard("rules")
}

/// What the operator must not be able to do.
pub(crate) fn rights_of_the_operator(world: &World) -> Result<(), String> {
    let account = format!("--as=system:serviceaccount:{SYSTEM}:rmq-operator");
    let can = |args: &[&str]| {
        let mut all = vec!["auth", "can-i", "-q", &account];
        all.extend(args);
        world.lab.kubectl(&all).is_ok()
    };
    for (verb, what) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "deployments"),
        ("delete", "namespaces"),
        ("list", "namespaces"),
        ("delete", "persistentvolumeclaims"),
        ("delete", "brokergroups.rmq.rs"),
        ("create", "topics.rmq.rs"),
        ("escalate", "clusterroles"),
        ("update", "customresourcedefinitions"),
    ] {
        demand(
            !can(&[verb, what, "-n", "default"]),
            format!("the operator can {verb} {what}"),
        )?;
    }
    for (verb, subresource) in [
        ("create", "exec"),
        ("get", "log"),
        ("create", "portforward"),
    ] {
        let flag = format!("--subresource={subresource}");
        demand(
            !can(&[verb, "pods", &flag, "-n", "default"]),
            format!("the operator can {verb} pods/{subresource}"),
        )?;
    }
    demand(
        can(&["patch", "statefulsets", "-n", "default"]),
        "the operator cannot do its work",
    )?;
    // With a list of namespaces, nothing anywhere else.
    let scoped = world.lab.helm(&[
        "template",
        "x",
        &chart("rmq-operator"),
        "--set",
        "watchNamespaces={default}",
        "--kube-version",
        "v1.34.10",
        "-n",
        SYSTEM,
    ])?;
    demand(
        !scoped.contains("ClusterRole"),
        "a list of namespaces still makes a ClusterRole",
    )
}
