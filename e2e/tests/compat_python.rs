//! The original C++ client 2.0.0, inside the Python package `rocketmq` 0.4.4 (`e2e/python`), against our servers.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::foreign::{self, Needs, Outcomes};

const SCENARIOS: &[&str] = &[
    "pull",
    "push_delayed",
    "push_orderly",
    "push_tags",
    "send_and_push",
    "send_batch",
    "send_one_way",
];

const DEADLINE: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    foreign::main("python", SCENARIOS, needs, Box::new(run))
}

fn needs() -> Needs {
    if !cfg!(target_arch = "x86_64") {
        return Err("the C++ client's library exists for x86-64 only".to_owned());
    }
    if !foreign::has("python3", "--version") {
        return Err("`python3` is not installed (Debian: python3-venv)".to_owned());
    }
    environment()
        .map(|_| ())
        .map_err(|error| format!("the package `rocketmq` is not there: {error}"))
}

/// The interpreter of a virtual environment that has the package; made once.
fn environment() -> Result<PathBuf, String> {
    let folder = foreign::cache_dir("python");
    let python = folder.join("bin/python");
    let has_package = || {
        Command::new(&python)
            .args(["-c", "import rocketmq.client"])
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if has_package() {
        return Ok(python);
    }
    if !foreign::may_install() {
        return Err("it was never installed; try: cargo xtask test --install".to_owned());
    }
    foreign::build(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    foreign::build(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "-r"])
            .arg(foreign::source_dir("python").join("requirements.txt")),
    )?;
    Ok(python)
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let python = environment()?;
    let program = foreign::source_dir("python").join("compat.py");
    foreign::check_list(Command::new(&python).arg(&program).arg("list"), SCENARIOS)?;
    let mut cluster = Cluster::start(1, FlushMode::Async);
    cluster.create_topics(SCENARIOS.iter().map(|scenario| format!("cpp-{scenario}")))?;
    let home = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let mut outcomes = Outcomes::new();
    for scenario in scenarios {
        // Each in a process of its own: this client shares much between the producers and consumers of a process.
        let ended = foreign::run(
            Command::new(&python)
                .arg(&program)
                .args([cluster.name_server(0).addr(), scenario])
                // It logs below the home folder.
                .env("HOME", home.path()),
            DEADLINE,
        );
        match ended {
            Ok(ended) => outcomes.extend(ended),
            Err(error) => {
                outcomes.insert(scenario.clone(), Err(error));
            }
        }
    }
    Ok(outcomes)
}
