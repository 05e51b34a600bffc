//! A member whose log is another one than its master's below what the member has confirmed.
//!
//! Where acknowledgements wait for the master alone, an election may give up what a former master has confirmed. The record proves that it has:
//! then the end of the log is put aside, and the member is ready for a snapshot of the master. A cut in place would leave what the end has
//! brought about: rows of tables, offsets of consumers, entries of the index.

use rmq_election::driver::Handle;
use rmq_election::place::Keeps;
use rmq_replication::{End, Parting, Reason};
use rmq_store::PutAside;
use tokio_util::sync::CancellationToken;

use super::AGAIN;
use crate::broker::Broker;
use crate::group::follow;
use crate::work::blocking;

/// Waits until the group has given up the end of this member's log, and keeps the end in a file. False: `stop` has come.
pub(super) async fn give_up(
    broker: &Broker,
    handle: &Handle,
    parting: Parting,
    stop: &CancellationToken,
) -> bool {
    let mut facts = handle.watch();
    let mut told = None;
    while let Err(keeps) = proven(broker, handle, &parting) {
        if told != Some(keeps) {
            told = Some(keeps);
            let mut parting = parting.clone();
            parting.reason = Reason::new(
                parting.reason.kind,
                format!("{}. The group has not given it up: {keeps}", parting.reason),
            );
            follow::ended(&broker.member, End::Diverged(Box::new(parting)), false);
        }
        let changed = async {
            if facts.changed().await.is_err() {
                // There is no driver any more, and soon this ends too.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => return false,
            () = changed => {}
        }
    }
    let Some(kept) = put_aside(broker, &parting, stop).await else {
        return false;
    };
    if let Some(kept) = &kept {
        broker.member.repairs.parted(kept);
    }
    let master = parting.master.identity.seat.member;
    tracing::error!(
        %master,
        epoch = parting.master.epoch,
        position = parting.common.0,
        end = parting.end.0,
        messages = kept.as_ref().map_or(0, |kept| kept.messages),
        kept_in = kept.map(|kept| kept.path.display().to_string()),
        "this member has messages at the end of its log that the new master does not have; ackMode of the group lets the master acknowledge alone, so the group has given them up. They are kept in the file, and this member takes a snapshot of the master"
    );
    *broker.member.stuck.lock() = None;
    true
}

/// Whether the record proves that the master's log is the group's, and the group's mode lets an election give up what was acknowledged.
fn proven(broker: &Broker, handle: &Handle, parting: &Parting) -> Result<(), Keeps> {
    let Some(record) = handle.facts().record else {
        return Err(Keeps::OtherMaster);
    };
    let own = broker.member.elected.as_ref().map(|elected| elected.policy);
    if let Some(own) = own.filter(|own| own.ack_mode.needs_set()) {
        // The record has another mode: a person is about to change it, and may not be done.
        return Err(Keeps::Acknowledged(own.ack_mode));
    }
    let master = &parting.master;
    let epochs = master.epochs.iter();
    record.gives_up(
        master.identity.seat,
        master.epoch,
        epochs.map(|epoch| (epoch.number, epoch.first.0)),
    )
}

/// Keeps the end of the log, sooner or later: nothing is replaced before. `None`: `stop` has come.
async fn put_aside(
    broker: &Broker,
    parting: &Parting,
    stop: &CancellationToken,
) -> Option<Option<PutAside>> {
    let mut told = None;
    loop {
        let follower = broker.member.follower()?;
        let common = parting.common;
        // Waited for in any case: a promotion needs the store for itself.
        let text = match blocking(move || follower.put_aside(common)).await {
            Ok(Ok(kept)) => return Some(kept),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if told.as_ref() != Some(&text) {
            tracing::error!(
                "the end of the log, which the group has given up, cannot be kept in a file, so this member copies nothing: {text}; trying on"
            );
            told = Some(text);
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}
