//! What the broker is doing: 28, 315, 907.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_protocol::bodies::{BrokerStatsData, BrokerStatsItem, HaRuntimeInfo, KvTable};
use rmq_protocol::code::ResponseCode;
use rmq_protocol::requests::ViewBrokerStatsData;
use rmq_store::StoreHealth;
use rmq_transport::Exchange;

use crate::broker::Broker;
use crate::handlers::decode;
use crate::stats::Sample;

pub(crate) fn info(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    broker.run_blocking(exchange.park(), |broker, reply| {
        reply.ok_body(
            &(),
            &KvTable {
                table: table(broker),
            }
            .to_json(),
        );
    });
}

/// Keys and formats: apache/rocketmq `AdminBrokerProcessor.prepareRuntimeInfo`, `StoreStatsService.getRuntimeInfo`.
fn table(broker: &Broker) -> BTreeMap<String, String> {
    let uptime_ms = broker.uptime_ms();
    let stats = &broker.stats;
    let store = broker.store.stats();
    let positions = broker.store.positions();
    let rates = |of: fn(&Sample) -> u64| {
        let [ten, sixty, six_hundred] = stats.rates(broker.monotonic_ms(), of);
        format!("{ten} {sixty} {six_hundred}")
    };
    let (put, out) = (
        stats.messages_in.load(Ordering::Relaxed),
        stats.messages_out.load(Ordering::Relaxed),
    );
    let ratio = format!("{:.4}", store.space.used_ratio());
    let oldest = store.oldest_ms.unwrap_or(-1);
    let minutes = uptime_ms / 60_000;
    let capacity = format!(
        "Total : {}, Free : {}.",
        bytes(store.space.total),
        bytes(store.space.free)
    );
    let zero = || "0".to_owned();
    let mut table: BTreeMap<String, String> = [
        ("brokerVersionDesc", "V5_5_0".to_owned()),
        ("brokerVersion", "513".to_owned()),
        ("bootTimestamp", broker.started_ms.to_string()),
        ("startAcceptSendRequestTimeStamp", "0".to_owned()),
        (
            "runtime",
            format!(
                "[ {} days, {} hours, {} minutes, {} seconds ]",
                minutes / 1_440,
                minutes / 60 % 24,
                minutes % 60,
                uptime_ms / 1_000 % 60
            ),
        ),
        ("brokerActive", "true".to_owned()),
        ("rmqVersion", env!("CARGO_PKG_VERSION").to_owned()),
        ("msgPutTotalTodayNow", put.to_string()),
        ("msgPutTotalTodayMorning", zero()),
        ("msgPutTotalYesterdayMorning", zero()),
        ("msgGetTotalTodayNow", out.to_string()),
        ("msgGetTotalTodayMorning", zero()),
        ("msgGetTotalYesterdayMorning", zero()),
        ("putTps", rates(|sample| sample.messages_in)),
        ("getTransferredTps", rates(|sample| sample.messages_out)),
        ("getFoundTps", rates(|sample| sample.pulls_found)),
        ("getMissTps", rates(|sample| sample.pulls_missed)),
        (
            "getTotalTps",
            rates(|sample| sample.pulls_found + sample.pulls_missed),
        ),
        ("putMessageTimesTotal", put.to_string()),
        (
            "putMessageFailedTimes",
            stats.refused.load(Ordering::Relaxed).to_string(),
        ),
        (
            "putMessageSizeTotal",
            stats.bytes_in.load(Ordering::Relaxed).to_string(),
        ),
        (
            "putMessageAverageSize",
            format!(
                "{:.1}",
                stats.bytes_in.load(Ordering::Relaxed) as f64 / put.max(1) as f64
            ),
        ),
        ("putMessageEntireTimeMax", zero()),
        ("getMessageEntireTimeMax", zero()),
        ("dispatchMaxBuffer", zero()),
        (
            "dispatchBehindBytes",
            positions
                .confirmed
                .saturating_sub(positions.dispatched)
                .to_string(),
        ),
        (
            "remainHowManyDataToFlush",
            bytes(positions.written.saturating_sub(positions.flushed)),
        ),
        ("remainTransientStoreBufferNumbs", zero()),
        ("pageCacheLockTimeMills", zero()),
        ("earliestMessageTimeStamp", oldest.to_string()),
        ("commitLogMinOffset", positions.min.to_string()),
        ("commitLogMaxOffset", positions.confirmed.to_string()),
        ("commitLogDiskRatio", ratio.clone()),
        ("consumeQueueDiskRatio", ratio),
        ("commitLogDirCapacity", capacity),
        ("waitingPulls", broker.waiters.len().to_string()),
        ("timerReadBehind", zero()),
        ("timerOffsetBehind", zero()),
        ("timerCongestNum", zero()),
        ("timerEnqueueTps", "0.0".to_owned()),
        ("timerDequeueTps", "0.0".to_owned()),
        ("EndTransactionQueueSize", zero()),
        ("EndTransactionThreadPoolQueueCapacity", zero()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    // There are no such queues here: nothing waits before it is handled.
    for pool in ["send", "pull", "litePull", "query", "ack"] {
        table.insert(format!("{pool}ThreadPoolQueueSize"), zero());
        table.insert(format!("{pool}ThreadPoolQueueCapacity"), zero());
        table.insert(format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), zero());
    }
    for (level, next, max) in broker.delay.progress() {
        table.insert(
            format!("scheduleMessageOffset_{level}"),
            format!("{next},{max}"),
        );
    }
    broker.retention.describe(&mut table);
    if let Some(jump) = broker.clock_watch.last_jump() {
        table.insert(
            "lastClockJump".to_owned(),
            format!("{} ms at {}", jump.by_ms, jump.at_ms),
        );
    }
    if let StoreHealth::Refusing { reason } | StoreHealth::ReadOnly { reason } =
        broker.store.health()
    {
        table.insert("storeProblem".to_owned(), reason.to_string());
    }
    table
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

pub(crate) fn stats(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<ViewBrokerStatsData<'_>>(exchange) else {
        return;
    };
    let (name, key) = (request.stats_name.as_ref(), request.stats_key.as_ref());
    let total = match name {
        "TOPIC_PUT_NUMS" => broker
            .topics
            .get(key)
            .map(|topic| topic.counters.messages_in.load(Ordering::Relaxed)),
        "TOPIC_PUT_SIZE" => broker
            .topics
            .get(key)
            .map(|topic| topic.counters.bytes_in.load(Ordering::Relaxed)),
        "BROKER_PUT_NUMS" => Some(broker.stats.messages_in.load(Ordering::Relaxed)),
        "BROKER_GET_NUMS" => Some(broker.stats.messages_out.load(Ordering::Relaxed)),
        "GROUP_GET_NUMS" | "GROUP_GET_SIZE" | "SNDBCK_PUT_NUMS" => {
            let group = key.split_once('@').map_or(key, |(_, group)| group);
            broker.groups.get(group).map(|group| match name {
                "GROUP_GET_NUMS" => group.counters.messages_out(),
                "GROUP_GET_SIZE" => group.counters.bytes_out(),
                _ => group.counters.sent_back.load(Ordering::Relaxed),
            })
        }
        _ => None,
    };
    let Some(total) = total else {
        return exchange.fail(
            ResponseCode::SystemError,
            format!("The stats <{name}> <{key}> not exist"),
        );
    };
    // Since the start: one figure for all windows that are at least as long.
    let seconds = (broker.uptime_ms() / 1_000).max(1) as f64;
    let item = BrokerStatsItem {
        avgpt: 0.0,
        sum: total as i64,
        tps: total as f64 / seconds,
    };
    exchange.ok_body(
        &(),
        &BrokerStatsData {
            stats_day: item,
            stats_hour: item,
            stats_minute: item,
        }
        .to_json(),
    );
}

pub(crate) fn replication(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let info = HaRuntimeInfo {
        master: true,
        master_commit_log_max_offset: broker.store.positions().confirmed as i64,
        ..HaRuntimeInfo::default()
    };
    exchange.ok_body(&(), &info.to_json());
}
