//! Every background task of a broker: what it does, in which roles it runs, and what it means when it fails.
//!
//! Nothing else in this crate starts a task, but for the management port, which serves itself, who drives the lives of a broker (`lives.rs`), and
//! work of single requests (`work.rs`, `broker.rs`).
//! A task that fails does its work again later; a task that ends badly, by a defect, is started again and never ends the broker.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use rmq_transport::Clock;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::clients::members;
use crate::clock_watch;
use crate::delay::deliver;
use crate::group::follow::{self, Follow};
use crate::group::lead::{self, Lead};
use crate::group::{mend, pass};
use crate::registration::keep;
use crate::role::Role;
use crate::transactions::{check, park};
use crate::waiters::Woken;
pub(crate) use crate::work::blocking;

/// Progress of consumers is written at most this often, milliseconds.
pub(crate) const SAVE_MS: i64 = 1_000;
/// Clients are looked over this often, milliseconds.
const EXPIRE_MS: i64 = 10_000;
/// Expired messages are looked for this often, milliseconds.
pub(crate) const RETENTION_MS: i64 = 60_000;
/// A task that ended badly is started again after this, milliseconds.
const RESTART_MS: i64 = 1_000;

/// A background task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Answers the pulls whose time is up.
    EndWaitingPulls,
    /// Puts the progress of consumers and the jumps of the clock into the log.
    SaveProgress,
    /// Forgets clients that are silent, and locks that nobody renews.
    ExpireClients,
    /// Removes expired messages, and the oldest ones when the disk is nearly full.
    RemoveExpired,
    /// Takes the samples of statistics.
    Sample,
    /// Notices jumps of the system's clock.
    WatchClock,
    /// Delivers timers.
    DeliverTimers,
    /// Delivers the delayed messages of one level.
    DeliverDelayed {
        /// Index of the level.
        level: usize,
    },
    /// Delivers the delayed messages of levels that are not configured any more.
    DeliverLeftover,
    /// Asks producers how their transactions ended.
    CheckTransactions,
    /// Lets replicas copy the log, and knows who is in sync.
    Lead,
    /// Copies the log of the master.
    Follow,
    /// Passes on to the master what consumers tell a replica.
    PassOffsets,
    /// Mends what of the log is damaged with what another member has.
    Mend,
    /// Answers the acknowledgements that replicas have not confirmed in time.
    EndLateAcks,
    /// Keeps every name server told of this broker's topics.
    Register,
}

impl Task {
    /// All tasks of a broker with so many delay levels. With an election the hands of the member lead and follow.
    pub(crate) fn all(delay_levels: usize, is_elected: bool) -> Vec<Self> {
        let mut all = vec![
            Self::EndWaitingPulls,
            Self::SaveProgress,
            Self::ExpireClients,
            Self::RemoveExpired,
            Self::Sample,
            Self::WatchClock,
            Self::Lead,
            Self::Follow,
            Self::PassOffsets,
            Self::Mend,
            Self::EndLateAcks,
            Self::DeliverTimers,
            Self::DeliverLeftover,
            Self::CheckTransactions,
        ];
        all.extend((0..delay_levels).map(|level| Self::DeliverDelayed { level }));
        // The last one: it tells clients to come.
        all.push(Self::Register);
        if is_elected {
            all.retain(|task| !matches!(task, Self::Lead | Self::Follow));
        }
        all
    }

    /// Whether the task runs in this role. On a replica, only the log of the master changes what is stored.
    fn runs_in(self, role: &Role) -> bool {
        match self {
            Self::SaveProgress
            | Self::DeliverTimers
            | Self::DeliverDelayed { .. }
            | Self::DeliverLeftover
            | Self::CheckTransactions
            | Self::Lead => role.is_master(),
            Self::EndLateAcks => role.leads(),
            Self::Follow | Self::PassOffsets => !role.leads(),
            Self::EndWaitingPulls
            | Self::ExpireClients
            | Self::RemoveExpired
            | Self::Sample
            | Self::WatchClock
            | Self::Mend
            | Self::Register => true,
        }
    }

