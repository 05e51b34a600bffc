//! YAML, read and written in one place.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a value is not what it should be: the first field that is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Wrong(String);

/// One document. Fields that are null are absent.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Wrong> {
    let fields = rmq_texts::yaml::settings(text).map_err(|error| Wrong(error.to_string()))?;
    typed(&Value::Object(fields))
}

/// A value as a type. A field of another type is named in the error.
pub(crate) fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, Wrong> {
    serde_json::from_value(value.clone()).map_err(|error| match culprit::<T>(value) {
        Some(path) => Wrong(format!("{path}: {error}")),
        None => Wrong(error.to_string()),
    })
}

/// The field without which the error would be another one, or none: the deepest that is at fault.
fn culprit<T: DeserializeOwned>(value: &Value) -> Option<String> {
    let whole = error_of::<T>(value)?;
    let mut path = String::new();
    let mut at = String::new();
    loop {
        let here = value.pointer(&at)?;
        let keys: Vec<String> = match here {
            Value::Object(fields) => fields.keys().cloned().collect(),
            Value::Array(items) => (0..items.len()).map(|index| index.to_string()).collect(),
            _ => break,
        };
        let guilty = keys.into_iter().find(|key| {
            let mut other = value.clone();
            match other.pointer_mut(&at) {
                Some(Value::Object(fields)) => {
                    fields.remove(key);
                    error_of::<T>(&other).as_ref() != Some(&whole)
                }
                // The first item with which the error is there.
                Some(Value::Array(items)) => {
                    items.truncate(key.parse().unwrap_or(0) + 1);
                    error_of::<T>(&other).as_ref() == Some(&whole)
                }
                _ => false,
            }
        });
        let Some(key) = guilty else {
            break;
        };
        let pointed = key.replace('~', "~0").replace('/', "~1");
        at = format!("{at}/{pointed}");
        path = match (path.as_str(), here) {
            (path, Value::Array(_)) => format!("{path}[{key}]"),
            ("", _) => key,
            (path, _) => format!("{path}.{key}"),
        };
    }
    (!path.is_empty()).then_some(path)
}

fn error_of<T: DeserializeOwned>(value: &Value) -> Option<String> {
    let read: Result<T, serde_json::Error> = serde_json::from_value(value.clone());
    read.err().map(|error| error.to_string())
}

/// # Panics
/// Never for what this program writes: structs and JSON values.
pub(crate) fn write<T: Serialize>(value: &T) -> String {
    serde_yaml::to_string(value).expect("structs and JSON values can be written as YAML")
}
