//! What the client counts and measures, for the recorder of the crate `metrics` (feature `metrics`).
//!
//! Handles are made once for each topic, and for each topic of a group; a recorder that is installed later gets nothing of those.
//! `docs/develop/client.md` has the table of [`ALL`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::error::ErrorKind;

/// Whether anything is measured.
pub(crate) const MEASURES: bool = true;

const SENDS: &str = "rmq_client_sends_total";
const ONE_WAY_SENDS: &str = "rmq_client_one_way_sends_total";
const SEND_FAILURES: &str = "rmq_client_send_failures_total";
const SEND_RETRIES: &str = "rmq_client_send_retries_total";
const SEND_SECONDS: &str = "rmq_client_send_duration_seconds";
const SENDS_IN_FLIGHT: &str = "rmq_client_sends_in_flight";
const RECEIVED: &str = "rmq_client_received_total";
const DELIVERIES_IN_FLIGHT: &str = "rmq_client_deliveries_in_flight";
const HANDLER_SECONDS: &str = "rmq_client_handler_duration_seconds";
const SETTLED: &str = "rmq_client_settled_total";
const LAG: &str = "rmq_client_lag_messages";
const TRACES_LOST: &str = "rmq_client_traces_lost_total";

/// How a metric is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Counter,
    Gauge,
    Histogram,
}

/// A metric: name, form, unit, and what it says.
type Described = (&'static str, Form, Unit, &'static str);

/// All of them.
const ALL: &[Described] = &[
    (
        SENDS,
        Form::Counter,
        Unit::Count,
        "messages that a broker stored",
    ),
    (
        ONE_WAY_SENDS,
        Form::Counter,
        Unit::Count,
        "messages handed to a connection without waiting for an answer",
    ),
    (
        SEND_FAILURES,
        Form::Counter,
        Unit::Count,
        "messages whose send failed for good",
    ),
    (
        SEND_RETRIES,
        Form::Counter,
        Unit::Count,
        "requests that failed and were repeated",
    ),
    (
        SEND_SECONDS,
        Form::Histogram,
        Unit::Seconds,
        "from the call of a send to its end",
    ),
    (
        SENDS_IN_FLIGHT,
        Form::Gauge,
        Unit::Count,
        "messages whose send has not ended",
    ),
    (
        RECEIVED,
        Form::Counter,
        Unit::Count,
        "messages that a consumer read",
    ),
    (
        DELIVERIES_IN_FLIGHT,
        Form::Gauge,
        Unit::Count,
        "messages that a consumer read and that are not settled",
    ),
    (
        HANDLER_SECONDS,
        Form::Histogram,
        Unit::Seconds,
        "a handler's time for one message",
    ),
    (
        SETTLED,
        Form::Counter,
        Unit::Count,
        "messages that were settled, by outcome",
    ),
    (
        LAG,
        Form::Gauge,
        Unit::Count,
        "messages in the queues of this member that are not settled",
    ),
    (
        TRACES_LOST,
        Form::Counter,
        Unit::Count,
        "records of message traces that were not stored",
    ),
];

/// Tells the recorder what each metric is.
pub(crate) fn describe() {
    for (name, form, unit, what) in ALL {
        match form {
            Form::Counter => metrics::describe_counter!(*name, *unit, *what),
            Form::Gauge => metrics::describe_gauge!(*name, *unit, *what),
            Form::Histogram => metrics::describe_histogram!(*name, *unit, *what),
        }
    }
}

/// Records of message traces that nobody will read.
pub(crate) fn traces_lost(records: usize) {
    counter!(TRACES_LOST).increment(records as u64);
}

/// What a client measures of its sends.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    topics: RwLock<HashMap<String, Arc<OfTopic>, RandomState>>,
}

#[derive(Debug)]
struct OfTopic {
    topic: String,
    sends: Counter,
    seconds: Histogram,
    in_flight: Gauge,
}

impl Meters {
    /// The send of a message began then.
    pub(crate) fn sending(&self, topic: &str, began: Instant) -> Sending {
        let of = self.of(topic);
        of.in_flight.increment(1.0);
        Sending {
            of,
            began,
            is_open: true,
        }
    }

    /// A request with messages for the topic failed and is repeated.
    pub(crate) fn retried(&self, topic: &str, kind: ErrorKind) {
        counter!(SEND_RETRIES, "topic" => topic.to_owned(), "kind" => label(kind)).increment(1);
    }

    fn of(&self, topic: &str) -> Arc<OfTopic> {
        if let Some(known) = self.topics.read().get(topic) {
            return Arc::clone(known);
        }
        let topic = topic.to_owned();
        let mut topics = self.topics.write();
        let of = topics.entry(topic.clone()).or_insert_with(|| {
            Arc::new(OfTopic {
                sends: counter!(SENDS, "topic" => topic.clone()),
                seconds: histogram!(SEND_SECONDS, "topic" => topic.clone()),
                in_flight: gauge!(SENDS_IN_FLIGHT, "topic" => topic.clone()),
                topic,
            })
        });
        Arc::clone(of)
    }
}

