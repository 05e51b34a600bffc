//! A `Topic` or `SubscriptionGroup` object, and which objects want the same thing of one cluster.

use std::collections::BTreeMap;

use rmq_crds::{SubscriptionGroup, Topic};

use crate::fields::Fields;
use crate::{group, topic};

/// `"false"` on an object: the brokers' settings are no longer the object's.
pub const MANAGED: &str = "rmq.rs/managed";

/// The key of all objects that want the topic, or the group, of this name in a cluster. The operator serves the oldest of these objects;
/// the command line refuses two of them.
#[must_use]
pub fn claim(cluster: &str, name: &str) -> String {
    format!("name/{cluster}/{name}")
}

/// The first two objects that want the same of their cluster, in their order. Objects that manage nothing want nothing.
pub fn rivals<'o, T>(
    objects: impl IntoIterator<Item = (&'o Resource, &'o str, T)>,
) -> Option<(&'o Resource, T, T)>
where
    T: Clone,
{
    let mut seen: BTreeMap<String, T> = BTreeMap::new();
    for (object, cluster, place) in objects {
        if !object.is_managed() {
            continue;
        }
        if let Some(first) = seen.get(&object.claim(cluster)) {
            return Some((object, first.clone(), place));
        }
        seen.insert(object.claim(cluster), place);
    }
    None
}

/// An object that says how a topic or a group is at the brokers.
#[derive(Debug, Clone)]
pub enum Resource {
    /// A topic.
    Topic(Topic),
    /// A consumer group.
    Group(SubscriptionGroup),
}

impl Resource {
    /// The word for messages: `topic` or `group`.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Topic(_) => "topic",
            Self::Group(_) => "group",
        }
    }

    /// The name in RocketMQ.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Topic(topic) => topic.topic_name(),
            Self::Group(group) => group.group_name(),
        }
    }

    fn annotations(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Topic(topic) => topic.metadata.annotations.as_ref(),
            Self::Group(group) => group.metadata.annotations.as_ref(),
        }
    }

    /// Whether the brokers' settings are the object's: the annotation [`MANAGED`] is not `"false"`.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        let managed = self.annotations().and_then(|all| all.get(MANAGED));
        managed.is_none_or(|value| value != "false")
    }

    /// The key of the object in a cluster: objects with the same claim want the same topic or group.
    #[must_use]
    pub fn claim(&self, cluster: &str) -> String {
        format!("{}/{}", self.noun(), claim(cluster, self.name()))
    }

    /// The brokers that the object names; an empty list means all.
    pub(crate) fn brokers(&self) -> &[String] {
        match self {
            Self::Topic(topic) => &topic.spec.broker_groups,
            Self::Group(group) => &group.spec.broker_groups,
        }
    }

    /// The settings that the object wants.
    pub(crate) fn fields(&self) -> Fields {
        match self {
            Self::Topic(topic) => topic::fields(&topic::config(topic)),
            Self::Group(group) => group::fields(&group::config(group, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rmq_crds::{SubscriptionGroupSpec, TopicSpec};

    use super::*;

    #[test]
    fn two_objects_for_one_thing_are_rivals() {
        let topic = |object: &str, name: Option<&str>, managed: Option<&str>| {
            let spec = TopicSpec {
                topic_name: name.map(str::to_owned),
                ..TopicSpec::default()
            };
            let mut topic = Topic::new(object, spec);
            topic.metadata.annotations =
                managed.map(|value| BTreeMap::from([(MANAGED.to_owned(), value.to_owned())]));
            Resource::Topic(topic)
        };
        let group = |object: &str| {
            Resource::Group(SubscriptionGroup::new(
                object,
                SubscriptionGroupSpec::default(),
            ))
        };
        let found = |objects: &[(Resource, &'static str)]| {
            let objects = objects.iter().enumerate();
            let objects = objects.map(|(place, (object, cluster))| (object, *cluster, place));
            rivals(objects).map(|(object, one, other)| (object.name().to_owned(), one, other))
        };
        let orders = |object: &str| topic(object, Some("orders"), None);
        assert_eq!(found(&[(orders("a"), "c"), (group("orders"), "c")]), None);
        assert_eq!(found(&[(orders("a"), "c"), (orders("b"), "other")]), None);
        assert_eq!(
            found(&[
                (group("g"), "c"),
                (topic("orders", None, None), "c"),
                (orders("b"), "c")
            ]),
            Some(("orders".to_owned(), 1, 2))
        );
        assert_eq!(
            found(&[(group("g"), "c"), (group("g"), "c")]),
            Some(("g".to_owned(), 0, 1))
        );
        let let_go = topic("b", Some("orders"), Some("false"));
        assert_eq!(found(&[(orders("a"), "c"), (let_go, "c")]), None);
        let managed = topic("b", Some("orders"), Some("true"));
        assert!(found(&[(orders("a"), "c"), (managed, "c")]).is_some());
    }
}
