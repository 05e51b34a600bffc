//! Settings: every key with its unit and range, from a file, the environment, the command line and (some) while it runs.

use std::fmt::Write as _;
use std::path::Path;

/// Prefix of environment variables: `RMQ_NAMESRV_BROKERS_MAX` sets `brokersMax`.
const ENV_PREFIX: &str = "RMQ_NAMESRV_";

/// Settings of a name server. The keys of the file are in camel case; `rmq-namesrv --print-config` shows all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServerConfig {
    /// `listen`: where clients and brokers connect, `host:port`; port 0 lets the system choose.
    pub listen: String,
    /// `management`: where `/livez`, `/readyz`, `/metrics` and `/version` are served, `host:port`; empty: nowhere. Loopback by default:
    /// whoever reaches it reads what the server knows.
    pub management: String,
    /// `kvConfigPath`: file that keeps key-value settings; empty: they are lost when it stops.
    pub kv_config_path: String,
    /// `orderMessageEnable`: routes carry the fixed queues of order topics.
    pub order_message_enable: bool,
    /// `notifyMinBrokerIdChanged`: members of a broker group are told when another one has the lowest id.
    pub notify_min_broker_id_changed: bool,
    /// `deleteTopicWithBrokerRegistration`: a topic that a broker no longer registers is dropped at once. Only for brokers that
    /// always register all their topics.
    pub delete_topic_with_broker_registration: bool,
    /// `supportActingMaster`: a broker group without its master shows its lowest replica in the master's place, for reading,
    /// where its brokers allow that.
    pub support_acting_master: bool,
    /// `enableAllTopicList`: the list of all topics may be asked for.
    pub enable_all_topic_list: bool,
    /// `enableTopicList`: lists of the topics of one cluster and of system topics may be asked for.
    pub enable_topic_list: bool,
    /// `needWaitForService`: after a start, routes are refused until brokers had time to register.
    pub need_wait_for_service: bool,
    /// `waitSecondsForService`: that time, seconds, 0 to 3,600.
    pub wait_seconds_for_service: i64,
    /// `scanNotActiveBrokerInterval`: time between looks for silent brokers, milliseconds, 100 to 600,000.
    pub scan_interval_ms: i64,
    /// `brokerTimeoutMillis`: silence after which a broker is dropped that does not say it itself, milliseconds, 1,000 to 3,600,000.
    pub broker_timeout_ms: i64,
    /// `brokersMax`: registered broker addresses, 1 to 1,000,000.
    pub brokers_max: i64,
    /// `topicsMax`: registered topics, 1 to 10,000,000.
    pub topics_max: i64,
    /// `routeEntriesMax`: pairs of a topic and a broker group, 1 to 100,000,000.
    pub route_entries_max: i64,
    /// `kvBytesMax`: bytes of all key-value settings, 0 to 1 GiB.
    pub kv_bytes_max: i64,
    /// `connectionsMax`: open connections, 1 to 1,000,000.
    pub connections_max: i64,
    /// `connectionsPerSourceMax`: open connections of one address other than loopback, 1 to 1,000,000.
    pub connections_per_source_max: i64,
    /// `memoryBytes`: bytes that all connections hold together, of what was received in part and of what waits to be sent, 64 MiB to
    /// 1 TiB; 0: a quarter of what the control group or the machine has.
    pub memory_bytes: i64,
    /// `drainTimeoutMillis`: how long requests may take that are being answered when it stops, milliseconds, 0 to 600,000.
    pub drain_timeout_ms: i64,
}

impl Default for NameServerConfig {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:9876".to_owned(),
            management: "127.0.0.1:9878".to_owned(),
            kv_config_path: String::new(),
            order_message_enable: false,
            notify_min_broker_id_changed: false,
            delete_topic_with_broker_registration: false,
            support_acting_master: false,
            enable_all_topic_list: true,
            enable_topic_list: true,
            need_wait_for_service: false,
            wait_seconds_for_service: 45,
            scan_interval_ms: 5_000,
            broker_timeout_ms: 120_000,
            brokers_max: 10_000,
            topics_max: 1_000_000,
            route_entries_max: 5_000_000,
            kv_bytes_max: 16 * 1024 * 1024,
            connections_max: 20_000,
            connections_per_source_max: 1_000,
            memory_bytes: 0,
            drain_timeout_ms: 5_000,
        }
    }
}

