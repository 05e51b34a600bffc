//! The page `docs/start/three-nodes.md`: its files on three machines with the addresses that it names, its commands, and the loss of a master.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rmq_client::{Client, Message};
use rmq_e2e::net::Machine;
use rmq_e2e::page;
use rmq_e2e::process::{Process, binary};

use crate::group::World;
use crate::until;

const PAGE: &str = "start/three-nodes.md";
/// The page with the units.
const PRODUCTION: &str = "operate/production.md";
const WITHIN: Duration = Duration::from_secs(60);

/// One of the three. What runs there ends with this.
struct Node {
    machine: Machine,
    root: PathBuf,
    etcd: Option<Child>,
    servers: Vec<Process>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(etcd) = &mut self.etcd {
            // It may have ended.
            let _ = etcd.kill();
            let _ = etcd.wait();
        }
    }
}

/// A line of the first machine, and what it is on the others.
struct Differs {
    file: String,
    lines: [String; 3],
}

/// The rows of the page's table.
fn differences(text: &str) -> Vec<Differs> {
    let row = |line: &str| {
        let cells: Vec<String> = line
            .split('|')
            .filter_map(|cell| cell.trim().strip_prefix('`')?.strip_suffix('`'))
            .map(str::to_owned)
            .collect();
        let [file, first, second, third] = <[String; 4]>::try_from(cells).ok()?;
        Some(Differs {
            file,
            lines: [first, second, third],
        })
    };
    text.lines().filter_map(row).collect()
}

