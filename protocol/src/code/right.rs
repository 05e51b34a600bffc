//! The rights that a request needs.

use std::fmt;

/// What a user does to a resource (apache/rocketmq `auth/.../Action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sends messages.
    Pub,
    /// Receives messages.
    Sub,
    /// Creates the resource, or changes its settings.
    Create,
    /// Changes what belongs to the resource: offsets, permissions, settings.
    Update,
    /// Deletes the resource.
    Delete,
    /// Reads settings, progress or statistics.
    Get,
    /// Lists resources of this type.
    List,
}

impl Action {
    /// Upstream's name in upper case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pub => "PUB",
            Self::Sub => "SUB",
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::List => "LIST",
        }
    }
}

/// The type of the resources that a request names (apache/rocketmq `auth/.../ResourceType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The cluster as a whole. No request names it.
    Cluster,
    /// Each topic that the request names.
    Topic,
    /// Each consumer group that the request names.
    Group,
}

impl Resource {
    /// The name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Topic => "topic",
            Self::Group => "group",
        }
    }
}

/// A right: at least one of the actions on each resource of this type that the request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// The actions. Each of them alone is enough.
    pub actions: &'static [Action],
    /// What the actions are done to.
    pub on: Resource,
}

impl Right {
    /// A right to one of `actions` on `on`.
    #[must_use]
    pub const fn new(actions: &'static [Action], on: Resource) -> Self {
        Self { actions, on }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, action) in self.actions.iter().enumerate() {
            if index > 0 {
                f.write_str(" or ")?;
            }
            f.write_str(action.name())?;
        }
        write!(f, " {}", self.on.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_reads_as_a_phrase() {
        let right = Right::new(&[Action::Sub, Action::Get], Resource::Group);
        assert_eq!(right.to_string(), "SUB or GET group");
    }
}
