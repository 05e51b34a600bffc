//! An application with `rocketmq-spring-boot-starter` (`e2e/spring`), as teams write it, against our servers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::foreign::{self, Outcomes};

/// What the application does, each a test.
pub const SCENARIOS: &[&str] = &[
    "spring_batch",
    "spring_delayed",
    "spring_listen",
    "spring_listen_sql",
    "spring_orderly",
    "spring_reply",
    "spring_retry",
    "spring_transaction",
];

/// The application has a listener on each from its start on.
const TOPICS: &[&str] = &[
    "spring-batch",
    "spring-delayed",
    "spring-listen",
    "spring-orderly",
    "spring-requests",
    "spring-retry",
    "spring-sql",
    "spring-transactions",
];

const DEADLINE: Duration = Duration::from_secs(300);

/// Builds the application and runs it against this cluster.
///
/// # Errors
/// What Maven printed, or that the application said nothing.
pub fn run(cluster: &mut Cluster, home: &Path, scenarios: &[&str]) -> Result<Outcomes, String> {
    let built = foreign::build_dir("spring")?;
    foreign::maven("spring", &built)?;
    let java = || {
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Duser.home={}", home.display()))
            .arg("-cp")
            .arg(format!("{0}/spring.jar:{0}/lib/*", built.display()))
            .arg("rmq.spring.Application");
        command
    };
    foreign::check_list(java().arg("list"), SCENARIOS)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(async {
        let client = cluster.client().await;
        for topic in TOPICS {
            cluster.create_topic(&client, topic, 2).await;
        }
        client.shutdown().await;
    });
    let name_server = cluster.name_server(0).addr().to_owned();
    foreign::run(java().arg(name_server).args(scenarios), DEADLINE)
}
