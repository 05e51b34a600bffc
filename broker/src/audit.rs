//! What the audit says about a change: who asked, and how the changed thing was before and is after.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmq_access::NotPassed;
use rmq_process::Asker;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::broker::Broker;
use crate::groups::{Group, GroupError};

/// A request, as the audit knows it.
pub(crate) trait Origin {
    /// Who sent it.
    fn asker(&self) -> Asker;

    /// Whether who sent it may send to the light queues, which a message names and the request does not.
    ///
    /// # Errors
    /// They may not.
    fn may_send_to(&self, broker: &Broker, queues: &[&str]) -> Result<(), NotPassed>;
}

/// Settings as text: a JSON object.
pub(crate) fn text(settings: &impl Serialize) -> Option<String> {
    serde_json::to_string(settings).ok()
}

/// Writes the line of settings that were put: of new ones all, of changed ones what differs. None when they are as before.
pub(crate) fn put<T: Serialize>(
    asker: &Asker,
    created: &'static str,
    changed: &'static str,
    subject: &str,
    before: Option<&T>,
    after: &T,
) {
    let Some(before) = before else {
        return asker.changed(created, subject, None, text(after));
    };
    if let Some((before, after)) = differences(before, after) {
        asker.changed(changed, subject, Some(before), Some(after));
    }
}

/// The fields in which two settings differ, as each of them has these.
fn differences(before: &impl Serialize, after: &impl Serialize) -> Option<(String, String)> {
    let object = |value: Value| match value {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    let mut before = object(serde_json::to_value(before).ok()?);
    let mut after = object(serde_json::to_value(after).ok()?);
    let same: Vec<String> = before
        .iter()
        .filter(|(key, value)| after.get(*key) == Some(*value))
        .map(|(key, _)| key.clone())
        .collect();
    for key in same {
        before.remove(&key);
        after.remove(&key);
    }
    (!before.is_empty() || !after.is_empty()).then(|| {
        (
            Value::Object(before).to_string(),
            Value::Object(after).to_string(),
        )
    })
}

/// Writes the line of offsets that were changed: queues with their offsets, those that differ. None when none does.
pub(crate) fn offsets(
    asker: &Asker,
    what: &'static str,
    topic: &str,
    group: &str,
    before: &BTreeMap<i32, i64>,
    after: &BTreeMap<i32, i64>,
) {
    if let Some((before, after)) = differences(before, after) {
        asker.changed(
            what,
            &format!("{group} on {topic}"),
            Some(before),
            Some(after),
        );
    }
}

/// The group; made when it is missing and that is allowed, and then with a line.
pub(crate) fn group_of(
    broker: &Broker,
    origin: &dyn Origin,
    name: &str,
) -> Result<Arc<Group>, GroupError> {
    if let Some(group) = broker.groups.get(name) {
        return Ok(group);
    }
    let group = broker.groups.get_or_create(name, broker.now_ms())?;
    origin.asker().changed(
        "group created by its first use",
        name,
        None,
        text(&group.config),
    );
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_what_differs() {
        let map = |pairs: &[(&str, i32)]| -> BTreeMap<String, i32> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), *value))
                .collect()
        };
        let of =
            |before: &[(&str, i32)], after: &[(&str, i32)]| differences(&map(before), &map(after));
        assert_eq!(of(&[("a", 1), ("b", 2)], &[("a", 1), ("b", 2)]), None);
        assert_eq!(
            of(&[("a", 1), ("b", 2)], &[("a", 1), ("b", 3), ("c", 4)]),
            Some((r#"{"b":2}"#.to_owned(), r#"{"b":3,"c":4}"#.to_owned()))
        );
        assert_eq!(
            of(&[("a", 1)], &[]),
            Some((r#"{"a":1}"#.to_owned(), "{}".to_owned()))
        );
    }
}
