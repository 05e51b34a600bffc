//! What the broker is doing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use rmq_store::StoreHealth;
use rmq_transport::TransportLimits;

use super::{config, group_status, timers};
use crate::broker::Broker;
use crate::management::until_restart;
use crate::stats::Sample;

/// Keys and formats: apache/rocketmq `AdminBrokerProcessor.prepareRuntimeInfo`, `StoreStatsService.getRuntimeInfo`. Tools stop at the
/// first key that is missing, so all of them are there; one of a feature that is not here says that nothing waits. May wait for the disk.
pub(crate) fn table(broker: &Broker) -> BTreeMap<String, String> {
    broker.catch_up();
    let mut table = BTreeMap::new();
    // First: what a round that is counted has removed is seen below.
    broker.retention.describe(&mut table);
    let mut put = |name: &str, value: String| {
        table.insert(name.to_owned(), value);
    };
    identity(broker, &mut put);
    // Not the original's: rmq-ctl health and doctor read it.
    let rivals = broker.registrations.rivals();
    if !rivals.is_empty() {
        put("registrationRivals", rivals.join(";"));
    }
    messages(broker, &mut put);
    disk(broker, &mut put);
    waiting(broker, &mut put);
    for (level, next, max) in broker.delay.progress() {
        put(
            &format!("scheduleMessageOffset_{level}"),
            format!("{next},{max}"),
        );
    }
    // It looks at the clock: a jump that nobody has seen yet is seen now.
    let agreed_ms = broker.clock_watch.agreed_ms();
    if let Some(jump) = broker.clock_watch.last_jump() {
        put(
            "lastClockJump",
            format!("{} ms at {}", jump.by_ms, jump.at_ms),
        );
        put("clockAgreedMillis", agreed_ms.to_string());
    }
    let leftover: Vec<String> = broker
        .delay
        .leftover()
        .into_iter()
        .map(|(level, waiting)| format!("{level}:{waiting}"))
        .collect();
    if !leftover.is_empty() {
        put("leftoverDelayLevels", leftover.join(" "));
    }
    if let Some(problem) = &broker.fast_port_problem {
        put("fastPortProblem", problem.clone());
    }
    let dropped = broker.delay.dropped.load(Ordering::Relaxed);
    table.insert("delayedMessagesDropped".to_owned(), dropped.to_string());
    let (open, parked) = broker.transactions.table.counts();
    table.insert("halfMessages".to_owned(), open.to_string());
    table.insert("parkedTransactions".to_owned(), parked.to_string());
    table
}

fn identity(broker: &Broker, put: &mut impl FnMut(&str, String)) {
    put("brokerVersionDesc", "V5_5_0".to_owned());
    put("brokerVersion", "513".to_owned());
    put("rmqVersion", env!("CARGO_PKG_VERSION").to_owned());
    put("brokerActive", "true".to_owned());
    put("brokerRole", config::broker_role(broker).to_owned());
    let id = broker.registrations.standing().id;
    put("brokerId", id.to_string());
    let group = group_status::group_status(broker);
    put("epoch", group.epoch.to_string());
    let in_sync = group.members.iter().filter(|member| member.in_sync);
    put("inSyncMembers", in_sync.count().to_string());
    if let Some(why) = group.writes_closed {
        put("writesClosed", why);
    }
    put("bootTimestamp", broker.started_ms.to_string());
    put("startAcceptSendRequestTimeStamp", "0".to_owned());
    let seconds = broker.uptime_ms() / 1_000;
    put(
        "runtime",
        format!(
            "[ {} days, {} hours, {} minutes, {} seconds ]",
            seconds / 86_400,
            seconds / 3_600 % 24,
            seconds / 60 % 60,
            seconds % 60
        ),
    );
}

