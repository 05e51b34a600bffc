//! The original Go client v2.1.2 (`e2e/go`) against our servers.

use std::process::{Command, ExitCode};
use std::time::Duration;

use rmq_e2e::clients;
use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::foreign::{self, Outcomes};

const SCENARIOS: &[&str] = &[
    "admin_topic",
    "pull_from_offset",
    "pull_poll",
    "push_concurrent",
    "push_delay_level",
    "push_orderly",
    "push_resume",
    "push_retry_dead_letter",
    "push_sql",
    "push_tags",
    "send_async",
    "send_batch",
    "send_compressed",
    "send_one_way",
    "send_refused",
    "send_sync",
    "transactions",
];

const DEADLINE: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    foreign::main("go", SCENARIOS, clients::go_needs, Box::new(run))
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let program = clients::go(&foreign::build_dir("go")?)?;
    foreign::check_list(Command::new(&program).arg("list"), SCENARIOS)?;
    let mut cluster = Cluster::start(1, FlushMode::Async);
    foreign::run(
        Command::new(&program)
            .arg(cluster.name_server(0).addr())
            .arg(cluster.broker().addr())
            .args(scenarios),
        DEADLINE,
    )
}
