//! The Node client `ali-ons` 3.12.0 (`e2e/node`), which speaks the remoting protocol, against our servers.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::foreign::{self, Needs, Outcomes};

const SCENARIOS: &[&str] = &[
    "push_delayed",
    "push_retry",
    "push_sql",
    "push_tags",
    "send_and_push",
    "send_compressed",
];

const DEADLINE: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    foreign::main("node", SCENARIOS, needs, Box::new(run))
}

fn needs() -> Needs {
    if !foreign::has("node", "--version") {
        return Err("`node` 18 or later is not installed (Debian: nodejs)".to_owned());
    }
    modules().map(|_| ())
}

/// The folder with the program and what it needs; filled once.
fn modules() -> Result<PathBuf, String> {
    let folder = foreign::cache_dir("node");
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    for file in ["package.json", "compat.js"] {
        std::fs::copy(foreign::source_dir("node").join(file), folder.join(file))
            .map_err(|error| format!("cannot copy {file} to {}: {error}", folder.display()))?;
    }
    let version = std::fs::read_to_string(folder.join("node_modules/ali-ons/package.json"));
    if version.is_ok_and(|text| text.contains("\"version\": \"3.12.0\"")) {
        return Ok(folder);
    }
    if !foreign::may_install() {
        return Err(
            "the package ali-ons was never installed; try: cargo xtask test --install".to_owned(),
        );
    }
    let mut install = Command::new("npm");
    install.current_dir(&folder).args([
        "install",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--ignore-scripts",
        "--silent",
    ]);
    foreign::build(&mut install)?;
    Ok(folder)
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let program = modules()?.join("compat.js");
    let node = || {
        let mut node = Command::new("node");
        node.arg(&program);
        node
    };
    foreign::check_list(node().arg("list"), SCENARIOS)?;
    let mut cluster = Cluster::start(1, FlushMode::Async);
    cluster.create_topics(SCENARIOS.iter().map(|scenario| format!("node-{scenario}")))?;
    foreign::run(
        node().arg(cluster.name_server(0).addr()).args(scenarios),
        DEADLINE,
    )
}
