//! The end of a transaction: commit or rollback, by its producer or by another member of the producer group that was asked.

use std::sync::atomic::Ordering;

use rmq_protocol::message::{LogPosition, QueueOffset, flags};
use rmq_store::{AllMessages, ReadLimits, RecordSlice, Temperature};

use super::half::{self, Moved};
use super::refusal::EndRefusal;
use crate::broker::Broker;
use crate::messages::copy;
use crate::messages::refusal::TopicWithoutQueue;
use crate::tables::half::{self as table, Ending};

/// One message, whatever its size.
const ONE: ReadLimits = ReadLimits {
    messages_max: 1,
    bytes_max: 1,
    scan_entries_max: 1,
};

/// What a producer says of a half message.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) group: String,
    /// Queue offset of the half message.
    pub(crate) queue_offset: i64,
    /// Position of the half message in the log.
    pub(crate) position: i64,
    /// As in the request: commit, rollback, or unknown.
    pub(crate) kind: i32,
    /// The producer was asked.
    pub(crate) is_answer: bool,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing: the producer does not know yet, and is asked later.
    Unknown,
    /// It counts when the log is settled up to here.
    At(LogPosition),
    /// The disk must be asked first: to be called again where that may be waited for.
    Cold,
}

/// Ends a half message. It counts when the log is settled.
///
/// # Errors
/// Nothing has changed.
pub(crate) fn end(
    broker: &Broker,
    end: &End,
    temperature: Temperature,
) -> Result<Ended, EndRefusal> {
    let ending = match end.kind {
        flags::TRANSACTION_COMMIT => Ending::Commit,
        flags::TRANSACTION_ROLLBACK => Ending::RollBack,
        0 => {
            tracing::debug!(
                group = end.group,
                position = end.position,
                is_answer = end.is_answer,
                "the producer does not know yet how the transaction ends"
            );
            return Ok(Ended::Unknown);
        }
        kind => return Err(EndRefusal::Kind(kind)),
    };
    let position = u64::try_from(end.position).map_err(|_| EndRefusal::Negative {
        field: "commitLogOffset",
        number: end.position,
    })?;
    broker.member.check_writes()?;
    let transactions = &broker.transactions;
    let not_open = |why| EndRefusal::NotOpen {
        position,
        why,
        wanted: ending,
    };
    // A half message that was parked ends as well: its copy has everything.
    let (at, store_ms, names) = match transactions.table.get(position) {
        Some(half) => {
            if half.queue_offset != end.queue_offset {
                return Err(EndRefusal::Offset {
                    of: half.queue_offset,
                    wanted: end.queue_offset,
                });
            }
            (position, half.store_ms, half.names)
        }
        None => match transactions.table.parked_of(position) {
            Some((at, parked)) => (at, parked.store_ms, parked.names),
            None => return Err(not_open(transactions.table.why_not_open(position))),
        },
    };
    if *names.group != *end.group {
        return Err(EndRefusal::Group {
            of: names.group.to_string(),
            by: end.group.clone(),
        });
    }
    let record = match ending {
        Ending::Commit => match read(broker, at, end.queue_offset, temperature)? {
            Some(record) => Some(record),
            None => return Ok(Ended::Cold),
        },
        _ => None,
    };
    let _deciding = transactions.deciding.read();
    let claim = transactions.table.claim(at, ending).map_err(not_open)?;
    let ends = transactions.ends(&names.topic);
    let end = match record {
        None => {
            let end = broker.store.settings()?.put(&[table::remove(at)])?;
            ends.rollbacks.fetch_add(1, Ordering::Relaxed);
            end
        }
        Some(record) => {
            let end = commit(broker, &record, at)?;
            ends.commits.fetch_add(1, Ordering::Relaxed);
            ends.latency.add((broker.now_ms() - store_ms) / 1_000);
            end
        }
    };
    claim.keep();
    Ok(Ended::At(end))
}

/// The message at a position; `None` when only the disk has it, and that may not be waited for.
fn read(
    broker: &Broker,
    position: u64,
    queue_offset: i64,
    temperature: Temperature,
) -> Result<Option<RecordSlice>, EndRefusal> {
    if temperature == Temperature::MayWait {
        let record = broker.store.record_at(LogPosition(position));
        return record
            .map(Some)
            .map_err(|error| EndRefusal::Read { position, error });
    }
    let queue = &broker.transactions.queue;
    let from = QueueOffset(queue_offset);
    let outcome = broker
        .store
        .read(queue, from, ONE, &AllMessages, temperature);
    let found = outcome.records.into_iter().next().filter(|record| {
        let view = record.view();
        view.is_some_and(|view| view.position().0 == position)
    });
    Ok(found)
}

/// Appends the message to its topic.
fn commit(broker: &Broker, record: &RecordSlice, position: u64) -> Result<LogPosition, EndRefusal> {
    let view = record.view().ok_or(EndRefusal::Damaged(position))?;
    let (name, queue_id) = half::goes_to(&view);
    let topic = broker.topics.get(name).ok_or_else(|| EndRefusal::NoTopic {
        position,
        topic: name.to_owned(),
    })?;
    // A topic may have lost queues while the message waited.
    let queue = topic.queue(queue_id).or_else(|| topic.queue(0));
    let queue = queue.ok_or_else(|| TopicWithoutQueue(name.to_owned()))?;
    let properties = copy::for_topic(&topic, half::committed(&view));
    let further = broker.light.of_stored(name, &properties);
    let further = further.map_err(|error| EndRefusal::Read { position, error })?;
    let appended = Moved {
        of: &view,
        topic: name,
        queue,
        properties: &properties,
        transaction: flags::TRANSACTION_COMMIT,
        further: &further,
    }
    .append(broker.store.master()?)?;
    topic.stored(&broker.stats, 1, appended.size.into(), 1);
    Ok(appended.end)
}
