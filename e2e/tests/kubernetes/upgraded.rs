//! A broker with a store of a version that had no replicas gets some, and gives them back.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rmq_client::{Position, Queue};

use crate::ctl::switch_over;
use crate::load::Load;
use crate::world::{World, admin, cluster, demand, group, outside, until};

const NAMESPACE: &str = "scaled";
const GROUP: &str = "brokergroup/a";
/// A store as a broker wrote it that knew nothing of replicas: format 1, with 40 messages in topic `past`, of which group `readers` has
/// consumed 10 of the first queue.
const STORE: &str = "tests/stores/format-1.tar.gz";
const MESSAGES: u32 = 40;
const CONSUMED: i64 = 10;

/// The broker begins alone with an old store, has two replicas for a while, and is alone again: each message and the progress stay.
pub(crate) fn scaled(world: &World) -> Result<(), String> {
    world.namespace(NAMESPACE)?;
    old_volume(world)?;
    let lone = cluster(NAMESPACE).replace(&group(NAMESPACE, "b", ""), "");
    world.lab.apply(&lone)?;
    world.wait_ready(NAMESPACE, &["nameserver/main", GROUP, "topic/orders"])?;
    let election = ["get", "brokergroupelections,leases,roles", "-o", "name"];
    let there = world.kubectl(NAMESPACE, &election)?;
    demand(there.is_empty(), format!("a broker alone has {there}"))?;
    has_all(world, "alone")?;
    let load = Load::start(world, NAMESPACE)?;
    world.patch(NAMESPACE, GROUP, r#"{"spec":{"replicas":3}}"#)?;
    world.wait_condition(NAMESPACE, GROUP, "ReplicasInSync", "True", "3 of 3")?;
    world.wait_settled(NAMESPACE, GROUP)?;
    let min = "brokergroupelection/a-broker";
    world.wait_for(NAMESPACE, min, ".spec.minInSync", |min| min == "2")?;
    load.goes_on(100)?;
    // One that has copied the old messages shows them.
    switch_over(world, NAMESPACE, "2")?;
    let copied = |pod: &str| pod == "a-broker-2";
    world.wait_for(NAMESPACE, GROUP, ".status.master", copied)?;
    has_all(world, "three")?;
    world.patch(NAMESPACE, GROUP, r#"{"spec":{"replicas":1}}"#)?;
    world.wait_condition(NAMESPACE, GROUP, "ReplicasInSync", "True", "1 of 1")?;
    world.wait_for(NAMESPACE, GROUP, ".status.replicas", |count| count == "1")?;
    world.wait_settled(NAMESPACE, GROUP)?;
    load.goes_on(100)?;
    has_all(world, "alone again")?;
    load.finish(world)?.expect_readable(world, NAMESPACE)?;
    world.discard(NAMESPACE)
}

/// Makes the volume of the first broker, as the workload would, and puts the old store there.
fn old_volume(world: &World) -> Result<(), String> {
    let claim = "data-a-broker-0";
    world.lab.apply(&format!(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {claim}
  namespace: {NAMESPACE}
  labels: {{app.kubernetes.io/component: broker, rmq.rs/broker-group: a}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"
    ))?;
    let some = |name: &str| !name.is_empty();
    let object = format!("pvc/{claim}");
    let volume = world.wait_for(NAMESPACE, &object, ".spec.volumeName", some)?;
    let folder = world.get(NAMESPACE, &format!("pv/{volume}"), ".spec.local.path")?;
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join(STORE);
    let store = File::open(&store).map_err(|error| format!("{}: {error}", store.display()))?;
    let mut unpack = world.lab.in_node(1, "tar");
    unpack
        .args(["-xz", "-C", &folder])
        .stdin(Stdio::from(store));
    let unpacked = unpack.status().map_err(|error| format!("tar: {error}"))?;
    demand(unpacked.success(), format!("tar: {unpacked}"))
}

/// Every message of the old store can be read once, and its group goes on where it was.
fn has_all(world: &World, when: &str) -> Result<(), String> {
    let addresses = outside(world, NAMESPACE)?;
    let wanted: BTreeSet<String> = (0..MESSAGES)
        .map(|number| format!("old {number}"))
        .collect();
    let read = until(Duration::from_secs(60), || {
        let stored = admin(world, &addresses, async |client| {
            let reader = client.reader("past").from(Position::Earliest);
            reader.open().await?.all().await
        })?;
        let bodies = stored.iter();
        let bodies = bodies.map(|message| String::from_utf8_lossy(message.body()).into_owned());
        let bodies: Vec<String> = bodies.collect();
        demand(
            bodies.len() == wanted.len() && bodies.iter().all(|body| wanted.contains(body)),
            format!("the old messages are {bodies:?}"),
        )
    });
    read.map_err(|error| format!("{when}: {error}"))?;
    let queue = Queue::new("past", "a", 0);
    let next = admin(world, &addresses, async |client| {
        client.admin().committed_offset("readers", &queue).await
    })?;
    demand(
        next == Some(CONSUMED),
        format!("{when}: the old group is at {next:?}, not {CONSUMED}"),
    )
}
