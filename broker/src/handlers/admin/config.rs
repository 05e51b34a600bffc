//! The broker's settings as tools know them: 26 reads, 25 changes the few that can be changed while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_protocol::bodies::{parse_properties, write_properties};
use rmq_protocol::code::ResponseCode;
use rmq_protocol::names;
use rmq_protocol::requests::GetBrokerConfigReply;
use rmq_transport::{Exchange, PendingReply};

use crate::audit;
use crate::broker::Broker;
use crate::config::{Flush, MESSAGE_BYTES};
use crate::{kept, limits, registration, reply, sessions, tasks};

/// Keys that may be changed. Nothing else ever is: a setting that names files or commands must not come over the network.
const CHANGEABLE: &[&str] = &[
    "brokerPermission",
    "fileReservedTime",
    "maxMessageSize",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
];
/// Settings of the original whose answer is always the same here.
const ALWAYS: &[(&str, &str)] = &[
    ("aclEnable", "false"),
    ("brokerTopicEnable", "true"),
    ("clusterTopicEnable", "true"),
    ("defaultTopicQueueNums", "8"),
    ("enableControllerMode", "false"),
    ("enableDetailStat", "true"),
    ("enableMixedMessageType", "false"),
    ("enablePropertyFilter", "false"),
    ("enableSlaveActingMaster", "false"),
    ("inSyncReplicas", "1"),
    ("longPollingEnable", "true"),
    ("messageIndexEnable", "true"),
    ("minInSyncReplicas", "1"),
    ("notifyConsumerIdsChangedEnable", "true"),
    ("rejectTransactionMessage", "true"),
    ("slaveReadEnable", "false"),
    ("startAcceptSendRequestTimeStamp", "0"),
    ("timerWheelEnable", "false"),
    ("totalReplicas", "1"),
    ("traceOn", "true"),
    ("traceTopicEnable", "true"),
    ("transferMsgByHeap", "true"),
    ("transientStorePoolEnable", "false"),
    ("useServerSideResetOffset", "true"),
    ("useTLS", "false"),
];
/// Beside `brokerPermission`, not the original's: `false` when the change shall end with the next start, as that of a broker which is
/// emptied for good and whose volume another one may get.
const KEEP: &str = "keepBrokerPermission";
/// Milliseconds of what `fileReservedTime` counts in.
const HOUR_MS: i64 = 3_600_000;

