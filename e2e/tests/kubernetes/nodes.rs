//! Pods and nodes that go. These scenarios share one cluster, whose brokers acknowledge what the disk has.

use std::process::Output;
use std::time::Duration;

use crate::load::Load;
use crate::world::{World, demand, start, until};

const NAMESPACE: &str = "nodes";

/// Pods that are deleted, killed and evicted come back with their messages; only one broker at a time may be evicted.
pub(crate) fn pods_lost(world: &World) -> Result<(), String> {
    start_synchronous(world)?;
    let load = Load::start(world, NAMESPACE)?;
    let delete = ["delete", "pod", "a-broker-0", "--wait=false"];
    world.replaced(NAMESPACE, "a-broker-0", &delete)?;
    world.wait_settled(NAMESPACE, "brokergroup/a")?;
    load.goes_on(50)?;
    // No time to say anything to anybody.
    let delete = ["delete", "pod", "b-broker-0", "--grace-period=0", "--force"];
    world.replaced(NAMESPACE, "b-broker-0", &delete)?;
    world.wait_settled(NAMESPACE, "brokergroup/b")?;
    load.goes_on(50)?;
    kill_container(world, "b-broker-0")?;
    world.wait_for(
        NAMESPACE,
        "pod/b-broker-0",
        ".status.containerStatuses[0]['restartCount','ready']",
        |value| value == "1 true",
    )?;
    world.wait_settled(NAMESPACE, "brokergroup/b")?;
    load.goes_on(50)?;
    may_be_evicted(world, NAMESPACE, "main-brokers")?;
    evict(world, NAMESPACE, "a-broker-0")?;
    match evict(world, NAMESPACE, "b-broker-0") {
        Err(error) if error.contains("disruption budget") => {}
        other => {
            return Err(format!(
                "a second broker is evicted at the same time: {other:?}"
            ));
        }
    }
    world.wait_settled(NAMESPACE, "brokergroup/a")?;
    load.goes_on(50)?;
    load.finish(world)?.expect_readable(world, NAMESPACE)
}

/// A broker that the kernel kills for its memory comes back by itself with every message, and its object says what to do.
pub(crate) fn out_of_memory(world: &World) -> Result<(), String> {
    start_synchronous(world)?;
    let load = Load::start(world, NAMESPACE)?;
    let (group, pod) = ("brokergroup/a", "pod/a-broker-0");
    let path = ".status.containerStatuses[0].restartCount";
    let restarts = world.get(NAMESPACE, pod, path)?;
    let restarts: u32 = restarts
        .parse()
        .map_err(|_| format!("no number of restarts: {restarts:?}"))?;
    use_up_memory(world, NAMESPACE, "a-broker-0")?;
    let path = format!(
        "{path}}},{{.status.containerStatuses[0].ready}},{{.status.containerStatuses[0].lastState.terminated.reason"
    );
    let wanted = format!("{},true,OOMKilled", restarts + 1);
    world.wait_for(NAMESPACE, pod, &path, |value| value == wanted)?;
    let help = "spec.resources.limits.memory";
    world.wait_condition(NAMESPACE, group, "OutOfMemory", "True", help)?;
    world.wait_settled(NAMESPACE, group)?;
    load.goes_on(50)?;
    let described = world.kubectl(NAMESPACE, &["describe", group])?;
    let event = described
        .lines()
        .find(|line| line.contains("Warning") && line.contains("BrokerOutOfMemory"));
    demand(
        event.is_some_and(|event| event.contains("a-broker-0") && event.contains(help)),
        format!("nobody is told of it: {described}"),
    )?;
    let outcome = load.finish(world)?;
    outcome.expect_no_errors()?;
    outcome.expect_readable(world, NAMESPACE)?;
    let delete = ["delete", "pod", "a-broker-0", "--wait=false"];
    world.replaced(NAMESPACE, "a-broker-0", &delete)?;
    world.wait_condition(NAMESPACE, group, "OutOfMemory", "False", "")?;
    world.wait_settled(NAMESPACE, group)
}

