//! A producer takes a message back that waits for a timer (apache/rocketmq `RecallMessageProcessor`).

use std::sync::Arc;

use rmq_protocol::message::{LogPosition, RecallHandle, RecordView, properties, property};
use rmq_protocol::names::TIMER_TOPIC;
use rmq_store::{KeyKind, SettingsError};

use super::refusal::RecallRefusal;
use super::send::check_permission;
use crate::broker::Broker;
use crate::delay::levels::Claim;
use crate::tables::due_key::{Key, TIMERS};
use crate::tables::ids::WAITING;
use crate::tables::stamp::Stamp;
use crate::tables::waiting::{ends, removed};
use crate::work;

/// Messages of one unique key that are looked at.
const LOOKED_AT: usize = 64;

/// Characters of a handle that a refusal shows.
const SHOWN: usize = 64;

/// What was found of a message.
enum Found {
    /// It waits, and is taken back when the log keeps up to there.
    Recalled(LogPosition),
    /// It was taken back before.
    Before,
}

/// Takes a message back; its unique key. It is never delivered when this returns: its delivery is not in the log, and its wait has ended.
///
/// # Errors
/// See [`RecallRefusal`]: the message is delivered, was delivered, or was never here.
pub(crate) async fn recall(
    broker: &Arc<Broker>,
    topic: &str,
    handle: &str,
) -> Result<String, RecallRefusal> {
    if !broker.config.recall_message {
        return Err(RecallRefusal::Off);
    }
    check_permission(broker)?;
    broker.member.check_writes()?;
    if broker.topics.get(topic).is_none() {
        return Err(RecallRefusal::NoTopic(topic.to_owned()));
    }
    let handle = RecallHandle::decode(handle).map_err(|error| RecallRefusal::Handle {
        handle: handle.chars().take(SHOWN).collect(),
        error,
    })?;
    if handle.topic != topic {
        return Err(RecallRefusal::OtherTopic(handle.topic));
    }
    if handle.broker_name != broker.config.broker_name {
        return Err(RecallRefusal::OtherBroker(handle.broker_name));
    }
    let unique_key = handle.unique_key.clone();
    let then = Arc::clone(broker);
    let found = work::blocking(move || take_back(&then, &handle)).await;
    if let Found::Recalled(end) = found.map_err(work::Interrupted::from)?? {
        broker.store.write_out().map_err(SettingsError::Append)?;
        broker.store.settings()?.wait(end).await?;
    }
    Ok(unique_key)
}

/// Looks for the message, and ends its wait. May wait for the disk.
fn take_back(broker: &Broker, handle: &RecallHandle) -> Result<Found, RecallRefusal> {
    let found = broker.store.find_by_key(
        TIMER_TOPIC,
        &handle.unique_key,
        KeyKind::UniqueKey,
        LOOKED_AT,
        0,
        i64::MAX,
    );
    let mut refusal = RecallRefusal::NotFound;
    let now_ms = broker.now_ms();
    for record in found {
        let Some(key) = record.view().and_then(|view| key_of(&view, handle)) else {
            continue;
        };
        // Either the delivery finds the claim, or the message is found to be delivered here.
        let is_own = match broker.delay.claim(key.position, Claim::Recalled) {
            Ok(()) => true,
            // Another request is at it.
            Err(Claim::Recalled) => false,
            Err(Claim::Delivered) => {
                refusal = RecallRefusal::Time("the message is delivered");
                continue;
            }
        };
        let ended = (|| {
            let (from, to) = (key.bytes(), key.after().bytes());
            let waits = !broker.store.rows(WAITING, &from, Some(&to), 1)?.is_empty();
            match waits {
                true => broker.store.settings()?.put(&removed(&key)).map(Some),
                false => Ok(None),
            }
        })();
        match ended {
            Ok(Some(end)) => return Ok(Found::Recalled(end)),
            Ok(None) if !is_own => return Ok(Found::Before),
            // It waits no more.
            Ok(None) => broker.delay.give_back(key.position),
            Err(error) => {
                if is_own {
                    broker.delay.give_back(key.position);
                    // A look that met the claim has passed it over.
                    broker.delay.waiting.found(key);
                }
                return Err(error.into());
            }
        }
        // A wall clock that was set back has made it come before its time by that clock.
        if key.due_ms > now_ms && !was_delivered(broker, handle, key.position) {
            return Ok(Found::Before);
        }
        refusal = RecallRefusal::Time("the message was delivered, or taken back, before");
    }
    Err(refusal)
}

/// Whether the message that waited at a position lies in its topic. May wait for the disk.
fn was_delivered(broker: &Broker, handle: &RecallHandle, position: u64) -> bool {
    let mut found = broker.store.find_by_key(
        &handle.topic,
        &handle.unique_key,
        KeyKind::UniqueKey,
        LOOKED_AT,
        0,
        i64::MAX,
    );
    found.any(|record| {
        let view = record.view();
        view.is_some_and(|view| view.prepared_position() == ends(position))
    })
}

/// The row of a record, if the handle is its.
fn key_of(view: &RecordView<'_>, handle: &RecallHandle) -> Option<Key> {
    let text = view.properties();
    let is = |name, wanted: &str| properties::get(text, name) == Some(wanted);
    let out_ms = (handle.time_ms - 1).to_string();
    if !is(property::REAL_TOPIC, &handle.topic)
        || !is(property::UNIQ_KEY, &handle.unique_key)
        || !is(property::TIMER_OUT_MS, &out_ms)
    {
        return None;
    }
    let stamp = properties::get(text, property::DELAY_STAMP).and_then(Stamp::read)?;
    Some(Key::new(TIMERS, stamp, view.position().0, &handle.topic))
}
