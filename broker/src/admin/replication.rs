//! The broker as a member of its group: how far the copying is, which masters there were, and who is the master.

use rmq_election::driver::Wish;
use rmq_election::place::{MEMBERS_MAX, REQUEST_BYTES_MAX};
use rmq_process::Asker;
use rmq_protocol::MemberId;
use rmq_protocol::bodies::{EpochCache, EpochEntry, HaClientInfo, HaConnectionInfo, HaRuntimeInfo};
use rmq_protocol::message::LogPosition;

use super::refusal::GroupMasterRefusal;
use crate::broker::Broker;
use crate::role::Role;

/// How far replicas are.
pub(crate) fn ha_status(broker: &Broker) -> HaRuntimeInfo {
    let (member, positions) = (&broker.member, broker.store.positions());
    if !broker.role.leads() {
        let role = broker.role.get();
        return HaRuntimeInfo {
            master: false,
            ha_client_runtime_info: HaClientInfo {
                master_addr: match role {
                    Role::Replica { of } => of,
                    Role::Master { .. } | Role::Closed { .. } => None,
                },
                master_flush_offset: member.followed.confirmed().0 as i64,
                max_offset: positions.appended as i64,
                ..HaClientInfo::default()
            },
            ..HaRuntimeInfo::default()
        };
    }
    let replicas = member.progress(LogPosition(positions.appended));
    HaRuntimeInfo {
        master: true,
        master_commit_log_max_offset: positions.confirmed as i64,
        in_sync_slave_nums: i32::try_from(member.in_sync().saturating_sub(1)).unwrap_or(i32::MAX),
        ha_connection_info: replicas
            .iter()
            .filter(|replica| replica.is_connected)
            .map(|replica| HaConnectionInfo {
                addr: replica.seat.member.to_string(),
                diff: replica.lag_bytes as i64,
                in_sync: member.is_in_sync(replica.seat),
                slave_ack_offset: replica.received.0 as i64,
                transfer_from_where: replica.received.0 as i64,
                ..HaConnectionInfo::default()
            })
            .collect(),
        ..HaRuntimeInfo::default()
    }
}

/// Which master wrote which part of the log.
pub(crate) fn epochs(broker: &Broker) -> EpochCache {
    let end = broker.store.positions().confirmed as i64;
    let epochs = broker.store.epochs();
    let begins = epochs.iter().map(|epoch| epoch.first.0 as i64);
    let ends = begins.clone().skip(1).chain([i64::MAX]);
    let epoch_list = epochs
        .iter()
        .zip(begins.zip(ends))
        .map(|(epoch, (start_offset, end_offset))| EpochEntry {
            end_offset,
            epoch: i32::try_from(epoch.number).unwrap_or(i32::MAX),
            start_offset,
        })
        .collect();
    EpochCache {
        broker_id: broker.config.broker_id,
        broker_name: broker.config.broker_name.clone(),
        cluster_name: broker.config.cluster_name.clone(),
        epoch_list,
        max_offset: end,
    }
}

/// Writes down that a member of this group shall be the master.
///
/// # Errors
/// See [`GroupMasterRefusal`]. After a place that does not know, the request may be written down.
pub(crate) async fn request_master(
    broker: &Broker,
    asker: &Asker,
    wish: Wish,
    number: &str,
) -> Result<(), GroupMasterRefusal> {
    let Some(elected) = &broker.member.elected else {
        return Err(GroupMasterRefusal::FixedRoles);
    };
    let record = elected.facts().and_then(|facts| facts.record);
    elected.request(wish, number).await?;
    let master = record.and_then(|record| record.master);
    let before = master.map(|seat| format!("member {}", seat.member));
    let after = match wish {
        Wish::Switchover { to } => format!("member {to}, by request {number}"),
        Wish::Promote { to, .. } => {
            format!("member {to} with a loss accepted, by request {number}")
        }
    };
    let name = &broker.config.broker_name;
    asker.changed("another master asked for", name, before, Some(after));
    Ok(())
}

/// The slot of a member that a request names.
///
/// # Errors
/// There is no such slot.
pub(crate) fn slot(member: i64) -> Result<MemberId, GroupMasterRefusal> {
    let slot = u64::try_from(member).ok();
    let slot = slot.filter(|slot| *slot < MEMBERS_MAX as u64);
    slot.map(MemberId).ok_or(GroupMasterRefusal::Slot(member))
}

/// # Errors
/// The number of a request is empty or too long.
pub(crate) fn check_number(request: &str) -> Result<(), GroupMasterRefusal> {
    let length = request.len();
    match (1..=REQUEST_BYTES_MAX).contains(&length) {
        true => Ok(()),
        false => Err(GroupMasterRefusal::Number { length }),
    }
}
