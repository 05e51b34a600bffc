//! A replica passes on to the master what clients tell it and only the master does: the offsets that consumers commit here, messages that are
//! given back, queue locks.

use std::collections::BTreeMap;
use std::time::Duration;

use rmq_protocol::bodies::ConsumerOffsetTable;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_transport::Caller;

use crate::broker::Broker;
use crate::role::Role;
use crate::secrets::signed;

/// Offsets are gathered for so long, milliseconds; a master that comes back is told at once.
const GATHER_MS: i64 = 1_000;
/// Offsets in one request.
const OFFSETS_MAX: usize = 10_000;
/// Time for one request.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The master that this replica copies from now, for a request that the master alone serves; `None`: there is none, or nobody knows where
/// clients reach it. Requests do not go in a circle: who copies from a master has an older epoch than the one in which that master would copy.
pub(crate) fn master(broker: &Broker) -> Option<Caller> {
    let addr = master_of(broker, &broker.role.get())?;
    Some(broker.to_master.at(&addr))
}

/// Passes offsets on, for ever.
pub(crate) async fn offsets(broker: &Broker) {
    let mut role = broker.role.watch();
    loop {
        let master = master_of(broker, &role.borrow_and_update());
        let changed = async {
            // The sender lives as long as the broker.
            let _ = role.changed().await;
        };
        match master {
            None => changed.await,
            Some(addr) => tokio::select! {
                () = changed => {}
                () = pass_to(broker, addr) => {}
            },
        }
    }
}

/// Where clients reach the master.
fn master_of(broker: &Broker, role: &Role) -> Option<String> {
    match role {
        // Without a name server only the replication port is known.
        Role::Replica { of: Some(addr) } if *addr != broker.config.replication_master => {
            Some(addr.clone())
        }
        Role::Replica { .. } | Role::Master { .. } | Role::Closed { .. } => None,
    }
}

async fn pass_to(broker: &Broker, addr: String) {
    broker.offsets.pass_again();
    let caller = broker.to_master.at(&addr);
    let mut is_told = false;
    loop {
        let table = broker.offsets.to_pass(OFFSETS_MAX).await;
        let passed = pass(broker, &caller, &table).await;
        match &passed {
            Ok(()) => broker.offsets.passed(&table),
            Err(error) if !is_told => tracing::warn!(
                master = caller.addr(),
                "what consumers commit at this replica is not passed on to the master: {error}; trying on"
            ),
            Err(_) => {}
        }
        is_told = passed.is_err();
        broker.clock.sleep_ms(GATHER_MS).await;
    }
}

async fn pass(
    broker: &Broker,
    caller: &Caller,
    table: &BTreeMap<String, BTreeMap<i32, i64>>,
) -> Result<(), String> {
    let body = ConsumerOffsetTable {
        data_version: None,
        offset_table: table.clone(),
    }
    .to_json();
    let fields = signed(broker.signer.as_ref(), (), &body);
    let code = RequestCode::RaiseConsumerOffsets.as_i32();
    let answer = caller.call(code, &fields, &body, CALL_TIMEOUT).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.code() == ResponseCode::Success.as_i32() {
        return Ok(());
    }
    let header = answer.header();
    let remark = header
        .remark
        .as_ref()
        .map(|remark| remark.to_cow().into_owned());
    Err(format!(
        "code {}: {}",
        answer.code(),
        remark.unwrap_or_default()
    ))
}
