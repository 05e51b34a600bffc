//! The original Java client and mqadmin 5.5.0 (`e2e/java`) against our servers.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rmq_e2e::cluster::{Cluster, Flush};
use rmq_e2e::foreign::{self, Needs, Outcomes};

const SCENARIOS: &[&str] = &[
    "admin_broker_config",
    "admin_cluster",
    "admin_consumer",
    "admin_group",
    "admin_kv_config",
    "admin_reset_offset",
    "admin_topic",
    "lite_pull_seek",
    "lite_pull_subscribe",
    "mqadmin_brokerStatus",
    "mqadmin_clusterList",
    "mqadmin_consumerProgress",
    "mqadmin_queryMsgById",
    "mqadmin_queryMsgByKey",
    "mqadmin_topicList",
    "mqadmin_topicRoute",
    "mqadmin_topicStatus",
    "mqadmin_updateSubGroup",
    "mqadmin_updateTopic",
    "pull_offsets",
    "pull_statuses",
    "pull_tags",
    "push_broadcasting",
    "push_concurrent",
    "push_concurrent_retry_dead_letter",
    "push_default_retry_delay",
    "push_delay_levels",
    "push_orderly",
    "push_orderly_retry_dead_letter",
    "push_rebalance",
    "push_resume",
    "push_tags",
    "query_by_key",
    "query_by_offset_id",
    "query_by_unique_id",
    "send_async",
    "send_batch",
    "send_compressed",
    "send_creates_topic",
    "send_limits",
    "send_one_way",
    "send_selected_queue",
    "send_sync",
];

/// Below Maven's local repository, once everything was fetched.
const TOOLS_JAR: &str = "org/apache/rocketmq/rocketmq-tools/5.5.0/rocketmq-tools-5.5.0.jar";

/// All scenarios run in one JVM, most of them at the same time.
const DEADLINE: Duration = Duration::from_secs(300);

/// The header encoding of the requests is chosen for a whole JVM: the second one runs these.
const BINARY: &str = "binary_header_";
const BINARY_SCENARIOS: &[&str] = &[
    "admin_topic",
    "lite_pull_subscribe",
    "pull_statuses",
    "push_concurrent",
    "push_concurrent_retry_dead_letter",
    "query_by_key",
    "send_batch",
    "send_sync",
];

fn main() -> ExitCode {
    let binary: Vec<String> = BINARY_SCENARIOS
        .iter()
        .map(|scenario| format!("{BINARY}{scenario}"))
        .collect();
    let all: Vec<&str> = SCENARIOS
        .iter()
        .copied()
        .chain(binary.iter().map(String::as_str))
        .collect();
    foreign::main("java", &all, needs, Box::new(run))
}

fn needs() -> Needs {
    for (tool, argument, package) in [
        ("java", "-version", "openjdk-17-jdk-headless"),
        ("javac", "-version", "openjdk-17-jdk-headless"),
        ("mvn", "-version", "maven"),
    ] {
        if !foreign::has(tool, argument) {
            return Err(format!("`{tool}` is not installed (Debian: {package})"));
        }
    }
    let fetched = std::env::home_dir()
        .is_some_and(|home| home.join(".m2/repository").join(TOOLS_JAR).exists());
    if !fetched && !foreign::may_install() {
        return Err(
            "its Maven parts were never fetched; try: cargo xtask test --install".to_owned(),
        );
    }
    Ok(())
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let built = foreign::build_dir("java")?;
    build(&built)?;
    let mut list = Command::new("java");
    list.arg("-cp").arg(class_path(&built));
    foreign::check_list(list.args(["rmq.compat.Main", "list"]), SCENARIOS)?;
    let mut cluster = Cluster::start(1, Flush::Async);
    let home = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let mut java = |headers| java(&built, home.path(), headers, cluster.name_server(0).addr());
    let (binary, json): (Vec<&str>, Vec<&str>) = scenarios
        .iter()
        .map(String::as_str)
        .partition(|scenario| scenario.starts_with(BINARY));
    let mut outcomes = Outcomes::new();
    if !json.is_empty() {
        outcomes = foreign::run(java("JSON").args(json), DEADLINE)?;
    }
    if !binary.is_empty() {
        let plain = binary.iter().filter_map(|name| name.strip_prefix(BINARY));
        let ended = foreign::run(java("ROCKETMQ").args(plain), DEADLINE)?;
        outcomes.extend(
            ended
                .into_iter()
                .map(|(name, end)| (format!("{BINARY}{name}"), end)),
        );
    }
    Ok(outcomes)
}

/// Asks the network only for what was not fetched before.
fn build(built: &Path) -> Result<(), String> {
    let maven = |offline: bool| {
        let mut command = Command::new("mvn");
        command
            .current_dir(foreign::source_dir("java"))
            .args(["-q", "-B", "package"])
            .arg(format!("-Dcompat.build={}", built.display()));
        if offline {
            command.arg("-o");
        }
        foreign::build(&mut command)
    };
    match maven(true) {
        Err(_) if foreign::may_install() => maven(false),
        built => built,
    }
}

fn java(built: &Path, home: &Path, headers: &str, name_server: &str) -> Command {
    let mut command = Command::new("java");
    command
        .arg("-Xmx512m")
        .arg(format!("-Drocketmq.serialize.type={headers}"))
        .arg(format!("-Duser.home={}", home.display()))
        .arg(format!(
            "-Drocketmq.client.logRoot={}",
            home.join("log").display()
        ))
        .arg(format!(
            "-Drocketmq.client.localOffsetStoreDir={}",
            home.join("offsets").display()
        ))
        .arg("-cp")
        .arg(class_path(built))
        .args(["rmq.compat.Main", name_server]);
    command
}

fn class_path(built: &Path) -> String {
    format!("{0}/compat.jar:{0}/lib/*", built.display())
}
