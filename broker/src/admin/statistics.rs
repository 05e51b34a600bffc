//! Statistics of the last minute, hour and day.
//!
//! Names, keys and what is counted are those of apache/rocketmq `BrokerStatsManager`. Something that was never counted "does not exist", as there.

use std::sync::Arc;

use rmq_protocol::bodies::{BrokerStatsData, BrokerStatsItem};
use rmq_protocol::names::SCHEDULE_TOPIC;

use super::refusal::NoStatistics;
use crate::broker::Broker;
use crate::groups::GivenCounters;
use crate::stats::{BYTES, Item, MESSAGES, REQUESTS, Sampler, Span};

/// The group by whose name delayed delivery reads (apache/rocketmq `MixAll.SCHEDULE_CONSUMER_GROUP`).
const SCHEDULE_GROUP: &str = "SCHEDULE_CONSUMER";

/// The statistics of this name and key.
///
/// # Errors
/// Nothing of it was counted.
pub(crate) fn of(broker: &Broker, name: &str, key: &str) -> Result<BrokerStatsData, NoStatistics> {
    broker.catch_up();
    find(broker, name, key).ok_or_else(|| NoStatistics {
        name: name.to_owned(),
        key: key.to_owned(),
    })
}

fn find(broker: &Broker, name: &str, key: &str) -> Option<BrokerStatsData> {
    let stats = &broker.stats;
    let sampler = &stats.sampler;
    let of_broker = |key: &str| key == broker.config.cluster_name;
    match name {
        "TOPIC_PUT_NUMS" | "TOPIC_PUT_SIZE" => {
            let topic = broker.topics.get(key)?;
            flow(sampler, &topic.counted()?.put, counter(name))
        }
        "TOPIC_PUT_LATENCY" => {
            let (queue_id, topic) = key.split_once('@')?;
            let topic = broker.topics.get(topic)?;
            let item = topic.counted()?.put_took.get(queue_id.parse().ok()?)?;
            counted(sampler, &item)
        }
        "GROUP_GET_NUMS" | "GROUP_GET_SIZE" => {
            let (topic, group) = key.split_once('@')?;
            if (topic, group) == (SCHEDULE_TOPIC, SCHEDULE_GROUP) {
                return flow(sampler, &stats.scheduled, counter(name));
            }
            flow(sampler, &given(broker, topic, group)?.got, counter(name))
        }
        "GROUP_GET_LATENCY" => {
            let (queue_id, pair) = key.split_once('@')?;
            let (topic, group) = pair.split_once('@')?;
            let given = given(broker, topic, group)?;
            counted(sampler, &*given.get_took.get(queue_id.parse().ok()?)?)
        }
        "SNDBCK_PUT_NUMS" => {
            let (topic, group) = key.split_once('@')?;
            counted(sampler, &given(broker, topic, group)?.sent_back)
        }
        "SNDBCK2DLQ_TIMES" => {
            // The owner is of a signed commercial client; there are none here.
            let pair = key
                .strip_prefix("null@")?
                .strip_suffix("@SEND_BACK_TO_DLQ")?;
            let (topic, group) = pair.split_once('@')?;
            counted(sampler, &given(broker, topic, group)?.given_up)
        }
        "QUEUE_PUT_NUMS" | "QUEUE_PUT_SIZE" => {
            let queue_id = key.strip_prefix(SCHEDULE_TOPIC)?.strip_prefix('@')?;
            let item = stats.delayed.get(queue_id.parse().ok()?)?;
            flow(sampler, &item, counter(name))
        }
        "QUEUE_GET_NUMS" | "QUEUE_GET_SIZE" => {
            let queue_id = key.strip_prefix(SCHEDULE_TOPIC)?.strip_prefix('@')?;
            let queue_id = queue_id.strip_suffix(SCHEDULE_GROUP)?.strip_suffix('@')?;
            let item = stats.scheduled_of.get(queue_id.parse().ok()?)?;
            flow(sampler, &item, counter(name))
        }
        "BROKER_PUT_NUMS" | "BROKER_GET_NUMS" if of_broker(key) => {
            let item = if name == "BROKER_PUT_NUMS" {
                &stats.put
            } else {
                &stats.got
            };
            item.is_used().then(|| {
                windows(|span| {
                    let seen = item.snapshot(sampler, span);
                    (seen.sums[0], seen.rate(0), 0)
                })
            })
        }
        "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC" if of_broker(key) => {
            total(sampler, &stats.put.users)
        }
        "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC" if of_broker(key) => {
            total(sampler, &stats.got.users)
        }
        "CONSUMER_REGISTER_TIME" if of_broker(key) => counted(sampler, &stats.consumers_registered),
        "PRODUCER_REGISTER_TIME" if of_broker(key) => counted(sampler, &stats.producers_registered),
        "CHANNEL_ACTIVITY" if key == "CONNECT" => counted(sampler, &stats.connected),
        "CHANNEL_ACTIVITY" if key == "CLOSE" => counted(sampler, &stats.closed),
        _ => None,
    }
}

fn given(broker: &Broker, topic: &str, group: &str) -> Option<Arc<GivenCounters>> {
    broker.groups.get(group)?.counted()?.of(topic)
}

fn counter(name: &str) -> usize {
    if name.ends_with("_SIZE") {
        BYTES
    } else {
        MESSAGES
    }
}

/// Messages or bytes, and those of a request.
fn flow(sampler: &Sampler, item: &Item<3>, counter: usize) -> Option<BrokerStatsData> {
    item.is_used().then(|| {
        windows(|span| {
            let seen = item.snapshot(sampler, span);
            (seen.sums[counter], seen.rate(counter), seen.sums[REQUESTS])
        })
    })
}

fn counted(sampler: &Sampler, item: &Item<2>) -> Option<BrokerStatsData> {
    item.is_used().then(|| {
        windows(|span| {
            let seen = item.snapshot(sampler, span);
            (seen.sums[0], seen.rate(0), seen.sums[1])
        })
    })
}

/// A sum whose requests nobody counts.
fn total(sampler: &Sampler, item: &Item<1>) -> Option<BrokerStatsData> {
    item.is_used().then(|| {
        windows(|span| {
            let seen = item.snapshot(sampler, span);
            (seen.sums[0], seen.rate(0), 0)
        })
    })
}

/// Sum, rate a second and how often it was counted, of each window.
fn windows(of: impl Fn(Span) -> (u64, f64, u64)) -> BrokerStatsData {
    let item = |span| {
        let (sum, tps, times) = of(span);
        BrokerStatsItem {
            avgpt: if times > 0 {
                sum as f64 / times as f64
            } else {
                0.0
            },
            sum: sum as i64,
            tps,
        }
    };
    BrokerStatsData {
        stats_day: item(Span::Day),
        stats_hour: item(Span::Hour),
        stats_minute: item(Span::Minute),
    }
}
