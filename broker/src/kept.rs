//! Configuration that was changed while the broker ran and that outlives a restart.
//!
//! Only the broker's permission is kept: an operator who drains a broker must find it drained after a restart. What is kept holds for as
//! long as the configured value is the one that it replaced; a configuration that changes wins.

use rmq_store::{Change, Store, Table};
use serde::{Deserialize, Serialize};

/// Key in [`Table::BrokerConfig`].
const PERMISSION: &str = "brokerPermission";

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    value: i32,
    /// What was configured when it was changed.
    configured: i32,
    /// Unix milliseconds.
    since_ms: i64,
}

/// The permission that the broker starts with.
pub(crate) fn permission(store: &Store, configured: i32) -> i32 {
    let Some(stored) = store.settings().get(Table::BrokerConfig, PERMISSION) else {
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

/// The change that keeps a permission over a restart.
pub(crate) fn keep_permission(value: i32, configured: i32, now_ms: i64) -> Change {
    let kept = Kept {
        value,
        configured,
        since_ms: now_ms,
    };
    match serde_json::to_vec(&kept) {
        Ok(json) if value != configured => Change::set(Table::BrokerConfig, PERMISSION, json),
        _ => Change::remove(Table::BrokerConfig, PERMISSION),
    }
}
