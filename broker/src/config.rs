//! The broker's configuration: YAML, then environment, then the command line. Unknown keys are refused with the nearest known one.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use rmq_protocol::names;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::limits;

/// Environment variables with this prefix override the file: `RMQ_BROKER_FLUSH=sync`, `RMQ_BROKER_DATA_DIR=/data`.
pub const ENVIRONMENT_PREFIX: &str = "RMQ_BROKER_";

/// Bytes that the largest body of a message may be set to.
pub(crate) const MESSAGE_BYTES: RangeInclusive<usize> = 1..=16 << 20;

/// When a message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Flush {
    /// When the system has it.
    Async,
    /// When the disk has it.
    Sync,
}

macro_rules! settings {
    ($(#[doc = $doc:literal] $field:ident: $type:ty = $default:expr,)*) => {
        /// Settings of a broker. Every field is a key of the file, in camel case.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct BrokerConfig {
            $(#[doc = $doc] pub $field: $type,)*
        }

        impl Default for BrokerConfig {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// Field names and what they mean.
        const FIELDS: &[(&str, &str)] = &[$((stringify!($field), $doc),)*];
    };
}

settings! {
    #[doc = "Name of the cluster."]
    cluster_name: String = "DefaultCluster".to_owned(),
    #[doc = "Name of the broker group: the master and its replicas share it."]
    broker_name: String = "broker-a".to_owned(),
    #[doc = "0 is the master; replicas are numbered from 1."]
    broker_id: i64 = 0,
    #[doc = "Address to listen on, host:port. Port 0 lets the system choose."]
    listen: String = "0.0.0.0:10911".to_owned(),
    #[doc = "Also listen two ports below, where old clients send with vipChannelEnabled. Not with port 0."]
    fast_port: bool = true,
    #[doc = "Address of health, metrics and version, host:port; empty for none. Every client that reaches this address reads the names of topics, groups and clients: 0.0.0.0:10999 is for networks where all may."]
    management: String = "127.0.0.1:10999".to_owned(),
    #[doc = "Host that clients use to reach this broker; empty: the address of the interface towards the name servers."]
    advertise: String = String::new(),
    #[doc = "Port that clients use to reach this broker; 0: the one it listens on. For port mappings such as node ports."]
    advertise_port: u16 = 0,
    #[doc = "Name servers, host:port separated by semicolons or commas; the port is 9876 where none is given."]
    name_servers: String = String::new(),
    #[doc = "Look the names in nameServers up every 5 seconds and register with every address that they have then: name servers may come and go behind one name."]
    look_up_name_servers: bool = false,
    #[doc = "Folder of all data."]
    data_dir: PathBuf = PathBuf::from("rmq-data"),
    #[doc = "When a message is acknowledged: async (the system has it; a power cut loses at most flushIntervalMs) or sync (the disk has it)."]
    flush: Flush = Flush::Async,
    #[doc = "With async flush: longest time between write and flush, milliseconds, 1 to 60000."]
    flush_interval_ms: u64 = 200,
    #[doc = "With async flush: flush when this many bytes were written, at least 4096."]
    flush_bytes: u64 = 16 << 20,
    #[doc = "Size of a new log segment, bytes, a multiple of 4096, 64 KiB to 1 GiB."]
    segment_bytes: u64 = 1 << 30,
    #[doc = "Messages are kept this long, hours, at least 1."]
    retention_hours: u32 = 72,
    #[doc = "Messages are removed by age only when the wall clock has agreed with the monotonic clock for this long, since the start and since its last jump, minutes, 0 to 10080."]
    clock_settle_minutes: u32 = 60,
    #[doc = "Above this used share of the disk, the oldest messages are removed before they expire; 0 to 1. 1 is never: then messages are refused above diskFullRatio."]
    disk_evict_ratio: f64 = 1.0,
    #[doc = "Above this used share of the disk, messages are refused; 0 to 1."]
    disk_full_ratio: f64 = 0.95,
    #[doc = "Largest message body, bytes, up to 16 MiB; from 16711680 on, a frame has no room for its properties, and it is refused."]
    max_message_bytes: usize = 4 << 20,
    #[doc = "Create a topic when a message for an unknown one arrives (after the template TBW102)."]
    auto_create_topic: bool = true,
    #[doc = "Create a subscription group when an unknown one pulls."]
    auto_create_subscription_group: bool = true,
    #[doc = "What this broker allows: 6 read and write, 4 read, 2 write."]
    permission: i32 = 6,
    #[doc = "Region that clients are told."]
    region: String = "DefaultRegion".to_owned(),
    #[doc = "Delays of the delay levels, from level 1."]
    delay_levels: String = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".to_owned(),
    #[doc = "Longest time for ending what is in flight when the broker stops, milliseconds."]
    drain_timeout_ms: u64 = 5_000,
    #[doc = "Connections in all, 1 to 1000000."]
    connections_max: usize = 20_000,
    #[doc = "Bytes that all connections hold together, of what was received in part and of what waits to be sent: at least 67108864; 0: a quarter of what the control group or the machine has. Beyond it, connections that want more wait, and the slowest are closed."]
    memory_bytes: u64 = 0,
    #[doc = "Topics of this broker, 1 to 1000000. More than one registration holds (registrationBytes) is registered in parts."]
    topics_max: usize = 50_000,
    #[doc = "Queues of a topic, 1 to 65536."]
    queues_per_topic_max: i32 = 1_024,
    #[doc = "Subscription groups of this broker, 1 to 1000000."]
    groups_max: usize = 20_000,
    #[doc = "Clients of one group, 1 to 1000000."]
    clients_per_group_max: usize = 10_000,
    #[doc = "Messages in one answer to a pull, whatever is asked, 1 to 65536."]
    pull_messages_max: usize = 1_024,
    #[doc = "Bytes in one answer to a pull, whatever is asked, 4096 to 12582912; the first message comes anyway."]
    pull_bytes_max: usize = 4 << 20,
    #[doc = "Bytes of a subscription's filter expression, 256 to 196608."]
    expression_bytes_max: usize = 128 << 10,
    #[doc = "Bytes of topics in one registration at a name server, 65536 to 8388608; what is more goes into further ones. A name server takes frames of up to 16 MiB."]
    registration_bytes: usize = 4 << 20,
    #[doc = "Go on although settings were lost with damaged tables and the log no longer reaches back to its beginning."]
    accept_lost_settings: bool = false,
}

/// The variables that override settings, for the help: each with its key and the default.
#[must_use]
pub fn environment_help() -> String {
    let defaults = serde_json::to_value(BrokerConfig::default()).unwrap_or_default();
    let mut out = format!(
        "Environment:\n{}\n\nSettings, each with its default (--print-config explains them):",
        rmq_process::ENVIRONMENT_HELP
    );
    for (field, _) in FIELDS {
        let (name, key) = (field.to_uppercase(), camel(field));
        let default = defaults.get(&key).cloned().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(out, "\n  {ENVIRONMENT_PREFIX}{name}  {key}: {default}");
    }
    out
}

/// Why a configuration is refused; all problems at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// Whether Kubernetes made this variable to tell where a service is (`RMQ_BROKER_PORT_10911_TCP`).
fn is_service_link(name: &str, value: &str) -> bool {
    let part = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let schemes = ["tcp://", "udp://", "sctp://"];
    part(&["_SERVICE_HOST"])
        || name.contains("_SERVICE_PORT")
        || schemes.iter().any(|scheme| value.starts_with(scheme))
        || (name.contains("_PORT_") && part(&["_PROTO", "_PORT", "_ADDR"]))
}

/// `data_dir` to `dataDir`.
fn camel(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut upper = false;
    for character in field.chars() {
        if character == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.push(character.to_ascii_uppercase());
        } else {
            out.push(character);
        }
    }
    out
}

impl BrokerConfig {
    /// Puts the layers together and checks the whole.
    ///
    /// # Errors
    /// Every problem of every layer, each with its key and where it stands.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        sets: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut values = Map::new();
        if let Some(path) = file {
            match read_yaml(path) {
                Ok(read) => read.into_iter().for_each(|(key, value)| {
                    put(
                        &mut values,
                        &mut problems,
                        &path.display().to_string(),
                        &key,
                        value,
                    )
                }),
                Err(problem) => problems.push(problem),
            }
        }
        for (name, text) in environment {
            if let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX)
                && !is_service_link(&name, &text)
            {
                let key = camel(&rest.to_lowercase());
                let value = scalar(&key, &text);
                put(
                    &mut values,
                    &mut problems,
                    &format!("environment variable {name}"),
                    &key,
                    value,
                );
            }
        }
        for (key, text) in sets {
            put(
                &mut values,
                &mut problems,
                "command line",
                key,
                scalar(key, text),
            );
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let config: Self = serde_json::from_value(Value::Object(values))
            .map_err(|error| ConfigError(vec![error.to_string()]))?;
        config.validate()?;
        Ok(config)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// All problems at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let mut demand = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        let name = |name: &str| {
            names::BrokerName::parse(name)
                .err()
                .map(|error| error.to_string())
        };
        demand(
            name(&self.cluster_name).is_none(),
            format!(
                "clusterName: {}",
                name(&self.cluster_name).unwrap_or_default()
            ),
        );
        demand(
            name(&self.broker_name).is_none(),
            format!(
                "brokerName: {}",
                name(&self.broker_name).unwrap_or_default()
            ),
        );
        demand(
            self.broker_id == 0,
            format!(
                "brokerId: {} is a replica, and replicas are not supported by this version; use 0",
                self.broker_id
            ),
        );
        demand(
            self.listen.parse::<SocketAddr>().is_ok(),
            format!(
                "listen: {:?} is not an address of this machine with a port, such as 0.0.0.0:10911 (every address) or 127.0.0.1:10911; a name that clients are told is set as advertise",
                self.listen
            ),
        );
        demand(
            self.management.is_empty() || self.management.parse::<SocketAddr>().is_ok(),
            format!(
                "management: {:?} is not an address of this machine with a port, such as 0.0.0.0:10999 (every address)",
                self.management
            ),
        );
        if !self.advertise.is_empty()
            && let Err(error) = rmq_texts::reachable_host(&self.advertise)
        {
            demand(
                false,
                format!("advertise: {error}; a host name or address without a port is meant"),
            );
        }
        if let Err(error) = rmq_texts::name_servers(&self.name_servers) {
            demand(false, format!("nameServers: {error}"));
        }
        demand(
            self.retention_hours >= 1,
            "retentionHours: at least 1".to_owned(),
        );
        demand(
            self.clock_settle_minutes <= 10_080,
            format!(
                "clockSettleMinutes: {} is not between 0 and 10080",
                self.clock_settle_minutes
            ),
        );
        demand(
            MESSAGE_BYTES.contains(&self.max_message_bytes),
            format!(
                "maxMessageBytes: {} is not between 1 and 16777216",
                self.max_message_bytes
            ),
        );
        demand(
            [0, 2, 4, 6].contains(&self.permission),
            format!("permission: {} is not 0, 2, 4 or 6", self.permission),
        );
        demand(
            (1..=1_000_000).contains(&self.connections_max),
            format!(
                "connectionsMax: {} is not between 1 and 1000000",
                self.connections_max
            ),
        );
        let ranges: [(&str, usize, RangeInclusive<usize>); 8] = [
            ("topicsMax", self.topics_max, 1..=1_000_000),
            (
                "queuesPerTopicMax",
                usize::try_from(self.queues_per_topic_max).unwrap_or(0),
                1..=65_536,
            ),
            ("groupsMax", self.groups_max, 1..=1_000_000),
            (
                "clientsPerGroupMax",
                self.clients_per_group_max,
                1..=1_000_000,
            ),
            ("pullMessagesMax", self.pull_messages_max, 1..=65_536),
            ("pullBytesMax", self.pull_bytes_max, 4_096..=12 << 20),
            (
                "expressionBytesMax",
                self.expression_bytes_max,
                256..=192 << 10,
            ),
            (
                "registrationBytes",
                self.registration_bytes,
                64 << 10..=8 << 20,
            ),
        ];
        demand(
            self.memory_bytes == 0 || self.memory_bytes >= rmq_transport::MEMORY_BYTES_MIN as u64,
            format!(
                "memoryBytes: {} is neither 0 nor at least {}",
                self.memory_bytes,
                rmq_transport::MEMORY_BYTES_MIN
            ),
        );
        for (key, value, range) in ranges {
            demand(
                range.contains(&value),
                format!(
                    "{key}: {value} is not between {} and {}",
                    range.start(),
                    range.end()
                ),
            );
        }
        match crate::delay::parse_levels(&self.delay_levels) {
            Ok(levels) => demand(
                (1..=64).contains(&levels.len()),
                format!("delayLevels: {} levels, 1 to 64 are allowed", levels.len()),
            ),
            Err(error) => demand(false, format!("delayLevels: {error}")),
        }
        if let Err(error) = self.store(SocketAddr::from(([127, 0, 0, 1], 0))).validate() {
            problems.push(error.to_string());
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError(problems))
        }
    }

    /// The name servers as a list.
    #[must_use]
    pub fn name_server_list(&self) -> Vec<String> {
        // What cannot be understood was refused by `validate`.
        rmq_texts::name_servers(&self.name_servers).unwrap_or_default()
    }

    pub(crate) fn store(&self, store_host: SocketAddr) -> rmq_store::StoreConfig {
        rmq_store::StoreConfig {
            segment_bytes: self.segment_bytes,
            flush: match self.flush {
                Flush::Async => rmq_store::FlushMode::Async {
                    interval_ms: self.flush_interval_ms,
                    bytes: self.flush_bytes,
                },
                Flush::Sync => rmq_store::FlushMode::Sync,
            },
            retention_ms: i64::from(self.retention_hours) * 3_600_000,
            disk_evict_ratio: self.disk_evict_ratio,
            disk_full_ratio: self.disk_full_ratio,
            body_bytes_max: self.max_message_bytes,
            store_host,
            accept_lost_tables: self.accept_lost_settings,
            staged_bytes_max: (rmq_transport::memory_bytes(self.memory_bytes) as u64
                / limits::STAGED_SHARE)
                .clamp(limits::STAGED_BYTES_MIN, rmq_store::STAGED_BYTES_MAX),
            ..rmq_store::StoreConfig::new(&self.data_dir)
        }
    }

    /// The whole configuration as YAML with an explanation of every key.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let values = serde_json::to_value(self).unwrap_or_default();
        let mut out = String::new();
        for (field, doc) in FIELDS {
            let key = camel(field);
            let value = values.get(&key).cloned().unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# {}\n{key}: {value}", doc.trim());
        }
        out
    }
}

