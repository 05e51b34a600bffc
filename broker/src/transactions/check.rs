//! Asks producers how their transactions ended. One task sleeps until the time of the next half message comes, or until one arrives, or a
//! producer.

use std::sync::Arc;

use rmq_protocol::message::LogPosition;
use rmq_store::{ReadError, SettingsError};
use tokio_util::sync::CancellationToken;

use super::half;
use super::park;
use super::schedule::Schedule;
use crate::broker::Broker;
use crate::link::Notice;
use crate::tables::half::{self as table, Half};
use crate::work;

/// Rounds in a second, at most.
const ROUND_MS: i64 = 100;
/// Pause after a failure, milliseconds.
const RETRY_MS: i64 = 1_000;
/// Pause before a half message that cannot be read is tried again, milliseconds.
const DAMAGED_MS: i64 = 60_000;

/// Asks until `stop`.
pub(crate) async fn run(broker: &Arc<Broker>, stop: CancellationToken) {
    let table = &broker.transactions.table;
    table.watch();
    let mut checks = Checks {
        broker,
        schedule: Schedule::default(),
        // Ends are on their way, and producers come back: a start brings no storm.
        not_before_ms: broker.monotonic_ms() + broker.transactions.rules.time_out_ms,
    };
    let mut jumps = broker.clock_watch.changes();
    checks.take_fresh();
    checks.not_before_ms = i64::MIN;
    // A round begins no earlier than this, even when something wakes the task before.
    let mut next_round_ms = i64::MIN;
    loop {
        let looked_ms = broker.monotonic_ms();
        checks.take_fresh();
        if looked_ms >= next_round_ms && checks.round().await {
            next_round_ms = looked_ms + ROUND_MS;
        }
        let wake_at = match looked_ms < next_round_ms {
            true => Some(next_round_ms),
            false => checks.schedule.next_ms(|group| checks.is_there(group)),
        };
        // Half messages come by the thousand: they are looked at together.
        let came = async {
            table.came.notified().await;
            broker.clock.sleep_until_ms(looked_ms + ROUND_MS).await;
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = came => {}
            () = broker.sessions.producers_came.notified() => {}
            Ok(()) = jumps.changed() => {}
            () = sleep_until(broker, wake_at), if wake_at.is_some() => {}
        }
    }
    table.unwatch();
}

async fn sleep_until(broker: &Broker, at_ms: Option<i64>) {
    if let Some(at_ms) = at_ms {
        broker.clock.sleep_until_ms(at_ms).await;
    }
}

struct Checks<'a> {
    broker: &'a Arc<Broker>,
    schedule: Schedule,
    /// Nothing is asked before, monotonic milliseconds.
    not_before_ms: i64,
}

impl Checks<'_> {
    fn is_there(&self, group: &str) -> bool {
        self.broker.sessions.has_producer(group)
    }

    /// Schedules rows that came or changed.
    fn take_fresh(&mut self) {
        let fresh = self.broker.transactions.table.take_fresh();
        if fresh.is_empty() {
            return;
        }
        let (wall_ms, now_ms) = (self.broker.now_ms(), self.broker.monotonic_ms());
        let rules = &self.broker.transactions.rules;
        for (position, half) in fresh {
            // Never longer than a whole wait: a wall clock that was set back makes nothing late.
            let wait_ms = rules.due_ms(&half) - wall_ms;
            let wait_ms = wait_ms.clamp(0, rules.wait_ms(&half));
            let at_ms = (now_ms + wait_ms).max(self.not_before_ms);
            if half.checks >= rules.checks_max {
                self.schedule.park(at_ms, position);
            } else {
                self.schedule.ask(&half.names, at_ms, position);
            }
        }
    }

    /// Asks about what is due, and parks what is. Whether more may be due.
    async fn round(&mut self) -> bool {
        let broker = self.broker;
        let rules = &broker.transactions.rules;
        let max = (rules.per_second * ROUND_MS as usize / 1_000).max(1);
        let table = &broker.transactions.table;
        let now_ms = broker.monotonic_ms();
        let due = self.schedule.due_to_ask(
            now_ms,
            max,
            |group| broker.sessions.has_producer(group),
            |position| table.get(position).is_some(),
        );
        let parks = self.schedule.due_to_park(now_ms, max);
        if due.is_empty() && parks.is_empty() {
            return false;
        }
        let is_full = due.len() == max || parks.len() == max;
        let then = Arc::clone(broker);
        let done = work::blocking(move || ask_and_park(&then, due, parks)).await;
        match done {
            Ok(done) => {
                for (position, half, after_ms) in done.again {
                    let at_ms = now_ms + after_ms;
                    match half.checks >= rules.checks_max {
                        true => self.schedule.park(at_ms, position),
                        false => self.schedule.ask(&half.names, at_ms, position),
                    }
                }
                if let Some(end) = done.end
                    && let Err(error) = broker.store.settled(end).await
                {
                    tracing::warn!("checks of transactions are not noted: {error}");
                }
            }
            Err(error) => tracing::error!("checks of transactions ended badly: {error}"),
        }
        is_full
    }
}