/// The variables that override settings, for the help: each with its key and the default.
#[must_use]
pub fn environment_help() -> String {
    let mut out = format!(
        "Environment:\n{}\n\nSettings, each with its default (--print-config explains them):",
        rmq_process::ENVIRONMENT_HELP
    );
    for (key, default) in NameServerConfig::default().pairs() {
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "\n  {ENV_PREFIX}{}  {key}: {default}",
            upper_snake(key)
        );
    }
    out
}

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such key.
    #[error("{origin}: there is no setting \"{key}\"{hint}")]
    UnknownKey {
        /// Where it stands.
        origin: String,
        /// As written.
        key: String,
        /// The nearest key, as a question.
        hint: String,
    },
    /// A value of the wrong form or outside its range.
    #[error("{origin}: {key} must be {expected}, not {value:?}")]
    Invalid {
        /// Where it stands.
        origin: String,
        /// The key.
        key: &'static str,
        /// What it must be.
        expected: String,
        /// As written.
        value: String,
    },
    /// A key that cannot be changed while it runs.
    #[error("{key} can only be set at the start")]
    Fixed {
        /// The key.
        key: &'static str,
    },
    /// A file that cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
}

enum Slot {
    Text(fn(&mut NameServerConfig) -> &mut String),
    Flag(fn(&mut NameServerConfig) -> &mut bool),
    Number(
        fn(&mut NameServerConfig) -> &mut i64,
        std::ops::RangeInclusive<i64>,
    ),
}

struct Key {
    name: &'static str,
    /// Whether it may be changed while it runs.
    live: bool,
    doc: &'static str,
    slot: Slot,
}

macro_rules! keys {
    ($($name:literal $live:ident $kind:ident($($slot:tt)*) $doc:literal;)*) => {
        const KEYS: &[Key] = &[$(Key { name: $name, live: keys!(@live $live), doc: $doc, slot: keys!(@slot $kind($($slot)*)) }),*];
    };
    (@live live) => { true };
    (@live fixed) => { false };
    (@slot Text($field:ident)) => { Slot::Text(|config| &mut config.$field) };
    (@slot Flag($field:ident)) => { Slot::Flag(|config| &mut config.$field) };
    (@slot Number($field:ident, $range:expr)) => { Slot::Number(|config| &mut config.$field, $range) };
}

keys! {
    "listen" fixed Text(listen) "where clients and brokers connect, host:port; port 0: the system chooses";
    "management" fixed Text(management) "where /livez, /readyz, /metrics and /version are served, host:port; empty: nowhere";
    "kvConfigPath" fixed Text(kv_config_path) "file that keeps key-value settings; empty: they are lost when it stops";
    "orderMessageEnable" live Flag(order_message_enable) "routes carry the fixed queues of order topics";
    "notifyMinBrokerIdChanged" live Flag(notify_min_broker_id_changed) "brokers are told when another member of their group has the lowest id";
    "deleteTopicWithBrokerRegistration" live Flag(delete_topic_with_broker_registration) "a topic that a broker no longer registers is dropped at once";
    "supportActingMaster" live Flag(support_acting_master) "a broker group without its master shows its lowest replica in the master's place, for reading";
    "enableAllTopicList" live Flag(enable_all_topic_list) "the list of all topics may be asked for";
    "enableTopicList" live Flag(enable_topic_list) "lists of a cluster's and of system topics may be asked for";
    "needWaitForService" fixed Flag(need_wait_for_service) "routes are refused after a start until brokers had time to register";
    "waitSecondsForService" fixed Number(wait_seconds_for_service, 0..=3_600) "that time, seconds";
    "scanNotActiveBrokerInterval" fixed Number(scan_interval_ms, 100..=600_000) "time between looks for silent brokers, milliseconds";
    "brokerTimeoutMillis" live Number(broker_timeout_ms, 1_000..=3_600_000) "silence after which a broker is dropped, milliseconds";
    "brokersMax" live Number(brokers_max, 1..=1_000_000) "registered broker addresses";
    "topicsMax" live Number(topics_max, 1..=10_000_000) "registered topics";
    "routeEntriesMax" live Number(route_entries_max, 1..=100_000_000) "pairs of a topic and a broker group";
    "kvBytesMax" live Number(kv_bytes_max, 0..=1_073_741_824) "bytes of all key-value settings";
    "connectionsMax" fixed Number(connections_max, 1..=1_000_000) "open connections";
    "connectionsPerSourceMax" fixed Number(connections_per_source_max, 1..=1_000_000) "open connections of one address other than loopback";
    "memoryBytes" fixed Number(memory_bytes, 0..=1_099_511_627_776) "bytes that all connections hold together; 0: a quarter of what the control group or the machine has; at least 67108864 otherwise";
    "drainTimeoutMillis" fixed Number(drain_timeout_ms, 0..=600_000) "time for what is being answered when it stops, milliseconds";
}

