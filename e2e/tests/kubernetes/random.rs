//! Faults in a row, as a number decides: `RMQ_CHAOS_SEED=N RMQ_CHAOS_CYCLES=50` repeats a run, with faults of whole nodes too.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::ctl::switch_over;
use crate::faults::{Cut, Frozen};
use crate::load::Load;
use crate::nodes::{evict, kill_broker, may_be_evicted, node_of, power_off_now, power_on_node};
use crate::three::{FAILOVER_MAX, Three};
use crate::world::{SYSTEM, World, chart, demand};

/// How many faults; without it a few of those that disturb nobody else.
const CYCLES: &str = "RMQ_CHAOS_CYCLES";
/// Which ones.
const SEED: &str = "RMQ_CHAOS_SEED";
const NAMESPACE: &str = "random";
/// How long something is cut, frozen or off.
const HOLD: Duration = Duration::from_secs(10);
/// A cluster is there, and a namespace gone, within this time: twice what it may take on a machine of its own.
const MADE_WITHIN: Duration = Duration::from_secs(120);

/// What happens to a member.
type Fault = fn(&Three<'_>, &str) -> Result<(), String>;

/// Those that leave everybody else alone.
const OWN: &[(&str, Fault)] = &[
    ("pod deleted", pod_deleted),
    ("process killed", |three, pod| {
        kill_broker(three.world, three.namespace, pod)
    }),
    ("evicted", evicted),
    ("frozen", |three, pod| held(Frozen::broker(three, pod)?)),
    ("cut from the other brokers", |three, pod| {
        held(Cut::broker_from_others(three, pod)?)
    }),
    ("cut from the API server", |three, pod| {
        held(Cut::broker_from_api_server(three, pod)?)
    }),
    ("switchover to it", switched_over),
    ("two killed at once", two_killed),
    ("a name server deleted with it", with_a_name_server),
];
/// Those of whole nodes, of the operator and of the API server.
const ALL: &[(&str, Fault)] = &[
    ("its node off and on", node_off),
    ("its node cut off", |three, pod| {
        let node = node_of(three.world, three.namespace, pod)?;
        held(Cut::node(three.world, &node)?)
    }),
    ("its node cut from the API server", |three, pod| {
        let node = node_of(three.world, three.namespace, pod)?;
        held(Cut::node_from_api_server(three.world, &node)?)
    }),
    ("its node drained", node_drained),
    ("killed, and all operators", with_operators),
    ("killed after the API server was away", |three, pod| {
        three.world.lab.restart_api_server(HOLD)?;
        reached(three)?;
        kill_broker(three.world, three.namespace, pod)
    }),
];

/// A cluster of the chart gets ready, goes through faults in a row, and goes with its namespace.
pub(crate) fn faults(world: &World) -> Result<(), String> {
    let three = installed(world)?;
    let load = three.load()?;
    let seed = number(SEED).unwrap_or(20_260);
    let (cycles, mut faults) = (cycles(), OWN.to_vec());
    if cycles.is_some() {
        faults.extend(ALL);
    }
    let cycles = cycles.unwrap_or(5);
    three.told(&format!(
        "random faults: {SEED}={seed} {CYCLES}={cycles} cargo test -p rmq-e2e --test kubernetes replicas_at_random"
    ));
    let mut dice = Dice(seed);
    for cycle in 1..=cycles {
        let (name, fault) = faults[dice.below(faults.len())];
        let pod = &three.pods()[dice.below(3)];
        rested(&three)?;
        let role = match three.master()? == *pod {
            true => "master",
            false => "replica",
        };
        let what = format!("fault {cycle}: {pod} ({role}): {name}");
        let within = FAILOVER_MAX + HOLD;
        let done = three.during(&load, &what, within, || fault(&three, pod));
        done.map_err(|error| format!("{error}; {SEED}={seed}"))?;
    }
    end(&three, load)
}

/// Kubernetes lets a container wait longer with each restart, up to minutes: a pod that has waited once is made again before the next fault.
fn rested(three: &Three<'_>) -> Result<(), String> {
    for pod in three.pods() {
        let restarts = three.get(
            &format!("pod/{pod}"),
            ".status.containerStatuses[0].restartCount",
        )?;
        if restarts.parse::<u32>().is_ok_and(|restarts| restarts > 1) {
            let delete = ["delete", "pod", &pod, "--wait=false"];
            three.world.replaced(three.namespace, &pod, &delete)?;
            three.whole()?;
        }
    }
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How often somebody asked for, by hand.
pub(crate) fn cycles() -> Option<u64> {
    number(CYCLES)
}

/// The chart makes the cluster.
fn installed(world: &World) -> Result<Three<'_>, String> {
    world.namespace(NAMESPACE)?;
    let began = Instant::now();
    let chart = chart("rmq-cluster");
    let mut args = vec!["upgrade", "--install", "main", &chart, "-n", NAMESPACE];
    for value in [
        "brokerGroups.b=null",
        "brokerDefaults.replicas=3",
        "brokerDefaults.storage.size=1Gi",
        "brokerDefaults.storage.deletionPolicy=Delete",
        "brokerDefaults.resources.requests.cpu=50m",
        "brokerDefaults.resources.requests.memory=64Mi",
        "brokerDefaults.config.extra.segmentBytes=67108864",
        "brokerDefaults.listeners.external.type=NodePort",
        "nameServer.externalListener.type=NodePort",
        "topics.orders.queues=4",
        "subscriptionGroups.billing.consume=true",
    ] {
        args.extend(["--set", value]);
    }
    world.lab.helm(&args)?;
    let three = Three {
        world,
        namespace: NAMESPACE,
        group: "brokergroup/main-a",
    };
    three.whole()?;
    let objects = [
        "nameserver/main",
        "topic/main-orders",
        "subscriptiongroup/main-billing",
    ];
    world.wait_ready(NAMESPACE, &objects)?;
    within(&three, "from helm install to Ready", began)?;
    Ok(three)
}

fn within(three: &Three<'_>, what: &str, began: Instant) -> Result<(), String> {
    let took = began.elapsed();
    let said = format!("{}: {what}: {took:.1?}", three.namespace);
    three.told(&said);
    demand(took <= MADE_WITHIN, said)
}

fn end(three: &Three<'_>, load: Load) -> Result<(), String> {
    let failed = load.failed();
    let outcome = load.finish(three.world)?;
    three.told(&format!("{}: {failed} sends failed", three.namespace));
    outcome.expect_readable(three.world, three.namespace)?;
    let began = Instant::now();
    let delete = ["delete", "namespace", three.namespace, "--timeout=180s"];
    three.world.lab.kubectl(&delete)?;
    within(three, "the namespace is gone", began)
}

/// Keeps something as it is for a while.
fn held<T>(what: T) -> Result<(), String> {
    sleep(HOLD);
    drop(what);
    Ok(())
}

fn pod_deleted(three: &Three<'_>, pod: &str) -> Result<(), String> {
    let delete = ["delete", "pod", pod, "--grace-period=0", "--force"];
    three.kubectl(&delete).map(drop)
}

fn evicted(three: &Three<'_>, pod: &str) -> Result<(), String> {
    may_be_evicted(three.world, three.namespace, &three.workload())?;
    evict(three.world, three.namespace, pod).map(drop)
}

fn switched_over(three: &Three<'_>, pod: &str) -> Result<(), String> {
    if three.master()? == pod {
        return Ok(());
    }
    let slot = pod.rsplit('-').next().unwrap_or_default();
    switch_over(three.world, three.namespace, slot)?;
    let path = ".status.master";
    let is_it = |now: &str| now == pod;
    let (world, namespace) = (three.world, three.namespace);
    world
        .wait_for(namespace, three.group, path, is_it)
        .map(drop)
}

fn two_killed(three: &Three<'_>, pod: &str) -> Result<(), String> {
    let pods = three.pods();
    let other = pods.iter().find(|other| *other != pod);
    for pod in other.into_iter().map(String::as_str).chain([pod]) {
        kill_broker(three.world, three.namespace, pod)?;
    }
    Ok(())
}

/// Waits until the master reaches the API server. Nodes learn again where it is, which may take half a minute.
fn reached(three: &Three<'_>) -> Result<(), String> {
    let (lease, path) = (format!("lease/{}", three.workload()), ".spec.renewTime");
    let before = three.get(&lease, path)?;
    let is_later = |now: &str| !now.is_empty() && now != before;
    let (world, namespace) = (three.world, three.namespace);
    world.wait_for(namespace, &lease, path, is_later).map(drop)
}

fn with_a_name_server(three: &Three<'_>, pod: &str) -> Result<(), String> {
    pod_deleted(three, "main-namesrv-0")?;
    kill_broker(three.world, three.namespace, pod)
}

fn node_off(three: &Three<'_>, pod: &str) -> Result<(), String> {
    let node = node_of(three.world, three.namespace, pod)?;
    power_off_now(three.world, &node)?;
    sleep(HOLD);
    power_on_node(three.world, &node)
}

fn node_drained(three: &Three<'_>, pod: &str) -> Result<(), String> {
    let node = node_of(three.world, three.namespace, pod)?;
    let drain = ["drain", &node, "--ignore-daemonsets", "--timeout=180s"];
    let drain = [&drain[..], &["--delete-emptydir-data"]].concat();
    let drained = three.world.lab.kubectl(&drain);
    three.world.lab.kubectl(&["uncordon", &node])?;
    drained.map(drop)
}

fn with_operators(three: &Three<'_>, pod: &str) -> Result<(), String> {
    let label = "app.kubernetes.io/name=rmq-operator";
    let delete = ["delete", "pod", "-l", label, "--grace-period=0", "--force"];
    three.world.kubectl(SYSTEM, &delete)?;
    kill_broker(three.world, three.namespace, pod)
}

/// Numbers that follow from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound as u64).unwrap_or_default()
    }
}
