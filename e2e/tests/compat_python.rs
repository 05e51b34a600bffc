//! The original C++ client 2.0.0, inside the Python package `rocketmq` 0.4.4 (`e2e/python`), against our servers.

use std::process::ExitCode;
use std::time::Duration;

use rmq_e2e::clients;
use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::foreign::{self, Outcomes};

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
    foreign::main("python", SCENARIOS, clients::python_needs, Box::new(run))
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    foreign::check_list(clients::python("compat.py")?.arg("list"), SCENARIOS)?;
    let mut cluster = Cluster::start(1, FlushMode::Async);
    cluster.create_topics(SCENARIOS.iter().map(|scenario| format!("cpp-{scenario}")))?;
    let home = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let mut outcomes = Outcomes::new();
    for scenario in scenarios {
        // Each in a process of its own: this client shares much between the producers and consumers of a process.
        let ended = foreign::run(
            clients::python("compat.py")?
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
