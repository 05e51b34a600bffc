//! Where topics live, as the name servers say, kept for a while.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rmq_protocol::route::{BrokerData, TopicRoute, perm};
use tokio::sync::watch;
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
    /// A broker group that has writable queues and no master now.
    without_master: Option<String>,
}

impl Route {
    pub(crate) fn new(topic: &str, raw: TopicRoute) -> Self {
        let topic: Arc<str> = topic.into();
        let mut route = Self {
            topic,
            raw,
            readable: Vec::new(),
            writable: Vec::new(),
            without_master: None,
        };
        for data in &route.raw.queue_datas {
            let broker: Arc<str> = data.broker_name.as_str().into();
            let queue = |id| Queue::new(Arc::clone(&route.topic), Arc::clone(&broker), id);
            if perm::is_readable(data.perm) {
                route.readable.extend((0..data.read_queue_nums).map(queue));
            }
            // Only masters store messages.
            if perm::is_writable(data.perm) {
                match group(&route.raw, &data.broker_name).map(BrokerData::master) {
                    Some(Some(_)) => route.writable.extend((0..data.write_queue_nums).map(queue)),
                    Some(None) => route.without_master = Some(data.broker_name.clone()),
                    None => {}
                }
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

    /// As [`Route::writable`], with the queues of groups that have no master now: what an ordering key chooses from, so that its messages
    /// wait for their queue.
    pub(crate) fn keyed(&self) -> Cow<'_, [Queue]> {
        if self.without_master.is_none() {
            return Cow::Borrowed(&self.writable);
        }
        let data = self.raw.queue_datas.iter();
        let data = data.filter(|data| {
            perm::is_writable(data.perm) && self.members(&data.broker_name).is_some()
        });
        let queues = data.flat_map(|data| {
            let broker: Arc<str> = data.broker_name.as_str().into();
            let queue = move |id| Queue::new(Arc::clone(&self.topic), Arc::clone(&broker), id);
            (0..data.write_queue_nums).map(queue)
        });
        let mut queues: Vec<Queue> = queues.collect();
        queues.sort();
        Cow::Owned(queues)
    }

    /// A broker group that has queues to write and no master now.
    pub(crate) fn without_master(&self) -> Option<&str> {
        self.without_master.as_deref()
    }

    /// The address of a broker group's master.
    #[must_use]
    pub fn master(&self, broker: &str) -> Option<&str> {
        group(&self.raw, broker)?.master()
    }

    /// The addresses of a broker group's members, by broker id.
    pub(crate) fn members(&self, broker: &str) -> Option<&BTreeMap<i64, String>> {
        Some(&group(&self.raw, broker)?.broker_addrs)
    }

    /// The address to read from: the master, or else the member with the lowest id.
    #[must_use]
    pub fn reader(&self, broker: &str) -> Option<&str> {
        self.members(broker)?.values().next().map(String::as_str)
    }

    /// As the name server sent it.
    #[must_use]
    pub fn raw(&self) -> &TopicRoute {
        &self.raw
    }
}

fn group<'r>(raw: &'r TopicRoute, broker: &str) -> Option<&'r BrokerData> {
    let mut groups = raw.broker_datas.iter();
    groups.find(|data| data.broker_name == broker)
}

#[derive(Debug)]
struct Known {
    route: Arc<Route>,
    since: Instant,
    is_expired: bool,
    /// Who of it is gone from the name servers.
    gone: Option<String>,
    /// Whether a task asks for a newer one.
    is_asked: bool,
    /// When no name server answered.
    unanswered: Option<Instant>,
}

impl Known {
    fn is_fresh(&self, age_max: Duration) -> bool {
        let age_max = if self.is_expired {
            age_max.min(YOUNG)
        } else {
            age_max
        };
        self.since.elapsed() < age_max
    }
}

/// A known route, for a request that is to be sent.
#[derive(Debug)]
pub(crate) enum Kept {
    /// Young enough.
    Fresh(Arc<Route>),
    /// Good enough for now. A newer one is to be asked for aside, where `ask` says so.
    Old { route: Arc<Route>, ask: bool },
    /// Too old, or a request by it failed: the name servers come first.
    Doubted,
}

/// Routes that were asked for, with their age. Bounded: the oldest makes room.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: Mutex<HashMap<String, Known, RandomState>>,
    /// Counts masters that came, and new connections to them.
    masters: watch::Sender<u64>,
}

const ROUTES_MAX: usize = 10_000;
/// A route is used until it has this many times its greatest age, while a newer one is asked for: the name servers may be slow or away.
const USED_FOR: u32 = 4;
/// Where no name server answered, requests go by the known route for so long before one of them waits for an answer again.
const UNANSWERED: Duration = Duration::from_secs(1);
/// A route that is younger is not asked for again, however often it fails: many sends fail at once when a master goes.
const YOUNG: Duration = Duration::from_millis(50);

