//! Cleaning up at an administrator's wish.

use rmq_process::Asker;

use crate::broker::Broker;
use crate::retention::ByHandError;

/// Removes what has expired now. May wait for the disk.
///
/// # Errors
/// What has expired is not known, or cannot be removed.
pub(crate) fn remove_expired(broker: &Broker, asker: &Asker) -> Result<(), ByHandError> {
    let bytes = || Some(format!("{} bytes of log", broker.store.stats().log_bytes));
    let before = bytes();
    broker.retention.run_now(broker.retention_parts())?;
    let name = &broker.config.broker_name;
    asker.changed("expired messages removed", name, before, bytes());
    Ok(())
}