fn put(
    values: &mut Map<String, Value>,
    problems: &mut Vec<String>,
    from: &str,
    key: &str,
    value: Value,
) {
    let known: Vec<String> = FIELDS.iter().map(|(field, _)| camel(field)).collect();
    if !known.iter().any(|other| other == key) {
        let nearest = known
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
        problems.push(format!(
            "{from}: unknown key {key:?}; did you mean {:?}?",
            nearest.map_or("", String::as_str)
        ));
        return;
    }
    // Alone, so that the message is about this key.
    let one = Value::Object(Map::from_iter([(key.to_owned(), value.clone())]));
    match serde_json::from_value::<BrokerConfig>(one) {
        Ok(_) => {
            values.insert(key.to_owned(), value);
        }
        Err(error) => problems.push(format!("{from}: {key}: {error}")),
    }
}

/// The text of a variable or argument as a YAML scalar would be read; what is not a number or boolean is a string, and so is
/// everything for a key whose values are texts.
fn scalar(key: &str, text: &str) -> Value {
    let defaults = serde_json::to_value(BrokerConfig::default()).unwrap_or_default();
    if defaults.get(key).is_some_and(Value::is_string) {
        return Value::String(text.to_owned());
    }
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => text
            .parse::<i64>()
            .map(Value::from)
            .or_else(|_| text.parse::<f64>().map(Value::from))
            .unwrap_or_else(|_| Value::String(text.to_owned())),
    }
}

