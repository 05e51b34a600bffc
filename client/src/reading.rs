//! Which member of a broker group a queue is read from: the master, the one that a broker suggested, or another one while that one is silent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_protocol::route::MASTER_ID;
use tokio::time::Instant;

use crate::queue::Queue;
use crate::routes::Route;

/// How long a member that gave no answer is passed over, where the group has another one.
const SILENT: Duration = Duration::from_secs(10);

/// What brokers suggested, and who is silent.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Whether anything is noted: the usual case costs no lock.
    any: AtomicBool,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    /// Broker ids; the master is not noted.
    suggested: HashMap<Queue, i64>,
    /// Until when, by address.
    silent: HashMap<String, Instant>,
}

impl Reading {
    /// The address to read from now.
    pub(crate) fn of<'r>(&self, queue: &Queue, route: &'r Route) -> Option<&'r str> {
        if !self.any.load(Ordering::Relaxed) {
            return route.reader(queue.broker());
        }
        let members = route.members(queue.broker())?;
        let noted = self.noted.lock();
        let now = Instant::now();
        let is_silent = |addr: &str| noted.silent.get(addr).is_some_and(|until| now < *until);
        let wanted = noted.suggested.get(queue).unwrap_or(&MASTER_ID);
        let in_order = || members.get(wanted).into_iter().chain(members.values());
        let addr = in_order().find(|addr| !is_silent(addr));
        addr.or_else(|| in_order().next()).map(String::as_str)
    }

    /// The member at `addr` answered a pull, and suggests where to read next (`suggestWhichBrokerId`).
    pub(crate) fn answered(&self, queue: &Queue, addr: &str, suggested: i64) {
        if suggested == MASTER_ID && !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut noted = self.noted.lock();
        noted.silent.remove(addr);
        match suggested {
            MASTER_ID => noted.suggested.remove(queue),
            replica => noted.suggested.insert(queue.clone(), replica),
        };
        let any = !noted.suggested.is_empty() || !noted.silent.is_empty();
        self.any.store(any, Ordering::Relaxed);
    }

    /// The member at `addr` can be reached again.
    pub(crate) fn connected(&self, addr: &str) {
        if self.any.load(Ordering::Relaxed) {
            self.noted.lock().silent.remove(addr);
        }
    }

    /// The member at `addr` gave no answer.
    pub(crate) fn silent(&self, addr: &str) {
        let until = Instant::now() + SILENT;
        self.noted.lock().silent.insert(addr.to_owned(), until);
        self.any.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use rmq_protocol::route::TopicRoute;

    use super::*;

    fn route(members: &str) -> Route {
        let json = format!(
            r#"{{"brokerDatas":[{{"brokerAddrs":{members},"brokerName":"a","cluster":"c"}}],"queueDatas":[]}}"#
        );
        Route::new("t", TopicRoute::from_json(json.as_bytes()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_suggested_member_is_read_from_unless_it_is_silent() {
        let reading = Reading::default();
        let (queue, other) = (Queue::new("t", "a", 0), Queue::new("t", "a", 1));
        let all = route(r#"{"0":"m","1":"r1","2":"r2"}"#);
        assert_eq!(reading.of(&queue, &all), Some("m"));
        reading.answered(&queue, "m", 2);
        assert_eq!(reading.of(&queue, &all), Some("r2"));
        assert_eq!(reading.of(&other, &all), Some("m"));
        // A suggested member that is not there: the master, or else the lowest one.
        assert_eq!(
            reading.of(&queue, &route(r#"{"0":"m","1":"r1"}"#)),
            Some("m")
        );
        assert_eq!(reading.of(&other, &route(r#"{"1":"r1"}"#)), Some("r1"));
        reading.silent("m");
        assert_eq!(reading.of(&other, &all), Some("r1"));
        assert_eq!(reading.of(&other, &route(r#"{"0":"m"}"#)), Some("m"));
        reading.connected("m");
        assert_eq!(reading.of(&other, &all), Some("m"));
        reading.silent("m");
        tokio::time::advance(SILENT).await;
        assert_eq!(reading.of(&other, &all), Some("m"));
        reading.answered(&other, "m", 0);
        reading.answered(&queue, "r2", 0);
        assert!(!reading.any.load(Ordering::Relaxed));
    }
}
