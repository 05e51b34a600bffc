//! What differs between what an object wants and what the brokers have.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::fields::{Field, Fields, Value};

/// What becomes of one topic or group.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `topic` or `group`.
    pub kind: &'static str,
    /// The name in RocketMQ.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// Settings that change.
    pub fields: Vec<FieldChange>,
    /// Brokers that are to be changed.
    #[serde(skip)]
    pub brokers: Vec<String>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// No broker has it.
    Create,
    /// Some broker has it otherwise, or not.
    Update,
    /// Nothing.
    Same,
}

/// One setting at some brokers. As text: `queues 4 -> 8`, with `-` where there is no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Its name in the manifest.
    #[schemars(with = "String")]
    pub field: Field,
    /// What it is; none where there is no such thing.
    #[schemars(with = "Option<String>")]
    pub from: Option<Value>,
    /// What it becomes; none when it goes.
    #[schemars(with = "Option<String>")]
    pub to: Option<Value>,
    /// The brokers at which it changes.
    pub brokers: Vec<String>,
    /// Whether it takes something away from clients.
    pub takes_away: bool,
}

impl FieldChange {
    /// What the setting is, as text; `-` for none.
    #[must_use]
    pub fn from_text(&self) -> String {
        or_dash(self.from.as_ref())
    }

    /// What the setting becomes, as text; `-` for none.
    #[must_use]
    pub fn to_text(&self) -> String {
        or_dash(self.to.as_ref())
    }
}

fn or_dash(value: Option<&Value>) -> String {
    value.map_or_else(|| "-".to_owned(), Value::to_string)
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from_text(), self.to_text());
        write!(f, "{} {from} -> {to}", self.field)
    }
}

impl Change {
    /// Settings that take something away from clients.
    pub fn losses(&self) -> impl Iterator<Item = &FieldChange> {
        self.fields.iter().filter(|change| change.takes_away)
    }
}

/// What would change at `brokers` for a `kind` to be as `wanted`; `live` has the settings of each broker that knows the name.
pub(crate) fn compare(
    kind: &'static str,
    name: &str,
    wanted: &Fields,
    brokers: &[String],
    live: &[(String, Fields)],
) -> Change {
    let mut fields: Vec<FieldChange> = Vec::new();
    let mut changed = Vec::new();
    for broker in brokers {
        let has = live.iter().find(|(of, _)| of == broker).map(|(_, has)| has);
        let differing = differing(wanted, has);
        if has.is_none() || !differing.is_empty() {
            changed.push(broker.clone());
        }
        for (field, from, to) in differing {
            let same = fields.iter_mut().find(|known| {
                known.field == *field && known.from.as_ref() == from && known.to.as_ref() == to
            });
            match same {
                Some(known) => known.brokers.push(broker.clone()),
                None => fields.push(FieldChange {
                    field: field.clone(),
                    from: from.cloned(),
                    to: to.cloned(),
                    brokers: vec![broker.clone()],
                    takes_away: match (from, to) {
                        (Some(from), Some(to)) => from.is_more_than(to, field),
                        _ => false,
                    },
                }),
            }
        }
    }
    let action = if live.is_empty() {
        Action::Create
    } else if changed.is_empty() {
        Action::Same
    } else {
        Action::Update
    };
    Change {
        kind,
        name: name.to_owned(),
        action,
        fields,
        brokers: changed,
    }
}

/// The settings that one broker has otherwise, with both values.
fn differing<'f>(
    wanted: &'f Fields,
    has: Option<&'f Fields>,
) -> Vec<(&'f Field, Option<&'f Value>, Option<&'f Value>)> {
    let names: BTreeSet<&Field> = wanted
        .keys()
        .chain(has.into_iter().flat_map(Fields::keys))
        .collect();
    names
        .into_iter()
        .map(|field| (field, has.and_then(|has| has.get(field)), wanted.get(field)))
        .filter(|(_, from, to)| from != to)
        .collect()
}

#[cfg(test)]
mod tests {
    use rmq_crds::Permission;

    use super::*;

    fn fields(queues: i32, permission: Permission) -> Fields {
        Fields::from([
            (Field::Queues, Value::Number(queues)),
            (Field::Permission, Value::Permission(permission)),
        ])
    }

    #[test]
    fn brokers_that_differ_are_told_apart() {
        let brokers = ["a", "b", "c"].map(str::to_owned);
        let live = [
            ("a".to_owned(), fields(4, Permission::ReadWrite)),
            ("b".to_owned(), fields(8, Permission::ReadOnly)),
            ("c".to_owned(), fields(4, Permission::ReadWrite)),
        ];
        let wanted = fields(8, Permission::ReadOnly);
        let change = compare("topic", "t", &wanted, &brokers, &live);
        assert_eq!(change.action, Action::Update);
        assert_eq!(change.brokers, ["a", "c"]);
        let queues = change
            .fields
            .iter()
            .find(|change| change.field == Field::Queues)
            .unwrap();
        assert_eq!(queues.brokers, ["a", "c"]);
        assert_eq!(queues.to_string(), "queues 4 -> 8");
        let lost: Vec<String> = change.losses().map(FieldChange::to_string).collect();
        assert_eq!(lost, ["permission ReadWrite -> ReadOnly"]);
    }
}
