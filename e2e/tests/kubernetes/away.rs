//! What a group of three depends on is away: the API server, and the power of all nodes.

use std::path::PathBuf;
use std::time::Duration;

use crate::faults::power_off_all;
use crate::hurt::flushed;
use crate::nodes::power_on_node;
use crate::replicas;
use crate::three::{SWITCHOVER_MAX, Three, written_again};
use crate::world::{NODES, World, demand, until};

const AWAY: Duration = Duration::from_secs(60);

/// The API server is away for a minute in the middle of a roll of one group, and while nothing happens to another: nobody who is connected
/// sees an error, and the roll ends as it would have.
pub(crate) fn api_server(world: &World) -> Result<(), String> {
    let rolled = replicas::start(world)?;
    let quiet = flushed(world)?;
    let (load, other) = (rolled.load()?, quiet.load()?);
    let before = rolled.lives()?;
    other.watch_gap();
    rolled.during(&load, "no API server in a roll", SWITCHOVER_MAX, || {
        let patch = r#"{"spec":{"config":{"extra":{"flushIntervalMs":150}}}}"#;
        world.patch(rolled.namespace, rolled.group, patch)?;
        // A member has gone for its restart, and the others know it.
        let election = format!("brokergroupelection/{}", rolled.workload());
        let two = |slots: &str| slots.split_whitespace().count() == 2;
        world.wait_for(rolled.namespace, &election, ".status.inSync[*].slot", two)?;
        world.lab.restart_api_server(AWAY)?;
        load.goes_on(100)?;
        until(Duration::from_secs(240), || {
            let now = rolled.lives()?;
            let left: Vec<_> = before.intersection(&now).collect();
            demand(left.is_empty(), format!("not restarted yet: {left:?}"))
        })
    })?;
    written_again(&other, "no API server, and no roll", SWITCHOVER_MAX)?;
    for (load, three) in [(load, rolled), (other, quiet)] {
        let outcome = load.finish(world)?;
        outcome.expect_no_errors()?;
        outcome.expect_readable(world, three.namespace)?;
    }
    Ok(())
}

/// All nodes lose their power at once and forget what they were doing: what was acknowledged is there, and a group that may have lost messages
/// says so.
///
/// The lab's nodes share the memory of one computer, which keeps what was not flushed. So brokers are made to believe that their computer
/// crashed: the file in which a store notes the computer that it runs on is removed.
pub(crate) fn all_nodes(world: &World) -> Result<(), String> {
    let memory = "{ackMode: memory, minInSync: 1}";
    let groups = [
        flushed(world)?,
        replicas::start(world)?,
        Three::start(world, "memory", memory)?,
    ];
    let [_, in_sync, memory] = &groups;
    let bound = ".status.lossBound";
    let is_known = |bytes: &str| bytes.parse::<i64>().is_ok();
    world.wait_for(memory.namespace, memory.group, bound, is_known)?;
    let none = in_sync.get(in_sync.group, bound)?;
    demand(none.is_empty(), format!("inSync has lossBound {none}"))?;
    let loads = groups.map(|three| three.load());
    let mut lives = Vec::new();
    for three in &groups {
        for pod in three.pods() {
            lives.push(life(three, &pod)?);
        }
    }
    power_off_all(world)?;
    let forgotten = lives.into_iter().try_for_each(|life| {
        std::fs::remove_file(&life).map_err(|error| format!("{}: {error}", life.display()))
    });
    for node in 1..=NODES {
        power_on_node(world, &format!("n{node}"))?;
    }
    forgotten?;
    for (three, load) in groups.iter().zip(loads) {
        let load = load?;
        let again = three.during(&load, "all nodes off and on", Duration::MAX, || Ok(()));
        again?;
        three.told(&format!(
            "{}: {} sends failed meanwhile",
            three.namespace,
            load.failed()
        ));
        load.finish(world)?
            .expect_readable(world, three.namespace)?;
    }
    let [flushed, in_sync, memory] = groups;
    for (three, expected) in [(&flushed, false), (&in_sync, true), (&memory, true)] {
        let path = ".status.conditions[?(@.type==\"DataLossPossible\")]['status','reason']";
        let said = three.get(three.group, path)?;
        three.told(&format!("{}: DataLossPossible {said:?}", three.namespace));
        demand(
            (said == "True AllCrashed") == expected,
            format!("{}: DataLossPossible is {said:?}", three.namespace),
        )?;
        three.discard()?;
    }
    Ok(())
}

/// The file in which the store of a member notes that it is in use, and by which computer.
fn life(three: &Three<'_>, pod: &str) -> Result<PathBuf, String> {
    let volume = three.get(&format!("pvc/data-{pod}"), ".spec.volumeName")?;
    let folder = three.get(&format!("pv/{volume}"), ".spec.local.path")?;
    let life = PathBuf::from(folder).join("life");
    demand(life.exists(), format!("{} is not there", life.display()))?;
    Ok(life)
}
