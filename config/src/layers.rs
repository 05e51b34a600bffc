//! The layers of a configuration: a file, variables, arguments.

use std::path::Path;

use serde_json::Value as Json;

use crate::broker::BrokerConfig;
use crate::configuration::Configuration;
use crate::original;
use crate::problem::{ConfigError, Problem};

/// Where an argument stands.
const ARGUMENTS: &str = "the command line";

/// See [`Configuration::load`].
pub(crate) fn load<C: Configuration>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    arguments: &[(String, String)],
) -> Result<C, ConfigError> {
    let mut config = C::default();
    let mut problems = Vec::new();
    if let Some(path) = file {
        let is_original = C::PROGRAM == BrokerConfig::PROGRAM && original::is_original(path);
        let settings = match is_original {
            true => read_original(path, &mut problems),
            false => read(path),
        };
        match settings {
            Ok(settings) => {
                let origin = path.display().to_string();
                for (key, value) in settings {
                    let read = put_json(&mut config, &origin, &key, &value);
                    problems.extend(read.err());
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix(C::VARIABLES) else {
            continue;
        };
        if !is_service_link(&name, &text) {
            let read = put(&mut config, &name, &camel(rest), &text, true);
            problems.extend(read.err());
        }
    }
    for (key, text) in arguments {
        let read = put(&mut config, ARGUMENTS, key, text, true);
        problems.extend(read.err());
    }
    if problems.is_empty() {
        problems = config.together();
    }
    ConfigError::of(problems)?;
    Ok(config)
}

fn put<C: Configuration>(
    config: &mut C,
    origin: &str,
    key: &str,
    text: &str,
    is_text: bool,
) -> Result<(), Problem> {
    match C::rows().iter().find(|row| row.setting.key == key) {
        Some(row) => {
            let value = row.setting.read(origin, text, is_text)?;
            row.put(config, &value);
            Ok(())
        }
        None => Err(C::unknown(origin, key)),
    }
}

fn put_json<C: Configuration>(
    config: &mut C,
    origin: &str,
    key: &str,
    value: &Json,
) -> Result<(), Problem> {
    match value {
        Json::String(text) => put(config, origin, key, text, true),
        // A list or fields are refused by whatever they are put into, with their text.
        other => put(config, origin, key, &other.to_string(), false),
    }
}

/// The fields of a file; those without a value are as if they were not there.
fn read(path: &Path) -> Result<serde_json::Map<String, Json>, Problem> {
    use rmq_texts::yaml;
    let problem = |reason: String| Problem::File {
        path: path.display().to_string(),
        reason,
    };
    let bytes =
        std::fs::read(path).map_err(|error| problem(format!("it cannot be read: {error}")))?;
    let text = yaml::text(bytes).map_err(|error| problem(error.to_string()))?;
    yaml::settings(&text).map_err(|error| problem(error.to_string()))
}

/// The fields of a file of the original that are settings here.
fn read_original(
    path: &Path,
    problems: &mut Vec<Problem>,
) -> Result<serde_json::Map<String, Json>, Problem> {
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Problem::File {
        path: origin.clone(),
        reason: format!("it cannot be read: {error}"),
    })?;
    let read = original::read(&origin, &text);
    problems.extend(read.problems);
    let taken = read.taken.into_iter();
    Ok(taken
        .map(|taken| (taken.key.to_owned(), Json::String(taken.value)))
        .collect())
}

/// The variable of a key: `RMQ_BROKER_DATA_DIR` of `dataDir`.
pub(crate) fn variable<C: Configuration>(key: &str) -> String {
    let mut out = C::VARIABLES.to_owned();
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

/// `DATA_DIR` to `dataDir`.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut is_upper = false;
    for letter in name.to_lowercase().chars() {
        if letter == '_' {
            is_upper = true;
        } else if std::mem::take(&mut is_upper) {
            out.push(letter.to_ascii_uppercase());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Whether Kubernetes made this variable to tell where a service is (`RMQ_BROKER_PORT_10911_TCP`).
fn is_service_link(name: &str, value: &str) -> bool {
    let part = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let schemes = ["tcp://", "udp://", "sctp://"];
    part(&["_SERVICE_HOST"])
        || name.contains("_SERVICE_PORT")
        || schemes.iter().any(|scheme| value.starts_with(scheme))
        || (name.contains("_PORT_") && part(&["_PROTO", "_PORT", "_ADDR"]))
}
