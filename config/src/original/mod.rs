//! `broker.conf` of Apache RocketMQ: its keys, what each is here, and what of a file is taken over.
//!
//! A key is a setting when a row names it as its name in Apache RocketMQ. Some are read in another form (`FORMS`), or together with
//! another key (`Original::settle`). The others are in `keys.rs`, with the reason why there is nothing to set.

mod keys;
mod properties;

use std::path::Path;

use crate::nearest::nearest;
use crate::problem::Problem;
use crate::setting::Setting;
use crate::{BrokerConfig, Configuration};

/// What becomes of a key of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is this setting.
    Setting(&'static str),
    /// There is no such setting, and why none is needed, or that what it belongs to is not there.
    Without(&'static str),
}

/// A key of a file that is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Our setting.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// As the file has it, `key=value`.
    pub from: String,
}

/// A key of a file that is not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Why.
    pub why: String,
}

/// What of a file is taken over, and what is not, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Original {
    /// What is.
    pub taken: Vec<Taken>,
    /// What is not.
    pub left: Vec<Left>,
    /// Values that the setting does not take.
    pub problems: Vec<Problem>,
}

type Convert = fn(&str) -> Option<String>;

/// Settings that the original writes in another form.
const FORMS: [(&str, Convert); 7] = [
    ("listen", everywhere),
    ("management", everywhere),
    ("replicationListen", everywhere),
    ("flush", flush),
    ("memoryReadRatio", share),
    ("diskFullRatio", share),
    ("diskEvictRatio", share),
];

/// Keys that are a setting without being its name: what they say is put together with another key.
const TOGETHER: [(&str, &str); 4] = [
    ("bindAddress", "listen"),
    ("metricsPromExporterHost", "management"),
    ("brokerRole", "ackMode"),
    ("diskSpaceCleanForciblyRatio", "diskEvictRatio"),
];

/// A port, on every address.
fn everywhere(text: &str) -> Option<String> {
    let port: u16 = text.parse().ok()?;
    Some(format!("0.0.0.0:{port}"))
}

fn flush(text: &str) -> Option<String> {
    match text {
        "SYNC_FLUSH" => Some("sync".to_owned()),
        "ASYNC_FLUSH" => Some("async".to_owned()),
        _ => None,
    }
}

/// Hundredths.
fn share(text: &str) -> Option<String> {
    let hundredths: f64 = text.parse().ok()?;
    Some((hundredths / 100.0).to_string())
}

/// Whether a file's name is one that the original's files have: `broker.conf`, `broker-a.properties`.
#[must_use]
pub fn is_original(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("conf" | "properties"))
}

/// What becomes of a key; `None` when the original has none of this name.
#[must_use]
pub fn fate(key: &str) -> Option<Fate> {
    // Where the words of the original mean something else, or the folder has files of another format.
    let listed = || {
        let without = keys::WITHOUT
            .iter()
            .find(|(_, keys)| keys.split(' ').any(|without| without == key));
        without.map(|(why, _)| Fate::Without(why))
    };
    if ["storePathRootDir", "diskMaxUsedSpaceRatio"].contains(&key) {
        return listed();
    }
    if let Some((_, ours)) = TOGETHER.iter().find(|(known, _)| *known == key) {
        return Some(Fate::Setting(ours));
    }
    let setting = BrokerConfig::settings().find(|setting| setting.upstream_name() == Some(key));
    match setting {
        Some(setting) => Some(Fate::Setting(setting.key)),
        None => listed(),
    }
}

/// All keys that are known, by name.
#[must_use]
pub fn keys() -> Vec<(&'static str, Fate)> {
    let settings = BrokerConfig::settings().filter_map(Setting::upstream_name);
    let without = keys::WITHOUT.iter().flat_map(|(_, keys)| keys.split(' '));
    let together = TOGETHER.iter().map(|(key, _)| *key);
    let mut all: Vec<&'static str> = settings.chain(without).chain(together).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter()
        .filter_map(|key| Some((key, fate(key)?)))
        .collect()
}

/// Reads a file of the original. `origin` says which, for the problems.
#[must_use]
pub fn read(origin: &str, text: &str) -> Original {
    let pairs = properties::pairs(text);
    let mut original = Original::default();
    for (key, value) in &pairs {
        // The last one counts, as in the original.
        let is_last = pairs
            .iter()
            .rfind(|(other, _)| other == key)
            .map(|(_, value)| value);
        if is_last.is_some_and(|last| std::ptr::eq(last, value)) {
            original.put(origin, key, value);
        }
    }
    original.settle(origin, &pairs);
    original
}

/// What of a file is not taken over, a line each; nothing when it is no file of the original.
#[must_use]
pub fn left(path: Option<&Path>) -> Vec<String> {
    let Some(path) = path.filter(|path| is_original(path)) else {
        return Vec::new();
    };
    // One that cannot be read is refused by whoever takes its settings.
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let origin = path.display().to_string();
    let left = read(&origin, &text).left.into_iter();
    left.map(|left| format!("{origin}: {left}")).collect()
}

