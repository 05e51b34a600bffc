//! What rights are about: `Topic:orders`, `Topic:orders-*`, `Group:*`, `Cluster:prod`, `*`; and actions as a set
//! (apache/rocketmq `auth/.../authorization/model/Resource.java`, `common/.../action/Action.java`).

use std::fmt;
use std::str::FromStr;

use rmq_protocol::code::{Action, Resource};

/// Longest name in a resource, bytes: that of the longest topic.
const NAME_BYTES_MAX: usize = 255;

/// The type of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A cluster.
    Cluster,
    /// A namespace. No request names one.
    Namespace,
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
}

impl Kind {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Namespace, Self::Topic, Self::Group];

    /// As the original writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Namespace => "Namespace",
            Self::Topic => "Topic",
            Self::Group => "Group",
        }
    }
}

impl From<Resource> for Kind {
    fn from(resource: Resource) -> Self {
        match resource {
            Resource::Cluster => Self::Cluster,
            Resource::Topic => Self::Topic,
            Resource::Group => Self::Group,
        }
    }
}

/// Which names a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This one.
    Literal(String),
    /// All that begin so.
    Prefix(String),
    /// All.
    Any,
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ResourceKey {
    /// Everything: `*`.
    Everything,
    /// Resources of one type.
    Of(Kind, Pattern),
}

/// A text that is no resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no resource: *, or Topic, Group, Cluster or Namespace, a colon and a name of up to {NAME_BYTES_MAX} bytes, as in Topic:orders, Topic:orders-* or Group:*"
)]
pub struct ResourceKeyError(String);

impl ResourceKey {
    /// Whether the rule is about this name; `None`: about all names of the type.
    #[must_use]
    pub fn covers(&self, kind: Kind, name: Option<&str>) -> bool {
        match (self, name) {
            (Self::Everything, _) => true,
            (Self::Of(own, _), _) if *own != kind => false,
            (Self::Of(_, Pattern::Any), _) => true,
            (Self::Of(_, Pattern::Literal(own)), Some(name)) => own == name,
            (Self::Of(_, Pattern::Prefix(own)), Some(name)) => name.starts_with(own.as_str()),
            (Self::Of(..), None) => false,
        }
    }
}

impl FromStr for ResourceKey {
    type Err = ResourceKeyError;

    fn from_str(text: &str) -> Result<Self, ResourceKeyError> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        let refused = || ResourceKeyError(text.chars().take(300).collect());
        let (kind, name) = text.split_once(':').ok_or_else(refused)?;
        let kind = Kind::ALL
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(kind))
            .ok_or_else(refused)?;
        let has_control = name.chars().any(char::is_control);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || has_control {
            return Err(refused());
        }
        let pattern = match name.strip_suffix('*') {
            Some("") => Pattern::Any,
            Some(prefix) if prefix.contains('*') => return Err(refused()),
            Some(prefix) => Pattern::Prefix(prefix.to_owned()),
            None if name.contains('*') => return Err(refused()),
            None => Pattern::Literal(name.to_owned()),
        };
        Ok(Self::Of(kind, pattern))
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Of(kind, Pattern::Literal(name)) => write!(f, "{}:{name}", kind.name()),
            Self::Of(kind, Pattern::Prefix(name)) => write!(f, "{}:{name}*", kind.name()),
            Self::Of(kind, Pattern::Any) => write!(f, "{}:*", kind.name()),
        }
    }
}

/// A set of actions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Actions(u8);

/// Actions with the names of the original, in its order.
const NAMED: [(Action, &str); 7] = [
    (Action::Pub, "Pub"),
    (Action::Sub, "Sub"),
    (Action::Create, "Create"),
    (Action::Update, "Update"),
    (Action::Delete, "Delete"),
    (Action::Get, "Get"),
    (Action::List, "List"),
];

impl Actions {
    /// None.
    pub const NONE: Self = Self(0);
    /// All of them: `All`.
    pub const ALL: Self = Self(0b111_1111);

    /// This one.
    #[must_use]
    pub const fn one(action: Action) -> Self {
        Self(1 << action as u8)
    }

    /// These.
    #[must_use]
    pub const fn of(actions: &[Action]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < actions.len() {
            bits |= 1 << actions[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// The action or set of this name; capital and small letters are alike. `Any` is none: the original allows it in no rule.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("All") {
            return Some(Self::ALL);
        }
        let named = NAMED
            .iter()
            .find(|(_, text)| text.eq_ignore_ascii_case(name));
        named.map(|(action, _)| Self::one(*action))
    }

    /// As the original writes them.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        if self == Self::ALL {
            return vec!["All".to_owned()];
        }
        let has = NAMED
            .iter()
            .filter(|(action, _)| !(self & Self::one(*action)).is_empty());
        has.map(|(_, name)| (*name).to_owned()).collect()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that the other set has not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl std::ops::BitAnd for Actions {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl std::ops::BitOr for Actions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Actions {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// In capitals, as refusals write them: `PUB or SUB`.
impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut is_first = true;
        for (action, _) in NAMED {
            if (*self & Self::one(action)).is_empty() {
                continue;
            }
            if !is_first {
                f.write_str(" or ")?;
            }
            is_first = false;
            f.write_str(action.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_read_as_they_are_written() {
        for text in [
            "*",
            "Topic:orders",
            "Topic:orders-*",
            "Group:*",
            "Cluster:prod",
            "Namespace:a",
        ] {
            let key: ResourceKey = text.parse().expect(text);
            assert_eq!(key.to_string(), text);
        }
        assert_eq!(
            "topic:a".parse::<ResourceKey>().map(|key| key.to_string()),
            Ok("Topic:a".to_owned())
        );
        let long = format!("Topic:{}", "a".repeat(256));
        for wrong in [
            "",
            "Topic",
            "Topic:",
            "Queue:a",
            "Topic:a*b",
            "Topic:a**",
            &long,
        ] {
            assert!(wrong.parse::<ResourceKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn actions_are_sets() {
        assert_eq!(Actions::named("pub"), Some(Actions::one(Action::Pub)));
        assert_eq!(Actions::named("ALL"), Some(Actions::ALL));
        assert_eq!(Actions::named("Any"), None);
        let both = Actions::of(&[Action::Pub, Action::Get]);
        assert_eq!(both.to_string(), "PUB or GET");
        assert_eq!(both.names(), ["Pub", "Get"]);
        let every = NAMED.iter().fold(Actions::NONE, |all, (action, _)| {
            all | Actions::one(*action)
        });
        assert_eq!(every, Actions::ALL);
    }
}
