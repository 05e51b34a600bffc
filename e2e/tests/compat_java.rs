//! The original Java client and mqadmin 5.5.0 (`e2e/java`), and an application with Spring (`e2e/spring`), against our servers.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use rmq_client::{Assignment, Client, Compression, Consumer, Message, Queue, StartFrom, TopicSpec};
use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::filters;
use rmq_e2e::foreign::{self, Needs, Outcomes};
use rmq_e2e::spring;

const SCENARIOS: &[&str] = &[
    "admin_broker_config",
    "admin_cluster",
    "admin_consumer",
    "admin_group",
    "admin_kv_config",
    "admin_reset_offset",
    "admin_topic",
    COMPACTION,
    "dashboard_pages",
    "exporter_cycle",
    "light_queues",
    "light_queues_lite_pull",
    "light_queues_of_groups",
    "lite_pull_seek",
    "lite_pull_sql",
    "lite_pull_subscribe",
    "mqadmin_brokerStatus",
    "mqadmin_cloneGroupOffset",
    "mqadmin_clusterList",
    "mqadmin_coldDataFlowCtr",
    "mqadmin_consumerProgress",
    "mqadmin_queryMsgById",
    "mqadmin_queryMsgByKey",
    "mqadmin_queryMsgTraceById",
    "mqadmin_resetOffsetByTime",
    "mqadmin_topicList",
    "mqadmin_topicRoute",
    "mqadmin_topicStatus",
    "mqadmin_updateSubGroup",
    "mqadmin_updateTopic",
    "pull_offsets",
    "pull_sql",
    "pull_statuses",
    "pull_tags",
    "push_broadcasting",
    "push_concurrent",
    "push_concurrent_retry_dead_letter",
    "push_default_retry_delay",
    "push_delay_levels",
    "push_namespace",
    "push_orderly",
    "push_orderly_retry_dead_letter",
    "push_rebalance",
    "push_resume",
    SHARED,
    "push_sql",
    "push_sql_refused",
    "push_tags",
    "push_topic_made_again",
    "query_by_key",
    "query_by_offset_id",
    "query_by_unique_id",
    "queues_shrink_and_grow",
    "quota_of_group",
    "quota_of_topic",
    "request_reply",
    "send_async",
    "send_batch",
    "send_compressed",
    "send_creates_topic",
    "send_limits",
    "send_one_way",
    "send_priority",
    "send_selected_queue",
    "send_sync",
    "timers_deliver",
    "timers_recall",
    "timers_refused",
    "topic_message_types",
    "transaction_check_back",
    "transaction_commit_rollback",
    "transaction_producer_dies",
];

/// A group with a Java member and a member of our client.
const SHARED: &str = "push_shared_with_rust";
const SHARED_TOPIC: &str = "shared-with-rust";
/// At a broker of its own, with small segments that it gives up for want of space: nobody waits until they are old.
const COMPACTION: &str = "compaction_topic";
const GIVES_UP_SEGMENTS: &[&str] = &["segmentBytes=65536", "diskEvictRatio=0.001"];
/// Not a scenario of the program: it prints how it divides queues, and our client must do the same.
const ASSIGNMENT: &str = "assignment_strategies";

/// Not a scenario of the program either: it prints what it reads of the bodies that our client compressed.
const COMPRESSED: &str = "reads_what_rust_compressed";

/// Nor this: mqadmin prints what our client wrote of a message.
const TRACED: &str = "mqadmin_reads_what_rust_traced";

/// Nor this: it prints what the original's evaluation says of expressions.
const FILTERS: &str = "filter_expressions";

/// Below Maven's local repository, once everything was fetched.
const FETCHED: &[&str] = &[
    "org/apache/rocketmq/rocketmq-tools/5.5.0/rocketmq-tools-5.5.0.jar",
    "org/apache/rocketmq/rocketmq-spring-boot/2.3.5/rocketmq-spring-boot-2.3.5.jar",
];

/// All scenarios run in one JVM, most of them at the same time.
const DEADLINE: Duration = Duration::from_secs(300);

