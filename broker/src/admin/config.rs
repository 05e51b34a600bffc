//! The broker's configuration as tools know it: all of it is read, and the few settings that can be changed while the broker runs are changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_config::{BrokerConfig, Configuration as _};
use rmq_process::Asker;
use rmq_protocol::names;

use super::refusal::ConfigRefusal;
use crate::audit;
use crate::broker::Broker;
use crate::config::HOUR_MS;
use crate::registration::keep;
use crate::{kept, limits, sessions, tasks};

/// Settings of the original whose answer is always the same here.
const ALWAYS: &[(&str, &str)] = &[
    ("aclEnable", "false"),
    ("brokerTopicEnable", "true"),
    ("clusterTopicEnable", "true"),
    ("defaultTopicQueueNums", "8"),
    ("enableControllerMode", "false"),
    ("enableDetailStat", "true"),
    ("enableMixedMessageType", "false"),
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

/// Every setting, by the name that tools know.
pub(crate) fn all(broker: &Broker) -> BTreeMap<&'static str, String> {
    let config = current(broker);
    let (host, port) = broker
        .identity
        .addr
        .rsplit_once(':')
        .unwrap_or((broker.identity.addr.as_str(), ""));
    // Tools take this for the number of CPUs.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut pairs: BTreeMap<&'static str, String> = config.upstream_pairs().into_iter().collect();
    pairs.extend(
        ALWAYS
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    pairs.extend([
        ("brokerIP1", host.to_owned()),
        ("brokerIP2", host.to_owned()),
        ("brokerRole", broker_role(broker).to_owned()),
        (
            "channelExpiredTimeout",
            sessions::CLIENT_EXPIRY_MS.to_string(),
        ),
        (
            "cleanFileForciblyEnable",
            (config.disk_evict_ratio < 1.0).to_string(),
        ),
        ("clientCallbackExecutorThreads", cpus.to_string()),
        ("defaultQueryMaxNum", (limits::QUERY_MAX / 2).to_string()),
        (
            "deleteCommitLogFilesInterval",
            tasks::RETENTION_MS.to_string(),
        ),
        ("flushConsumerOffsetInterval", tasks::SAVE_MS.to_string()),
        ("listenPort", port.to_owned()),
        ("maxMsgsNumBatch", limits::QUERY_MAX.to_string()),
        (
            "maxTransferBytesOnMessageInMemory",
            limits::PULL_BYTES_DEFAULT.to_string(),
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
        ("msgTraceTopicName", names::TRACE_TOPIC.to_owned()),
        ("registerNameServerPeriod", keep::INTERVAL_MS.to_string()),
        (
            "storePathCommitLog",
            broker.store.dir().display().to_string(),
        ),
    ]);
    let replication = &broker.member.replication_addr;
    let replication = replication.rsplit_once(':').map_or("0", |(_, port)| port);
    pairs.insert("haListenPort", replication.to_owned());
    // The original leaves out a master's address that is not set.
    pairs.retain(|name, value| *name != "haMasterAddress" || !value.is_empty());
    pairs
}

/// The configuration with the live settings as they are now.
fn current(broker: &Broker) -> BrokerConfig {
    BrokerConfig {
        retention_hours: u32::try_from(broker.store.retention_ms() / HOUR_MS).unwrap_or(u32::MAX),
        max_message_bytes: broker.store.body_bytes_max(),
        auto_create_topic: broker.topics.auto_creates(),
        auto_create_subscription_group: broker.groups.auto_create.load(Ordering::Relaxed),
        permission: broker.permission(),
        ..broker.config.clone()
    }
}

/// The live settings under the names that tools know, for the audit and for messages.
fn live(config: &BrokerConfig) -> BTreeMap<&'static str, String> {
    let is_live: Vec<&str> = BrokerConfig::settings()
        .filter(|setting| setting.is_live)
        .filter_map(|setting| setting.upstream_name())
        .collect();
    let mut pairs = config.upstream_pairs();
    pairs.retain(|(name, _)| is_live.contains(name));
    pairs.into_iter().collect()
}

/// Changes settings: all or none. When the permission is among them, the name servers know it at the end. A restart keeps the permission,
/// unless `keepBrokerPermission` is off.
///
/// # Errors
/// A setting that cannot be changed, or not to this value.
pub(crate) async fn change(
    broker: &Arc<Broker>,
    asker: &Asker,
    pairs: Vec<(String, String)>,
) -> Result<(), ConfigRefusal> {
    let (keep, changes): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == KEEP);
    let mut keeps = true;
    for (name, value) in keep {
        let wanted = value.parse();
        keeps = wanted.map_err(|_| ConfigRefusal::NoFlag { name, value })?;
    }
    let before = current(broker);
    let wanted = match before.update("the request", &changes) {
        Ok(wanted) => wanted,
        Err(error) if error.needs_restart() || error.is_unknown() => {
            let changeable: Vec<&str> = live(&before).into_keys().collect();
            return Err(ConfigRefusal::NotChangeable {
                error,
                changeable: changeable.join(", "),
            });
        }
        Err(error) => return Err(ConfigRefusal::Value(error)),
    };
    // Only what differs: another request may be changing the rest. First the one that can fail.
    if wanted.auto_create_topic != before.auto_create_topic {
        let create = wanted.auto_create_topic;
        broker.topics.set_auto_create(create, broker.now_ms())?;
    }
    if wanted.retention_hours != before.retention_hours {
        let hours = i64::from(wanted.retention_hours);
        broker.store.set_retention_ms(hours * HOUR_MS);
    }
    if wanted.max_message_bytes != before.max_message_bytes {
        broker.store.set_body_bytes_max(wanted.max_message_bytes);
    }
    if wanted.auto_create_subscription_group != before.auto_create_subscription_group {
        let create = wanted.auto_create_subscription_group;
        broker.groups.auto_create.store(create, Ordering::Relaxed);
    }
    let mut names = changes.iter().map(|(name, _)| name.as_str());
    let permission = names
        .any(|name| name == "brokerPermission" || name == "permission")
        .then_some(wanted.permission);
    if let Some(permission) = permission {
        broker.set_permission(permission);
    }
    let changed = if permission.is_some() && keeps {
        "settings changed until the broker's next start, brokerPermission beyond it"
    } else {
        "settings changed until the broker's next start"
    };
    let (before, after) = (live(&before), live(&current(broker)));
    let subject = &broker.config.broker_name;
    audit::put(
        asker,
        "settings changed",
        changed,
        subject,
        Some(&before),
        &after,
    );
    match permission {
        Some(permission) => tell_permission(broker, permission, keeps).await,
        None => Ok(()),
    }
}

async fn tell_permission(
    broker: &Broker,
    permission: i32,
    keeps: bool,
) -> Result<(), ConfigRefusal> {
    let kept = if keeps {
        kept::keep_permission(&broker.store, permission, &broker.config, broker.now_ms()).await
    } else {
        Ok(())
    };
    let clock = &*broker.clock;
    broker
        .registrations
        .soon_current(&broker.topics, clock)
        .await;
    kept.map_err(|error| ConfigRefusal::PermissionNotKept { permission, error })
}

/// The role in the words of apache/rocketmq `BrokerRole`.
pub(super) fn broker_role(broker: &Broker) -> &'static str {
    match broker.role.leads() && broker.config.ack_mode.is_in_sync() {
        true => "SYNC_MASTER",
        false => broker.role.get().broker_role(),
    }
}
