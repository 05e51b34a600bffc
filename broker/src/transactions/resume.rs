//! An administrator wants a half message to be checked again that was parked, or checked often (code 323).

use std::sync::Arc;

use rmq_protocol::message::{LogPosition, OffsetMessageId};
use rmq_protocol::names::TRANS_HALF_TOPIC;

use super::half::Moved;
use super::refusal::ResumeRefusal;
use crate::broker::Broker;
use crate::tables::half::{self as table, Ending, Half};
use crate::work::{self, Interrupted};

/// Has a half message checked as if it had never been; returns when that counts.
///
/// # Errors
/// There is no such half message, or the store takes no messages.
pub(crate) async fn resume(broker: &Arc<Broker>, message_id: &str) -> Result<(), ResumeRefusal> {
    let (then, id) = (Arc::clone(broker), message_id.to_owned());
    let begun = work::blocking(move || begin(&then, &id)).await;
    let end = begun.map_err(Interrupted::from)??;
    Ok(broker.store.settled(end).await?)
}

/// It counts when the log is settled up to where this returns. May wait for the disk.
fn begin(broker: &Broker, message_id: &str) -> Result<LogPosition, ResumeRefusal> {
    let id: Result<OffsetMessageId, _> = message_id.parse();
    let position =
        id.map_err(|_| ResumeRefusal::MessageId(message_id.chars().take(64).collect()))?;
    let position = position.position.0;
    let transactions = &broker.transactions;
    {
        let _deciding = transactions.deciding.write();
        if let Some(half) = transactions.table.unclaimed(position) {
            let fresh = Half {
                checks: 0,
                checked_ms: 0,
                ..half
            };
            let change = table::checked(position, &fresh);
            return Ok(broker.store.settings()?.put(&[change])?);
        }
    }
    let at = match transactions.table.parked_of(position) {
        Some((at, _)) => at,
        None => position,
    };
    if transactions.table.parked(at).is_none() {
        return Err(ResumeRefusal::Unknown(position));
    }
    let (open, _) = transactions.table.counts();
    if open >= transactions.rules.open_max {
        return Err(ResumeRefusal::TooMany(open));
    }
    let record = broker.store.record_at(LogPosition(at));
    let record = record.map_err(|error| ResumeRefusal::Read {
        position: at,
        error,
    })?;
    let view = record.view().ok_or(ResumeRefusal::Damaged(at))?;
    let _deciding = transactions.deciding.read();
    let Ok(claim) = transactions.table.claim(at, Ending::Move) else {
        return Err(ResumeRefusal::Unknown(position));
    };
    let appended = Moved {
        of: &view,
        topic: TRANS_HALF_TOPIC,
        queue: &transactions.queue,
        properties: view.properties(),
        transaction: 0,
        further: &[],
    }
    .append(broker.store.master()?)?;
    claim.keep();
    Ok(appended.end)
}