impl Routes {
    /// The known route of a topic. Who gets one to `ask` for tells [`Routes::answered`] or [`Routes::learn`]s.
    pub(crate) fn kept(&self, topic: &str, age_max: Duration) -> Kept {
        let mut known = self.known.lock();
        let Some(known) = known.get_mut(topic) else {
            return Kept::Doubted;
        };
        let route = Arc::clone(&known.route);
        if known.is_fresh(age_max) {
            return Kept::Fresh(route);
        }
        let is_good = !known.is_expired && known.since.elapsed() < age_max * USED_FOR;
        let is_unanswered = known
            .unanswered
            .is_some_and(|since| since.elapsed() < UNANSWERED);
        if !is_good && !is_unanswered && !known.is_asked {
            return Kept::Doubted;
        }
        let ask = !known.is_asked && !is_unanswered;
        known.is_asked |= ask;
        Kept::Old { route, ask }
    }

    /// What the name servers gave to who asked for a route: an answer that is no route, or none.
    pub(crate) fn answered(&self, topic: &str, is_answer: bool) {
        if let Some(known) = self.known.lock().get_mut(topic) {
            known.is_asked = false;
            known.unanswered = (!is_answer).then(Instant::now);
        }
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
                is_asked: false,
                unanswered: None,
            },
        );
        route
    }

    /// Notes that another master is known than before.
    pub(crate) fn master_came(&self) {
        self.masters.send_modify(|count| *count += 1);
    }

    /// The server at `addr` may have forgotten what it was told by the connection before.
    pub(crate) fn connected_again(&self, addr: &str) {
        let known = self.known.lock();
        let mut groups = known
            .values()
            .flat_map(|known| &known.route.raw.broker_datas);
        if groups.any(|group| group.master() == Some(addr)) {
            drop(known);
            self.master_came();
        }
    }

    /// Changes when another master is known than before, or another life of it.
    pub(crate) fn masters(&self) -> watch::Receiver<u64> {
        self.masters.subscribe()
    }

    /// Expires the routes that name this server; one of them.
    pub(crate) fn expire_at(&self, addr: &str) -> Option<String> {
        let mut known = self.known.lock();
        let mut one = None;
        for (topic, known) in known.iter_mut() {
            let mut groups = known.route.raw.broker_datas.iter();
            if groups.any(|group| group.broker_addrs.values().any(|member| member == addr)) {
                known.is_expired = true;
                one = Some(topic.clone());
            }
        }
        one
    }

    /// Whether a request by the known route failed.
    pub(crate) fn is_expired(&self, topic: &str) -> bool {
        let known = self.known.lock();
        known.get(topic).is_some_and(|known| known.is_expired)
    }

    /// Too old for [`Routes::kept`] from now on.
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

        assert_eq!(route.without_master(), Some("b"));
        assert_eq!(route.keyed().last(), Some(&Queue::new("t", "b", 0)));

        let routes = Routes::default();
        assert_eq!(routes.expire_at("b:2"), None);
        routes.learn(route);
        assert_eq!(routes.expire_at("b:2").as_deref(), Some("t"));
        let age_max = Duration::from_secs(60);
        assert!(matches!(routes.kept("t", age_max), Kept::Fresh(_)));
        assert!(matches!(routes.kept("t", Duration::ZERO), Kept::Doubted));
        routes.forget("t");
        assert!(routes.any("t").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_route_is_used_while_one_task_asks_for_a_newer_one() {
        let age_max = Duration::from_secs(30);
        let routes = Routes::default();
        let route = || Route::new("t", TopicRoute::default());
        let ask = |routes: &Routes| match routes.kept("t", age_max) {
            Kept::Old { ask, .. } => Some(ask),
            Kept::Fresh(_) | Kept::Doubted => None,
        };
        assert!(matches!(routes.kept("t", age_max), Kept::Doubted));
        routes.learn(route());
        tokio::time::advance(age_max).await;
        assert_eq!([ask(&routes), ask(&routes)], [Some(true), Some(false)]);
        routes.answered("t", false);
        assert_eq!(ask(&routes), Some(false), "nobody answered just now");
        tokio::time::advance(UNANSWERED).await;
        assert_eq!(ask(&routes), Some(true));
        routes.learn(route());
        assert!(matches!(routes.kept("t", age_max), Kept::Fresh(_)));

        // Too old, and nobody knows anything newer: one waits for the name servers, and the next ones do not.
        tokio::time::advance(age_max * USED_FOR).await;
        assert!(matches!(routes.kept("t", age_max), Kept::Doubted));
        routes.answered("t", false);
        assert_eq!(ask(&routes), Some(false));
        routes.answered("t", true);
        assert!(matches!(routes.kept("t", age_max), Kept::Doubted));

        // A request by it failed.
        routes.learn(route());
        routes.expire("t");
        tokio::time::advance(YOUNG).await;
        assert!(matches!(routes.kept("t", age_max), Kept::Doubted));
    }
}
