//! A node that is lost for good, and the volume of a member with it.

use crate::nodes::{node_of, power_off_now, power_on_node};
use crate::three::{FAILOVER_MAX, Three};
use crate::world::{World, demand};

const NAMESPACE: &str = "gone-node";

/// The volumes are of the nodes. A node goes and does not come back, and somebody deletes its object: the member that was there gets a new
/// volume on another node and copies everything, and nobody asks for it.
pub(crate) fn with_its_volume(world: &World) -> Result<(), String> {
    let local =
        |all: String| all.replace("{size: 1Gi,", "{size: 1Gi, storageClassName: lab-local,");
    let three = Three::start_as(world, NAMESPACE, "", local)?;
    let load = three.load()?;
    let master = three.master()?;
    let pods = three.pods();
    let mut replicas = pods.iter().filter(|pod| **pod != master);
    let pod = replicas.next().ok_or("a group has replicas")?;
    let node = node_of(world, NAMESPACE, pod)?;
    let claim = format!("pvc/data-{pod}");
    let before = three.get(&claim, ".metadata.uid")?;
    let what = format!("node {node} lost with the volume of {pod}");
    let made = three.during(&load, &what, FAILOVER_MAX, || {
        power_off_now(world, &node)?;
        world.lab.kubectl(&["delete", "node", &node])?;
        let other = |uid: &str| !uid.is_empty() && uid != before;
        world.wait_for(NAMESPACE, &claim, ".metadata.uid", other)?;
        let path = "jsonpath={.items[*].message}";
        let events = [
            "get",
            "events",
            "--field-selector",
            "reason=BrokerStopping",
            "-o",
            path,
        ];
        let told = three.kubectl(&events)?;
        demand(
            told.contains("VolumeGone"),
            format!("the events say {told:?}"),
        )
    });
    let now = node_of(world, NAMESPACE, pod);
    power_on_node(world, &node)?;
    made?;
    demand(now? != node, format!("{pod} is on {node}, which was off"))?;
    load.finish(world)?.expect_readable(world, NAMESPACE)?;
    three.discard()
}
