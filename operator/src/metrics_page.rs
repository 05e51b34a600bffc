//! docs/reference/metrics.md is made of the families that the servers declare, and its alerts ask for families that exist. Other pages name
//! alerts of this one list.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use rmq_process::{Family, FamilyKind, PROCESS_FAMILIES};

const PAGE: &str = "../docs/reference/metrics.md";

const HEAD: &str = "# Metrics

Generated from the families that the servers declare: `RMQ_UPDATE_DOCS=1 cargo test -p rmq-operator metrics_page`.

Every server has a management port with `/metrics` (OpenMetrics 1.0, for Prometheus), `/livez`, `/readyz` and `/version`:

| server | port | where | set by |
| --- | --- | --- | --- |
| broker | 10999 | loopback; in pods of the operator all addresses | `--management`, `management`, `RMQ_BROKER_MANAGEMENT` |
| name server | 9878 | loopback; in pods of the operator all addresses | `--management`, `management`, `RMQ_NAMESRV_MANAGEMENT` |
| operator | 8080 | all addresses | `--listen`, `RMQ_OPERATOR_LISTEN` |
| `rmq-ctl dev` | 9878 and 10999, or free ones | loopback | `--management`, without which there is none |

A person who reaches a management port reads the names of topics, groups and clients, and can change nothing. Prometheus on another machine needs `--management 0.0.0.0:10999` (or the address of an inner network), and a firewall where
not everybody may read that. In pods the ports are named `management`; a `PodMonitor` selects `app.kubernetes.io/name: rmq`.

A counter is scraped as `NAME_total`, a histogram as `NAME_bucket`, `NAME_count` and `NAME_sum`. Names that begin with `rocketmq_` and stand in Apache RocketMQ 5's scrape mean the same here, so dashboards made for it work;
where Apache counts a duration in milliseconds and classes from 1 ms on, ours has seconds, classes from 50 µs on, and a name that ends with `_seconds`.
";

const ALERTS: &str = r#"## Alerts

Rules for Prometheus to begin with, for example as `/etc/prometheus/rules/rmq.yaml`. The times and numbers are what a cluster with people on call in working hours wants; change them to yours.

```yaml
groups:
- name: rmq
  rules:
  # The job of the scrape is `rmq`.
  - alert: RmqDown
    expr: up{job="rmq"} == 0
    for: 1m
    labels: {severity: page}
  # Fewer than there should be: 2 is the number of your brokers.
  - alert: RmqBrokerMissing
    expr: rocketmq_nameserver_brokers < 2
    for: 2m
    labels: {severity: page}
  # Producers are refused: the disk is full or failed. `rmq-ctl health` says which.
  - alert: RmqTakesNoMessages
    expr: rocketmq_store_writable == 0
    for: 1m
    labels: {severity: page}
  # Clients do not find the broker.
  - alert: RmqNotRegistered
    expr: max by (node_id) (rocketmq_name_server_registered) == 0
    for: 1m
    labels: {severity: page}
  # A drain, or a permission that somebody took, that nobody ended.
  - alert: RmqDrainedForLong
    expr: rocketmq_broker_permission < 6
    for: 1h
    labels: {severity: ticket}
  - alert: RmqDiskFullSoon
    expr: rocketmq_disk_free_ratio < 0.15 or predict_linear(rocketmq_disk_free_ratio[6h], 24 * 3600) < 0.05
    for: 10m
    labels: {severity: ticket}
  # 99 of 100 sends within 50 ms.
  - alert: RmqSlowSends
    expr: histogram_quantile(0.99, sum by (node_id, le) (rate(rocketmq_rpc_latency_seconds_bucket{request_code=~"SEND_.*"}[5m]))) > 0.05
    for: 10m
    labels: {severity: ticket}
  - alert: RmqSlowDisk
    expr: histogram_quantile(0.99, sum by (node_id, le) (rate(rocketmq_storage_sync_seconds_bucket[5m]))) > 0.1
    for: 10m
    labels: {severity: ticket}
  - alert: RmqRefuses
    expr: sum by (node_id, reason) (rate(rocketmq_rejected_requests_total{reason!~"TOPIC_NOT_EXIST|NO_PERMISSION"}[5m])) > 1
    for: 5m
    labels: {severity: ticket}
  # The group is late by five minutes.
  - alert: RmqGroupIsLate
    expr: max by (consumer_group, topic) (rocketmq_consumer_lag_seconds{is_system="false"}) > 300
    for: 5m
    labels: {severity: ticket}
  # Nobody consumes, and messages wait.
  - alert: RmqGroupIsOffline
    expr: >-
      sum by (consumer_group) (rocketmq_consumer_connections{is_system="false"}) == 0
      and on (consumer_group) sum by (consumer_group) (rocketmq_consumer_lag_messages) > 0
    for: 10m
    labels: {severity: ticket}
  - alert: RmqDeadLetters
    expr: sum by (consumer_group) (increase(rocketmq_send_to_dlq_messages_total[15m])) > 0
    labels: {severity: ticket}
  - alert: RmqDelayedMessagesAreLate
    expr: histogram_quantile(0.99, sum by (node_id, le) (rate(rocketmq_delay_lateness_seconds_bucket[5m]))) > 5
    for: 10m
    labels: {severity: ticket}
  - alert: RmqConnectionsNearLimit
    expr: max by (node_id) (rocketmq_connections) > 0.8 * max by (node_id) (rocketmq_connections_limit)
    for: 5m
    labels: {severity: ticket}
  # Slow readers, or too many large messages at once (memoryBytes).
  - alert: RmqConnectionsWaitForMemory
    expr: rocketmq_connection_memory_waiting > 0
    for: 10m
    labels: {severity: ticket}
  - alert: RmqDescriptorsNearLimit
    expr: process_open_fds > 0.8 * process_max_fds
    for: 5m
    labels: {severity: ticket}
  # Damage of the disk, a clock that leaps, two brokers with one name.
  - alert: RmqDamage
    expr: rocketmq_store_damaged_ranges > 0
    labels: {severity: ticket}
  - alert: RmqClockJumped
    expr: increase(rocketmq_clock_jumps_total[1h]) > 0
    labels: {severity: ticket}
  - alert: RmqTwoBrokersOfOneName
    expr: rocketmq_registration_rivals > 0
    for: 1m
    labels: {severity: page}
  # The operator and cert-manager renew earlier: a month before the end of 90 days.
  - alert: RmqCertificateExpires
    expr: min by (kind, namespace, name, certificate) (rmq_operator_certificate_not_after_seconds) - time() < 7 * 86400
    labels: {severity: page}
  - alert: RmqServerCertificateExpires
    expr: rocketmq_tls_certificate_not_after_seconds - time() < 7 * 86400
    labels: {severity: page}
  # An object of the operator that only a person can mend.
  - alert: RmqObjectStalled
    expr: rmq_operator_condition{condition="Stalled"} == 1
    for: 5m
    labels: {severity: ticket}
```
"#;