/// The fields of a file; those without a value are as if they were not there.
fn read_yaml(path: &Path) -> Result<Map<String, Value>, String> {
    use rmq_texts::yaml;
    let place = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {place}: {error}"))?;
    let text = yaml::text(bytes).map_err(|error| format!("{place}: {error}"))?;
    yaml::settings(&text).map_err(|error| format!("{place}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        yaml: &str,
        environment: &[(&str, &str)],
        sets: &[(&str, &str)],
    ) -> Result<BrokerConfig, ConfigError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), yaml).expect("written");
        let own = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect::<Vec<_>>()
        };
        BrokerConfig::load(Some(file.path()), own(environment).into_iter(), &own(sets))
    }

    #[test]
    fn later_layers_win() {
        let config = load(
            "brokerName: one\nflush: sync\nretentionHours: 5\n",
            &[
                ("RMQ_BROKER_BROKER_NAME", "two"),
                ("PATH", "x"),
                ("RMQ_BROKER_PORT", "tcp://10.0.0.1:10911"),
                ("RMQ_BROKER_SERVICE_HOST", "10.0.0.1"),
                ("RMQ_BROKER_SERVICE_PORT", "10911"),
                ("RMQ_BROKER_A_PORT_10911_TCP_PORT", "10911"),
            ],
            &[("retentionHours", "7")],
        )
        .expect("valid");
        assert_eq!(
            (
                config.broker_name.as_str(),
                config.flush,
                config.retention_hours
            ),
            ("two", Flush::Sync, 7)
        );
    }

    #[test]
    fn every_problem_is_named_with_its_key() {
        let error = load(
            "brokerNme: x\nflush: sometimes\n",
            &[],
            &[("retentionHours", "many")],
        )
        .expect_err("wrong");
        let text = error.to_string();
        for part in [
            "\"brokerNme\"",
            "did you mean \"brokerName\"",
            "flush:",
            "retentionHours:",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let error = load(
            "brokerId: 1\nlisten: nowhere\ndelayLevels: 1s 2y\nsegmentBytes: 5\n",
            &[],
            &[],
        )
        .expect_err("wrong");
        for part in ["brokerId", "listen", "delayLevels", "segment size"] {
            assert!(error.to_string().contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn files_are_read_as_kubectl_reads_them() {
        let text = "\u{feff}# settings\r\nbrokerName: b\r\nretentionHours: null\r\nregion:\r\n";
        let config = load(text, &[], &[]).expect("valid");
        let usual = BrokerConfig::default();
        assert_eq!(config.broker_name, "b");
        assert_eq!(
            (config.retention_hours, config.region),
            (usual.retention_hours, usual.region)
        );
        for (yaml, why) in [
            (
                "retentionHours: 1\nretentionHours: 2\n",
                "retentionHours is there twice",
            ),
            ("retentionHours: \"72\"\n", "retentionHours: invalid type"),
            ("- retentionHours\n", "KEY: VALUE"),
            ("a: 1\n---\nb: 2\n", "several documents"),
        ] {
            let error = load(yaml, &[], &[]).expect_err(yaml).to_string();
            assert!(error.contains(why), "{yaml:?}: {error}");
        }
    }

    #[test]
    fn addresses_that_cannot_work_are_refused() {
        let name_servers = |text: &str| load("", &[], &[("nameServers", text)]);
        for (text, list) in [
            ("", &[][..]),
            ("a:1;b:2,c", &["a:1", "b:2", "c:9876"]),
            ("rmq://a:1", &["a:1"]),
            ("[::1]:1;[::1]:1", &["[::1]:1"]),
        ] {
            let config = name_servers(text).expect(text);
            assert_eq!(config.name_server_list(), list, "{text}");
        }
        for text in ["a:1 b:2", "http://h:1", "a:0", "a:70000", "::1:9876", "a:x"] {
            let error = name_servers(text).expect_err(text).to_string();
            assert!(error.starts_with("nameServers: "), "{text}: {error}");
        }
        for (key, value) in [
            ("advertise", "http://h"),
            ("advertise", "h:1"),
            ("advertise", "a,b"),
            ("advertise", "0.0.0.0"),
            ("advertise", "::"),
            ("advertise", "10.0.0.256"),
            ("advertise", "h..svc"),
            ("listen", "localhost:10911"),
            ("listen", "[::1]"),
            ("listen", "10911"),
            ("listen", "0.0.0.0:70000"),
            ("management", "http://0.0.0.0:1"),
        ] {
            let error = load("", &[], &[(key, value)]).expect_err(value).to_string();
            assert!(error.starts_with(&format!("{key}: ")), "{error}");
        }
        for value in ["h", "h.shop.svc", "10.0.0.1", "::1"] {
            load("", &[], &[("advertise", value)]).expect(value);
        }
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let config = BrokerConfig {
            broker_name: "b".to_owned(),
            ..BrokerConfig::default()
        };
        let yaml = config.to_yaml();
        assert_eq!(load(&yaml, &[], &[]).expect("valid"), config);
        assert_eq!(yaml.matches("\n# ").count() + 1, FIELDS.len());
    }

    /// Texts of store and broker that name a setting in backticks name one that exists: nobody runs most of them before the day on
    /// which the name is needed.
    #[test]
    fn texts_name_settings_that_exist() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders = vec![crates.join("store/src"), crates.join("broker/src")];
        let known: Vec<String> = FIELDS.iter().map(|(field, _)| camel(field)).collect();
        let mut named = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of the sources") {
                let path = entry.expect("listed").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("a source file");
                let code = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                for line in code {
                    let words = line.split('`').skip(1).step_by(2);
                    named.extend(words.map(|word| (path.display().to_string(), word.to_owned())));
                }
            }
        }
        let setting = |word: &str| {
            word.len() > 3 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let wrong: Vec<_> = named
            .iter()
            .filter(|(_, word)| setting(word) && !known.contains(word))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(
            named.iter().any(|(_, word)| word == "acceptLostSettings"),
            "{named:?}"
        );
    }
}
