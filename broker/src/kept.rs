//! Configuration that was changed while the broker ran and that outlives a restart.
//!
//! Only the broker's permission is kept: an operator who drains a broker must find it drained after a restart. What is kept holds for as
//! long as the configured value is the one that it replaced; a configuration that changes wins.

use rmq_config::BrokerConfig;
use rmq_protocol::route::MASTER_ID;
use rmq_store::{Change, SettingsError, Store};
use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::tables::ids::BROKER_CONFIG;

/// Key in [`BROKER_CONFIG`] of the permission of broker 0. All members of a group have the table, and each has its own permission.
const PERMISSION: &str = "brokerPermission";

fn key(broker_id: i64) -> String {
    match broker_id {
        MASTER_ID => PERMISSION.to_owned(),
        id => format!("{PERMISSION}/{id}"),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    value: i32,
    /// What was configured when it was changed.
    configured: i32,
    /// Unix milliseconds.
    since_ms: i64,
}

/// The permission that the broker starts with.
pub(crate) fn permission(store: &Store, config: &BrokerConfig) -> i32 {
    let configured = config.permission;
    let Some(stored) = store.value(BROKER_CONFIG, &key(config.broker_id)) else {
        return configured;
    };
    match serde_json::from_slice::<Kept>(&stored) {
        Ok(kept) if kept.configured == configured => {
            if kept.value != configured {
                tracing::warn!(
                    permission = kept.value,
                    configured,
                    since_ms = kept.since_ms,
                    "the broker's permission was changed while it ran, and stays so; change it again with brokerPermission (rmq-ctl set broker)"
                );
            }
            kept.value
        }
        Ok(kept) => {
            tracing::warn!(
                permission = configured,
                dropped = kept.value,
                "the configured permission is another one than when the permission was changed while the broker ran, and counts now"
            );
            configured
        }
        Err(error) => {
            tracing::error!(
                "the kept permission cannot be read, the configured one counts: {error}"
            );
            configured
        }
    }
}

/// Keeps a permission over a restart; returns when that is as durable as a message.
///
/// # Errors
/// It could not be stored, or the broker is a replica.
pub(crate) async fn keep_permission(
    store: &Data,
    value: i32,
    config: &BrokerConfig,
    now_ms: i64,
) -> Result<(), SettingsError> {
    let configured = config.permission;
    let kept = Kept {
        value,
        configured,
        since_ms: now_ms,
    };
    let key = key(config.broker_id);
    let change = match serde_json::to_vec(&kept) {
        Ok(json) if value != configured => Change::set(BROKER_CONFIG, key, json),
        _ => Change::remove(BROKER_CONFIG, key),
    };
    store.settings()?.put_and_wait(&[change]).await.map(drop)
}