pub(crate) fn get(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let config = &broker.config;
    let flush = if config.flush == Flush::Sync {
        "SYNC_FLUSH"
    } else {
        "ASYNC_FLUSH"
    };
    let (host, port) = broker
        .identity
        .addr
        .rsplit_once(':')
        .unwrap_or((broker.identity.addr.as_str(), ""));
    let mut pairs: Vec<(&str, String)> = vec![
        (
            "autoCreateSubscriptionGroup",
            broker
                .groups
                .auto_create
                .load(Ordering::Relaxed)
                .to_string(),
        ),
        (
            "autoCreateTopicEnable",
            broker.topics.auto_creates().to_string(),
        ),
        ("brokerClusterName", config.cluster_name.clone()),
        ("brokerId", config.broker_id.to_string()),
        ("brokerIP1", host.to_owned()),
        ("brokerName", config.broker_name.clone()),
        ("brokerPermission", broker.permission().to_string()),
        ("brokerRole", "ASYNC_MASTER".to_owned()),
        (
            "fileReservedTime",
            (broker.store.retention_ms() / HOUR_MS).to_string(),
        ),
        ("flushDiskType", flush.to_owned()),
        (
            "flushIntervalCommitLog",
            config.flush_interval_ms.to_string(),
        ),
        ("listenPort", port.to_owned()),
        ("mappedFileSizeCommitLog", config.segment_bytes.to_string()),
        ("maxMessageSize", broker.store.body_bytes_max().to_string()),
        ("messageDelayLevel", config.delay_levels.clone()),
        ("namesrvAddr", config.name_servers.clone()),
        ("regionId", config.region.clone()),
        ("storePathRootDir", config.data_dir.display().to_string()),
        (
            "storePathCommitLog",
            broker.store.dir().display().to_string(),
        ),
        ("brokerIP2", host.to_owned()),
        (
            "diskMaxUsedSpaceRatio",
            format!("{:.0}", config.disk_evict_ratio * 100.0),
        ),
        (
            "diskSpaceWarningLevelRatio",
            format!("{:.0}", config.disk_full_ratio * 100.0),
        ),
        (
            "cleanFileForciblyEnable",
            (config.disk_evict_ratio < 1.0).to_string(),
        ),
        (
            "fetchNameSrvAddrByDnsLookup",
            config.look_up_name_servers.to_string(),
        ),
        ("flushConsumerOffsetInterval", tasks::SAVE_MS.to_string()),
        (
            "deleteCommitLogFilesInterval",
            tasks::RETENTION_MS.to_string(),
        ),
        (
            "channelExpiredTimeout",
            sessions::CLIENT_EXPIRY_MS.to_string(),
        ),
        (
            "registerNameServerPeriod",
            registration::INTERVAL_MS.to_string(),
        ),
        ("maxMsgsNumBatch", limits::QUERY_MAX.to_string()),
        ("defaultQueryMaxNum", (limits::QUERY_MAX / 2).to_string()),
        (
            "maxTransferBytesOnMessageInMemory",
            limits::PULL_BYTES_DEFAULT.to_string(),
        ),
        (
            "maxTransferCountOnMessageInMemory",
            broker.limits.pull_messages.to_string(),
        ),
        ("msgTraceTopicName", names::TRACE_TOPIC.to_owned()),
        // Tools take this for the number of CPUs.
        (
            "clientCallbackExecutorThreads",
            std::thread::available_parallelism()
                .map_or(1, usize::from)
                .to_string(),
        ),
        (
            "metricsExporterType",
            if config.management.is_empty() {
                "DISABLE"
            } else {
                "PROM"
            }
            .to_owned(),
        ),
        (
            "metricsPromExporterPort",
            config
                .management
                .rsplit(':')
                .next()
                .unwrap_or_default()
                .to_owned(),
        ),
    ];
    pairs.extend(
        ALWAYS
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    pairs.sort_unstable();
    let version = String::from_utf8(broker.topics.version().to_json()).unwrap_or_default();
    let body = write_properties(pairs.iter().map(|(name, value)| (*name, value.as_str())));
    exchange.ok_body(
        &GetBrokerConfigReply {
            version: Some(version),
        },
        &body,
    );
}

pub(crate) fn update(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let pairs = match parse_properties(exchange.body) {
        Ok(pairs) => pairs,
        Err(error) => {
            return exchange.fail(
                ResponseCode::SystemError,
                format!("the settings cannot be read: {error}"),
            );
        }
    };
    // All or nothing.
    let mut permission = None;
    let mut keep: Option<bool> = None;
    let mut retention_hours = None;
    let mut message_bytes = None;
    let mut auto_create_topic = None;
    let mut auto_create_group = None;
    for (name, value) in &pairs {
        let wanted = match name.as_str() {
            "brokerPermission" => {
                permission = value
                    .parse()
                    .ok()
                    .filter(|bits| [0, 2, 4, 6].contains(bits));
                permission.is_none().then_some("0, 2, 4 or 6")
            }
            KEEP => {
                keep = value.parse().ok();
                keep.is_none().then_some("true or false")
            }
            "fileReservedTime" => {
                retention_hours = value.parse::<u32>().ok().filter(|hours| *hours > 0);
                retention_hours
                    .is_none()
                    .then_some("a number of hours, at least 1")
            }
            "maxMessageSize" => {
                message_bytes = value
                    .parse()
                    .ok()
                    .filter(|bytes| MESSAGE_BYTES.contains(bytes));
                message_bytes
                    .is_none()
                    .then_some("a number of bytes, 1 to 16777216")
            }
            "autoCreateTopicEnable" => {
                auto_create_topic = value.parse().ok();
                auto_create_topic.is_none().then_some("true or false")
            }
            "autoCreateSubscriptionGroup" => {
                auto_create_group = value.parse().ok();
                auto_create_group.is_none().then_some("true or false")
            }
            _ => {
                return exchange.fail(
                    ResponseCode::NoPermission,
                    format!("{name} cannot be changed while the broker runs; only {} can. Change the configuration file and restart", CHANGEABLE.join(", ")),
                );
            }
        };
        if let Some(wanted) = wanted {
            return exchange.fail(
                ResponseCode::InvalidParameter,
                format!("{name}: {value:?} is not {wanted}"),
            );
        }
    }
    let before = changeable(broker);
    let asker = audit::asker(exchange);
    if let Some(hours) = retention_hours {
        broker.store.set_retention_ms(i64::from(hours) * HOUR_MS);
    }
    if let Some(bytes) = message_bytes {
        broker.store.set_body_bytes_max(bytes);
    }
    if let Some(auto_create) = auto_create_topic {
        let set = broker.topics.set_auto_create(auto_create, broker.now_ms());
        if let Err(error) = set {
            return exchange.fail(reply::of_read(&error), error.to_string());
        }
    }
    if let Some(auto_create) = auto_create_group {
        broker
            .groups
            .auto_create
            .store(auto_create, Ordering::Relaxed);
    }
    let keep = keep.unwrap_or(true);
    if let Some(permission) = permission {
        broker.set_permission(permission);
    }
    audit::put(
        &asker,
        "settings changed",
        if permission.is_some() && keep {
            "settings changed until the broker's next start, brokerPermission beyond it"
        } else {
            "settings changed until the broker's next start"
        },
        &broker.config.broker_name,
        Some(&before),
        &changeable(broker),
    );
    match permission {
        Some(permission) => permission_set(broker, permission, keep, exchange.park()),
        None => exchange.ok(&()),
    }
}

/// The settings that may be changed, as they are.
fn changeable(broker: &Broker) -> BTreeMap<&'static str, String> {
    let value = |key: &str| match key {
        "brokerPermission" => broker.permission().to_string(),
        "fileReservedTime" => (broker.store.retention_ms() / HOUR_MS).to_string(),
        "maxMessageSize" => broker.store.body_bytes_max().to_string(),
        "autoCreateTopicEnable" => broker.topics.auto_creates().to_string(),
        "autoCreateSubscriptionGroup" => broker
            .groups
            .auto_create
            .load(Ordering::Relaxed)
            .to_string(),
        _ => String::new(),
    };
    CHANGEABLE.iter().map(|key| (*key, value(key))).collect()
}

/// The answer comes when the name servers know the permission. A restart keeps the permission, unless `keepBrokerPermission` is off.
fn permission_set(broker: &Arc<Broker>, permission: i32, keep: bool, reply: PendingReply) {
    let then = Arc::clone(broker);
    broker.run_task(async move {
        let kept = if keep {
            let change = kept::keep_permission(permission, then.config.permission, then.now_ms());
            then.store.settings().put_and_wait(&[change]).await.map(drop)
        } else {
            Ok(())
        };
        then.registrations.soon_current(&then).await;
        match kept {
            Ok(()) => reply.ok(&()),
            Err(error) => reply.fail(
                reply::of_settings(&error),
                format!("brokerPermission is {permission} now, and a restart of the broker would lose that: {error}"),
            ),
        }
    });
}