    /// What users notice while the task does not run. Errors of its work are logged by the task, and mean the same until the work is
    /// done again.
    fn without_it(self) -> &'static str {
        match self {
            Self::EndWaitingPulls => "pulls wait until a message arrives or the client gives up",
            Self::SaveProgress => "a restart repeats messages that were consumed since",
            Self::ExpireClients => "consumers that died keep their queues",
            Self::RemoveExpired => "expired messages stay, and the disk may fill",
            Self::Sample => "statistics stand still",
            Self::WatchClock => "jumps of the system's clock are noticed late",
            Self::DeliverTimers => "messages with a timer wait",
            Self::DeliverDelayed { .. } => "delayed messages of this level wait",
            Self::DeliverLeftover => "delayed messages of levels without a configuration wait",
            Self::CheckTransactions => {
                "transactions whose producers have not ended them stay open, and nobody is asked"
            }
            Self::Lead => "replicas copy nothing, and what waits for them is not confirmed",
            Self::Follow => "this replica copies nothing",
            Self::PassOffsets => "the master does not know what consumers commit at this replica",
            Self::Mend => "damaged parts of the log stay damaged",
            Self::EndLateAcks => {
                "producers whose messages replicas do not confirm wait until they give up"
            }
            Self::Register => "name servers forget this broker after two minutes",
        }
    }

    /// Does the work of the task until `stop`.
    async fn run(self, broker: Arc<Broker>, stop: CancellationToken) {
        let stopped = stop.clone().cancelled_owned();
        let work = async move {
            // Each large one is boxed: all tasks together would take the size of the largest.
            match self {
                Self::EndWaitingPulls => end_waiting_pulls(&broker).await,
                Self::SaveProgress => save_progress(&broker).await,
                Self::ExpireClients => expire_clients(&broker).await,
                Self::RemoveExpired => Box::pin(remove_expired(&broker)).await,
                Self::Sample => sample(&broker).await,
                Self::WatchClock => watch_clock(&broker).await,
                Self::DeliverTimers => Box::pin(deliver::run_level(&broker, 0, stop)).await,
                Self::DeliverDelayed { level } => {
                    Box::pin(deliver::run_level(&broker, level + 1, stop)).await;
                }
                Self::DeliverLeftover => Box::pin(deliver::run_leftover(&broker, stop)).await,
                Self::CheckTransactions => Box::pin(check::run(&broker, stop)).await,
                Self::Lead => {
                    let lead = Lead {
                        config: &broker.config,
                        member: &broker.member,
                        store: &broker.store,
                        clock: &broker.connection_clock,
                    };
                    Box::pin(lead::run(lead, stop)).await;
                }
                Self::Follow => {
                    let follow = Follow {
                        config: &broker.config,
                        member: &broker.member,
                        store: &broker.store,
                        role: &broker.role,
                        clock: &broker.connection_clock,
                    };
                    Box::pin(follow::run(follow, stop)).await;
                }
                Self::PassOffsets => Box::pin(pass::offsets(&broker)).await,
                Self::Mend => Box::pin(mend::run(&broker)).await,
                Self::EndLateAcks => {
                    let why = |end| broker.member.why_late(end);
                    broker.member.acks.end_late(&*broker.clock, why).await;
                }
                Self::Register => Box::pin(keep::keep_told(&broker)).await,
            }
        };
        match self {
            // Not cut between the delivery of a message, or the question about it, and the note of that.
            Self::DeliverTimers
            | Self::DeliverDelayed { .. }
            | Self::DeliverLeftover
            | Self::CheckTransactions => {
                work.await;
            }
            // They close their connections.
            Self::Lead | Self::Follow => work.await,
            _ => tokio::select! {
                () = stopped => {}
                () = work => {}
            },
        }
    }
}