/// One send. Dropped without an end it was cancelled.
#[derive(Debug)]
pub(crate) struct Sending {
    of: Arc<OfTopic>,
    began: Instant,
    is_open: bool,
}

impl Sending {
    /// A broker stored the message.
    pub(crate) fn stored(&mut self) {
        self.of.sends.increment(1);
        self.ended();
    }

    /// The message was handed to a connection; what became of it is not known.
    pub(crate) fn handed_over(&mut self) {
        counter!(ONE_WAY_SENDS, "topic" => self.of.topic.clone()).increment(1);
        self.ended();
    }

    pub(crate) fn failed(&mut self, kind: ErrorKind) {
        self.failed_as(label(kind));
    }

    fn failed_as(&mut self, kind: &'static str) {
        let topic = self.of.topic.clone();
        counter!(SEND_FAILURES, "topic" => topic, "kind" => kind).increment(1);
        self.ended();
    }

    fn ended(&mut self) {
        self.is_open = false;
        self.of.in_flight.decrement(1.0);
        self.of.seconds.record(self.began.elapsed());
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.is_open {
            self.failed_as("cancelled");
        }
    }
}

/// What a consumer measures of one queue. Queues of a topic share its metrics.
#[derive(Debug)]
pub(crate) struct QueueMeters {
    received: Counter,
    in_flight: Gauge,
    seconds: Histogram,
    acks: Counter,
    retries: Counter,
    dead_letters: Counter,
    given_up: Counter,
    lag: Gauge,
    /// This queue's part of the lag.
    own_lag: AtomicU64,
}

impl QueueMeters {
    pub(crate) fn new(group: &str, topic: &str) -> Self {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        let settled = |outcome: &'static str| counter!(SETTLED, "group" => group.clone(), "topic" => topic.clone(), "outcome" => outcome);
        Self {
            received: counter!(RECEIVED, "group" => group.clone(), "topic" => topic.clone()),
            in_flight: gauge!(DELIVERIES_IN_FLIGHT, "group" => group.clone(), "topic" => topic.clone()),
            seconds: histogram!(HANDLER_SECONDS, "group" => group.clone(), "topic" => topic.clone()),
            acks: settled("ack"),
            retries: settled("retry"),
            dead_letters: settled("dead_letter"),
            given_up: settled("given_up"),
            lag: gauge!(LAG, "group" => group.clone(), "topic" => topic.clone()),
            own_lag: AtomicU64::new(0),
        }
    }

    pub(crate) fn received(&self, messages: usize) {
        self.received.increment(messages as u64);
    }

    pub(crate) fn one_out(&self) {
        self.in_flight.increment(1.0);
    }

    pub(crate) fn one_back(&self) {
        self.in_flight.decrement(1.0);
    }

    /// A handler begins with a message.
    pub(crate) fn handling(&self) -> Instant {
        Instant::now()
    }

    pub(crate) fn handled(&self, since: Instant) {
        self.seconds.record(since.elapsed());
    }

    pub(crate) fn acked(&self) {
        self.acks.increment(1);
    }

    pub(crate) fn retried(&self) {
        self.retries.increment(1);
    }

    pub(crate) fn dead_lettered(&self) {
        self.dead_letters.increment(1);
    }

    /// A broadcast message is not tried again.
    pub(crate) fn gave_up(&self) {
        self.given_up.increment(1);
    }

    /// The queue has so many messages that are not settled.
    pub(crate) fn lags(&self, messages: u64) {
        let before = self.own_lag.swap(messages, Ordering::Relaxed);
        if messages >= before {
            self.lag.increment((messages - before) as f64);
        } else {
            self.lag.decrement((before - messages) as f64);
        }
    }
}

impl Drop for QueueMeters {
    fn drop(&mut self) {
        self.lags(0);
    }
}

/// The label `kind`.
fn label(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidInput => "invalid_input",
        ErrorKind::NoRoute => "no_route",
        ErrorKind::Unreachable => "unreachable",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Busy => "busy",
        ErrorKind::Denied => "denied",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Refused => "refused",
        ErrorKind::Indeterminate => "indeterminate",
        ErrorKind::Protocol => "protocol",
        ErrorKind::Undecodable => "undecodable",
        ErrorKind::Closed => "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_metric_with_its_form_and_unit() {
        let page = include_str!("../../docs/develop/client.md");
        let rows: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `rmq_client_"))
            .collect();
        assert_eq!(rows.len(), ALL.len());
        for (name, form, unit, _) in ALL {
            let row = rows
                .iter()
                .find(|row| row.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("{name} is not on the page"));
            let form = format!("{form:?}").to_lowercase();
            let unit = match unit {
                Unit::Seconds => "seconds",
                _ => "messages",
            };
            assert!(row.contains(&format!("| {form}, ")), "{row}");
            assert!(row.contains(unit) || row.contains("requests"), "{row}");
        }
    }
}
