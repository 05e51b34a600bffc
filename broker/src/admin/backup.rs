//! Copies of the broker's data.

use rmq_protocol::bodies::BackupBegun;

use crate::backups::BackupRefusal;
use crate::broker::Broker;

/// Begins a copy. May wait for the disk.
///
/// # Errors
/// See [`BackupRefusal`].
pub(crate) fn begin(broker: &Broker) -> Result<BackupBegun, BackupRefusal> {
    let now = (broker.connection_now_ms(), broker.now_ms());
    let (backup, header) = broker.backups.begin(&broker.store, now)?;
    tracing::info!(
        backup,
        position = header.position.0,
        begins = header.begins.0,
        "a copy of the data is taken"
    );
    Ok(BackupBegun {
        backup,
        begins: header.begins.0,
        cluster: broker.config.cluster_name.clone(),
        group: broker.config.broker_name.clone(),
        idle_ms: broker.config.backup_idle_ms,
        incarnation: broker.store.incarnation(),
        is_master: broker.role.is_master(),
        member: broker.member.identity.seat.member,
        position: header.position.0,
    })
}
