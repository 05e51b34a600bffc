//! Attributes of topics and groups: which there are, and what they may say (apache/rocketmq `TopicAttributes`,
//! `SubscriptionGroupAttributes`, `AttributeUtil`). What the original has and this broker cannot do is refused by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::quota;

/// An attribute that may be set.
struct Attribute {
    name: &'static str,
    values: Values,
    /// Whether a topic that is there may get another value.
    changeable: bool,
}

enum Values {
    OneOf(&'static [&'static str]),
    Range(i64, i64),
}

/// A quota, which may be changed.
const fn rate(name: &'static str) -> Attribute {
    Attribute {
        name,
        values: Values::Range(1, quota::QUOTA_MAX),
        changeable: true,
    }
}

/// The attribute that says what becomes of messages whose time is up.
pub(crate) const CLEANUP_POLICY: &str = "cleanup.policy";
/// The value of [`CLEANUP_POLICY`] that keeps the newest message of each key.
pub(crate) const COMPACTION: &str = "COMPACTION";
/// The attribute that says which messages a topic takes.
pub(crate) const MESSAGE_TYPE: &str = "message.type";
/// The value of [`MESSAGE_TYPE`] that brokers take only where that is configured.
const MIXED: &str = "MIXED";

const OF_TOPICS: &[Attribute] = &[
    Attribute {
        name: CLEANUP_POLICY,
        values: Values::OneOf(&["DELETE", COMPACTION]),
        changeable: false,
    },
    Attribute {
        name: MESSAGE_TYPE,
        values: Values::OneOf(&[
            "UNSPECIFIED",
            "NORMAL",
            "FIFO",
            "DELAY",
            "TRANSACTION",
            "PRIORITY",
            MIXED,
        ]),
        changeable: true,
    },
    Attribute {
        name: "queue.type",
        values: Values::OneOf(&["SimpleCQ"]),
        changeable: false,
    },
    rate(quota::BYTES),
    rate(quota::CLIENT_BYTES),
    rate(quota::CLIENT_MESSAGES),
    rate(quota::MESSAGES),
    Attribute {
        name: "reserve.time",
        values: Values::Range(-1, i64::MAX),
        changeable: true,
    },
];

const OF_GROUPS: &[Attribute] = &[
    rate(quota::COLD_BYTES),
    Attribute {
        name: "priority.factor",
        values: Values::Range(0, 100),
        changeable: true,
    },
    rate(quota::BYTES),
    rate(quota::CLIENT_BYTES),
    rate(quota::CLIENT_MESSAGES),
    rate(quota::MESSAGES),
];

/// Attributes by name.
pub(crate) type Attributes = BTreeMap<String, String>;

/// Why attributes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AttributeError {
    #[error("attribute {0:?} is neither +name=value nor -name")]
    Form(String),
    #[error("there is no attribute {name:?}; this broker knows {known}")]
    Unknown { name: String, known: String },
    #[error("attribute {name}: {value:?} is not {expected}")]
    Value {
        name: String,
        value: String,
        expected: String,
    },
    #[error("attribute {0} cannot be changed; delete the topic and create it again")]
    Fixed(String),
    #[error("attribute {0} is named twice")]
    Twice(String),
    /// Text of apache/rocketmq `AdminBrokerProcessor.updateAndCreateTopic`, up to the semicolon.
    #[error(
        "MIXED message type is not supported; attribute message.type takes it where the broker has enableMixedMessageType"
    )]
    Mixed,
}

/// `current` with changes: `+name` and its value, or `-name`. `current` is absent for a topic that is new. `mixed`: a topic may take messages of
/// all types.
pub(crate) fn change_topic<'a>(
    current: Option<&Attributes>,
    changes: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    mixed: bool,
) -> Result<Attributes, AttributeError> {
    let mut attributes = current.cloned().unwrap_or_default();
    let mut named = BTreeSet::new();
    for (change, value) in changes {
        let form = || AttributeError::Form(change.to_owned());
        let (sign, name) = change.split_at_checked(1).ok_or_else(form)?;
        let attribute = find(OF_TOPICS, name);
        if !named.insert(name) {
            return Err(AttributeError::Twice(name.to_owned()));
        }
        let wanted = match (sign, value) {
            ("+", Some(value)) => {
                attribute?.check(value)?;
                if name == MESSAGE_TYPE && value == MIXED && !mixed {
                    return Err(AttributeError::Mixed);
                }
                Some(value)
            }
            ("-", _) => {
                attribute?;
                None
            }
            _ => return Err(form()),
        };
        let before = attributes.get(name).map(String::as_str);
        if wanted == before {
            continue;
        }
        if current.is_some() && !find(OF_TOPICS, name)?.changeable {
            return Err(AttributeError::Fixed(name.to_owned()));
        }
        match wanted {
            Some(value) => drop(attributes.insert(name.to_owned(), value.to_owned())),
            None => drop(attributes.remove(name)),
        }
    }
    Ok(attributes)
}