/// The header encoding of the requests is chosen for a whole JVM: the second one runs these.
const BINARY: &str = "binary_header_";
const BINARY_SCENARIOS: &[&str] = &[
    "admin_topic",
    "lite_pull_sql",
    "lite_pull_subscribe",
    "pull_statuses",
    "push_concurrent",
    "push_concurrent_retry_dead_letter",
    "query_by_key",
    "send_batch",
    "send_sync",
    "timers_recall",
    "transaction_check_back",
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
        .chain([ASSIGNMENT, COMPRESSED, TRACED, FILTERS])
        .chain(spring::SCENARIOS.iter().copied())
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
    let fetched = std::env::home_dir().is_some_and(|home| {
        let repository = home.join(".m2/repository");
        FETCHED.iter().all(|jar| repository.join(jar).exists())
    });
    if !fetched && !foreign::may_install() {
        return Err(
            "its Maven parts were never fetched; try: cargo xtask test --install".to_owned(),
        );
    }
    Ok(())
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let built = foreign::build_dir("java")?;
    foreign::maven("java", &built)?;
    let mut list = Command::new("java");
    list.arg("-cp").arg(class_path(&built));
    foreign::check_list(list.args(["rmq.compat.Main", "list"]), SCENARIOS)?;
    let light = ["enableLmq=true", "enableMultiDispatch=true"];
    let mut cluster = Cluster::start_with(1, FlushMode::Async, &light, &[]);
    let home = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let name_server = cluster.name_server(0).addr().to_owned();
    let java = |headers| java(&built, home.path(), headers, &name_server);
    let (of_spring, scenarios): (Vec<&str>, Vec<&str>) = scenarios
        .iter()
        .map(String::as_str)
        .partition(|scenario| spring::SCENARIOS.contains(scenario));
    let (binary, json): (Vec<&str>, Vec<&str>) = scenarios
        .iter()
        .copied()
        .filter(|scenario| {
            ![ASSIGNMENT, COMPACTION, COMPRESSED, TRACED, FILTERS].contains(scenario)
        })
        .partition(|scenario| scenario.starts_with(BINARY));
    let mut outcomes = Outcomes::new();
    if !json.is_empty() {
        let mut command = java("JSON");
        let mut run_all = || foreign::run(command.args(&json), DEADLINE);
        outcomes = if json.contains(&SHARED) {
            beside_a_rust_member(&name_server, run_all)?
        } else {
            run_all()?
        };
    }
    if scenarios.contains(&COMPACTION) {
        let mut small = Cluster::start_with(1, FlushMode::Async, GIVES_UP_SEGMENTS, &[]);
        let name_server = small.name_server(0).addr().to_owned();
        let mut command = self::java(&built, home.path(), "JSON", &name_server);
        outcomes.extend(foreign::run(command.arg(COMPACTION), DEADLINE)?);
    }
    if scenarios.contains(&ASSIGNMENT) {
        outcomes.insert(ASSIGNMENT.to_owned(), same_assignments(&built));
    }
    if scenarios.contains(&FILTERS) {
        let mut command = Command::new("java");
        command.arg("-cp").arg(class_path(&built));
        let same = filters::same(command.args(["rmq.compat.Main", "filters"]));
        outcomes.insert(FILTERS.to_owned(), same);
    }
    if scenarios.contains(&COMPRESSED) {
        let read = java_command(&built, home.path(), "JSON");
        outcomes.insert(COMPRESSED.to_owned(), same_bodies(read, &name_server));
    }
    if scenarios.contains(&TRACED) {
        let mqadmin = java_command(&built, home.path(), "JSON");
        outcomes.insert(TRACED.to_owned(), same_trace(mqadmin, &name_server));
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
    if !of_spring.is_empty() {
        outcomes.extend(spring::run(&mut cluster, home.path(), &of_spring)?);
    }
    Ok(outcomes)
}

/// Runs the program while a member of our client shares a group with it.
fn beside_a_rust_member(
    name_server: &str,
    run: impl FnOnce() -> Result<Outcomes, String>,
) -> Result<Outcomes, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let failed = |error: rmq_client::Error| format!("the Rust member: {error}");
    let (client, consumer) = runtime.block_on(rust_member(name_server)).map_err(failed)?;
    let consumer = Arc::new(consumer);
    let ready = runtime.spawn(say_ready(client.clone(), Arc::clone(&consumer)));
    let outcomes = run();
    ready.abort();
    runtime
        .block_on(async {
            // Aborted or ended: both are fine, the scenario says whether it was ready in time.
            let _ = ready.await;
            let ended = match Arc::into_inner(consumer) {
                Some(consumer) => consumer.shutdown().await,
                None => Ok(()),
            };
            client.shutdown().await;
            ended
        })
        .map_err(failed)?;
    outcomes
}

