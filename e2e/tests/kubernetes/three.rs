//! A group of three brokers that elect their master, in a namespace of its own.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::world::{World, cluster, group, pods_of_brokers};

/// A master that is gone is replaced within this time: twice what it may take where three nodes do not share two cores with other suites.
pub(crate) const FAILOVER_MAX: Duration = Duration::from_secs(20);
/// A master that hands over is missed for no longer than this. It may take 2 s; here its three nodes share two cores with other suites, whose
/// load alone costs a lease now and then. The figures are measured by hand.
pub(crate) const SWITCHOVER_MAX: Duration = Duration::from_secs(15);

/// The group, with name servers, topic `orders` and group `billing`.
#[derive(Clone, Copy)]
pub(crate) struct Three<'a> {
    pub(crate) world: &'a World,
    pub(crate) namespace: &'a str,
    /// Its object.
    pub(crate) group: &'a str,
}

impl<'a> Three<'a> {
    /// The cluster, whole. Scenarios share it; one that was left half way gets whole by itself. `replication` is that of its spec.
    pub(crate) fn start(
        world: &'a World,
        namespace: &'a str,
        replication: &str,
    ) -> Result<Self, String> {
        Self::start_as(world, namespace, replication, |all| all)
    }

    /// As [`start`](Self::start), with something else in its manifests.
    pub(crate) fn start_as(
        world: &'a World,
        namespace: &'a str,
        replication: &str,
        change: impl FnOnce(String) -> String,
    ) -> Result<Self, String> {
        world.namespace(namespace)?;
        let lone = group(namespace, "a", "");
        let replication = match replication {
            "" => String::new(),
            some => format!("  replication: {some}\n"),
        };
        let three = group(namespace, "a", &format!("  replicas: 3\n{replication}"));
        let all = cluster(namespace);
        let all = all.replace(&group(namespace, "b", ""), "");
        world.lab.apply(&change(all.replace(&lone, &three)))?;
        let three = Self {
            world,
            namespace,
            group: "brokergroup/a",
        };
        three.whole()?;
        let objects = [
            "nameserver/main",
            "topic/orders",
            "subscriptiongroup/billing",
        ];
        world.wait_ready(namespace, &objects)?;
        Ok(three)
    }

    /// Waits until the group has a master and all members in sync, and nothing goes on.
    pub(crate) fn whole(&self) -> Result<(), String> {
        for (condition, text) in [("MasterElected", ""), ("ReplicasInSync", "3 of 3")] {
            let (namespace, group) = (self.namespace, self.group);
            self.world
                .wait_condition(namespace, group, condition, "True", text)?;
        }
        self.world.wait_settled(self.namespace, self.group)
    }

    /// The pod of the master.
    pub(crate) fn master(&self) -> Result<String, String> {
        let path = ".status.master";
        let some = |pod: &str| !pod.is_empty();
        self.world.wait_for(self.namespace, self.group, path, some)
    }

    /// Waits until another pod is the master.
    pub(crate) fn other_master(&self, than: &str) -> Result<String, String> {
        let other = |pod: &str| !pod.is_empty() && pod != than;
        let path = ".status.master";
        self.world.wait_for(self.namespace, self.group, path, other)
    }

    /// The name of the election, of the lease and of the workload.
    pub(crate) fn workload(&self) -> String {
        format!("{}-broker", self.group.trim_start_matches("brokergroup/"))
    }

    /// The names of the members' pods.
    pub(crate) fn pods(&self) -> [String; 3] {
        [0, 1, 2].map(|slot| format!("{}-{slot}", self.workload()))
    }

    /// The pods of the members as `name=uid`: others after a restart.
    pub(crate) fn lives(&self) -> Result<BTreeSet<String>, String> {
        pods_of_brokers(self.world, self.namespace)
    }

    pub(crate) fn load(&self) -> Result<Load, String> {
        Load::start(self.world, self.namespace)
    }

    pub(crate) fn get(&self, object: &str, path: &str) -> Result<String, String> {
        self.world.get(self.namespace, object, path)
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        self.world.kubectl(self.namespace, args)
    }

    /// Does something under load and waits until messages flow and the group is whole; the longest time without an acknowledgement is
    /// printed and may be this.
    pub(crate) fn during(
        &self,
        load: &Load,
        what: &str,
        within: Duration,
        act: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        let what = format!("{}: {what}", self.namespace);
        let failed = |error: String| format!("{what}: {error}");
        load.watch_gap();
        let began = Instant::now();
        act().map_err(failed)?;
        load.goes_on(100).map_err(failed)?;
        self.whole().map_err(failed)?;
        let took = began.elapsed();
        written_again(load, &what, within)?;
        self.told(&format!("{what}: whole again after {took:.1?}"));
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "the figure is for who looks")]
    pub(crate) fn told(&self, figure: &str) {
        println!("{figure}");
    }

    /// Removes the namespace without waiting.
    pub(crate) fn discard(&self) -> Result<(), String> {
        self.world.discard(self.namespace)
    }
}

/// The longest time without an acknowledgement since the load's gap is watched is printed and may be this.
#[expect(clippy::print_stdout, reason = "the figure is for who looks")]
pub(crate) fn written_again(load: &Load, what: &str, within: Duration) -> Result<Duration, String> {
    let gap = load.longest_gap();
    println!("{what}: no message was acknowledged for {gap:.2?}");
    if gap <= within {
        return Ok(gap);
    }
    Err(format!(
        "{what}: no message was acknowledged for {gap:?}, which is more than {within:?}"
    ))
}