/// What a round has done.
#[derive(Default)]
struct Done {
    /// Those that could not be asked about or parked, and after how many milliseconds that is tried again.
    again: Vec<(u64, Half, i64)>,
    /// The end of what was appended.
    end: Option<LogPosition>,
}

impl Done {
    /// A half message that may have ended meanwhile is tried again.
    fn retry(&mut self, broker: &Broker, position: u64, after_ms: i64) {
        if let Some(half) = broker.transactions.table.get(position) {
            self.again.push((position, half, after_ms));
        }
    }
}

fn ask_and_park(broker: &Broker, due: Vec<u64>, parks: Vec<u64>) -> Done {
    let mut done = Done::default();
    let table = &broker.transactions.table;
    let mut asked = Vec::new();
    for position in due {
        let Some(half) = table.unclaimed(position) else {
            done.retry(broker, position, RETRY_MS);
            continue;
        };
        match ask(broker, position, &half) {
            Ok(true) => asked.push(position),
            // The group has no member any more.
            Ok(false) => done.retry(broker, position, RETRY_MS),
            Err(ReadError::Removed { .. }) => park(broker, position, &half, &mut done),
            Err(error) => {
                tracing::error!(
                    position,
                    group = &*half.names.group,
                    topic = &*half.names.topic,
                    "the producers of a half message cannot be asked: {error}"
                );
                done.retry(broker, position, DAMAGED_MS);
            }
        }
    }
    if let Err(error) = note(broker, &asked, &mut done) {
        tracing::warn!("checks of transactions are not noted, and are sent again: {error}");
        for position in asked {
            done.retry(broker, position, RETRY_MS);
        }
    }
    for position in parks {
        match table.unclaimed(position) {
            Some(half) => park(broker, position, &half, &mut done),
            None => done.retry(broker, position, RETRY_MS),
        }
    }
    done
}

fn park(broker: &Broker, position: u64, half: &Half, done: &mut Done) {
    let why = "its producers gave no answer to the last check";
    match park::park(broker, position, half, why) {
        Ok(end) => done.end = done.end.max(end),
        Err(error) => {
            tracing::warn!(position, "a half message is not parked now: {error}");
            done.retry(broker, position, DAMAGED_MS);
        }
    }
}

/// Asks a member of the producer group. Whether one was there to be asked.
fn ask(broker: &Broker, position: u64, half: &Half) -> Result<bool, ReadError> {
    let record = broker.store.record_at(LogPosition(position))?;
    let damaged = |reason: String| ReadError::NoRecord { position, reason };
    let view = record.view();
    let view = view.ok_or_else(|| damaged("it is not whole".to_owned()))?;
    let checks = half.checks.saturating_add(1);
    let asked = half::asked(&view, checks, &broker.config.broker_name);
    let asked = asked.map_err(|error| damaged(error.to_string()))?;
    let members = broker.sessions.producers_of(&half.names.group);
    let turn = broker.transactions.turn();
    let mut in_turn = (0..members.len()).map(|step| &members[(turn + step) % members.len()]);
    Ok(in_turn.any(|link| link.notify(Notice::HowDidItEnd(&asked))))
}

/// Notes in the log which half messages were asked about.
fn note(broker: &Broker, asked: &[u64], done: &mut Done) -> Result<(), SettingsError> {
    let transactions = &broker.transactions;
    let checked_ms = broker.now_ms();
    // What ends from here on ends behind these rows.
    let _deciding = transactions.deciding.write();
    let mut changes = Vec::with_capacity(asked.len());
    for position in asked {
        let Some(half) = transactions.table.unclaimed(*position) else {
            // It ends, or its end fails.
            done.retry(broker, *position, RETRY_MS);
            continue;
        };
        let checked = Half {
            checks: half.checks.saturating_add(1),
            checked_ms,
            ..half
        };
        changes.push(table::checked(*position, &checked));
    }
    if !changes.is_empty() {
        done.end = Some(broker.store.settings()?.put(&changes)?);
    }
    Ok(())
}