/// The nodes of both brokers are drained at the same time: one broker waits for the other.
pub(crate) fn drained(world: &World) -> Result<(), String> {
    start_synchronous(world)?;
    let load = Load::start(world, NAMESPACE)?;
    let mut nodes = vec![
        node_of(world, NAMESPACE, "a-broker-0")?,
        node_of(world, NAMESPACE, "b-broker-0")?,
    ];
    nodes.dedup();
    let drain = |node: &str| {
        world.lab.kubectl(&[
            "drain",
            node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=180s",
        ])
    };
    std::thread::scope(|scope| {
        let drains: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(move || drain(node)))
            .collect();
        while !drains.iter().all(|drain| drain.is_finished()) {
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
        }
        drains.into_iter().try_for_each(|drain| {
            let drained = drain.join().map_err(|_| "kubectl drain")?;
            drained.map(drop)
        })
    })?;
    for pod in ["a-broker-0", "b-broker-0"] {
        let now = world.wait_for(NAMESPACE, &format!("pod/{pod}"), ".spec.nodeName", |node| {
            !node.is_empty()
        })?;
        demand(
            !nodes.contains(&now),
            format!("{pod} is still on node {now}"),
        )?;
    }
    for node in &nodes {
        world.lab.kubectl(&["uncordon", node])?;
    }
    world.wait_settled(NAMESPACE, "brokergroup/a")?;
    world.wait_settled(NAMESPACE, "brokergroup/b")?;
    load.goes_on(50)?;
    load.finish(world)?.expect_readable(world, NAMESPACE)
}

/// A node loses its power and gets it back: its broker comes back there with everything that was acknowledged.
pub(crate) fn off_and_on(world: &World) -> Result<(), String> {
    start_synchronous(world)?;
    let load = Load::start(world, NAMESPACE)?;
    let node = node_of(world, NAMESPACE, "a-broker-0")?;
    power_off(world, &node)?;
    load.goes_on(50)?;
    power_on(world, &node)?;
    let now = node_of(world, NAMESPACE, "a-broker-0")?;
    demand(now == node, format!("the broker moved to node {now}"))?;
    load.goes_on(100)?;
    load.finish(world)?.expect_readable(world, NAMESPACE)
}

/// A node goes and does not come back: somebody says so, and its broker moves with its volume and every message.
pub(crate) fn lost(world: &World) -> Result<(), String> {
    start_synchronous(world)?;
    let load = Load::start(world, NAMESPACE)?;
    let node = node_of(world, NAMESPACE, "a-broker-0")?;
    power_off(world, &node)?;
    world.lab.kubectl(&[
        "taint",
        "node",
        &node,
        "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
    ])?;
    world.wait_for(NAMESPACE, "pod/a-broker-0", ".spec.nodeName", |now| {
        !now.is_empty() && now != node
    })?;
    world.wait_settled(NAMESPACE, "brokergroup/a")?;
    load.goes_on(100)?;
    load.finish(world)?.expect_readable(world, NAMESPACE)?;
    world.discard(NAMESPACE)?;
    // On again, for the scenarios that follow.
    world.lab.kubectl(&[
        "taint",
        "node",
        &node,
        "node.kubernetes.io/out-of-service:NoExecute-",
    ])?;
    power_on_node(world, &node)
}

/// Brokers and name servers on two nodes each: when one node goes, the other serves.
fn start_synchronous(world: &World) -> Result<(), String> {
    start(world, NAMESPACE, "flush: Sync, ")?;
    for (one, other, budget, object) in [
        ("a-broker-0", "b-broker-0", "main-brokers", "brokergroup/b"),
        (
            "main-namesrv-0",
            "main-namesrv-1",
            "main-namesrv",
            "nameserver/main",
        ),
    ] {
        let node = node_of(world, NAMESPACE, one)?;
        if node_of(world, NAMESPACE, other)? != node {
            continue;
        }
        world.lab.kubectl(&["cordon", &node])?;
        may_be_evicted(world, NAMESPACE, budget)?;
        evict(world, NAMESPACE, other)?;
        let pod = format!("pod/{other}");
        world.wait_for(NAMESPACE, &pod, ".spec.nodeName", |now| {
            !now.is_empty() && now != node
        })?;
        world.wait_settled(NAMESPACE, object)?;
        world.lab.kubectl(&["uncordon", &node])?;
    }
    Ok(())
}

/// Waits until one more pod may go.
pub(crate) fn may_be_evicted(world: &World, namespace: &str, budget: &str) -> Result<(), String> {
    let budget = format!("pdb/{budget}");
    let allowed = ".status.disruptionsAllowed";
    world
        .wait_for(namespace, &budget, allowed, |allowed| allowed == "1")
        .map(drop)
}

pub(crate) fn node_of(world: &World, namespace: &str, pod: &str) -> Result<String, String> {
    world.wait_for(namespace, &format!("pod/{pod}"), ".spec.nodeName", |node| {
        !node.is_empty()
    })
}

