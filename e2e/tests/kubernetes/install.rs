//! The charts, and what the API server and the rights of the operator hold by themselves.

use std::path::Path;

use crate::world::{SYSTEM, World, chart, demand, group};

const CLUSTER: &str = "chart";

/// The chart of a cluster: everything of one values file gets ready, a changed value gets there, and the charts of the operator can be
/// taken away and put back under it.
pub(crate) fn charts(world: &World) -> Result<(), String> {
    world.namespace(CLUSTER)?;
    let cluster = |verb: &str, values: &[&str]| {
        let chart = chart("rmq-cluster");
        let mut args = vec![verb, "main", &chart, "-n", CLUSTER];
        for value in values {
            args.extend(["--set", value]);
        }
        world.lab.helm(&args)
    };
    let mut values = vec![
        "brokerDefaults.storage.size=1Gi",
        "brokerDefaults.resources.requests.cpu=50m",
        "topics.orders.queues=2",
        "topics.Big_Topic.queues=1",
        "subscriptionGroups.billing.consume=false",
    ];
    cluster("install", &values)?;
    let objects = [
        "nameserver/main",
        "brokergroup/main-a",
        "brokergroup/main-b",
        "topic/main-orders",
        "topic/main-big-topic",
        "subscriptiongroup/main-billing",
    ];
    world.wait_ready(CLUSTER, &objects)?;
    let topic = world.get(CLUSTER, "topic/main-big-topic", ".status.topicName")?;
    demand(topic == "Big_Topic", format!("the topic is called {topic}"))?;
    // Everything in one namespace passed Pod Security "restricted"; say why not otherwise.
    let pods = || world.get(CLUSTER, "pods", ".items[*].metadata.uid");
    let before = pods()?;
    demand(
        before.split(' ').count() == 4,
        format!("two name servers and two brokers, not {before}"),
    )?;
    values[2] = "topics.orders.queues=5";
    values.push("topics.more.queues=1");
    cluster("upgrade", &values)?;
    world.wait_ready(CLUSTER, &["topic/main-more"])?;
    world.wait_settled(CLUSTER, "topic/main-orders")?;
    let queues = world.get(CLUSTER, "topic/main-orders", ".spec.queues")?;
    demand(queues == "5", format!("{queues} queues"))?;
    // Without the operator and the chart of the definitions, everything is still there and serves.
    world
        .lab
        .helm(&["uninstall", "rmq-operator", "-n", SYSTEM, "--wait"])?;
    world.lab.helm(&["uninstall", "rmq-crds", "--wait"])?;
    world.kubectl(CLUSTER, &[&["get"], &objects[..]].concat())?;
    scoped(world)?;
    demand(pods()? == before, "the pods are others")?;
    world.discard(CLUSTER)
}

/// The operator for one namespace: it does its work there, and has no rights anywhere else. Then for all again.
fn scoped(world: &World) -> Result<(), String> {
    let operator = chart("rmq-operator");
    let wait = ["-n", SYSTEM, "--wait", "--timeout", "2m"];
    let only = format!("watchNamespaces={{{CLUSTER}}}");
    world
        .lab
        .helm(&["install", "rmq-crds", &chart("rmq-crds"), "--wait"])?;
    let install = ["install", "rmq-operator", &operator, "--set", &only];
    world.lab.helm(&[&install[..], &wait].concat())?;
    let topic = |namespace: &str| {
        format!(
            "---\napiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {{name: later, namespace: {namespace}}}\nspec: {{nameServerRef: {{name: main}}}}\n"
        )
    };
    world.namespace("elsewhere")?;
    world
        .lab
        .apply(&[topic(CLUSTER), topic("elsewhere")].concat())?;
    world.wait_ready(CLUSTER, &["topic/later"])?;
    let status = world.get("elsewhere", "topic/later", ".status")?;
    demand(
        status.is_empty(),
        format!("an object of another namespace has a status: {status}"),
    )?;
    for (namespace, wanted) in [(CLUSTER, true), ("elsewhere", false), (SYSTEM, false)] {
        for (verb, what) in [
            ("patch", "statefulsets"),
            ("list", "pods"),
            ("list", "topics.rmq.rs"),
        ] {
            demand(
                can(world, &[verb, what, "-n", namespace]) == wanted,
                format!("{verb} {what} in {namespace}: not {wanted}"),
            )?;
        }
    }
    demand(
        !can(world, &["list", "topics.rmq.rs", "--all-namespaces"]),
        "it can list the topics of all namespaces",
    )?;
    let upgrade = ["upgrade", "rmq-operator", &operator, "--reset-values"];
    world.lab.helm(&[&upgrade[..], &wait].concat())?;
    world.wait_condition("elsewhere", "topic/later", "Ready", "False", "main")?;
    world.discard("elsewhere")
}

/// Whether the operator may do it, as the API server sees it.
fn can(world: &World, args: &[&str]) -> bool {
    let account = format!("--as=system:serviceaccount:{SYSTEM}:rmq-operator");
    let mut all = vec!["auth", "can-i", "-q", &account];
    all.extend(args);
    world.lab.kubectl(&all).is_ok()
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
    // And what the chart makes of all its values.
    let values = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts/full-cluster.yaml");
    let values = values.display().to_string();
    let cluster = chart("rmq-cluster");
    let full = world.lab.helm(&[
        "template",
        "main",
        &cluster,
        "-n",
        "rules",
        "--values",
        &values,
        "--kube-version",
        "v1.34.10",
    ])?;
    let create = ["create", "--dry-run=server", "-f", "-"];
    world.lab.kubectl_with(&create, &full)?;
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
    for (verb, what) in [
        ("watch", "secrets"),
        ("list", "secrets"),
        ("delete", "secrets"),
        ("create", "deployments"),
        ("delete", "namespaces"),
        ("list", "namespaces"),
        ("delete", "persistentvolumes"),
        ("patch", "nodes"),
        ("delete", "brokergroups.rmq.rs"),
        ("create", "topics.rmq.rs"),
        ("escalate", "clusterroles"),
        ("update", "customresourcedefinitions"),
    ] {
        demand(
            !can(world, &[verb, what, "-n", "default"]),
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
            !can(world, &[verb, "pods", &flag, "-n", "default"]),
            format!("the operator can {verb} pods/{subresource}"),
        )?;
    }
    demand(
        can(world, &["patch", "statefulsets", "-n", "default"]),
        "the operator cannot do its work",
    )
}
