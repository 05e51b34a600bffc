//! Machines on one machine: network namespaces on one bridge, and cables between them that can be cut.
//!
//! [`inside`] runs the test in namespaces of its own. Whatever the test starts, and every namespace that it makes, ends with it.

use std::fmt;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Set where the test runs in its namespaces.
const INSIDE: &str = "RMQ_E2E_INSIDE";
/// Where the test itself is on the bridge: its clients come from here.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// What this machine lacks for namespaces.
#[must_use]
pub fn missing() -> Option<String> {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        return Some("network namespaces need root".to_owned());
    }
    let tools = [
        ("unshare", "--version", "util-linux"),
        ("ip", "-V", "iproute2"),
        ("nft", "--version", "nftables"),
    ];
    for (tool, argument, package) in tools {
        if !crate::foreign::has(tool, argument) {
            return Some(format!("`{tool}` is not installed (Debian: {package})"));
        }
    }
    None
}

/// Starts this program again in a network, a mount and a process namespace of its own, unless it runs there already. `variables` are
/// added to its environment.
///
/// # Errors
/// When that is not possible.
pub fn inside(variables: &[(&str, String)]) -> Result<(), String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let own = std::env::current_exe().map_err(|error| format!("the own program: {error}"))?;
    // When this process is killed, the system kills the one inside and all that it has started.
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .exec();
    Err(format!("unshare cannot be run: {error}"))
}

/// A bridge with this test at [`HERE`].
#[derive(Debug)]
pub struct Network {
    machines: AtomicU32,
}

impl Network {
    /// Makes the bridge. There is one for each test process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Self, String> {
        shell(&format!(
            "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link set lo up && \
             ip link add bridge0 type bridge && ip addr add {HERE}/16 dev bridge0 && ip link set bridge0 up"
        ))?;
        Ok(Self {
            machines: AtomicU32::new(0),
        })
    }

    /// This test is reached at another address, too, and reaches machines with the same first two bytes.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn also_at(&self, at: Ipv4Addr) -> Result<(), String> {
        shell(&format!("ip addr add {at}/16 dev bridge0"))
    }

    /// A machine with that address.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn machine(&self, name: &str, at: Ipv4Addr) -> Result<Machine, String> {
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        let cable = format!("cable{number}");
        shell(&format!(
            "ip netns add {name} && ip link add {cable} type veth peer name eth0 netns {name} && \
             ip link set {cable} master bridge0 up && ip -n {name} addr add {at}/16 dev eth0 && \
             ip -n {name} link set lo up && ip -n {name} link set eth0 up"
        ))?;
        Ok(Machine {
            name: name.to_owned(),
            at,
        })
    }
}

/// Which packets a cut takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Both ways.
    Both,
    /// Those that come to the machine.
    In,
    /// Those that leave the machine.
    Out,
}

/// A machine with a network of its own.
#[derive(Debug)]
pub struct Machine {
    name: String,
    at: Ipv4Addr,
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.name)
    }
}

impl Machine {
    /// Its address.
    #[must_use]
    pub fn at(&self) -> Ipv4Addr {
        self.at
    }

    /// A program that runs there. The process is the program itself, so signals reach it.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Cuts the cable to these addresses: packets vanish, and nobody is told. What was cut before stays cut.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn cut(&self, peers: &[Ipv4Addr], way: Way) -> Result<(), String> {
        let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
        let peers = peers.join(", ");
        let chain = |hook: &str, side: &str| {
            format!(
                "add chain inet cuts {hook} {{ type filter hook {hook} priority 0; }}\n\
                 add rule inet cuts {hook} ip {side} {{ {peers} }} drop\n"
            )
        };
        let mut rules = String::from("add table inet cuts\n");
        if way != Way::Out {
            rules.push_str(&chain("input", "saddr"));
        }
        if way != Way::In {
            rules.push_str(&chain("output", "daddr"));
        }
        self.nft(&rules)
    }

    /// Mends all cables of this machine.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn mend(&self) -> Result<(), String> {
        self.nft("add table inet cuts\ndelete table inet cuts\n")
    }

    fn nft(&self, rules: &str) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("nft on {self}: {error}");
        let mut child = self
            .command("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut input = child.stdin.take().ok_or("stdin is piped")?;
        input.write_all(rules.as_bytes()).map_err(failed)?;
        drop(input);
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("nft on {self} refuses\n{rules}{said}"))
    }
}

fn shell(script: &str) -> Result<(), String> {
    crate::foreign::build(Command::new("sh").args(["-ec", script]))
}
