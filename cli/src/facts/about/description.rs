//! Everything about one thing, in the forms that are printed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// What is printed: the name of its kind, JSON, its schema, and tables for people.
pub(crate) struct Description {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) value: Value,
    pub(crate) schema: fn() -> Value,
    pub(crate) tables: Tables,
}

/// Tables for people: title, headers, rows.
pub(crate) type Tables = Vec<(&'static str, Vec<&'static str>, Vec<Vec<String>>)>;

/// Settings at one broker, as its JSON has them.
#[derive(Serialize, JsonSchema)]
pub(super) struct AtBroker {
    broker: String,
    config: Value,
}

/// The settings at each broker.
pub(super) fn at_broker<C: Serialize>(configs: &[(String, C)]) -> Vec<AtBroker> {
    configs
        .iter()
        .map(|(broker, config)| AtBroker {
            broker: broker.clone(),
            config: json!(config),
        })
        .collect()
}

/// Rows of names and values.
pub(super) fn pairs(map: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    map.iter()
        .map(|(name, value)| vec![name.clone(), value.clone()])
        .collect()
}
