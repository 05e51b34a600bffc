//! What the store gets of the broker's configuration. The settings themselves are in the crate `rmq-config`.

use std::net::SocketAddr;

use rmq_config::BrokerConfig;
use rmq_store::{FlushMode, STAGED_BYTES_MAX, StoreConfig};

use crate::limits;

/// Milliseconds of an hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;

/// The configuration of the store; `store_host` is the address in records and message ids.
pub(crate) fn store(config: &BrokerConfig, store_host: SocketAddr) -> StoreConfig {
    StoreConfig {
        segment_bytes: config.segment_bytes,
        flush: if config.is_flushed() {
            FlushMode::Sync
        } else {
            FlushMode::Async {
                interval_ms: config.flush_interval_ms,
                bytes: config.flush_bytes,
            }
        },
        retention_ms: i64::from(config.retention_hours) * HOUR_MS,
        disk_evict_ratio: config.disk_evict_ratio,
        disk_full_ratio: config.disk_full_ratio,
        body_bytes_max: config.max_message_bytes,
        store_host,
        accept_lost_tables: config.accept_lost_settings,
        staged_bytes_max: (rmq_transport::memory_bytes(config.memory_bytes) as u64
            / limits::STAGED_SHARE)
            .clamp(limits::STAGED_BYTES_MIN, STAGED_BYTES_MAX),
        ..StoreConfig::new(&config.data_dir)
    }
}

#[cfg(test)]
mod tests {
    use rmq_config::{Configuration as _, Takes};

    use super::*;

    /// The ends of every range, one at a time.
    #[test]
    fn every_setting_makes_a_store_that_is_right() {
        let mut tried = 0;
        for setting in BrokerConfig::settings() {
            let texts: Vec<String> = match setting.takes {
                Takes::Number { ranges, .. } => {
                    let ends = ranges.iter().flat_map(|(min, max)| [min, max]);
                    ends.map(i64::to_string).collect()
                }
                Takes::Ratio => vec!["0".to_owned(), "1".to_owned()],
                Takes::Choice(words) => words.iter().map(|word| (*word).to_owned()).collect(),
                _ => continue,
            };
            for text in texts {
                let arguments = [(setting.key.to_owned(), text.clone())];
                let Ok(config) = BrokerConfig::load(None, [], &arguments) else {
                    // These settings need another one beside them.
                    let beside = [
                        "election",
                        "leaseMs",
                        "minInSync",
                        "replicaReconnectMs",
                        "tlsClientAuth",
                        "tlsMode",
                        "tlsOutgoing",
                    ];
                    assert!(beside.contains(&setting.key), "{} {text}", setting.key);
                    continue;
                };
                let host = SocketAddr::from(([127, 0, 0, 1], 0));
                if let Err(error) = store(&config, host).validate() {
                    panic!("{} {text}: {error}", setting.key);
                }
                tried += 1;
            }
        }
        assert!(tried > 40, "{tried}");
    }

    /// The transport has less memory for nobody.
    #[test]
    fn the_smallest_memory_is_that_of_the_transport() {
        let small = rmq_transport::MEMORY_BYTES_MIN as i64;
        for (servers, takes) in [
            ("broker", takes::<BrokerConfig>()),
            ("name server", takes::<rmq_config::NameServerConfig>()),
        ] {
            let Some(Takes::Number { ranges, .. }) = takes else {
                panic!("{servers}: {takes:?}");
            };
            assert_eq!(ranges[1].0, small, "{servers}");
        }
    }

    fn takes<C: rmq_config::Configuration>() -> Option<Takes> {
        let mut settings = C::settings();
        let memory = settings.find(|setting| setting.key == "memoryBytes");
        memory.map(|setting| setting.takes)
    }

    /// Texts of store and broker that name a setting in backticks name one that exists: nobody runs most of them before the day on
    /// which the name is needed.
    #[test]
    fn texts_name_settings_that_exist() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders = vec![crates.join("store/src"), crates.join("broker/src")];
        let known: Vec<&str> = BrokerConfig::settings()
            .map(|setting| setting.key)
            .collect();
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
            .filter(|(_, word)| setting(word) && !known.contains(&word.as_str()))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(
            named.iter().any(|(_, word)| word == "acceptLostSettings"),
            "{named:?}"
        );
    }
}