/// Tells the scenario when the other half of the queues is this member's.
async fn say_ready(client: Client, consumer: Arc<Consumer>) {
    let is_half = || {
        let held = consumer.assignment();
        let of_topic = held.iter().filter(|queue| queue.topic() == SHARED_TOPIC);
        of_topic.count() == 4
    };
    while !is_half() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let message = Message::new(format!("{SHARED_TOPIC}-ready"), "ready");
    // Without it the scenario fails and says what is missing.
    let _ = client.producer().send(message).await;
}

async fn rust_member(name_server: &str) -> Result<(Client, Consumer), rmq_client::Error> {
    let client = Client::connect(name_server).await?;
    for (topic, queues) in [
        (SHARED_TOPIC.to_owned(), 8),
        (format!("{SHARED_TOPIC}-seen"), 4),
        (format!("{SHARED_TOPIC}-ready"), 1),
    ] {
        let spec = TopicSpec::new(topic).queues(queues);
        client.admin().create_topic(&spec).await?;
    }
    let producer = client.producer();
    let consumer = client
        .consumer(format!("{SHARED_TOPIC}-group"))
        .subscribe(SHARED_TOPIC, "*")
        .from(StartFrom::First)
        .handler(move |delivery| {
            let producer = producer.clone();
            async move {
                let body = delivery.body().clone();
                let seen = Message::new(format!("{SHARED_TOPIC}-seen"), body).tag("rust");
                producer.send(seen).await.map(drop)
            }
        })
        .start()
        .await?;
    Ok((client, consumer))
}