fn table(out: &mut String, families: &[Family]) {
    out.push_str("| family | type | unit | labels | what it is | the question that it answers |\n| --- | --- | --- | --- | --- | --- |\n");
    for family in families {
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            family.name,
            family.kind.as_str(),
            family.unit,
            labels.join(", "),
            family.help,
            family.question
        );
    }
}

fn own(families: Vec<Family>) -> Vec<Family> {
    let is_own = |family: &Family| {
        PROCESS_FAMILIES
            .iter()
            .all(|other| other.name != family.name)
    };
    families.into_iter().filter(is_own).collect()
}

fn page() -> String {
    let mut out = HEAD.to_owned();
    let common: Vec<String> = rmq_broker::METRIC_LABELS
        .iter()
        .map(|label| format!("`{label}`"))
        .collect();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "\n## Broker\n\nEvery series of a broker, those of its process among them, has the labels {} too.\n\n",
        common.join(", ")
    );
    table(&mut out, &own(rmq_broker::metric_families()));
    out.push_str("\n## Name server\n\n");
    table(&mut out, &own(rmq_namesrv::metric_families()));
    out.push_str("\n## Operator\n\n");
    table(&mut out, &own(crate::metric_families()));
    out.push_str("\n## Every process\n\n");
    table(&mut out, &PROCESS_FAMILIES);
    out.push('\n');
    out.push_str(ALERTS);
    out
}

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("RMQ_UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/reference/metrics.md is not current: run RMQ_UPDATE_DOCS=1 cargo test -p rmq-operator metrics_page"
    );
}

/// The series that a family has in a scrape.
fn series(family: &Family) -> Vec<String> {
    let endings: &[&str] = match family.kind {
        FamilyKind::Counter => &["_total"],
        FamilyKind::Gauge => &[""],
        FamilyKind::Histogram => &["_bucket", "_count", "_sum"],
    };
    endings
        .iter()
        .map(|ending| format!("{}{ending}", family.name))
        .collect()
}

#[test]
fn alerts_ask_for_series_that_exist() {
    let known: BTreeSet<String> = [
        rmq_broker::metric_families(),
        rmq_namesrv::metric_families(),
        crate::metric_families(),
    ]
    .iter()
    .flatten()
    .flat_map(series)
    .collect();
    let words = ALERTS.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let asked: BTreeSet<String> = words
        .filter(|word| {
            ["rocketmq_", "process_", "rmq_operator_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        })
        .map(str::to_owned)
        .collect();
    assert!(asked.len() > 10, "{asked:?}");
    let unknown: Vec<&String> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let yaml = ALERTS
        .split("```yaml")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let rules: serde_json::Value = crate::yaml::read(yaml.expect("a block")).expect("YAML");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules");
    assert!(
        rules
            .iter()
            .all(|rule| rule["alert"].is_string() && rule["expr"].is_string()),
        "{rules:?}"
    );
}

/// There is one list of alerts: pages that speak of an alert name one of it, and have no rules of their own.
#[test]
fn pages_name_alerts_of_the_list() {
    let is_part = |letter: char| letter.is_ascii_alphanumeric();
    let named = |text: &str| -> BTreeSet<String> {
        let words = text.split(|letter| !is_part(letter));
        let is_alert = |word: &&str| {
            let rest = word.strip_prefix("Rmq");
            rest.is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()))
        };
        words.filter(is_alert).map(str::to_owned).collect()
    };
    let list = named(ALERTS);
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")];
    let mut naming = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                let text = std::fs::read_to_string(&path).expect("a page");
                let unknown: Vec<String> = named(&text).difference(&list).cloned().collect();
                assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
                let is_list = path.ends_with("reference/metrics.md");
                assert!(is_list || !text.contains("alert: "), "{}", path.display());
                naming += usize::from(!named(&text).is_empty());
            }
        }
    }
    assert!(naming >= 2, "production.md names some");
}
