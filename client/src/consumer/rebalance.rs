//! Which queues this member holds: found out again when members or routes change.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rmq_protocol::names::is_retry_topic;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::ending::drained;
use super::held::Held;
use super::state::ConsumerState;
use crate::error::{Error, ErrorKind};
use crate::events::Event;
use crate::membership::{Membership, MembershipBuilder};
use crate::metrics::MEASURES;
use crate::queue::Queue;

/// Between looks when nothing was announced, as Java clients do.
const EVERY: Duration = Duration::from_secs(20);
/// After a look that could not be completed; doubles up to [`EVERY`].
const SOON: Duration = Duration::from_millis(200);
const LOCKS_EVERY: Duration = Duration::from_secs(20);
/// Commits of a queue that another member gets: it must not wait for a broker that is gone.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// Joins the group, looks, tells that, and looks again and again until the consumer stops; then leaves the group.
pub(super) async fn run(
    shared: Arc<ConsumerState>,
    member: MembershipBuilder,
    begun: oneshot::Sender<Result<(), Error>>,
) {
    let mut member = match member.join().await {
        Ok(member) => member,
        Err(error) => {
            let _ = begun.send(Err(error));
            return;
        }
    };
    let mut pause = match once(&shared, &member).await {
        true => EVERY,
        false => SOON,
    };
    // A receiver that is gone ends the consumer.
    let _ = begun.send(Ok(()));
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = member.changed() => {}
            () = shared.rebalance.notified() => {}
            () = shared.stop.cancelled() => break,
        }
        let complete = once(&shared, &member).await;
        pause = match complete {
            true => EVERY,
            false if pause >= EVERY => SOON,
            false => (pause * 2).min(EVERY),
        };
    }
    member.leave().await;
}

/// One look. False when a part of it could not be found out; then that part stays as it is.
async fn once(shared: &Arc<ConsumerState>, member: &Membership) -> bool {
    let mut complete = true;
    for subscription in &shared.subscriptions {
        let topic = subscription.topic.as_str();
        match assigned(shared, member, topic).await {
            Ok(queues) => {
                if shared.client.missing().found(&shared.group, topic) {
                    tracing::info!(topic, group = shared.group, "the topic has a route now");
                }
                complete &= !queues.is_empty() || is_retry_topic(topic) || shared.is_broadcast();
                take(shared, topic, queues).await;
            }
            Err(error) if error.kind() == ErrorKind::NoRoute => {
                // A topic that is not there has no queues to hold. Retry topics are made when something comes again.
                complete = false;
                if !is_retry_topic(topic) && shared.client.missing().note(&shared.group, topic) {
                    tracing::warn!(
                        topic,
                        group = shared.group,
                        "nothing can be consumed: {error}"
                    );
                    shared.client.tell(|| Event::NoRoute {
                        group: shared.group.clone(),
                        topic: topic.to_owned(),
                    });
                }
                take(shared, topic, BTreeSet::new()).await;
            }
            Err(error) => {
                complete = false;
                tracing::debug!(
                    topic,
                    group = shared.group,
                    "cannot divide the queues: {error}"
                );
            }
        }
    }
    complete
}

async fn assigned(
    shared: &ConsumerState,
    member: &Membership,
    topic: &str,
) -> Result<BTreeSet<Queue>, Error> {
    let route = shared.client.route(topic).await?;
    if shared.is_broadcast() {
        return Ok(route.readable().iter().cloned().collect());
    }
    let mut members = member.members().await?;
    if members.is_empty() {
        return Err(Error::new(
            ErrorKind::Busy,
            "the broker knows no member of the group yet",
        ));
    }
    members.sort();
    members.dedup();
    let mine = shared
        .settings
        .assignment
        .queues_of(shared.client.id(), route.readable(), &members);
    Ok(mine.into_iter().collect())
}

