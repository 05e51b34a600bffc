//! How much groups read from the disk, and may read.

use serde_json::{Map, Value, json};

use rmq_protocol::bodies::SubscriptionGroupConfig;

use crate::broker::Broker;
use crate::groups::Group;
use crate::quota::COLD_BYTES;

/// The group with another limit, as a change of its attributes; `None`: with none.
pub(crate) fn with_threshold(group: &Group, threshold: Option<String>) -> SubscriptionGroupConfig {
    let mut config = group.config.clone();
    config.attributes.clear();
    let (name, value) = match threshold {
        Some(threshold) => (format!("+{COLD_BYTES}"), threshold),
        None => (format!("-{COLD_BYTES}"), String::new()),
    };
    config.attributes.insert(name, value);
    config
}

/// What groups have read lately, and their limits (apache/rocketmq `ColdDataCgCtrService.getColdDataFlowCtrInfo`). A group without a limit
/// has none, so the thresholds that count for all of them are 0.
pub(crate) fn info(broker: &Broker) -> Value {
    let now_ms = broker.now_ms();
    let mut running = Map::new();
    let mut limits = Map::new();
    let mut bytes = 0;
    for group in broker.groups.all() {
        let name = group.name();
        if let Some(limit) = &group.cold {
            limits.insert(name.to_owned(), limit.threshold().into());
        }
        let counted = group.counted();
        if let Some(read) = counted.and_then(|counted| counted.cold.read(now_ms)) {
            bytes += read.bytes;
            let of_group = json!({
                "coldAcc": read.bytes,
                "createTimeMills": read.first_ms,
                "lastColdReadTimeMills": read.last_ms,
            });
            running.insert(name.to_owned(), of_group);
        }
    }
    json!({
        "runtimeTable": running,
        "configTable": limits,
        "cgColdReadThreshold": 0,
        "globalColdReadThreshold": 0,
        "globalAcc": bytes,
    })
}
