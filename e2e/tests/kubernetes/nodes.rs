//! Pods and nodes that go.

use std::time::Duration;

use crate::load::Load;
use crate::world::{World, admin, demand, outside, start, until};

/// Pods that are deleted, killed and evicted come back with their messages; nodes can only be drained one broker at a time.
pub(crate) fn pods_lost(world: &World) -> Result<(), String> {
    start(world, "pods")?;
    let load = Load::start(world, "pods")?;
    world.kubectl("pods", &["delete", "pod", "a-broker-0", "--wait=false"])?;
    world.wait_settled("pods", "brokergroup/a")?;
    load.goes_on(50)?;
    // No time to say anything to anybody.
    world.kubectl(
        "pods",
        &["delete", "pod", "b-broker-0", "--grace-period=0", "--force"],
    )?;
    world.wait_settled("pods", "brokergroup/b")?;
    load.goes_on(50)?;
    let evict = |pod: &str| {
        let eviction = format!(
            r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{pod}","namespace":"pods"}}}}"#
        );
        let file =
            std::env::temp_dir().join(format!("rmq-evict-{pod}-{}.json", std::process::id()));
        std::fs::write(&file, eviction).map_err(|error| error.to_string())?;
        let path = format!("/api/v1/namespaces/pods/pods/{pod}/eviction");
        let done =
            world
                .lab
                .kubectl(&["create", "--raw", &path, "-f", &file.display().to_string()]);
        std::fs::remove_file(&file).map_err(|error| error.to_string())?;
        done
    };
    until(Duration::from_secs(30), || {
        world
            .get("pods", "pdb/main-brokers", ".status.disruptionsAllowed")
            .and_then(|allowed| demand(allowed == "1", format!("{allowed} may be evicted")))
    })?;
    evict("a-broker-0")?;
    match evict("b-broker-0") {
        Err(error) if error.contains("disruption budget") => {}
        other => {
            return Err(format!(
                "a second broker is evicted at the same time: {other:?}"
            ));
        }
    }
    world.wait_settled("pods", "brokergroup/a")?;
    load.goes_on(50)?;
    load.finish(world)?;
    world.discard("pods")
}

/// A node goes and does not come back: somebody says so, and the broker moves with its volume and every message.
pub(crate) fn lost(world: &World) -> Result<(), String> {
    start(world, "lost")?;
    let load = Load::start(world, "lost")?;
    let node = world.get("lost", "pod/a-broker-0", ".spec.nodeName")?;
    let number: u8 = node
        .trim_start_matches('n')
        .parse()
        .map_err(|_| format!("no node number: {node}"))?;
    load.finish(world)?;
    let addresses = outside(world, "lost")?;
    let stored = |addresses: &str| {
        let stats = admin(world, addresses, async |client| {
            client.admin().topic_stats("orders").await
        })?;
        let of = stats
            .offset_table
            .0
            .iter()
            .filter(|(queue, _)| queue.broker_name == "a");
        Ok::<i64, String>(of.map(|(_, offset)| offset.max_offset).sum())
    };
    let before = stored(&addresses)?;
    world.lab.kill_node(number)?;
    until(Duration::from_secs(90), || {
        let ready = world.lab.kubectl(&[
            "get",
            "node",
            &node,
            "-o",
            "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}",
        ])?;
        demand(ready != "True", "the node counts as ready")
    })?;
    world.lab.kubectl(&[
        "taint",
        "node",
        &node,
        "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
    ])?;
    world.wait_for("lost", "pod/a-broker-0", ".spec.nodeName", |now| {
        !now.is_empty() && now != node
    })?;
    world.wait_settled("lost", "brokergroup/a")?;
    let addresses = outside(world, "lost")?;
    let after = until(Duration::from_secs(60), || stored(&addresses))?;
    demand(
        after >= before,
        format!("{before} messages before, {after} after"),
    )?;
    // On again, for the tests that follow.
    world.lab.start_node(number)?;
    world.lab.kubectl(&[
        "taint",
        "node",
        &node,
        "node.kubernetes.io/out-of-service:NoExecute-",
    ])?;
    world.lab.kubectl(&[
        "wait",
        "--for=condition=Ready",
        &format!("node/{node}"),
        "--timeout=120s",
    ])?;
    world.discard("lost")
}
