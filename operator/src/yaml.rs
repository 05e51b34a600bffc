//! YAML, in one place.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// An object as YAML.
pub(crate) fn write(value: &impl Serialize) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|error| format!("# cannot be written: {error}\n"))
}

/// YAML as an object.
#[cfg_attr(not(test), allow(dead_code, reason = "tests read YAML"))]
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}