impl Node {
    /// The page's files as they are on machine `index`, with their folders below `root`.
    fn install(world: &World, text: &str, index: usize, root: PathBuf) -> Result<Self, String> {
        let last = u8::try_from(31 + index).map_err(|error| error.to_string())?;
        let at = Ipv4Addr::new(10, 0, 0, last);
        let machine = world.network.machine(&format!("node-{}", index + 1), at)?;
        let differences = differences(text);
        for (path, text) in page::files(text) {
            let mut lines: Vec<&str> = text.lines().collect();
            for differs in differences.iter().filter(|differs| differs.file == path) {
                let line = lines.iter_mut().find(|line| **line == differs.lines[0]);
                let line = line.ok_or_else(|| format!("{path} has no {:?}", differs.lines[0]))?;
                *line = &differs.lines[index];
            }
            let text = here(&lines.join("\n"), &root);
            let file = root.join(path.trim_start_matches('/'));
            let written = std::fs::create_dir_all(file.parent().unwrap_or(&root))
                .and_then(|()| std::fs::write(&file, text));
            written.map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(Self {
            machine,
            root,
            etcd: None,
            servers: Vec::new(),
        })
    }

    /// As Debian's unit does, with the variables of its file.
    fn start_etcd(&mut self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("etcd on {}: {error}", self.machine);
        let file = self.root.join("etc/default/etcd");
        let variables = std::fs::read_to_string(file).map_err(failed)?;
        let log = std::fs::File::create(self.root.join("etcd.log")).map_err(failed)?;
        let etcd = self
            .machine
            .command("etcd")
            .envs(variables.lines().filter_map(|line| line.split_once('=')))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.etcd = Some(etcd.map_err(failed)?);
        Ok(())
    }

    /// As the unit of the page of production does.
    fn start(&mut self, unit: &str) {
        let command = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let command = here(command.unwrap_or_default(), &self.root);
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let name = Path::new(program).file_name().unwrap_or_default();
        let log = self.root.join(name).with_extension("log");
        let mut command = self.machine.command(program);
        self.servers.push(Process::run(command.args(words), &log));
    }

    /// The end of all logs.
    fn logs(&self) -> String {
        let mut text = String::new();
        for name in ["etcd", "rmq-namesrv", "rmq-broker"] {
            let log = std::fs::read_to_string(self.root.join(name).with_extension("log"));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            text.push_str(&format!("--- {} {name}\n{last}\n", self.machine));
        }
        text
    }
}

/// With the folders and programs of this test.
fn here(text: &str, root: &Path) -> String {
    let programs = binary("rmq-broker");
    let programs = programs.parent().unwrap_or(root);
    let mut text = text.replace("/usr/local/bin", &programs.display().to_string());
    for folder in ["/etc/rmq", "/var/lib"] {
        text = text.replace(folder, &format!("{}{folder}", root.display()));
    }
    text
}

pub(crate) fn run(world: &World) -> Result<(), String> {
    let text = page::text_of(PAGE)?;
    let units = page::files(&page::text_of(PRODUCTION)?);
    let unit = |name: &str| {
        let path = format!("/etc/systemd/system/{name}.service");
        let found = units.iter().find(|(file, _)| *file == path);
        let unit = found.map(|(_, text)| text.clone());
        unit.ok_or_else(|| format!("{PRODUCTION} has no {path}"))
    };
    world.network.also_at(Ipv4Addr::new(10, 0, 0, 1))?;
    let mut nodes = Vec::new();
    for index in 0..3 {
        let root = world.folder(&format!("node-{}", index + 1))?;
        nodes.push(Node::install(world, &text, index, root)?);
    }
    nodes.iter_mut().try_for_each(Node::start_etcd)?;
    for node in &mut nodes {
        node.start(&unit("rmq-namesrv")?);
        node.start(&unit("rmq-broker")?);
    }
    let ended = walk(world, &text, &mut nodes);
    let logs = || nodes.iter().map(Node::logs).collect::<String>();
    ended.map_err(|error| format!("{error}\n{}", logs()))
}

/// The page's commands, and a kill of the master before the last of them.
fn walk(world: &World, text: &str, nodes: &mut [Node]) -> Result<(), String> {
    let is_run = |block: &page::Block| block.info == "console";
    let blocks: Vec<_> = page::blocks(text).into_iter().filter(is_run).collect();
    let (last, first) = blocks.split_last().ok_or("the page has no commands")?;
    let mut said = String::new();
    for block in first {
        said = shell(&block.text, "")?;
    }
    let addresses = said_addresses(text)?;
    let runtime = &world.runtime;
    let client = runtime.block_on(Client::connect(addresses.clone()));
    let client = client.map_err(|error| error.to_string())?;
    let info = runtime.block_on(client.cluster_info());
    let info = info.map_err(|error| error.to_string())?;
    let group = info.broker_addr_table.get("broker-a").ok_or(said)?;
    let master = group.broker_addrs.get(&0).ok_or("there is no master")?;
    let is_master = |node: &&mut Node| master.starts_with(&node.machine.at().to_string());
    let node = nodes.iter_mut().find(is_master);
    let node = node.ok_or_else(|| format!("no machine has the master {master}"))?;
    let broker = node.servers.pop().ok_or("it runs a broker")?;
    broker.kill();
    let producer = client.producer();
    until(WITHIN, || {
        let sent = runtime.block_on(producer.send(Message::new("orders", "between")));
        sent.map(drop).map_err(|error| error.to_string())
    })?;
    let said = shell(&last.text, &format!("export NAMESRV_ADDR='{addresses}'\n"))?;
    runtime.block_on(client.shutdown());
    for body in ["a first order", "between", "a second order"] {
        if !said.lines().any(|line| line == body) {
            return Err(format!("{body:?} is not there: {said}"));
        }
    }
    Ok(())
}

/// The name servers as the page exports them.
fn said_addresses(text: &str) -> Result<String, String> {
    let line = text
        .lines()
        .find_map(|line| line.split_once("NAMESRV_ADDR='"));
    let addresses = line.and_then(|(_, rest)| rest.strip_suffix('\''));
    addresses
        .map(str::to_owned)
        .ok_or_else(|| "no NAMESRV_ADDR".to_owned())
}

/// Runs the commands of a block one after the other; what they printed.
fn shell(block: &str, before: &str) -> Result<String, String> {
    let commands = block.lines().filter_map(|line| line.strip_prefix("$ "));
    let script: Vec<&str> = commands.collect();
    let script = format!("{before}{}", script.join("\n"));
    let programs = binary("rmq-ctl");
    let programs = programs.parent().ok_or("a program lies in a folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-ec", &script])
        .env("PATH", format!("{}:{path}", programs.display()))
        .env_remove("RMQ_URL")
        .env_remove("RMQ_CONTEXT")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("bash cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => {
            let errors = String::from_utf8_lossy(&output.stderr);
            Err(format!(
                "{script}\nended with {}\n{said}{errors}",
                output.status
            ))
        }
    }
}