/// The program's lines against what our client makes of the same numbers.
fn same_assignments(built: &Path) -> Result<(), String> {
    let output = Command::new("java")
        .arg("-cp")
        .arg(class_path(built))
        .args(["rmq.compat.Main", "assignments"])
        .output()
        .map_err(|error| format!("java cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [strategy, queues, members, member, theirs] = words[..] else {
            return Err(format!("not a line of assignments: {line}"));
        };
        let strategy = match strategy {
            "AVG" => Assignment::Average,
            "AVG_BY_CIRCLE" => Assignment::AverageByCircle,
            "CONSISTENT_HASH" => Assignment::ConsistentHash,
            other => return Err(format!("unknown strategy {other}")),
        };
        let number = |text: &str| {
            text.parse::<i32>()
                .map_err(|error| format!("{line}: {error}"))
        };
        let mut queues: Vec<Queue> = (0..number(queues)?)
            .map(|i| Queue::new("orders", format!("broker-{}", i % 2), i / 2))
            .collect();
        queues.sort();
        let mut members: Vec<String> = (0..number(members)?)
            .map(|i| format!("10.0.0.{i}@{}#{i}", i * 7919))
            .collect();
        members.sort();
        let ours: Vec<String> = strategy
            .queues_of(member, &queues, &members)
            .iter()
            .map(|queue| format!("{}/{}", queue.broker(), queue.id()))
            .collect();
        if ours.join(",") != theirs {
            return Err(format!("{line}, but ours is {}", ours.join(",")));
        }
        lines += 1;
    }
    // Three strategies, eight numbers of queues, groups of 1, 2, 3, 5, 8 and 11 members.
    let expected = 3 * 8 * 30;
    if lines != expected {
        return Err(format!(
            "{lines} lines instead of {expected}: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(())
}

/// Bodies that our client compressed by each codec, as the program reads them.
fn same_bodies(mut java: Command, name_server: &str) -> Result<(), String> {
    const TOPIC: &str = "compressed-by-rust";
    let text = |length: usize| {
        let lines = (0..).map(|number| format!("line {number} of a report\n"));
        let mut text: String = lines.take(length / 16).collect();
        text.truncate(length);
        text
    };
    let sends = async {
        let client = Client::connect(name_server).await?;
        let spec = TopicSpec::new(TOPIC).queues(1);
        client.admin().create_topic(&spec).await?;
        let mut expected = String::new();
        for compression in [Compression::zlib(), Compression::lz4(), Compression::zstd()] {
            let producer = client.producer_builder().compression(compression).build();
            // Of several blocks too.
            for length in [4_096, 100_000, 3_000_000] {
                let body = text(length);
                let hash = rmq_protocol::message::java_hash_code(&body);
                expected.push_str(&format!("{length} {hash}\n"));
                producer.send(Message::new(TOPIC, body)).await?;
            }
        }
        client.shutdown().await;
        Ok::<_, rmq_client::Error>(expected)
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let expected = runtime.block_on(sends).map_err(|error| error.to_string())?;
    let output = java
        .args(["rmq.compat.Main", "bodies", name_server, TOPIC])
        .output()
        .map_err(|error| format!("java cannot be run: {error}"))?;
    let read = String::from_utf8_lossy(&output.stdout);
    if read != expected {
        return Err(format!(
            "it read\n{read}instead of\n{expected}{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(())
}

/// What mqadmin shows of a message that our client sent and consumed, and wrote traces of.
fn same_trace(mut mqadmin: Command, name_server: &str) -> Result<(), String> {
    const TOPIC: &str = "traced-by-rust";
    const PRODUCERS: &str = "traced-by-rust-producers";
    const CONSUMERS: &str = "traced-by-rust-consumers";
    let writes = async {
        let traced = Client::builder(name_server).message_traces(None);
        let client = traced.connect().await?;
        let spec = TopicSpec::new(TOPIC).queues(1);
        client.admin().create_topic(&spec).await?;
        let consumer = client.consumer(CONSUMERS).subscribe(TOPIC, "*");
        let mut deliveries = consumer.from(StartFrom::First).stream().await?;
        let producer = client.producer_builder().group(PRODUCERS).build();
        let order = Message::new(TOPIC, "17").key("order-17").tag("paid");
        let receipt = producer.send(order).await?;
        if let Some(order) = deliveries.next().await? {
            order.ack().await?;
        }
        deliveries.shutdown().await?;
        // The last traces leave before it ends.
        client.shutdown().await;
        Ok::<_, rmq_client::Error>((
            receipt.message_id().to_owned(),
            client.message_traces_lost(),
        ))
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let written = runtime.block_on(async { tokio::time::timeout(DEADLINE, writes).await });
    let written = written.map_err(|_| "our client has consumed nothing".to_owned())?;
    let (id, lost) = written.map_err(|error| error.to_string())?;
    if lost > 0 {
        return Err(format!("{lost} records of traces were lost"));
    }
    let output = mqadmin
        .arg("org.apache.rocketmq.tools.command.MQAdminStartup")
        .args(["queryMsgTraceById", "-n", name_server, "-i", &id])
        .output()
        .map_err(|error| format!("java cannot be run: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    // Type, group, host, day and time, how long it took, how it ended.
    for (kind, group) in [("Pub", PRODUCERS), ("Sub", CONSUMERS)] {
        let is_it = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            matches!(words[..], [first, of, _, _, _, took, "success"]
                if first == kind && of == group && took.ends_with("ms"))
        };
        if printed.lines().filter(is_it).count() != 1 {
            return Err(format!(
                "no line {kind} of {group} in\n{printed}{}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
    }
    Ok(())
}

fn java(built: &Path, home: &Path, headers: &str, name_server: &str) -> Command {
    let mut command = java_command(built, home, headers);
    command.args(["rmq.compat.Main", name_server]);
    command
}

fn java_command(built: &Path, home: &Path, headers: &str) -> Command {
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
        .arg(class_path(built));
    command
}

fn class_path(built: &Path) -> String {
    format!("{0}/compat.jar:{0}/lib/*", built.display())
}