/// The tasks of a running broker.
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
        for task in Task::all(broker.delay.configured(), broker.member.elected.is_some()) {
            let runner = Runner {
                task,
                role: broker.role.watch(),
                clock: Arc::clone(&broker.clock),
                stop: tasks.stop.clone(),
            };
            let broker = Arc::clone(broker);
            tasks
                .tracker
                .spawn(runner.run(move |stop| task.run(Arc::clone(&broker), stop)));
        }
        tasks
    }

    /// Ends all tasks, and waits for it.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Runs one task whenever the broker has a role for it.
struct Runner {
    task: Task,
    role: watch::Receiver<Role>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
}

impl Runner {
    async fn run<F: Future<Output = ()>>(mut self, work: impl Fn(CancellationToken) -> F) {
        while self.waits_for_role().await {
            let stop = self.stop.child_token();
            let mut running = std::pin::pin!(AssertUnwindSafe(work(stop.clone())).catch_unwind());
            let ended = tokio::select! {
                ended = &mut running => ended,
                () = until(&mut self.role, |role| !self.task.runs_in(role)) => {
                    tracing::debug!(task = ?self.task, "the task ends with the broker's role");
                    stop.cancel();
                    running.await
                }
            };
            match ended {
                // The role may come back.
                Ok(()) if stop.is_cancelled() => {}
                // Nothing is left to do.
                Ok(()) => return,
                Err(panic) => {
                    tracing::error!(
                        task = ?self.task,
                        "the task ended badly: {}. It starts again in {RESTART_MS} ms. Until then {}; this is a defect of the broker",
                        text_of(&*panic),
                        self.task.without_it()
                    );
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = self.clock.sleep_ms(RESTART_MS) => {}
                    }
                }
            }
        }
    }

    /// `false` when the broker stops.
    async fn waits_for_role(&mut self) -> bool {
        let task = self.task;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = until(&mut self.role, |role| task.runs_in(role)) => true,
        }
    }
}

/// Waits for a role, and for ever when there is no broker any more.
async fn until(role: &mut watch::Receiver<Role>, is_wanted: impl Fn(&Role) -> bool) {
    if role.wait_for(|role| is_wanted(role)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    text.or(owned).unwrap_or("a panic without a text")
}

/// Runs the service of a port until the port ends.
pub(crate) fn serve<T: Send + 'static>(
    port: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(port)
}

async fn end_waiting_pulls(broker: &Arc<Broker>) {
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
            waiter.wake(Woken::Ended);
        }
    }
}

async fn save_progress(broker: &Broker) {
    let mut is_told = false;
    loop {
        broker.offsets.changed().await;
        broker.clock.sleep_ms(SAVE_MS).await;
        let failed = broker.save_progress(false).err();
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

async fn expire_clients(broker: &Arc<Broker>) {
    loop {
        broker.connection_clock.sleep_ms(EXPIRE_MS).await;
        members::expire(broker);
    }
}

/// A round every [`RETENTION_MS`] from the start of the broker on.
async fn remove_expired(broker: &Arc<Broker>) {
    let mut last_ms = broker.started_monotonic_ms;
    loop {
        broker.clock.sleep_until_ms(last_ms + RETENTION_MS).await;
        last_ms = broker.monotonic_ms();
        let then = Arc::clone(broker);
        let round = move || {
            if then.role.is_master()
                && let Some(now_ms) = then.retention.trusted_ms(&then.clock_watch)
            {
                park::park_old(&then, now_ms);
            }
            then.retention.run(then.retention_parts())
        };
        match blocking(round).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{error}"),
            Err(error) => tracing::error!("removing expired messages ended badly: {error}"),
        }
    }
}

/// Notices jumps of the clock soon: what is stored between a jump and its correction carries the wrong time.
async fn watch_clock(broker: &Broker) {
    loop {
        broker.clock_watch.look();
        if broker.clock_watch.is_unsaved() {
            // The task that saves progress saves this too.
            broker.offsets.note_progress();
        }
        broker.clock.sleep_ms(clock_watch::LOOK_MS).await;
    }
}

async fn sample(broker: &Broker) {
    loop {
        let next_ms = broker.stats.sampler.next_ms();
        broker.clock.sleep_until_ms(next_ms).await;
        broker.catch_up();
    }
}

#[cfg(test)]
mod tests;
