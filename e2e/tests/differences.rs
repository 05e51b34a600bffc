//! The same random operations at our servers and at Apache RocketMQ's own, with the unmodified Java client (`e2e/java`, `rmq.compat.differences`): each
//! must give the same at both, but for what `e2e/java/accepted.txt` says with a reason.
//!
//! A seed is 200 operations. CI runs 10; `RMQ_SEEDS=500 cargo test -p rmq-e2e --test differences` runs more, and then also finds what is accepted in vain;
//! `RMQ_SEED=17` runs that one. About 60 s for 10 seeds, most of it waiting.

use std::process::{Command, ExitCode};
use std::time::Duration;

use rmq_e2e::apache::{self, Apache};
use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::foreign::{self, Outcomes};

const SEEDS_IN_CI: u64 = 10;
/// So many seeds meet every difference that is accepted.
const SEEDS_OF_ALL: u64 = 100;
/// Whether each line of the accepted differences was needed.
const NOT_IN_VAIN: &str = "nothing_accepted_in_vain";

/// What users of the original switch on; a loaded machine does not make it refuse anything, and a registration that came out of order counts for 10 s only.
const OF_APACHE: &str = "enablePropertyFilter=true
recallMessageEnable=true
waitTimeMillsInSendQueue=60000
waitTimeMillsInPullQueue=60000
waitTimeMillsInLitePullQueue=60000
waitTimeMillsInHeartbeatQueue=60000
waitTimeMillsInTransactionQueue=60000
waitTimeMillsInAdminBrokerQueue=60000
osPageCacheBusyTimeOutMills=60000
registerNameServerPeriod=10000
";
const OF_OURS: &[&str] = &["brokerName=broker-java", "autoCreateTopic=false"];

fn main() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match (number("RMQ_SEED"), number("RMQ_SEEDS")) {
        (Some(seed), _) => seed..=seed,
        (None, seeds) => 1..=seeds.unwrap_or(SEEDS_IN_CI),
    };
    let is_all = seeds.end() - seeds.start() + 1 >= SEEDS_OF_ALL;
    let mut scenarios: Vec<String> = seeds.map(|seed| format!("seed_{seed}")).collect();
    if is_all {
        scenarios.push(NOT_IN_VAIN.to_owned());
    }
    let names: Vec<&str> = scenarios.iter().map(String::as_str).collect();
    foreign::main("differences", &names, apache::needs, Box::new(run))
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let servers = foreign::build_dir("java-servers")?;
    foreign::maven("java-servers", &servers)?;
    let client = foreign::build_dir("java")?;
    foreign::maven("java", &client)?;
    let theirs = Apache::start(&servers, OF_APACHE)?;
    let mut ours = Cluster::start_with(1, FlushMode::Async, OF_OURS, &[]);
    let home = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!("-Duser.home={}", home.path().display()))
        .arg(format!(
            "-Drocketmq.client.logRoot={}",
            home.path().display()
        ))
        .arg("-cp")
        .arg(format!("{0}/compat.jar:{0}/lib/*", client.display()))
        .args(["rmq.compat.Main", "differences"])
        .args([ours.name_server(0).addr(), theirs.name_server()])
        .arg(foreign::source_dir("java").join("accepted.txt"))
        .args(scenarios);
    // A seed takes seconds; a machine under load ten times as long.
    let deadline = Duration::from_secs(240 + 30 * scenarios.len() as u64);
    foreign::run(&mut java, deadline)
}
