//! Which member of a group gets which queue. Every member computes it alone, so all of them, in any language, must come to the same
//! result from the same lists (`client/consumer/rebalance/AllocateMessageQueue*.java` of apache/rocketmq).

use md5::{Digest, Md5};

use crate::queue::Queue;

/// How the queues of a topic are divided among the members of a group. All members must use the same.
///
/// ```
/// use rmq_client::{Assignment, Queue};
///
/// let queues: Vec<_> = (0..5).map(|id| Queue::new("orders", "broker-a", id)).collect();
/// let members = ["a".to_owned(), "b".to_owned()];
/// assert_eq!(Assignment::Average.queues_of("a", &queues, &members), &queues[..3]);
/// assert_eq!(Assignment::Average.queues_of("b", &queues, &members), &queues[3..]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Assignment {
    /// Neighbouring queues to one member (`AVG`), as Java and Go clients do by default.
    #[default]
    Average,
    /// In turn, one queue each (`AVG_BY_CIRCLE`).
    AverageByCircle,
    /// Members on a ring of hashes (`CONSISTENT_HASH`): few queues move when a member comes or goes.
    ConsistentHash,
}

/// Places of each member on the ring, as in Java.
const RING_PLACES: u32 = 10;

impl Assignment {
    /// The queues of one member. `queues` and `members` must be sorted, by (topic, broker, number) and by text. A member that is not
    /// listed gets nothing.
    #[must_use]
    pub fn queues_of(self, member: &str, queues: &[Queue], members: &[String]) -> Vec<Queue> {
        let Some(index) = members.iter().position(|other| other == member) else {
            return Vec::new();
        };
        match self {
            Self::Average => average(index, members.len(), queues),
            Self::AverageByCircle => queues
                .iter()
                .skip(index)
                .step_by(members.len())
                .cloned()
                .collect(),
            Self::ConsistentHash => on_ring(member, queues, members),
        }
    }
}

fn average(index: usize, members: usize, queues: &[Queue]) -> Vec<Queue> {
    let rest = queues.len() % members;
    let gets_one_more = index < rest;
    let (count, start) = if queues.len() <= members {
        (1, index)
    } else if gets_one_more {
        let count = queues.len() / members + 1;
        (count, index * count)
    } else {
        let count = queues.len() / members;
        (count, index * count + rest)
    };
    queues.iter().skip(start).take(count).cloned().collect()
}

fn on_ring(member: &str, queues: &[Queue], members: &[String]) -> Vec<Queue> {
    let mut ring = std::collections::BTreeMap::new();
    for name in members {
        for place in 0..RING_PLACES {
            ring.insert(hash(&format!("{name}-{place}")), name.as_str());
        }
    }
    queues
        .iter()
        .filter(|queue| {
            let at = hash(&format!(
                "MessageQueue [topic={}, brokerName={}, queueId={}]",
                queue.topic(),
                queue.broker(),
                queue.id()
            ));
            let next = ring.range(at..).next().or_else(|| ring.iter().next());
            next.is_some_and(|(_, owner)| *owner == member)
        })
        .cloned()
        .collect()
}

/// The first four bytes of the MD5, big-endian.
fn hash(text: &str) -> u32 {
    let digest = Md5::digest(text.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Assignment; 3] = [
        Assignment::Average,
        Assignment::AverageByCircle,
        Assignment::ConsistentHash,
    ];

    fn queues(count: i32) -> Vec<Queue> {
        (0..count).map(|id| Queue::new("t", "b", id)).collect()
    }

    fn ids(queues: &[Queue]) -> Vec<i32> {
        queues.iter().map(Queue::id).collect()
    }

    #[test]
    fn blocks_and_turns() {
        let members: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        let of =
            |how: Assignment, member, count| ids(&how.queues_of(member, &queues(count), &members));
        assert_eq!(of(Assignment::Average, "a", 8), [0, 1, 2]);
        assert_eq!(of(Assignment::Average, "b", 8), [3, 4, 5]);
        assert_eq!(of(Assignment::Average, "c", 8), [6, 7]);
        assert_eq!(of(Assignment::Average, "b", 2), [1]);
        assert_eq!(of(Assignment::Average, "c", 2), [0; 0]);
        assert_eq!(of(Assignment::AverageByCircle, "b", 8), [1, 4, 7]);
        assert_eq!(of(Assignment::Average, "nobody", 8), [0; 0]);
    }

    proptest! {
        #[test]
        fn every_queue_has_one_owner(count in 0..40_i32, members in 1..12_usize) {
            let queues = queues(count);
            let mut members: Vec<String> = (0..members).map(|n| format!("10.0.0.{n}@{n}")).collect();
            members.sort();
            for how in ALL {
                let mut all: Vec<Queue> = members
                    .iter()
                    .flat_map(|member| how.queues_of(member, &queues, &members))
                    .collect();
                all.sort();
                prop_assert_eq!(&all, &queues, "{:?}", how);
            }
        }
    }
}
