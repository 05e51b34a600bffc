//! Which queue a message goes to: the one that is named, the one of its key, or the next in turn.

use std::sync::atomic::Ordering;

use rmq_protocol::message::java_hash_code;
use rmq_protocol::names::AUTO_CREATE_TOPIC;

use super::{Producer, Target};
use crate::error::{Error, ErrorKind};
use crate::queue::Queue;
use crate::remote::Remote;
use crate::routes::Route;

impl Producer {
    /// A queue and the master of its broker group; another broker than `avoid` where there is one.
    pub(super) async fn pick(
        &self,
        topic: &str,
        target: &Target<'_>,
        avoid: Option<&str>,
    ) -> Result<(Queue, Remote), Error> {
        let route = match self.client.route(topic).await {
            Err(error) if error.kind() == ErrorKind::NoRoute && self.shared.auto_create => {
                let Ok(template) = self.client.route(AUTO_CREATE_TOPIC).await else {
                    return Err(error);
                };
                // A broker that has registered between the two questions may have the topic, with other queues than the template's.
                match self.client.refresh_route(topic).await {
                    Err(error) if error.kind() == ErrorKind::NoRoute => {
                        return self.pick_for_new(topic, target, &template).ok_or(error);
                    }
                    route => route?,
                }
            }
            route => route?,
        };
        let no_queue = || {
            Error::new(
                ErrorKind::NoRoute,
                format!("topic \"{topic}\" has no queue that can be written"),
            )
            .advice("its brokers may be down or read-only")
        };
        let without_master = |broker| self.client.without_master(topic, broker);
        let queue = match target {
            Target::Queue(queue) => (*queue).clone(),
            // The same key must always give the same queue.
            Target::Any(Some(key)) => by_key(&route.keyed(), key).ok_or_else(no_queue)?.clone(),
            Target::Any(None) => match self.any(route.writable(), avoid) {
                Some(queue) => queue.clone(),
                None => return Err(route.without_master().map_or_else(no_queue, without_master)),
            },
        };
        match route.master(queue.broker()) {
            Some(addr) => Ok((queue, self.client.remote(addr))),
            None if route.members(queue.broker()).is_some() => Err(without_master(queue.broker())),
            None => Err(no_queue()),
        }
    }

    /// A topic that does not exist yet is created by the broker that gets its first message, as the template topic says.
    fn pick_for_new(
        &self,
        topic: &str,
        target: &Target<'_>,
        template: &Route,
    ) -> Option<(Queue, Remote)> {
        const QUEUES: i32 = 4;
        let queues: Vec<Queue> = template
            .writable()
            .iter()
            .filter(|queue| queue.id() < QUEUES)
            .map(|queue| Queue::new(topic, queue.broker(), queue.id()))
            .collect();
        let queue = match target {
            Target::Queue(queue) => Some(*queue),
            Target::Any(Some(key)) => by_key(&queues, key),
            Target::Any(None) => self.in_turn(&queues),
        };
        let queue = queue?.clone();
        let addr = template.master(queue.broker())?;
        let remote = self.client.remote(addr);
        Some((queue, remote))
    }

    /// The next queue in turn; one of another broker than `avoid` and those that are passed over, where there is one.
    fn any<'q>(&self, all: &'q [Queue], avoid: Option<&str>) -> Option<&'q Queue> {
        let isolation = self.client.isolation();
        let isolates = self.shared.isolates && isolation.is_active();
        if avoid.is_none() && !isolates {
            return self.in_turn(all);
        }
        let is_good = |queue: &&Queue| !(isolates && isolation.is_isolated(queue.broker()));
        let others = || all.iter().filter(|queue| Some(queue.broker()) != avoid);
        let good: Vec<&Queue> = others().filter(is_good).collect();
        if let Some(queue) = self.in_turn(&good) {
            return Some(queue);
        }
        let others: Vec<&Queue> = others().collect();
        self.in_turn(&others).copied().or_else(|| self.in_turn(all))
    }

    fn in_turn<'q, Q>(&self, queues: &'q [Q]) -> Option<&'q Q> {
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        queues.get(turn.checked_rem(queues.len())?)
    }
}

fn by_key<'q>(queues: &'q [Queue], key: &str) -> Option<&'q Queue> {
    let hash = java_hash_code(key).unsigned_abs() as usize;
    queues.get(hash.checked_rem(queues.len())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_always_gives_the_same_queue() {
        let queues: Vec<_> = (0..4).map(|id| Queue::new("t", "b", id)).collect();
        let first = by_key(&queues, "customer-1").unwrap();
        assert_eq!(by_key(&queues, "customer-1"), Some(first));
        // i32::MIN has no positive counterpart.
        assert!(by_key(&queues, "polygenelubricants").is_some());
        assert!(by_key(&[], "x").is_none());
    }
}
