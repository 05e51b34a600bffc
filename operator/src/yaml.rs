//! YAML, in one place.

use serde::Serialize;
#[cfg(test)]
use serde::de::DeserializeOwned;

/// An object as YAML.
pub(crate) fn write(value: &impl Serialize) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|error| format!("# cannot be written: {error}\n"))
}

/// YAML as an object.
#[cfg(test)]
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

/// An object of `tests/cases`.
#[cfg(test)]
pub(crate) fn case<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/tests/cases/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the case is there");
    read(&text).expect("it is of its kind")
}
