//! The master of a group of three is evicted, killed for its memory, frozen and cut off.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::faults::{Cut, Frozen};
use crate::load::Load;
use crate::nodes::{evict, may_be_evicted, node_of, use_up_memory};
use crate::replicas;
use crate::three::{FAILOVER_MAX, SWITCHOVER_MAX, Three};
use crate::world::{World, demand, until};

/// How long the master stands still, and how long there are no name servers.
const MINUTE: Duration = Duration::from_secs(60);
/// How long the network of a node is cut: longer than Kubernetes takes to see that it does not answer.
const NODE_CUT: Duration = Duration::from_secs(20);
/// How long the network of a broker is cut: longer than two leases.
const CUT: Duration = Duration::from_secs(12);

/// The master is evicted and hands over; the kernel kills it for its memory; its container stands still for a minute.
pub(crate) fn master(world: &World) -> Result<(), String> {
    let three = replicas::start(world)?;
    let load = three.load()?;
    let before = three.master()?;
    may_be_evicted(world, three.namespace, &three.workload())?;
    three.during(&load, "the master evicted", SWITCHOVER_MAX, || {
        evict(world, three.namespace, &before)?;
        three.other_master(&before).map(drop)
    })?;
    load.no_errors("the master was evicted")?;

    let before = three.master()?;
    three.during(&load, "the master out of memory", FAILOVER_MAX, || {
        use_up_memory(world, three.namespace, &before)?;
        let path = ".status.containerStatuses[0].lastState.terminated.reason";
        let pod = format!("pod/{before}");
        let killed = |reason: &str| reason == "OOMKilled";
        world.wait_for(three.namespace, &pod, path, killed)?;
        let help = "spec.resources.limits.memory";
        world.wait_condition(three.namespace, three.group, "OutOfMemory", "True", help)
    })?;

    frozen(&three, &load, MINUTE)?;
    load.finish(world)?.expect_readable(world, three.namespace)
}

/// The master's container stands still for so long, and another one takes its place meanwhile.
pub(crate) fn frozen(three: &Three<'_>, load: &Load, time: Duration) -> Result<(), String> {
    let before = three.master()?;
    let what = format!("the master frozen for {time:?}");
    three.during(load, &what, FAILOVER_MAX, || {
        let began = Instant::now();
        let frozen = Frozen::broker(three, &before)?;
        three.other_master(&before)?;
        load.goes_on(100)?;
        sleep(time.saturating_sub(began.elapsed()));
        drop(frozen);
        Ok(())
    })
}

/// Both name servers are away for a minute, and connected clients do not see it; then the master alone does not reach the other brokers, and
/// then the API server.
pub(crate) fn cut_apart(world: &World) -> Result<(), String> {
    let three = flushed(world)?;
    let load = three.load()?;
    three.during(&load, "no name server", SWITCHOVER_MAX, || {
        name_servers_away(&three, MINUTE)
    })?;
    load.no_errors("there was no name server")?;

    // It keeps its lease, so nobody else may take its place: messages wait for the network.
    let before = three.master()?;
    let within = CUT + FAILOVER_MAX;
    three.during(&load, "the master cut from brokers", within, || {
        let cut = Cut::broker_from_others(&three, &before)?;
        sleep(CUT);
        drop(cut);
        Ok(())
    })?;
    let before = three.master()?;
    three.during(&load, "the master cut from the API", FAILOVER_MAX, || {
        let cut = Cut::broker_from_api_server(&three, &before)?;
        sleep(CUT);
        drop(cut);
        Ok(())
    })?;
    load.finish(world)?.expect_readable(world, three.namespace)
}

/// A group whose members acknowledge what all their disks have.
pub(crate) fn flushed(world: &World) -> Result<Three<'_>, String> {
    Three::start(world, "flushed", "{ackMode: inSyncFlushed, minInSync: 2}")
}

/// Takes the name servers away for so long; the operator is told to leave them alone.
fn name_servers_away(three: &Three<'_>, time: Duration) -> Result<(), String> {
    let label = "app.kubernetes.io/component=name-server";
    let pods = ["get", "pods", "-l", label, "-o", "name"];
    let there = three.kubectl(&pods)?;
    demand(
        there.lines().count() == 2,
        format!("the name servers are {there:?}"),
    )?;
    three.kubectl(&["annotate", "nameserver/main", "rmq.rs/paused=true"])?;
    let scale = |count: &str| three.kubectl(&["scale", "statefulset/main-namesrv", count]);
    let away = scale("--replicas=0").and_then(|_| {
        until(MINUTE, || {
            let there = three.kubectl(&pods)?;
            demand(there.is_empty(), format!("still there: {there}"))
        })?;
        sleep(time);
        scale("--replicas=2")
    });
    three.kubectl(&["annotate", "nameserver/main", "rmq.rs/paused-"])?;
    away?;
    let namespace = three.namespace;
    three.world.wait_ready(namespace, &["nameserver/main"])
}

type Cutting<'a> = fn(&'a World, &str) -> Result<Cut<'a>, String>;

/// The node of the master loses its whole network, and then its way to the API server only.
pub(crate) fn network_of_a_node(world: &World) -> Result<(), String> {
    let three = replicas::start(world)?;
    let load = three.load()?;
    let cuts: [(&str, Cutting<'_>); 2] = [
        ("the master's node cut off", Cut::node),
        (
            "the master's node cut from the API",
            Cut::node_from_api_server,
        ),
    ];
    for (what, cut) in cuts {
        let node = node_of(world, three.namespace, &three.master()?)?;
        three.during(&load, what, FAILOVER_MAX, || {
            let cut = cut(world, &node)?;
            let flows = load.goes_on(100);
            sleep(NODE_CUT);
            drop(cut);
            flows
        })?;
    }
    load.finish(world)?.expect_readable(world, three.namespace)
}
