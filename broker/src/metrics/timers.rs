//! Messages that wait for a timer.

use super::read::storage;
use super::samples::Samples;
use crate::admin::timers;
use crate::broker::Broker;
use crate::tables::timing::OfTopic;

/// Ends of the spans that waiting messages are counted by, seconds (apache/rocketmq `TimerMetrics.timerDist`).
const SPANS_S: [i64; 8] = [5, 60, 300, 900, 3_600, 14_400, 28_800, 86_400];

pub(super) fn of_topics(broker: &Broker, out: &mut Samples, value: fn(&OfTopic) -> f64) {
    for (topic, of) in timers::of_topics(broker) {
        out.with(vec![("topic", topic)], value(&of));
    }
}

/// As [`of_topics`], with the labels of the storage.
pub(super) fn of_storage(broker: &Broker, out: &mut Samples, value: fn(&OfTopic) -> f64) {
    for (topic, of) in timers::of_topics(broker) {
        let labels = vec![
            ("topic", topic),
            ("storage_type", "local".to_owned()),
            ("storage_medium", "disk".to_owned()),
        ];
        out.with(labels, value(&of));
    }
}

/// How many are due in each span from now on.
pub(super) fn snapshot(broker: &Broker, out: &mut Samples) {
    let now_ms = broker.now_ms();
    let timing = broker.delay.waiting.timing();
    let mut from_ms = now_ms;
    for span_s in SPANS_S {
        let to_ms = now_ms + span_s * 1_000;
        let messages = timing.between(from_ms, to_ms);
        out.with(vec![("timer_bound_s", span_s.to_string())], messages as f64);
        from_ms = to_ms;
    }
}

/// Rows follow from the log at once: nothing is ever on its way into the order of time.
pub(super) fn none(_: &Broker, out: &mut Samples) {
    storage(out, 0.0);
}

pub(super) fn late_messages(broker: &Broker, out: &mut Samples) {
    storage(out, timers::late(broker).0 as f64);
}

pub(super) fn late_ms(broker: &Broker, out: &mut Samples) {
    storage(out, timers::late(broker).1 as f64);
}
