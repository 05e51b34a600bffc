//! The broker's settings as tools know them: 26 reads, 25 changes the few that can be changed while it runs.

use std::sync::Arc;

use rmq_protocol::bodies::{parse_properties, write_properties};
use rmq_protocol::code::ResponseCode;
use rmq_protocol::requests::GetBrokerConfigReply;
use rmq_transport::Exchange;

use crate::broker::Broker;
use crate::config::Flush;

/// Keys that may be changed. Nothing else ever is: a setting that names files or commands must not come over the network.
const CHANGEABLE: &[&str] = &["brokerPermission"];

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
    let pairs: Vec<(&str, String)> = vec![
        (
            "autoCreateSubscriptionGroup",
            config.auto_create_subscription_group.to_string(),
        ),
        (
            "autoCreateTopicEnable",
            config.auto_create_topic.to_string(),
        ),
        ("brokerClusterName", config.cluster_name.clone()),
        ("brokerId", config.broker_id.to_string()),
        ("brokerIP1", host.to_owned()),
        ("brokerName", config.broker_name.clone()),
        ("brokerPermission", broker.permission().to_string()),
        ("brokerRole", "ASYNC_MASTER".to_owned()),
        ("fileReservedTime", config.retention_hours.to_string()),
        ("flushDiskType", flush.to_owned()),
        (
            "flushIntervalCommitLog",
            config.flush_interval_ms.to_string(),
        ),
        ("listenPort", port.to_owned()),
        ("mappedFileSizeCommitLog", config.segment_bytes.to_string()),
        ("maxMessageSize", config.max_message_bytes.to_string()),
        ("messageDelayLevel", config.delay_levels.clone()),
        ("namesrvAddr", config.name_servers.clone()),
        ("regionId", config.region.clone()),
        ("storePathRootDir", config.data_dir.display().to_string()),
    ];
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
    for (name, value) in &pairs {
        match name.as_str() {
            "brokerPermission" => match value.parse::<i32>() {
                Ok(wanted) if [0, 2, 4, 6].contains(&wanted) => permission = Some(wanted),
                _ => {
                    return exchange.fail(
                        ResponseCode::InvalidParameter,
                        format!("brokerPermission: {value:?} is not 0, 2, 4 or 6"),
                    );
                }
            },
            _ => {
                return exchange.fail(
                    ResponseCode::NoPermission,
                    format!("{name} cannot be changed while the broker runs; only {} can. Change the configuration file and restart", CHANGEABLE.join(", ")),
                );
            }
        }
    }
    if let Some(permission) = permission {
        tracing::info!(permission, from = %exchange.peer.remote_addr(), "the broker's permission is changed until its next start");
        broker.set_permission(permission);
    }
    exchange.ok(&());
}
