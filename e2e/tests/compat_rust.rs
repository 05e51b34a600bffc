//! The Rust client `rocketmq-client-rust` 1.0.0 (`e2e/rust`) against our servers.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::foreign::{self, Needs, Outcomes};

const SCENARIOS: &[&str] = &[
    "poll",
    "push_delayed",
    "push_orderly",
    "push_retry",
    "push_sql",
    "push_tags",
    "send_and_push",
    "transactions",
];

const DEADLINE: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    foreign::main("rust", SCENARIOS, needs, Box::new(run))
}

fn needs() -> Needs {
    program().map(|_| ())
}

/// The program, built in a folder that outlives the project's; cargo builds again only what has changed.
fn program() -> Result<PathBuf, String> {
    let target = foreign::cache_dir("rust");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .current_dir(foreign::source_dir("rust"))
        .args(["build", "--quiet", "--locked", "--target-dir"])
        .arg(&target);
    if !foreign::may_install() {
        build.arg("--offline");
    }
    foreign::build(&mut build).map_err(|error| {
        format!(
            "the packages of the client are not there; try: cargo xtask test --install\n{error}"
        )
    })?;
    Ok(target.join("debug/compat"))
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let program = program()?;
    foreign::check_list(Command::new(&program).arg("list"), SCENARIOS)?;
    let mut cluster = Cluster::start(1, FlushMode::Async);
    cluster.create_topics(SCENARIOS.iter().map(|scenario| format!("rust-{scenario}")))?;
    foreign::run(
        Command::new(&program)
            .arg(cluster.name_server(0).addr())
            .args(scenarios),
        DEADLINE,
    )
}
