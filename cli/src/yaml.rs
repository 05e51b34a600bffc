//! YAML, read and written in one place.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
    serde_yaml::from_str(text)
}

/// # Panics
/// Never for what this program writes: structs and JSON values.
pub(crate) fn write<T: Serialize>(value: &T) -> String {
    serde_yaml::to_string(value).expect("structs and JSON values can be written as YAML")
}
