//! Giving messages to who asks for them: at once, when they arrive, when they are read from the disk, or when there is room for them.

use std::sync::Arc;

use rmq_protocol::message::QueueOffset;
use rmq_protocol::route::MASTER_ID;
use rmq_store::{EntryFilter as _, ReadOutcome, ReadStatus, Temperature};
use rmq_transport::Room;

use super::pull::{self, PullPlan};
use super::refusal::PullRefusal;
use crate::broker::Broker;
use crate::looks::{Looks, Wanted};
use crate::waiters::{Waiter, Woken};

/// A client that asked for messages and is answered later, by exactly one of these.
pub(crate) trait Puller: Send + 'static {
    /// Its connection, see [`Waiter::owner`].
    fn owner(&self) -> u64;
    /// What the pull found, if only that there is nothing.
    fn give(self, plan: &PullPlan, outcome: &ReadOutcome);
    /// The pull is not allowed any more, or cannot be served.
    fn refuse(self, refusal: PullRefusal);
    /// The client is gone.
    fn forget(self);
}

/// Why an answer comes later.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Later {
    /// There is no message yet: the pull waits until this time, monotonic milliseconds.
    Arrival { deadline_ms: i64 },
    /// The messages are not in memory.
    Disk,
    /// Connections hold so much that these bytes have to wait.
    Room { bytes: usize },
}

/// What a broker sees of its group's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sees {
    /// It is the master.
    All,
    /// A replica: its master has more, or newer bounds.
    Part,
    /// A replica whose master is away: nobody can say whether an offset outside of its queue is right, so it is not judged.
    AllThereIs,
}

pub(crate) fn sees(broker: &Broker) -> Sees {
    match broker.role.leads() {
        true => Sees::All,
        false if broker.is_without_master() => Sees::AllThereIs,
        false => Sees::Part,
    }
}

/// The id of the broker that the client is to ask next (apache/rocketmq `PullMessageProcessor.composeResponseHeader`): the master, or a
/// replica for a consumer that reads what is not in memory any more. A master sends nobody to a replica that is not in sync.
pub(crate) fn next_broker(broker: &Broker, plan: &PullPlan, outcome: &ReadOutcome) -> i64 {
    if !broker.config.slave_read_enable {
        return MASTER_ID;
    }
    let group = &plan.group.config;
    let is_slow = outcome.behind_bytes > broker.limits.read_memory_bytes;
    let wanted = match (is_slow, sees(broker)) {
        (true, _) => group.which_broker_when_consume_slowly,
        (false, Sees::Part) => return MASTER_ID,
        (false, Sees::All | Sees::AllThereIs) => group.broker_id,
    };
    let is_fine = !broker.role.leads() || broker.member.has_in_sync(wanted);
    if is_fine { wanted } else { MASTER_ID }
}

/// Reads what is in memory.
pub(crate) fn look(broker: &Broker, plan: &PullPlan) -> ReadOutcome {
    read(broker, plan, Temperature::HotOnly)
}

/// Why the answer to a pull comes later than its first [`look`]; `None`: the answer is given at once, and [`count`] counts it. `now_ms` is
/// monotonic.
pub(crate) fn why_later(
    broker: &Broker,
    plan: &PullPlan,
    outcome: &ReadOutcome,
    now_ms: i64,
) -> Option<Later> {
    let waits = plan.suspend_ms > 0 && !broker.is_stopping();
    let bytes = outcome.total_bytes;
    match sees(broker) {
        Sees::All => {}
        // The master has what is still to come.
        Sees::Part if bytes == 0 && outcome.status != ReadStatus::Cold => return None,
        Sees::Part => {}
        Sees::AllThereIs => match outcome.status {
            ReadStatus::OffsetTooBig | ReadStatus::OffsetTooSmall if waits => {
                return Some(plan.arrival(now_ms));
            }
            _ => {}
        },
    }
    match outcome.status {
        ReadStatus::Cold => Some(Later::Disk),
        ReadStatus::AtEnd if waits => Some(plan.arrival(now_ms)),
        ReadStatus::NoMessageInQueue if waits && plan.offset == 0 => Some(plan.arrival(now_ms)),
        _ if !broker.memory.has_room(bytes) => Some(Later::Room { bytes }),
        _ => None,
    }
}

