//! Where topics live, as the name servers say, kept for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_protocol::route::{TopicRoute, perm};
use tokio::time::Instant;

use crate::queue::Queue;

/// A topic's queues and the brokers that have them.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// let route = client.route("orders").await?;
/// for queue in route.writable() {
///     println!("{queue} at {:?}, read from {:?}", route.master(queue.broker()), route.reader(queue.broker()));
/// }
/// println!("{} {} {:?}", route.topic(), route.readable().len(), route.raw());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    topic: Arc<str>,
    raw: TopicRoute,
    readable: Vec<Queue>,
    writable: Vec<Queue>,
}

impl Route {
    pub(crate) fn new(topic: &str, raw: TopicRoute) -> Self {
        let topic: Arc<str> = topic.into();
        let mut route = Self {
            topic,
            raw,
            readable: Vec::new(),
            writable: Vec::new(),
        };
        for data in &route.raw.queue_datas {
            let broker: Arc<str> = data.broker_name.as_str().into();
            let queue = |id| Queue::new(Arc::clone(&route.topic), Arc::clone(&broker), id);
            if perm::is_readable(data.perm) {
                route.readable.extend((0..data.read_queue_nums).map(queue));
            }
            // Only masters store messages.
            if perm::is_writable(data.perm) && master_of(&route.raw, &data.broker_name).is_some() {
                route.writable.extend((0..data.write_queue_nums).map(queue));
            }
        }
        route.readable.sort();
        route.writable.sort();
        route
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Queues that can be read, by broker and number.
    #[must_use]
    pub fn readable(&self) -> &[Queue] {
        &self.readable
    }

    /// Queues that can be written now: their broker group has a master.
    #[must_use]
    pub fn writable(&self) -> &[Queue] {
        &self.writable
    }

    /// The address of a broker group's master.
    #[must_use]
    pub fn master(&self, broker: &str) -> Option<&str> {
        master_of(&self.raw, broker)
    }

    /// The address to read from: the master, or else the member with the lowest id.
    #[must_use]
    pub fn reader(&self, broker: &str) -> Option<&str> {
        let group = self
            .raw
            .broker_datas
            .iter()
            .find(|data| data.broker_name == broker)?;
        group.broker_addrs.values().next().map(String::as_str)
    }

    /// As the name server sent it.
    #[must_use]
    pub fn raw(&self) -> &TopicRoute {
        &self.raw
    }
}

fn master_of<'r>(raw: &'r TopicRoute, broker: &str) -> Option<&'r str> {
    raw.broker_datas
        .iter()
        .find(|data| data.broker_name == broker)?
        .master()
}

#[derive(Debug)]
struct Known {
    route: Arc<Route>,
    since: Instant,
    is_expired: bool,
    /// Who of it is gone from the name servers.
    gone: Option<String>,
}

/// Routes that were asked for, with their age. Bounded: the oldest makes room.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: Mutex<HashMap<String, Known>>,
}

const ROUTES_MAX: usize = 10_000;

impl Routes {
    pub(crate) fn fresh(&self, topic: &str, age_max: Duration) -> Option<Arc<Route>> {
        let known = self.known.lock();
        let known = known.get(topic)?;
        let is_fresh = !known.is_expired && known.since.elapsed() < age_max;
        is_fresh.then(|| Arc::clone(&known.route))
    }

    /// Whatever its age: better than nothing while no name server answers.
    pub(crate) fn any(&self, topic: &str) -> Option<Arc<Route>> {
        self.known
            .lock()
            .get(topic)
            .map(|known| Arc::clone(&known.route))
    }

    pub(crate) fn learn(&self, route: Route) -> Arc<Route> {
        let route = Arc::new(route);
        let mut known = self.known.lock();
        if known.len() >= ROUTES_MAX && !known.contains_key(route.topic()) {
            let oldest = known
                .iter()
                .min_by_key(|(_, known)| known.since)
                .map(|(topic, _)| topic.clone());
            oldest.and_then(|oldest| known.remove(&oldest));
        }
        known.insert(
            route.topic().to_owned(),
            Known {
                route: Arc::clone(&route),
                since: Instant::now(),
                is_expired: false,
                gone: None,
            },
        );
        route
    }

    /// Too old for [`Routes::fresh`] from now on.
    pub(crate) fn expire(&self, topic: &str) {
        if let Some(known) = self.known.lock().get_mut(topic) {
            known.is_expired = true;
        }
    }

    /// The brokers are gone; the route stays, as they may come back where they were.
    pub(crate) fn expire_without(&self, topic: &str, gone: String) {
        if let Some(known) = self.known.lock().get_mut(topic) {
            known.is_expired = true;
            known.gone = Some(gone);
        }
    }

    /// Who of the topic's brokers was gone when it was asked for last.
    pub(crate) fn gone(&self, topic: &str) -> Option<String> {
        self.known.lock().get(topic)?.gone.clone()
    }

    pub(crate) fn forget(&self, topic: &str) {
        self.known.lock().remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_masters_are_written_and_permissions_count() {
        let raw = TopicRoute::from_json(
            br#"{"brokerDatas":[{"brokerAddrs":{"0":"a:1","1":"a:2"},"brokerName":"a","cluster":"c"},{"brokerAddrs":{"1":"b:2"},"brokerName":"b","cluster":"c"}],
            "queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":1,"writeQueueNums":1},{"brokerName":"a","perm":6,"readQueueNums":3,"writeQueueNums":2}]}"#,
        )
        .unwrap();
        let route = Route::new("t", raw.clone());
        assert_eq!(
            route.writable(),
            [Queue::new("t", "a", 0), Queue::new("t", "a", 1)]
        );
        assert_eq!(route.readable().len(), 4);
        assert_eq!(
            (route.master("a"), route.master("b"), route.reader("b")),
            (Some("a:1"), None, Some("b:2"))
        );

        let routes = Routes::default();
        routes.learn(route);
        assert!(routes.fresh("t", Duration::from_secs(60)).is_some());
        assert!(routes.fresh("t", Duration::ZERO).is_none() && routes.any("t").is_some());
        routes.forget("t");
        assert!(routes.any("t").is_none());
    }
}