/// `current` of a group with what a request carries: changes, or what the group shall have in the end.
pub(crate) fn change_group(
    current: Option<&Attributes>,
    wanted: &Attributes,
) -> Result<Attributes, AttributeError> {
    let is_change = |name: &&String| name.starts_with(['+', '-']);
    let mut attributes = if wanted.keys().any(|name| is_change(&name)) {
        current.cloned().unwrap_or_default()
    } else {
        Attributes::new()
    };
    for (change, value) in wanted {
        if let Some(name) = change.strip_prefix('-') {
            find(OF_GROUPS, name)?;
            attributes.remove(name);
        } else {
            let name = change.strip_prefix('+').unwrap_or(change);
            find(OF_GROUPS, name)?.check(value)?;
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    Ok(attributes)
}

fn find(all: &'static [Attribute], name: &str) -> Result<&'static Attribute, AttributeError> {
    let found = all.iter().find(|attribute| attribute.name == name);
    found.ok_or_else(|| AttributeError::Unknown {
        name: name.to_owned(),
        known: all
            .iter()
            .map(|attribute| attribute.name)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

impl Attribute {
    fn check(&self, value: &str) -> Result<(), AttributeError> {
        let (fits, expected) = match &self.values {
            Values::OneOf(values) => (
                values.contains(&value),
                match values {
                    [only] => format!("{only}, the only one that this broker supports"),
                    values => format!("one of {}", values.join(", ")),
                },
            ),
            Values::Range(from, to) => (
                value
                    .parse::<i64>()
                    .is_ok_and(|number| (*from..=*to).contains(&number)),
                format!("a number from {from} to {to}"),
            ),
        };
        if fits {
            return Ok(());
        }
        Err(AttributeError::Value {
            name: self.name.to_owned(),
            value: value.to_owned(),
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Attributes {
        let owned = pairs.iter();
        owned
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn change(
        current: Option<&[(&str, &str)]>,
        changes: &[(&str, Option<&str>)],
    ) -> Result<Attributes, String> {
        change_topic(current.map(of).as_ref(), changes.iter().copied(), false)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn topics_have_the_attributes_that_there_are() {
        let fifo = [("message.type", "FIFO")];
        assert_eq!(
            change(None, &[("+message.type", Some("FIFO"))]),
            Ok(of(&fifo))
        );
        assert_eq!(
            change(
                Some(&fifo),
                &[("-message.type", None), ("+reserve.time", Some("72"))]
            ),
            Ok(of(&[("reserve.time", "72")]))
        );
        assert_eq!(
            change(Some(&fifo), &[("-reserve.time", None)]),
            Ok(of(&fifo))
        );
        assert_eq!(
            change(None, &[("+no.such.attr", Some("x"))]),
            Err("there is no attribute \"no.such.attr\"; this broker knows cleanup.policy, message.type, queue.type, quota.bytes, quota.client.bytes, quota.client.messages, quota.messages, reserve.time".to_owned())
        );
    }

    #[test]
    fn values_are_checked() {
        for (name, value) in [
            ("+message.type", "fifo"),
            ("+quota.messages", "0"),
            ("+quota.client.bytes", "1 MiB"),
            ("+quota.bytes", "1000000000001"),
            ("+message.type", ""),
            ("+reserve.time", "-2"),
            ("+reserve.time", "1.5"),
            ("+reserve.time", "9223372036854775808"),
            ("+reserve.time", " 1"),
            ("+queue.type", "BatchCQ"),
            ("+cleanup.policy", "compaction"),
        ] {
            let refused = change(None, &[(name, Some(value))]);
            assert!(
                refused
                    .as_ref()
                    .is_err_and(|text| text.contains(&name[1..])),
                "{name} {value:?}: {refused:?}"
            );
        }
        for (name, value) in [
            ("+reserve.time", "-1"),
            ("+queue.type", "SimpleCQ"),
            ("+cleanup.policy", "DELETE"),
            ("+cleanup.policy", "COMPACTION"),
            ("+quota.messages", "1"),
            ("+quota.bytes", "1000000000000"),
        ] {
            assert!(change(None, &[(name, Some(value))]).is_ok(), "{name}");
        }
    }

    #[test]
    fn topics_of_all_types_are_for_brokers_that_take_them() {
        let wanted = [("+message.type", Some("MIXED"))];
        assert!(
            change(None, &wanted)
                .is_err_and(|text| text.starts_with("MIXED message type is not supported;"))
        );
        let mixed = change_topic(None, wanted.iter().copied(), true);
        assert_eq!(mixed, Ok(of(&[("message.type", "MIXED")])));
    }

    #[test]
    fn what_cannot_change_may_be_said_again() {
        let simple = [("queue.type", "SimpleCQ")];
        assert_eq!(
            change(Some(&simple), &[("+queue.type", Some("SimpleCQ"))]),
            Ok(of(&simple))
        );
        assert!(
            change(Some(&simple), &[("-queue.type", None)])
                .is_err_and(|text| text.contains("cannot be changed"))
        );
        assert!(change(Some(&[]), &[("+queue.type", Some("SimpleCQ"))]).is_err());
    }

    #[test]
    fn changes_have_a_form() {
        for wrong in ["message.type", "", "*message.type", "+"] {
            assert!(change(None, &[(wrong, Some("FIFO"))]).is_err(), "{wrong:?}");
        }
        assert!(change(None, &[("+message.type", None)]).is_err());
        let twice = [("+message.type", Some("FIFO")), ("-message.type", None)];
        assert!(change(None, &twice).is_err_and(|text| text.contains("twice")));
    }

    #[test]
    fn groups_have_theirs() {
        let factor = of(&[("priority.factor", "7")]);
        assert_eq!(
            change_group(None, &of(&[("+priority.factor", "7")])),
            Ok(factor.clone())
        );
        assert_eq!(change_group(None, &factor), Ok(factor.clone()));
        assert_eq!(
            change_group(Some(&factor), &of(&[("-priority.factor", "")])),
            Ok(of(&[]))
        );
        assert_eq!(change_group(Some(&factor), &of(&[])), Ok(of(&[])));
        for wrong in [
            ("+priority.factor", "101"),
            ("priority.factor", "x"),
            ("quota.messages", "-1"),
            ("cold.read.threshold", "0"),
            ("+lite.bind.topic", "t"),
            ("no.such", "x"),
            ("-no.such", ""),
        ] {
            assert!(change_group(None, &of(&[wrong])).is_err(), "{wrong:?}");
        }
    }
}
