//! Topics: which broker groups serve them, with which queues.

use std::collections::BTreeMap;

use rmq_protocol::route::QueueData;

/// Topic to broker group to queues; counts the pairs, because they are what takes the memory.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: BTreeMap<String, BTreeMap<String, QueueData>>,
    entries: usize,
}

impl Topics {
    /// How many topics there are.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// How many pairs of a topic and a broker group there are.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// The broker groups of a topic.
    pub(super) fn get(&self, topic: &str) -> Option<&BTreeMap<String, QueueData>> {
        self.by_name.get(topic)
    }

    /// Whether a broker group serves a topic.
    pub(super) fn has(&self, topic: &str, group: &str) -> bool {
        self.get(topic)
            .is_some_and(|groups| groups.contains_key(group))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &BTreeMap<String, QueueData>)> {
        self.by_name.iter()
    }

    /// How many topics and pairs would be new if the group served these.
    pub(super) fn growth<'a>(
        &self,
        group: &str,
        topics: impl Iterator<Item = &'a String>,
    ) -> (usize, usize) {
        topics.fold((0, 0), |(topics, entries), topic| match self.get(topic) {
            None => (topics + 1, entries + 1),
            Some(groups) => (topics, entries + usize::from(!groups.contains_key(group))),
        })
    }

    /// Sets a group's queues; answers whether that changed anything.
    pub(super) fn put(&mut self, topic: &str, queues: QueueData) -> bool {
        if self
            .get(topic)
            .and_then(|groups| groups.get(&queues.broker_name))
            == Some(&queues)
        {
            return false;
        }
        let groups = self.by_name.entry(topic.to_owned()).or_default();
        let old = groups.insert(queues.broker_name.clone(), queues);
        self.entries += usize::from(old.is_none());
        true
    }

    /// Takes a group's queues away where `gone` says so; a topic that no group serves any more is forgotten.
    pub(super) fn remove_of(&mut self, group: &str, mut gone: impl FnMut(&str) -> bool) {
        let entries = &mut self.entries;
        self.by_name.retain(|topic, groups| {
            if groups.contains_key(group) && gone(topic) {
                groups.remove(group);
                *entries -= 1;
            }
            !groups.is_empty()
        });
    }

    /// Takes a topic away from the groups for which `gone` says so.
    pub(super) fn remove(&mut self, topic: &str, mut gone: impl FnMut(&str) -> bool) {
        let Some(groups) = self.by_name.get_mut(topic) else {
            return;
        };
        let before = groups.len();
        groups.retain(|group, _| !gone(group));
        self.entries -= before - groups.len();
        if groups.is_empty() {
            self.by_name.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(group: &str, count: i32) -> QueueData {
        QueueData {
            broker_name: group.to_owned(),
            perm: 6,
            read_queue_nums: count,
            topic_sys_flag: 0,
            write_queue_nums: count,
        }
    }

    #[test]
    fn pairs_are_counted_through_every_change() {
        let mut topics = Topics::default();
        let mut noise = 1_u32;
        let mut random = |below: u32| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 16) % below
        };
        for _ in 0..5_000 {
            let (topic, group) = (format!("t{}", random(9)), format!("g{}", random(5)));
            match random(6) {
                0 => topics.remove_of(&group, |topic| topic < "t5"),
                1 => topics.remove(&topic, |name| name < "g3"),
                count => {
                    let known = topics.get(&topic).and_then(|groups| groups.get(&group));
                    let queues = queues(&group, i32::try_from(count).unwrap());
                    let changes = known != Some(&queues);
                    assert_eq!(topics.put(&topic, queues), changes);
                }
            }
            let pairs: usize = topics.iter().map(|(_, groups)| groups.len()).sum();
            assert_eq!(topics.entries(), pairs);
            assert!(topics.iter().all(|(_, groups)| !groups.is_empty()));
        }
        assert!(topics.len() > 0);
    }

    #[test]
    fn growth_is_known_before() {
        let mut topics = Topics::default();
        topics.put("t", queues("a", 1));
        let wanted = ["t".to_owned(), "u".to_owned()];
        assert_eq!(topics.growth("a", wanted.iter()), (1, 1));
        assert_eq!(topics.growth("b", wanted.iter()), (1, 2));
    }
}