fn messages(broker: &Broker, put: &mut impl FnMut(&str, String)) {
    let stats = &broker.stats;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let days = stats.days();
    put("msgPutTotalTodayNow", stats.put.users.total(0).to_string());
    put("msgPutTotalTodayMorning", days.today.0.to_string());
    put("msgPutTotalYesterdayMorning", days.yesterday.0.to_string());
    put("msgGetTotalTodayNow", stats.got.users.total(0).to_string());
    put("msgGetTotalTodayMorning", days.today.1.to_string());
    put("msgGetTotalYesterdayMorning", days.yesterday.1.to_string());
    let rates = |of: fn(&Sample) -> u64| {
        let [ten, sixty, six_hundred] = stats.rates(broker.monotonic_ms(), of);
        format!("{ten:?} {sixty:?} {six_hundred:?}")
    };
    put("putTps", rates(|sample| sample.messages_in));
    put("getTransferredTps", rates(|sample| sample.messages_out));
    put("getFoundTps", rates(|sample| sample.pulls_found));
    put("getMissTps", rates(|sample| sample.pulls_missed));
    put(
        "getTotalTps",
        rates(|sample| sample.pulls_found + sample.pulls_missed),
    );
    let (messages, bytes) = (load(&stats.messages_in), load(&stats.bytes_in));
    put("putMessageTimesTotal", messages.to_string());
    put(
        "putMessageFailedTimes",
        load(&stats.puts_failed).to_string(),
    );
    put("putMessageSizeTotal", bytes.to_string());
    put(
        "putMessageAverageSize",
        format!("{:?}", bytes as f64 / messages.max(1) as f64),
    );
    put("putMessageDistributeTime", stats.put_times.distribution());
    put(
        "putLatency99",
        format!("{:.2}", stats.put_times.share(0.99)),
    );
    put(
        "putLatency999",
        format!("{:.2}", stats.put_times.share(0.999)),
    );
    put(
        "putMessageEntireTimeMax",
        stats.put_times.max_ms().to_string(),
    );
    put(
        "getMessageEntireTimeMax",
        load(&stats.get_max_ms).to_string(),
    );
}

fn disk(broker: &Broker, put: &mut impl FnMut(&str, String)) {
    let store = broker.store.stats();
    let positions = broker.store.positions();
    // Log and index lie in one folder.
    let ratio = format!("{:?}", (store.space.used_ratio() * 100.0).round() / 100.0);
    put(
        &format!("commitLogDiskRatio_{}", broker.store.dir().display()),
        ratio.clone(),
    );
    put("commitLogDiskRatio", ratio.clone());
    put("consumeQueueDiskRatio", ratio);
    put(
        "commitLogDirCapacity",
        format!(
            "Total : {}, Free : {}.",
            bytes(store.space.size),
            bytes(store.space.unused)
        ),
    );
    put("commitLogMinOffset", positions.min.to_string());
    put("commitLogMaxOffset", positions.confirmed.to_string());
    put(
        "earliestMessageTimeStamp",
        store.oldest_ms.unwrap_or(-1).to_string(),
    );
    let behind = positions.confirmed.saturating_sub(positions.dispatched);
    put("dispatchBehindBytes", behind.to_string());
    put("dispatchMaxBuffer", "0".to_owned());
    put(
        "remainHowManyDataToFlush",
        bytes(positions.written.saturating_sub(positions.flushed)),
    );
    // There is no such pool; this is how the original says that.
    put("remainTransientStoreBufferNumbs", i32::MAX.to_string());
    // No send waits for another's.
    put("pageCacheLockTimeMills", "0".to_owned());
    match broker.store.health() {
        StoreHealth::Writable => {}
        StoreHealth::Refusing { reason } => put("storeProblem", reason.to_string()),
        StoreHealth::ReadOnly { reason } => put("storeProblem", until_restart(&reason)),
    }
}

fn waiting(broker: &Broker, put: &mut impl FnMut(&str, String)) {
    put("waitingPulls", broker.waiters.len().to_string());
    let memory = broker.memory.usage();
    for (name, count) in [
        ("connectionMemoryBytes", memory.held()),
        ("connectionMemoryLimitBytes", memory.bound()),
        ("connectionMemoryWaiting", memory.waiting()),
    ] {
        put(name, count.to_string());
    }
    // Requests are handled where they arrive. What a connection may leave waiting is the only queue there is.
    let capacity = TransportLimits::default().parked_requests_max;
    for pool in ["send", "pull", "litePull", "query", "ack"] {
        put(&format!("{pool}ThreadPoolQueueSize"), "0".to_owned());
        put(
            &format!("{pool}ThreadPoolQueueCapacity"),
            capacity.to_string(),
        );
        put(
            &format!("{pool}ThreadPoolQueueHeadWaitTimeMills"),
            "0".to_owned(),
        );
    }
    put("EndTransactionQueueSize", "0".to_owned());
    put(
        "EndTransactionThreadPoolQueueCapacity",
        capacity.to_string(),
    );
    let waiting: i64 = timers::of_topics(broker)
        .iter()
        .map(|(_, of)| of.waiting)
        .sum();
    put(
        "timerReadBehind",
        (timers::late(broker).1 / 1_000).to_string(),
    );
    put("timerOffsetBehind", "0".to_owned());
    put("timerCongestNum", waiting.to_string());
    let rate = |of: fn(&Sample) -> u64| {
        let [ten, ..] = broker.stats.rates(broker.monotonic_ms(), of);
        format!("{ten:?}")
    };
    put("timerEnqueueTps", rate(|sample| sample.timers_begun));
    put("timerDequeueTps", rate(|sample| sample.timers_ended));
}

/// Bytes as apache/rocketmq `MixAll.humanReadableByteCount` writes them.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
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
