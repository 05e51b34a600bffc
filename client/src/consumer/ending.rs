//! The end of a consumer: what is being handled gets its time, offsets are committed, and nothing is left.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::held::Held;
use super::state::ConsumerState;
use crate::error::{Error, ErrorKind};
use crate::queue::Queue;

/// After the time of the handlers: the last commit, the locks and the leave-taking have so long together, whatever brokers do.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);
/// What still runs after that is dropped, and has so long to notice.
const DROPPED: Duration = Duration::from_millis(100);
/// Messages that an error names.
const NAMED_MAX: usize = 10;

/// Ends the consumer, once: who comes later waits for the same end.
pub(super) async fn end(shared: &Arc<ConsumerState>) -> Result<(), Error> {
    let ended = shared.ending.get_or_init(|| async {
        let ended = once(shared).await;
        ended.map_err(Arc::new)
    });
    ended.await.clone().map_err(|error| Error::shared(&error))
}

async fn once(shared: &Arc<ConsumerState>) -> Result<(), Error> {
    shared.close();
    let held = shared.held();
    held.iter().for_each(|held| held.stop_reading());
    let drained = timeout(shared.settings.drain_within, drained(&held)).await;
    let unfinished = match drained {
        Ok(()) => None,
        Err(_) => {
            let unfinished = unfinished(&held);
            shared.abort.cancel();
            Some(unfinished)
        }
    };
    let farewell = Instant::now() + FAREWELL;
    let committed = timeout_at(farewell, shared.commit(&held)).await;
    held.iter().for_each(|held| held.give_up());
    if shared.settings.ordered {
        let _ = timeout_at(farewell, shared.unlock(&held)).await;
    }
    shared
        .client
        .notices()
        .forget_consumer(&shared.group, shared);
    shared.client.missing().forget(&shared.group);
    shared.stop.cancel();
    shared.tasks.close();
    if timeout_at(farewell, shared.tasks.wait()).await.is_err() {
        shared.ended.cancel();
        let _ = timeout(DROPPED, shared.tasks.wait()).await;
    }
    shared.let_go();
    if let Some(unfinished) = unfinished {
        return Err(shared.not_finished(unfinished));
    }
    let committed = committed.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Timeout,
            format!("no answer within {FAREWELL:?}"),
        ))
    });
    committed.map_err(|error| error.doing("committing offsets at the end"))
}

/// Ready when nothing of these queues is being handled.
pub(super) async fn drained(queues: &[Arc<Held>]) {
    for held in queues {
        held.drained().await;
    }
}

/// Messages that were handed out and not settled.
fn unfinished(queues: &[Arc<Held>]) -> Vec<(Queue, i64)> {
    let of_queue = |held: &Arc<Held>| {
        let queue = held.queue().clone();
        let offsets = held.taken_and_open().into_iter();
        offsets.map(move |offset| (queue.clone(), offset))
    };
    queues.iter().flat_map(of_queue).collect()
}

impl ConsumerState {
    /// The error of an end that came before the handlers' own. Workers have told meanwhile which messages they left.
    fn not_finished(&self, places: Vec<(Queue, i64)>) -> Error {
        let mut messages: BTreeMap<(Queue, i64), String> = places
            .into_iter()
            .map(|place| (place, String::new()))
            .collect();
        messages.extend(std::mem::take(&mut *self.left.lock()));
        let mut what = format!(
            "{} messages were still being handled after {:?}; other members get them again:",
            messages.len(),
            self.settings.drain_within
        );
        for ((queue, offset), id) in messages.iter().take(NAMED_MAX) {
            let _ = match id.as_str() {
                "" => write!(what, " {queue}@{offset}"),
                id => write!(what, " {id} ({queue}@{offset})"),
            };
        }
        if let Some(more) = messages.len().checked_sub(NAMED_MAX + 1) {
            let _ = write!(what, " and {} more", more + 1);
        }
        Error::new(ErrorKind::Timeout, what)
    }
}

/// Lets go of everything, also when the runtime is gone and the end cannot run.
pub(super) struct Ending(pub(super) Arc<ConsumerState>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close();
        self.0.stop.cancel();
        self.0.ended.cancel();
        self.0.let_go();
    }
}