impl NameServerConfig {
    /// Sets one key from its text; `origin` says where it stands, for the error.
    ///
    /// # Errors
    /// When there is no such key, or the value is not what the key takes.
    pub fn set(&mut self, origin: &str, key: &str, value: &str) -> Result<(), ConfigError> {
        let Some(known) = KEYS.iter().find(|known| known.name == key) else {
            return Err(unknown(origin, key));
        };
        let invalid = |expected: String| ConfigError::Invalid {
            origin: origin.to_owned(),
            key: known.name,
            expected,
            value: value.to_owned(),
        };
        match &known.slot {
            Slot::Text(_)
                if matches!(key, "listen" | "management")
                    && !is_listen_address(value)
                    && !(value.is_empty() && key == "management") =>
            {
                return Err(invalid("an address such as 0.0.0.0:9876".to_owned()));
            }
            Slot::Text(slot) => value.clone_into(slot(self)),
            Slot::Flag(slot) => {
                *slot(self) = value
                    .parse()
                    .map_err(|_| invalid("true or false".to_owned()))?
            }
            Slot::Number(slot, range) => {
                let number = value
                    .replace('_', "")
                    .parse()
                    .ok()
                    .filter(|number| range.contains(number));
                let expected = || {
                    invalid(format!(
                        "a number from {} to {}",
                        range.start(),
                        range.end()
                    ))
                };
                *slot(self) = number.ok_or_else(expected)?;
            }
        }
        Ok(())
    }

    /// Changes keys while it runs: all of them or none.
    ///
    /// # Errors
    /// When a key does not exist, cannot be changed now, or has another form.
    pub fn update(&self, origin: &str, changes: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut changed = self.clone();
        for (key, value) in changes {
            if let Some(known) = KEYS.iter().find(|known| known.name == key && !known.live) {
                return Err(ConfigError::Fixed { key: known.name });
            }
            changed.set(origin, key, value)?;
        }
        Ok(changed)
    }

    /// Reads a YAML file on top of the current settings.
    ///
    /// # Errors
    /// When the file cannot be read, is no map of scalars, or has a wrong key or value.
    pub fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let file = |reason: String| ConfigError::File {
            path: path.display().to_string(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| file(error.to_string()))?;
        let text = rmq_texts::yaml::text(bytes).map_err(|error| file(error.to_string()))?;
        let settings = rmq_texts::yaml::settings(&text).map_err(|error| file(error.to_string()))?;
        let origin = path.display().to_string();
        for (key, value) in settings {
            let value = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
                _ => {
                    return Err(file(format!(
                        "{key} must be a text, a number, true or false"
                    )));
                }
            };
            self.set(&origin, &key, &value)?;
        }
        Ok(())
    }

    /// Reads environment variables on top of the current settings: `RMQ_NAMESRV_` and the key in upper case with underscores.
    /// What Kubernetes puts there for a service of that name (`RMQ_NAMESRV_PORT_9876_TCP`) is no setting.
    ///
    /// # Errors
    /// When a variable with that prefix is no key or has another form.
    pub fn read_env(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (name, value) in variables {
            let Some(upper) = name.strip_prefix(ENV_PREFIX) else {
                continue;
            };
            if is_service_link(&name, &value) {
                continue;
            }
            match KEYS.iter().find(|key| upper_snake(key.name) == upper) {
                Some(key) => self.set(&name, key.name, &value)?,
                None => return Err(unknown(&name, &upper.to_lowercase().replace('_', ""))),
            }
        }
        Ok(())
    }

    /// All keys and values, as properties.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut copy = self.clone();
        KEYS.iter()
            .map(|key| (key.name, copy.text_of(&key.slot)))
            .collect()
    }

    /// All keys and values as YAML, each with what it means.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut copy = self.clone();
        let mut out = String::new();
        for key in KEYS {
            let (value, unit) = match &key.slot {
                Slot::Text(slot) => (format!("{:?}", slot(&mut copy)), String::new()),
                Slot::Flag(slot) => (slot(&mut copy).to_string(), String::new()),
                Slot::Number(slot, range) => (
                    slot(&mut copy).to_string(),
                    format!(", {} to {}", range.start(), range.end()),
                ),
            };
            let live = if key.live {
                "; can be changed while it runs"
            } else {
                ""
            };
            let _ = writeln!(out, "# {}{unit}{live}\n{}: {value}", key.doc, key.name);
        }
        out
    }

    fn text_of(&mut self, slot: &Slot) -> String {
        match slot {
            Slot::Text(slot) => slot(self).clone(),
            Slot::Flag(slot) => slot(self).to_string(),
            Slot::Number(slot, _) => slot(self).to_string(),
        }
    }
}

/// `HOST:PORT` with any port: 0 lets the system choose.
fn is_listen_address(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    text.parse::<std::net::SocketAddr>().is_ok()
        || parts.is_some_and(|(host, port)| {
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            rmq_texts::host(host).is_ok() && is_number && port.parse::<u16>().is_ok()
        })
}

