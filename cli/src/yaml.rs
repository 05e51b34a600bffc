//! YAML, read and written in one place.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
    serde_yaml::from_str(text)
}

/// All documents of a text, as JSON values.
pub(crate) fn documents(text: &str) -> Result<Vec<serde_json::Value>, serde_yaml::Error> {
    serde_yaml::Deserializer::from_str(text)
        .map(serde_json::Value::deserialize)
        .collect()
}

/// # Panics
/// Never for what this program writes: structs and JSON values.
pub(crate) fn write<T: Serialize>(value: &T) -> String {
    serde_yaml::to_string(value).expect("structs and JSON values can be written as YAML")
}
