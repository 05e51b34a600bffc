//! Members of a group of three that move: their nodes are drained one after the other, and their volumes grow.

use crate::three::{SWITCHOVER_MAX, Three};
use crate::world::{NODES, World, demand};

/// Volumes grow while members run, and a drain of each node takes one member at a time, the master after it has handed over.
pub(crate) fn drained_and_grown(world: &World) -> Result<(), String> {
    // A volume that has grown stays as large, so a group of its own.
    let three = Three::start(world, "moves", "")?;
    let load = three.load()?;
    let before = three.lives()?;
    three.during(&load, "volumes grow", SWITCHOVER_MAX, || {
        let patch = r#"{"spec":{"storage":{"size":"2Gi"}}}"#;
        world.patch(three.namespace, three.group, patch)?;
        for pod in three.pods() {
            let claim = format!("pvc/data-{pod}");
            let path = ".status.capacity.storage";
            world.wait_for(three.namespace, &claim, path, |size| size == "2Gi")?;
        }
        Ok(())
    })?;
    demand(
        three.lives()? == before,
        "members restarted when their volumes grew",
    )?;
    load.no_errors("volumes grew")?;

    for node in 1..=NODES {
        let node = format!("n{node}");
        let what = format!("node {node} drained");
        let drained = three.during(&load, &what, SWITCHOVER_MAX, || {
            let drain = ["drain", &node, "--ignore-daemonsets", "--timeout=180s"];
            let drain = [&drain[..], &["--delete-emptydir-data"]].concat();
            world.lab.kubectl(&drain)?;
            load.goes_on(100)?;
            world.lab.kubectl(&["uncordon", &node]).map(drop)
        });
        drained?;
        load.no_errors(&what)?;
    }
    let outcome = load.finish(world)?;
    outcome.expect_no_errors()?;
    outcome.expect_readable(world, three.namespace)?;
    three.discard()
}
