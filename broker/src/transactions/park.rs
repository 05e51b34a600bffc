//! Half messages whose producers give no answer are parked in `TRANS_CHECK_MAX_TIME_TOPIC`: kept as long as every message, and shown. They
//! may end there, or come back (code 323).

use rmq_protocol::message::LogPosition;
use rmq_protocol::names::TRANS_CHECK_MAX_TIME_TOPIC;
use rmq_store::ReadError;

use super::half::Moved;
use super::refusal::EndRefusal;
use crate::broker::Broker;
use crate::messages::refusal::TopicWithoutQueue;
use crate::tables::half::{self as table, Ending, Half};

/// Half messages that are looked at at once.
const AT_ONCE: usize = 256;

/// Parks a half message. `Ok(None)`: it has ended meanwhile. May wait for the disk.
///
/// # Errors
/// It stays open.
pub(crate) fn park(
    broker: &Broker,
    position: u64,
    half: &Half,
    why: &str,
) -> Result<Option<LogPosition>, EndRefusal> {
    let transactions = &broker.transactions;
    let (group, of) = (&*half.names.group, &*half.names.topic);
    let record = match broker.store.record_at(LogPosition(position)) {
        Ok(record) => record,
        Err(error @ ReadError::Removed { .. }) => {
            let _deciding = transactions.deciding.read();
            let Ok(claim) = transactions.table.claim(position, Ending::RollBack) else {
                return Ok(None);
            };
            let end = broker.store.settings()?.put(&[table::remove(position)])?;
            claim.keep();
            tracing::error!(
                group,
                topic = of,
                position,
                "a half message is lost, as the disk was full or the log was cut: {error}"
            );
            return Ok(Some(end));
        }
        Err(error) => return Err(EndRefusal::Read { position, error }),
    };
    let view = record.view().ok_or(EndRefusal::Damaged(position))?;
    let name = TRANS_CHECK_MAX_TIME_TOPIC;
    let topic = broker.topics.get(name);
    let without = || TopicWithoutQueue(name.to_owned());
    let topic = topic.ok_or_else(without)?;
    let queue = topic.queue(0).ok_or_else(without)?;
    let _deciding = transactions.deciding.read();
    let Ok(claim) = transactions.table.claim(position, Ending::Move) else {
        return Ok(None);
    };
    let appended = Moved {
        of: &view,
        topic: name,
        queue,
        properties: view.properties(),
        transaction: 0,
        further: &[],
    }
    .append(broker.store.master()?)?;
    claim.keep();
    topic.stored(&broker.stats, 1, appended.size.into(), 1);
    tracing::warn!(
        group,
        topic = of,
        position,
        parked_at = appended.position.0,
        checks = half.checks,
        "a half message is parked: {why}. It lies in TRANS_CHECK_MAX_TIME_TOPIC, may still be committed or rolled back, and can be checked again (resumeCheckHalfMessage)"
    );
    Ok(Some(appended.end))
}

/// Parks what has waited for as long as messages are kept, and forgets what was parked for that long. `now_ms` is a clock that can be
/// trusted. May wait for the disk.
pub(crate) fn park_old(broker: &Broker, now_ms: i64) {
    let before_ms = now_ms.saturating_sub(broker.store.retention_ms());
    let mut behind = None;
    loop {
        let rows = broker.transactions.table.behind(behind, AT_ONCE);
        let old: Vec<_> = rows
            .into_iter()
            .filter(|(_, half)| half.store_ms < before_ms)
            .collect();
        let Some((last, _)) = old.last() else { break };
        behind = Some(*last);
        for (position, half) in &old {
            let why = "its producers have not ended it for as long as messages are kept";
            if let Err(error) = park(broker, *position, half, why) {
                tracing::warn!(position, "a half message stays, beyond its time: {error}");
            }
        }
    }
    if let Err(error) = forget_gone(broker) {
        tracing::warn!("parked half messages that have expired stay in the list for now: {error}");
    }
    // Written now, so that retention does not wait for these rows.
    let _ = broker.store.write_out();
}

/// Removes the rows of parked messages that have left the log.
fn forget_gone(broker: &Broker) -> Result<(), EndRefusal> {
    let min = broker.store.positions().min;
    let parked = broker.transactions.table.parked_behind(None, AT_ONCE);
    let gone = parked.iter().filter(|(position, _)| *position < min);
    let changes: Vec<_> = gone.map(|(position, _)| table::remove(*position)).collect();
    if !changes.is_empty() {
        broker.store.settings()?.put(&changes)?;
    }
    Ok(())
}