/// Gives `puller` its messages when they are there.
pub(crate) fn give_later<P: Puller>(broker: &Arc<Broker>, plan: PullPlan, puller: P, why: Later) {
    match why {
        Later::Arrival { deadline_ms } => {
            broker.stats.pull_missed();
            let queue_id = plan.queue.queue_id();
            plan.given.pulls.came_to(queue_id, plan.offset);
            wait(broker, plan, puller, deadline_ms);
        }
        Later::Disk => read_cold(broker, plan, puller),
        Later::Room { bytes } => read_when_room(broker, plan, bytes, puller),
    }
}

impl PullPlan {
    fn arrival(&self, now_ms: i64) -> Later {
        Later::Arrival {
            deadline_ms: now_ms + self.suspend_ms,
        }
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            queue: self.queue.clone(),
            offset: self.offset,
            limits: self.limits,
            filter: self.filter.clone(),
        }
    }
}

fn read(broker: &Broker, plan: &PullPlan, temperature: Temperature) -> ReadOutcome {
    broker.store.read(
        &plan.queue,
        QueueOffset(plan.offset),
        plan.limits,
        &plan.filter,
        temperature,
    )
}

/// Lets a pull wait until a message arrives, its time is up, or the broker stops.
fn wait<P: Puller>(broker: &Arc<Broker>, plan: PullPlan, puller: P, deadline_ms: i64) {
    let then = Arc::clone(broker);
    let owner = puller.owner();
    let looks_at_messages = plan.filter.needs_record();
    let waiter = Waiter {
        queue: plan.queue.clone(),
        offset: plan.offset,
        filter: plan.filter.clone(),
        group: Arc::clone(&plan.group),
        deadline_ms,
        owner,
        // The waiter is taken when the broker stops, and with it this reference to the broker.
        wake: Box::new(move |woken, looks| match woken {
            Woken::Arrived => again(&then, plan, puller, deadline_ms, looks),
            Woken::Ended => end(&then, plan, puller),
            Woken::Gone => puller.forget(),
        }),
    };
    if let Some(waiter) = broker.waiters.park(waiter) {
        if looks_at_messages {
            // It may wait again, and so on while its queue grows: not one call inside of the other.
            broker.run_task(async move { waiter.wake(Woken::Arrived) });
        } else {
            waiter.wake(Woken::Arrived);
        }
    } else if broker.is_stopping() {
        // The stop has set its mark before it took every waiter: a later one sees the mark here.
        for waiter in broker.waiters.take_of(Some(owner)) {
            waiter.wake(Woken::Ended);
        }
    }
}

/// A pull that waited looks again: something arrived in its queue.
fn again<P: Puller>(
    broker: &Arc<Broker>,
    mut plan: PullPlan,
    puller: P,
    deadline_ms: i64,
    looks: &mut Looks,
) {
    if let Err(refusal) = pull::check_again(broker, &mut plan) {
        return puller.refuse(refusal);
    }
    let began_ms = broker.monotonic_ms();
    let outcome = looks.look(&broker.store, plan.wanted());
    match outcome.status {
        // Another reader of the same records was faster to see them, or they are not visible yet.
        ReadStatus::AtEnd | ReadStatus::NoMessageInQueue
            if !broker.is_stopping() && began_ms < deadline_ms =>
        {
            wait(broker, plan, puller, deadline_ms);
        }
        // Nothing of what came is wanted, and only a look at the messages could tell: it waits behind them.
        ReadStatus::NoMatch
            if plan.filter.needs_record()
                && outcome.next_offset == outcome.max_offset
                && !broker.is_stopping()
                && began_ms < deadline_ms =>
        {
            plan.offset = outcome.next_offset;
            wait(broker, plan, puller, deadline_ms);
        }
        ReadStatus::Cold => read_cold(broker, plan, puller),
        // More than one read may scan lies between what it waited for and what came: the client asks again from there.
        _ if fits(broker, outcome) => give_now(broker, &plan, outcome, puller, began_ms),
        _ => read_when_room(broker, plan, outcome.total_bytes, puller),
    }
}

/// A pull that waited is answered with what there is: its time is up, or the broker stops.
fn end<P: Puller>(broker: &Arc<Broker>, mut plan: PullPlan, puller: P) {
    if let Err(refusal) = pull::check_again(broker, &mut plan) {
        return puller.refuse(refusal);
    }
    let began_ms = broker.monotonic_ms();
    let outcome = read(broker, &plan, Temperature::HotOnly);
    if outcome.status == ReadStatus::Cold {
        read_cold(broker, plan, puller);
    } else if fits(broker, &outcome) {
        give_now(broker, &plan, &outcome, puller, began_ms);
    } else {
        give_when_room(broker, plan, outcome, puller);
    }
}