fn last<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    let found = pairs.iter().rfind(|(known, _)| known == key);
    found.map(|(_, value)| value.as_str())
}

impl Original {
    fn put(&mut self, origin: &str, key: &str, value: &str) {
        match fate(key) {
            Some(Fate::Setting(_)) if TOGETHER[..3].iter().any(|(known, _)| *known == key) => {}
            Some(Fate::Setting(ours)) => {
                let row = BrokerConfig::rows()
                    .iter()
                    .find(|row| row.setting.key == ours);
                let Some(row) = row else { return };
                let form = FORMS.iter().find(|(known, _)| *known == ours);
                let converted = match form {
                    Some((_, convert)) => convert(value),
                    None => Some(value.to_owned()),
                };
                // What cannot be converted is refused with the text of the file.
                let text = converted.unwrap_or_else(|| value.to_owned());
                match row.setting.read(&format!("{origin}, {key}"), &text, true) {
                    Ok(_) => self.taken.push(Taken {
                        key: ours,
                        value: text,
                        from: format!("{key}={value}"),
                    }),
                    Err(problem) => self.problems.push(problem),
                }
            }
            Some(Fate::Without(why)) => self.leave(key, value, why.to_owned()),
            None => {
                let near = nearest(BrokerConfig::settings(), key);
                let why = match near.and_then(Setting::upstream_name) {
                    Some(near) => format!("Apache RocketMQ has no such key; did you mean {near}?"),
                    None => "Apache RocketMQ has no such key".to_owned(),
                };
                self.leave(key, value, why);
            }
        }
    }

    fn leave(&mut self, key: &str, value: &str, why: String) {
        self.left.push(Left {
            key: key.to_owned(),
            value: value.to_owned(),
            why,
        });
    }

    /// What two keys say together.
    fn settle(&mut self, origin: &str, pairs: &[(String, String)]) {
        for (host_key, ours) in [
            ("bindAddress", "listen"),
            ("metricsPromExporterHost", "management"),
        ] {
            let Some(host) = last(pairs, host_key).filter(|host| !host.is_empty()) else {
                continue;
            };
            let known = self.taken.iter().position(|taken| taken.key == ours);
            let mut together = match known.map(|at| self.taken.remove(at)) {
                Some(mut taken) => {
                    taken.from.push_str(&format!(", {host_key}={host}"));
                    taken
                }
                None if ours == "listen" => Taken {
                    key: ours,
                    value: "0.0.0.0:10911".to_owned(),
                    from: format!("{host_key}={host}"),
                },
                None => {
                    let why = "there is no metricsPromExporterPort beside it".to_owned();
                    self.leave(host_key, host, why);
                    continue;
                }
            };
            together.value = together.value.replacen("0.0.0.0", host, 1);
            let row = BrokerConfig::rows()
                .iter()
                .find(|row| row.setting.key == ours);
            let place = format!("{origin}, {host_key}");
            let read = row.map(|row| row.setting.read(&place, &together.value, true));
            match read {
                Some(Err(problem)) => self.problems.push(problem),
                _ => self
                    .taken
                    .insert(known.unwrap_or(self.taken.len()), together),
            }
        }
        let role = last(pairs, "brokerRole").unwrap_or("ASYNC_MASTER");
        if role == "SYNC_MASTER" {
            let from = "brokerRole=SYNC_MASTER".to_owned();
            self.taken.push(Taken {
                key: "ackMode",
                value: "inSync".to_owned(),
                from: from.clone(),
            });
            // The original waits for one replica, and acknowledges without one.
            if !self.taken.iter().any(|taken| taken.key == "minInSync") {
                self.taken.push(Taken {
                    key: "minInSync",
                    value: "1".to_owned(),
                    from,
                });
            }
            return;
        }
        // Counts for who waits for replicas only.
        if let Some(at) = self.taken.iter().position(|taken| taken.key == "minInSync") {
            let taken = self.taken.remove(at);
            self.leave(
                "minInSyncReplicas",
                &taken.value,
                "brokerRole is not SYNC_MASTER, so no acknowledgement waits for replicas: set ackMode".to_owned(),
            );
        }
        match role {
            "ASYNC_MASTER" => {}
            "SLAVE" if last(pairs, "brokerId").is_some_and(|id| id != "0") => {}
            "SLAVE" => self.leave(
                "brokerRole",
                role,
                "a replica has a brokerId above 0; set it".to_owned(),
            ),
            other => self.leave(
                "brokerRole",
                other,
                "it is none of ASYNC_MASTER, SYNC_MASTER and SLAVE".to_owned(),
            ),
        }
    }

    /// What is taken over, as a file of settings.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        for taken in &self.taken {
            let row = BrokerConfig::rows()
                .iter()
                .find(|row| row.setting.key == taken.key);
            let Some(value) = row.and_then(|row| row.setting.read("", &taken.value, true).ok())
            else {
                continue;
            };
            out.push_str(&format!(
                "# {}\n{}: {}\n",
                taken.from,
                taken.key,
                value.to_yaml()
            ));
        }
        out
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}={} is not taken over: {}",
            self.key, self.value, self.why
        )
    }
}