/// The number of a node, by its name.
pub(crate) fn number(node: &str) -> Result<u8, String> {
    let digits = node.trim_start_matches('n');
    digits
        .parse()
        .map_err(|_| format!("no node number: {node}"))
}

/// At once, and nobody has seen it yet.
pub(crate) fn power_off_now(world: &World, node: &str) -> Result<(), String> {
    world.lab.kill_node(number(node)?)
}

/// Until Kubernetes has seen it too.
fn power_off(world: &World, node: &str) -> Result<(), String> {
    power_off_now(world, node)?;
    until(Duration::from_secs(90), || {
        let ready = world.lab.kubectl(&[
            "get",
            "node",
            node,
            "-o",
            "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}",
        ])?;
        demand(ready != "True", "the node counts as ready")
    })
}

pub(crate) fn power_on_node(world: &World, node: &str) -> Result<(), String> {
    world.lab.start_node(number(node)?)?;
    let node = format!("node/{node}");
    // One whose object was deleted makes another one.
    let is_there = || world.lab.kubectl(&["get", &node, "-o", "name"]);
    until(Duration::from_secs(120), is_there)?;
    let ready = ["wait", "--for=condition=Ready", &node, "--timeout=120s"];
    world.lab.kubectl(&ready).map(drop)
}

fn power_on(world: &World, node: &str) -> Result<(), String> {
    power_on_node(world, node)?;
    world.wait_settled(NAMESPACE, "brokergroup/a")?;
    world.wait_settled(NAMESPACE, "brokergroup/b")
}

fn kill_container(world: &World, pod: &str) -> Result<(), String> {
    kill_broker(world, NAMESPACE, pod)
}

/// Kills the broker's process in a pod: no time to say anything to anybody.
pub(crate) fn kill_broker(world: &World, namespace: &str, pod: &str) -> Result<(), String> {
    let kill = "kill -KILL ${p#/proc/} && exit 0";
    let (killed, said) = at_broker(world, namespace, pod, kill)?;
    demand(
        killed.status.success(),
        format!("the broker of {pod} was not killed: {said}"),
    )
}

/// Has the kernel kill the broker's process in a pod for its memory, by the limit of its container.
///
/// A broker does well with very little, so something else takes the container's memory until there is none left. The kernel kills first what
/// the kubelet told it to, the container's own process, and then that. It takes 256 MiB at most, whatever becomes of the limit.
pub(crate) fn use_up_memory(world: &World, namespace: &str, pod: &str) -> Result<(), String> {
    let script = r"
        group=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' $p/cgroup)
        echo $$ > $group/cgroup.procs
        echo 0 > $group/memory.swappiness
        echo 64M > $group/memory.limit_in_bytes
        echo joined
        head -c 256M /dev/zero | tail > /dev/null
        exit";
    // The limit is not taken while more than that is waiting for the disk.
    until(Duration::from_secs(30), || {
        let (ended, said) = at_broker(world, namespace, pod, script)?;
        let joined = String::from_utf8_lossy(&ended.stdout).contains("joined");
        demand(
            joined,
            format!("the broker of {pod} has its memory still: {said}"),
        )
    })
}

/// Runs a script on the pod's node with `$p` as the broker's folder in `/proc`; how it ended, and its complaints.
pub(crate) fn at_broker(
    world: &World,
    namespace: &str,
    pod: &str,
    script: &str,
) -> Result<(Output, String), String> {
    let node = number(&node_of(world, namespace, pod)?)?;
    let uid = world.get(namespace, &format!("pod/{pod}"), ".metadata.uid")?;
    let script = format!(
        "set -e; for p in /proc/[0-9]*; do if grep -qs 'pod{uid}' $p/cgroup && grep -qs '^rmq-broker' $p/comm; then {script}; fi; done; exit 1"
    );
    let output = world.lab.in_node(node, "sh").args(["-c", &script]).output();
    let output = output.map_err(|error| format!("nsenter: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = format!("node {node}: {} {said}", output.status);
    Ok((output, said))
}

/// Asks for the eviction of a pod, as a drain does.
pub(crate) fn evict(world: &World, namespace: &str, pod: &str) -> Result<String, String> {
    let eviction = format!(
        r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{pod}","namespace":"{namespace}"}}}}"#
    );
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    world
        .lab
        .kubectl_with(&["create", "--raw", &path, "-f", "-"], &eviction)
}