/// Reads what is not in memory, when connections leave room for it: what is read counts from before the read until it is sent.
fn read_cold<P: Puller>(broker: &Arc<Broker>, plan: PullPlan, puller: P) {
    if let Some(limit) = &plan.group.cold
        && !limit.has_left(broker.monotonic_ns())
    {
        return puller.refuse(PullRefusal::ColdReads {
            group: plan.group.name().to_owned(),
            threshold: limit.threshold(),
        });
    }
    let then = Arc::clone(broker);
    broker.memory.when_room(plan.limits.bytes_max, move |room| {
        read_in(&then, plan, puller, room, false);
    });
}

/// Reads on a thread that may wait for the disk. `is_last`: the room is for just these messages, and they are given whatever they take.
fn read_in<P: Puller>(broker: &Arc<Broker>, plan: PullPlan, puller: P, room: Room, is_last: bool) {
    let then = Arc::clone(broker);
    // Shared, so that the puller is still here when the pool has no room for the job.
    let handed = Arc::new(parking_lot::Mutex::new(Some((plan, puller))));
    let theirs = Arc::clone(&handed);
    let spawned = broker.store.cold_pool().spawn(move || {
        let job = theirs.lock().take();
        if let Some((plan, puller)) = job {
            let began_ms = then.monotonic_ms();
            let outcome = read(&then, &plan, Temperature::MayWait);
            let bytes = outcome.total_bytes as u64;
            let reads = &plan.group.counters().cold;
            reads.add(then.now_ms(), bytes);
            if let Some(limit) = &plan.group.cold {
                limit.take(then.monotonic_ns(), bytes);
            }
            if is_last || outcome.total_bytes <= room.bytes() {
                give_now(&then, &plan, &outcome, puller, began_ms);
            } else {
                // The first message is given whatever its size.
                drop(room);
                if fits(&then, &outcome) {
                    give_now(&then, &plan, &outcome, puller, began_ms);
                } else {
                    give_when_room(&then, plan, outcome, puller);
                }
            }
        }
    });
    if let Err(full) = spawned
        && let Some((_, puller)) = handed.lock().take()
    {
        puller.refuse(full.into());
    }
}

/// Whether connections leave room for the answer.
fn fits(broker: &Broker, outcome: &ReadOutcome) -> bool {
    broker.memory.has_room(outcome.total_bytes)
}

/// Answers when other connections hold less; what was read is given back until then.
fn give_when_room<P: Puller>(
    broker: &Arc<Broker>,
    plan: PullPlan,
    outcome: ReadOutcome,
    puller: P,
) {
    let bytes = outcome.total_bytes;
    drop(outcome);
    read_when_room(broker, plan, bytes, puller);
}

/// Reads, and answers, when there is room for so many bytes.
fn read_when_room<P: Puller>(broker: &Arc<Broker>, plan: PullPlan, bytes: usize, puller: P) {
    let then = Arc::clone(broker);
    broker.memory.when_room(bytes, move |room| {
        let broker = Arc::clone(&then);
        then.run_task(async move {
            let began_ms = broker.monotonic_ms();
            let outcome = read(&broker, &plan, Temperature::HotOnly);
            if outcome.status == ReadStatus::Cold {
                read_in(&broker, plan, puller, room, true);
            } else {
                give_now(&broker, &plan, &outcome, puller, began_ms);
                drop(room);
            }
        });
    });
}

fn give_now<P: Puller>(
    broker: &Broker,
    plan: &PullPlan,
    outcome: &ReadOutcome,
    puller: P,
    began_ms: i64,
) {
    count(broker, plan, outcome, began_ms);
    puller.give(plan, outcome);
}

/// Counts what a pull was given, or that there was nothing, and notes where it came to.
pub(crate) fn count(broker: &Broker, plan: &PullPlan, outcome: &ReadOutcome, began_ms: i64) {
    let stats = &broker.stats;
    let queue_id = plan.queue.queue_id();
    plan.given.pulls.came_to(queue_id, outcome.next_offset);
    let (messages, bytes) = (outcome.records.len() as u64, outcome.total_bytes as u64);
    if messages == 0 {
        return stats.pull_missed();
    }
    plan.given.got.add(&stats.sampler, [messages, bytes, 1]);
    stats.delivered(plan.topic.is_system(), messages);
    if let Some(quota) = &plan.group.quota {
        plan.take_quota(broker, quota, messages, bytes);
    }
    let took_ms = (broker.monotonic_ms() - began_ms).max(0);
    let took = [took_ms as u64, 1];
    plan.given.get_took.add(stats, queue_id, took);
    stats.read_took(took_ms);
}