/// Holds exactly these queues of a topic.
async fn take(shared: &Arc<ConsumerState>, topic: &str, queues: BTreeSet<Queue>) {
    let held = shared.held();
    let lost: Vec<Arc<Held>> = held
        .iter()
        .filter(|held| held.queue().topic() == topic && !queues.contains(held.queue()))
        .cloned()
        .collect();
    let lost_queues: Vec<Queue> = lost.iter().map(|held| held.queue().clone()).collect();
    if !lost.is_empty() {
        give_away(shared, lost).await;
    }
    let mut gained = Vec::new();
    let subscription = shared
        .subscriptions
        .iter()
        .find(|subscription| subscription.topic == topic);
    let Some(subscription) = subscription else {
        return;
    };
    for queue in queues {
        if shared.find(&queue).is_none() {
            tracing::debug!(%queue, group = shared.group, "takes a queue");
            let held = Held::new(queue.clone(), Arc::clone(shared), subscription.clone());
            if !shared.insert(Arc::clone(&held)) {
                return;
            }
            gained.push(queue);
            shared.spawn(held.run());
        }
    }
    if !gained.is_empty() || !lost_queues.is_empty() {
        shared.client.tell(|| Event::Rebalanced {
            group: shared.group.clone(),
            gained,
            lost: lost_queues,
        });
    }
}

/// Other members get these queues now: what was consumed is committed, what is open comes to them again.
async fn give_away(shared: &Arc<ConsumerState>, lost: Vec<Arc<Held>>) {
    for held in &lost {
        tracing::debug!(queue = %held.queue(), group = shared.group, "gives a queue away");
        held.stop_reading();
        shared.remove(held.queue());
    }
    if !shared.settings.ordered {
        finish(shared, &lost).await;
        return;
    }
    // In order means that the next member begins when the handler of this one has ended: the lock is kept until then.
    for held in lost {
        let shared_too = Arc::clone(shared);
        shared.spawn(async move {
            let drained = drained(std::slice::from_ref(&held));
            let _ = tokio::time::timeout(shared_too.settings.drain_within, drained).await;
            let held = [held];
            finish(&shared_too, &held).await;
            shared_too.unlock(&held).await;
        });
    }
}

async fn finish(shared: &Arc<ConsumerState>, queues: &[Arc<Held>]) {
    let committed = tokio::time::timeout(LAST_COMMIT, shared.commit(queues)).await;
    match committed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(
                group = shared.group,
                "cannot commit the offsets of queues that are given away: {error}"
            );
        }
        Err(_) => {
            tracing::warn!(
                group = shared.group,
                "committing the offsets of queues that are given away takes too long"
            );
        }
    }
    queues.iter().for_each(|held| held.give_up());
}

/// Keeps the locks of all held queues. A master that is new knows of none.
pub(super) async fn keep_locks(shared: Arc<ConsumerState>) {
    let mut masters = shared.client.routes().masters();
    loop {
        tokio::select! {
            () = sleep(LOCKS_EVERY) => {}
            Ok(()) = masters.changed() => {}
            () = shared.stop.cancelled() => return,
        }
        if let Err(error) = shared.lock(&shared.held()).await {
            tracing::warn!(
                group = shared.group,
                "cannot renew the locks of queues: {error}"
            );
            shared.failed(&error.doing("renewing the locks of queues"));
        }
    }
}

/// Commits the offsets of all held queues now and then, and when a master is new.
pub(super) async fn keep_offsets(shared: Arc<ConsumerState>) {
    let mut masters = shared.client.routes().masters();
    loop {
        tokio::select! {
            () = sleep(shared.settings.commit_every) => {}
            Ok(()) = masters.changed() => {}
            () = shared.stop.cancelled() => return,
        }
        if let Err(error) = shared.commit(&shared.held()).await {
            tracing::warn!(
                group = shared.group,
                "cannot commit offsets, trying again soon: {error}"
            );
            shared.failed(&error);
        }
        if MEASURES {
            let held = shared.held();
            join_all(held.iter().map(|held| held.measure_lag())).await;
        }
    }
}
