//! What can happen to pods and nodes, and is taken back when its value is dropped.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::nodes::{at_broker, node_of, number};
use crate::three::Three;
use crate::world::{NODES, World, demand};

/// A broker whose container stands still, by the cgroup freezer: neither it nor the kernel says anything to anybody.
pub(crate) struct Frozen {
    state: PathBuf,
}

impl Frozen {
    pub(crate) fn broker(three: &Three<'_>, pod: &str) -> Result<Self, String> {
        let script = "sed -n 's/^[0-9]*:freezer://p' $p/cgroup; exit 0";
        let (found, said) = at_broker(three.world, three.namespace, pod, script)?;
        let group = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        demand(
            found.status.success() && group.contains("/pod"),
            format!("{pod} has no cgroup: {group:?} {said}"),
        )?;
        let state = PathBuf::from(format!("/sys/fs/cgroup/freezer{group}/freezer.state"));
        let frozen = Self { state };
        frozen.write("FROZEN").map(|()| frozen)
    }

    fn write(&self, state: &str) -> Result<(), String> {
        std::fs::write(&self.state, state)
            .map_err(|error| format!("{}: {error}", self.state.display()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The kubelet may have given the container up.
        let _ = self.write("THAWED");
    }
}

/// Packets that a node drops.
pub(crate) struct Cut<'a> {
    world: &'a World,
    node: u8,
    table: String,
}

impl<'a> Cut<'a> {
    /// The node hears nobody, and nobody hears it.
    pub(crate) fn node(world: &'a World, node: &str) -> Result<Self, String> {
        let from = "iifname eth0 drop;".to_owned();
        let to = "oifname eth0 drop;".to_owned();
        let both = format!("{from} {to}");
        Self::at(world, number(node)?, [&both, &from, &to])
    }

    /// Nothing on the node reaches the API server.
    pub(crate) fn node_from_api_server(world: &'a World, node: &str) -> Result<Self, String> {
        let rules = from_api_server(world, "");
        Self::at(world, number(node)?, [&rules; 3])
    }

    /// A broker does not reach the API server, and all else does.
    pub(crate) fn broker_from_api_server(three: &Three<'a>, pod: &str) -> Result<Self, String> {
        let own = address(three, pod)?;
        let rules = from_api_server(three.world, &own);
        let node = number(&node_of(three.world, three.namespace, pod)?)?;
        Self::at(three.world, node, [&rules; 3])
    }

    /// A broker does not reach the other brokers of its group, and all else does.
    pub(crate) fn broker_from_others(three: &Three<'a>, pod: &str) -> Result<Self, String> {
        let own = address(three, pod)?;
        let mut rules = String::new();
        for other in three.pods().iter().filter(|other| *other != pod) {
            let other = address(three, other)?;
            for (from, to) in [(&own, &other), (&other, &own)] {
                rules.push_str(&format!("ip saddr {from} ip daddr {to} drop; "));
            }
        }
        let node = number(&node_of(three.world, three.namespace, pod)?)?;
        Self::at(three.world, node, [&rules; 3])
    }

    /// Rules for what a node passes on, gets and sends.
    fn at(world: &'a World, node: u8, rules: [&String; 3]) -> Result<Self, String> {
        static CUTS: AtomicU32 = AtomicU32::new(0);
        let table = format!("rmq_cut_{}", CUTS.fetch_add(1, Ordering::Relaxed));
        let [forward, input, output] = rules;
        let hook = |name: &str, rules: &str| {
            format!(
                "chain {name} {{ type filter hook {name} priority filter; policy accept; {rules} }}\n"
            )
        };
        let chains = [
            hook("forward", forward),
            hook("input", input),
            hook("output", output),
        ];
        let cut = Self { world, node, table };
        let table = &cut.table;
        cut.nft(&format!("table inet {table} {{\n{}}}", chains.concat()))?;
        Ok(cut)
    }

    fn nft(&self, rules: &str) -> Result<(), String> {
        let output = self.world.lab.in_node(self.node, "nft").arg(rules).output();
        let output = output.map_err(|error| format!("nsenter: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        demand(
            output.status.success(),
            format!("nft at node {}: {rules}: {said}", self.node),
        )
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        // A node that was powered off has lost its rules by itself.
        let _ = self.nft(&format!("delete table inet {}", self.table));
    }
}

fn from_api_server(world: &World, of: &str) -> String {
    let (address, port) = world.lab.api_server();
    let (from, to) = match of {
        "" => (String::new(), String::new()),
        of => (format!("ip saddr {of} "), format!("ip daddr {of} ")),
    };
    format!(
        "{from}ip daddr {address} tcp dport {port} drop; {to}ip saddr {address} tcp sport {port} drop;"
    )
}

fn address(three: &Three<'_>, pod: &str) -> Result<String, String> {
    let object = format!("pod/{pod}");
    let some = |address: &str| !address.is_empty();
    let world = three.world;
    world.wait_for(three.namespace, &object, ".status.podIP", some)
}

/// All nodes lose their power at the same moment.
pub(crate) fn power_off_all(world: &World) -> Result<(), String> {
    std::thread::scope(|scope| {
        let nodes: Vec<_> = (1..=NODES)
            .map(|node| scope.spawn(move || world.lab.kill_node(node)))
            .collect();
        nodes
            .into_iter()
            .try_for_each(|node| node.join().map_err(|_| "a node is powered off")?)
    })
}
