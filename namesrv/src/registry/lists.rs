//! Lists of topics.

use rmq_protocol::bodies::TopicList;

use super::Registry;

/// Bit of a unit topic in the topic's system flag (`apache/rocketmq common/.../sysflag/TopicSysFlag.java`).
const UNIT: i32 = 1;
/// Bit of a topic with a unit subscription.
const UNIT_SUB: i32 = 2;

/// Which topics by their system flag.
#[derive(Debug, Clone, Copy)]
pub(crate) enum UnitTopics {
    Unit,
    UnitSub,
    UnitSubOnly,
}

impl Registry {
    pub(crate) fn all_topics(&self) -> TopicList {
        TopicList {
            broker_addr: None,
            topic_list: self
                .tables
                .read()
                .topics
                .iter()
                .map(|(topic, _)| topic.clone())
                .collect(),
        }
    }

    pub(crate) fn topics_of_cluster(&self, cluster: &str) -> TopicList {
        let tables = self.tables.read();
        let of_cluster = |name: &String| {
            tables
                .groups
                .get(name)
                .is_some_and(|group| group.cluster == cluster)
        };
        let topics = tables
            .topics
            .iter()
            .filter(|(_, brokers)| brokers.keys().any(of_cluster));
        TopicList {
            broker_addr: None,
            topic_list: topics.map(|(topic, _)| topic.clone()).collect(),
        }
    }

    /// Topics that are named like clusters and broker groups, and the address of any broker.
    pub(crate) fn system_topics(&self) -> TopicList {
        let tables = self.tables.read();
        let mut names: Vec<String> = tables
            .groups
            .values()
            .map(|group| group.cluster.clone())
            .collect();
        names.extend(tables.groups.keys().cloned());
        names.sort();
        names.dedup();
        let broker_addr = tables
            .groups
            .values()
            .find_map(|group| group.members.values().next().cloned());
        TopicList {
            broker_addr,
            topic_list: names,
        }
    }

    pub(crate) fn unit_topics(&self, which: UnitTopics) -> TopicList {
        let tables = self.tables.read();
        let wanted = |flag: i32| match which {
            UnitTopics::Unit => flag & UNIT != 0,
            UnitTopics::UnitSub => flag & UNIT_SUB != 0,
            UnitTopics::UnitSubOnly => flag & UNIT == 0 && flag & UNIT_SUB != 0,
        };
        let topics = tables
            .topics
            .iter()
            .filter(|(_, brokers)| brokers.values().any(|queues| wanted(queues.topic_sys_flag)));
        TopicList {
            broker_addr: None,
            topic_list: topics.map(|(topic, _)| topic.clone()).collect(),
        }
    }
}
