//! Every background task of a broker, and what happens when it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::clock_watch;
use crate::delay;
use crate::handlers::{clients, pull};
use crate::retention;

/// Progress of consumers is written at most this often, milliseconds.
pub(crate) const SAVE_MS: i64 = 1_000;
/// Clients are looked over this often, milliseconds.
const EXPIRE_MS: i64 = 10_000;
/// Expired messages are looked for this often, milliseconds.
pub(crate) const RETENTION_MS: i64 = 60_000;

/// The tasks. All end on one token; none of them failing ends the broker, because each only does again what it did not get done.
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(crate) fn start(broker: &Arc<Broker>) -> Self {
        let tasks = Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        tasks.spawn(end_waiting_pulls(Arc::clone(broker)));
        tasks.spawn(save_progress(Arc::clone(broker)));
        tasks.spawn(expire_clients(Arc::clone(broker)));
        tasks.spawn(remove_expired(Arc::clone(broker), broker.monotonic_ms()));
        tasks.spawn(sample(Arc::clone(broker)));
        tasks.spawn(watch_clock(Arc::clone(broker)));
        for level in 0..broker.delay.levels() {
            let stop = tasks.stop.clone();
            let broker = Arc::clone(broker);
            tasks
                .tracker
                .spawn(async move { delay::run_level(broker, level, stop).await });
        }
        tasks
    }

    /// Runs `task` until it ends or the broker stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

async fn end_waiting_pulls(broker: Arc<Broker>) {
    loop {
        match broker.waiters.next_deadline() {
            Some(at_ms) => {
                tokio::select! {
                    () = broker.clock.sleep_until_ms(at_ms) => {}
                    () = broker.waiters.earlier() => continue,
                }
            }
            None => broker.waiters.earlier().await,
        }
        for waiter in broker.waiters.take_due(broker.monotonic_ms()) {
            pull::end_waiting(&broker, waiter);
        }
    }
}

async fn save_progress(broker: Arc<Broker>) {
    let mut is_told = false;
    loop {
        broker.offsets.changed().await;
        broker.clock.sleep_ms(SAVE_MS).await;
        let saved = [
            broker.offsets.save(),
            broker.delay.save(),
            broker.clock_watch.save(&broker.store, false),
        ];
        let failed = saved.into_iter().find_map(Result::err);
        match &failed {
            Some(error) if !is_told => tracing::error!(
                "progress of consumers is only in memory, and is stored when that is possible again: {error}"
            ),
            None if is_told => tracing::info!("progress of consumers is stored again"),
            _ => {}
        }
        is_told = failed.is_some();
        if is_told {
            broker.offsets.note_progress();
        }
    }
}

async fn expire_clients(broker: Arc<Broker>) {
    loop {
        broker.connection_clock.sleep_ms(EXPIRE_MS).await;
        for loss in broker.sessions.expire(broker.connection_now_ms()) {
            clients::lost(&broker, &loss);
        }
        broker.locks.expire(broker.connection_now_ms());
    }
}

/// A round every [`RETENTION_MS`] from `last_ms` on, monotonic.
async fn remove_expired(broker: Arc<Broker>, mut last_ms: i64) {
    loop {
        broker.clock.sleep_until_ms(last_ms + RETENTION_MS).await;
        last_ms = broker.monotonic_ms();
        let then = Arc::clone(&broker);
        match tokio::task::spawn_blocking(move || retention::run(&then)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{error}"),
            Err(error) => tracing::error!("removing expired messages ended badly: {error}"),
        }
    }
}

/// Notices jumps of the clock soon: what is stored between a jump and its correction carries the wrong time.
async fn watch_clock(broker: Arc<Broker>) {
    loop {
        broker.clock_watch.look();
        if broker.clock_watch.is_unsaved() {
            // Those who save progress save this too.
            broker.offsets.note_progress();
        }
        broker.clock.sleep_ms(clock_watch::LOOK_MS).await;
    }
}

async fn sample(broker: Arc<Broker>) {
    loop {
        let next_ms = broker.stats.sampler.next_ms();
        broker.clock.sleep_until_ms(next_ms).await;
        broker.catch_up();
    }
}

/// How long leaving the name servers may take.
pub(crate) const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