fn unknown(origin: &str, key: &str) -> ConfigError {
    let distance =
        |known: &&Key| strsim::damerau_levenshtein(&known.name.to_lowercase(), &key.to_lowercase());
    let hint = match KEYS
        .iter()
        .min_by_key(distance)
        .filter(|known| distance(known) <= 4)
    {
        Some(nearest) => format!("; did you mean \"{}\"?", nearest.name),
        None => "; rmq-namesrv --print-config lists all".to_owned(),
    };
    ConfigError::UnknownKey {
        origin: origin.to_owned(),
        key: key.to_owned(),
        hint,
    }
}

/// Whether Kubernetes made this variable to tell where a service is.
fn is_service_link(name: &str, value: &str) -> bool {
    let part = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let schemes = ["tcp://", "udp://", "sctp://"];
    part(&["_SERVICE_HOST"])
        || name.contains("_SERVICE_PORT")
        || schemes.iter().any(|scheme| value.starts_with(scheme))
        || (name.contains("_PORT_") && part(&["_PROTO", "_PORT", "_ADDR"]))
}

fn upper_snake(name: &str) -> String {
    let mut out = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(character.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("namesrv.yaml");
        let mut config = NameServerConfig {
            listen: "[::1]:0".to_owned(),
            topics_max: 7,
            ..NameServerConfig::default()
        };
        std::fs::write(&path, config.to_yaml()).unwrap();
        let mut read = NameServerConfig::default();
        read.read_file(&path).unwrap();
        assert_eq!(read, config);
        config
            .read_env([
                ("RMQ_NAMESRV_TOPICS_MAX".to_owned(), "9".to_owned()),
                ("HOME".to_owned(), "/".to_owned()),
                (
                    "RMQ_NAMESRV_PORT".to_owned(),
                    "tcp://10.0.0.1:9876".to_owned(),
                ),
                ("RMQ_NAMESRV_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()),
                (
                    "RMQ_NAMESRV_SERVICE_PORT_REMOTING".to_owned(),
                    "9876".to_owned(),
                ),
                (
                    "RMQ_NAMESRV_0_PORT_9876_TCP_ADDR".to_owned(),
                    "10.0.0.1".to_owned(),
                ),
            ])
            .unwrap();
        assert_eq!(config.topics_max, 9);
    }

    #[test]
    fn files_and_addresses_are_read_as_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("namesrv.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let mut config = NameServerConfig::default();
            config.read_file(&path).map(|()| config)
        };
        let config =
            read("\u{feff}topicsMax: 7\r\nkvConfigPath: null\r\nbrokersMax: \"9\"\r\n").unwrap();
        assert_eq!((config.topics_max, config.brokers_max), (7, 9));
        assert_eq!(
            config.kv_config_path,
            NameServerConfig::default().kv_config_path
        );
        for (text, why) in [
            ("topicsMax: 7\ntopicsMax: 8\n", "topicsMax is there twice"),
            ("topicsMax: [7]\n", "topicsMax must be"),
            ("listen: http://0.0.0.0:1\n", "listen must be an address"),
            ("listen: 0.0.0.0\n", "listen must be an address"),
            ("listen: 0.0.0.0:70000\n", "listen must be an address"),
            (
                "management: 0.0.0.0:1 0.0.0.0:2\n",
                "management must be an address",
            ),
            ("listen: ''\n", "listen must be an address"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        for text in [
            "listen: '[::1]:0'\n",
            "listen: localhost:1\n",
            "management: ''\n",
        ] {
            read(text).expect(text);
        }
    }

    #[test]
    fn wrong_settings_say_where_and_what_instead() {
        let mut config = NameServerConfig::default();
        let text = |result: Result<(), ConfigError>| result.unwrap_err().to_string();
        assert_eq!(
            text(config.set("--set", "topicMax", "1")),
            "--set: there is no setting \"topicMax\"; did you mean \"topicsMax\"?"
        );
        assert_eq!(
            text(config.set("--set", "topicsMax", "0")),
            "--set: topicsMax must be a number from 1 to 10000000, not \"0\""
        );
        assert_eq!(
            text(config.set("f", "orderMessageEnable", "yes")),
            "f: orderMessageEnable must be true or false, not \"yes\""
        );
        let env = config.read_env([("RMQ_NAMESRV_LISTENN".to_owned(), "x".to_owned())]);
        assert!(text(env).contains("did you mean \"listen\"?"));
    }

    #[test]
    fn a_running_server_changes_all_or_nothing() {
        let config = NameServerConfig::default();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let changed = config
            .update(
                "request",
                &[pair("orderMessageEnable", "true"), pair("brokersMax", "3")],
            )
            .unwrap();
        assert!(changed.order_message_enable && changed.brokers_max == 3);
        let fixed = config.update(
            "request",
            &[pair("brokersMax", "3"), pair("kvConfigPath", "/etc/passwd")],
        );
        assert_eq!(
            fixed.unwrap_err(),
            ConfigError::Fixed {
                key: "kvConfigPath"
            }
        );
    }
}
