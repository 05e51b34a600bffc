//! Runs a machine: against a place, a clock, and the hands that carry its actions out.
//!
//! The driver is one task. It takes one event at a time, lets the machine decide, and carries the actions out in order. What takes long (the
//! place, the disk, a promotion, questions to members) runs beside it, bounded in time, and comes back as an event.

mod hands;
mod requests;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::machine::{
    Action, Event, Facts, LeaseSwapped, Machine, Question, Standing, Swapped, Timings,
};
use crate::place::{Change, Lease, Place, PlaceError, Record, Version};

pub use hands::{BootClock, Clock, Done, Hands};
pub use requests::{RequestError, Wish, begin_again, outcome, request};

/// How many events may wait for the driver.
const INBOX: usize = 256;
/// How often progress is looked at while something waits for it, as a switchover does.
const CLOSE_LOOK: Duration = Duration::from_millis(10);

/// How a broker talks to its driver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Input>,
    facts: watch::Receiver<Facts>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a few each second, and none is kept"
)]
enum Input {
    Event(Event),
    Progress,
    Question(Question, oneshot::Sender<Standing>),
    Stop(oneshot::Sender<()>),
}

impl Handle {
    /// A replica has connected, is lost, or has caught up.
    pub fn progress_changed(&self) {
        // A full inbox looks at the progress anyway.
        let _ = self.inbox.try_send(Input::Progress);
    }

    /// Another member has shown that it has accepted this epoch.
    pub async fn epoch_seen(&self, epoch: u64) {
        let _ = self.inbox.send(Input::Event(Event::EpochSeen(epoch))).await;
    }

    /// The computer of the master of this epoch answers, and nobody listens there.
    pub async fn master_gone(&self, epoch: u64) {
        let _ = self
            .inbox
            .send(Input::Event(Event::MasterGone(epoch)))
            .await;
    }

    /// Another member asks; `None`: the driver has ended.
    pub async fn question(&self, question: Question) -> Option<Standing> {
        let (answer, answered) = oneshot::channel();
        let sent = self.inbox.send(Input::Question(question, answer)).await;
        sent.ok()?;
        answered.await.ok()
    }

    /// What people are shown, as of the last event.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.facts.borrow().clone()
    }

    /// The same, for who waits for changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Facts> {
        self.facts.clone()
    }

    /// Stops taking part: a master is fenced and releases its lease, so that another member takes over at once. Returns when that is done.
    pub async fn stop(&self) {
        let (done, is_done) = oneshot::channel();
        if self.inbox.send(Input::Stop(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

type Pending = Pin<Box<dyn Future<Output = Option<Event>> + Send>>;

/// Runs a machine. See the [module](self).
pub struct Driver {
    machine: Machine,
    timings: Timings,
    place: Arc<dyn Place>,
    hands: Arc<dyn Hands>,
    clock: Arc<dyn Clock>,
    inbox: mpsc::Receiver<Input>,
    facts: watch::Sender<Facts>,
    pending: FuturesUnordered<Pending>,
    questions: HashMap<u64, oneshot::Sender<Standing>>,
    asked: u64,
}

impl Driver {
    /// A driver for a machine that has not started. [`Driver::run`] does the work.
    #[must_use]
    pub fn new(
        machine: Machine,
        place: Arc<dyn Place>,
        hands: Arc<dyn Hands>,
        clock: Arc<dyn Clock>,
    ) -> (Self, Handle) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let (facts, seen) = watch::channel(machine.facts(clock.now()));
        let handle = Handle {
            inbox: sender,
            facts: seen,
        };
        let driver = Self {
            timings: machine.timings(),
            machine,
            place,
            hands,
            clock,
            inbox,
            facts,
            pending: FuturesUnordered::new(),
            questions: HashMap::new(),
            asked: 0,
        };
        (driver, handle)
    }

    /// Takes part in the election until [`Handle::stop`], or until all handles are gone. `partial`: as in [`Event::Started`].
    pub async fn run(mut self, partial: bool) {
        let (changes, mut seen) = mpsc::channel(INBOX);
        let mut watching = JoinSet::new();
        watching.spawn(watch_place(
            Arc::clone(&self.place),
            changes,
            Duration::from_millis(self.timings.retry_ms),
        ));
        self.event(Event::Started { partial }).await;
        let mut stopped = None;
        loop {
            if stopped.is_some() && self.machine.has_stopped() {
                break;
            }
            let sleep = tokio::time::sleep(self.pause());
            tokio::select! {
                input = self.inbox.recv() => match input {
                    Some(Input::Stop(done)) => {
                        stopped = Some(Some(done));
                        self.event(Event::Stop).await;
                    }
                    None => {
                        stopped = Some(None);
                        self.event(Event::Stop).await;
                        // Nobody can send any more: the rest is answers, all of them bounded in time.
                        self.drain().await;
                        break;
                    }
                    Some(input) => self.input(input).await,
                },
                Some(change) = seen.recv() => self.event(match change {
                    Change::Record(record) => Event::Changed(record),
                    Change::Lease(lease) => Event::LeaseChanged(lease),
                }).await,
                Some(event) = self.pending.next(), if !self.pending.is_empty() => {
                    if let Some(event) = event {
                        self.event(event).await;
                    }
                }
                () = sleep => self.tick().await,
            }
        }
        if let Some(Some(done)) = stopped {
            let _ = done.send(());
        }
    }

    async fn drain(&mut self) {
        while !self.machine.has_stopped() {
            match self.pending.next().await {
                Some(Some(event)) => self.event(event).await,
                Some(None) => {}
                None => break,
            }
        }
    }

    /// How long nothing happens unless something happens.
    fn pause(&self) -> Duration {
        let now = self.clock.now();
        let wake = self.machine.wake(now);
        let until_wake = wake.map_or(self.timings.retry_ms, |wake| wake.since(now));
        let until_wake = Duration::from_millis(until_wake.min(self.timings.retry_ms).max(1));
        match self.machine.looks_closely() {
            true => until_wake.min(CLOSE_LOOK),
            false => until_wake,
        }
    }

    async fn tick(&mut self) {
        self.look().await;
        self.event(Event::Tick).await;
    }

    /// Looks at the progress. The look comes after what the machine does about the own log: with writes that it closes there, the progress is that of
    /// afterwards.
    async fn look(&mut self) {
        self.step(Event::Log(self.hands.position())).await;
        if let Some(progress) = self.hands.progress() {
            self.step(Event::Progress(progress)).await;
        }
        self.show();
    }

    async fn input(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.event(event).await,
            Input::Progress => self.look().await,
            Input::Question(question, answer) => {
                self.asked += 1;
                self.questions.insert(self.asked, answer);
                let id = self.asked;
                self.event(Event::Asked { id, question }).await;
            }
            Input::Stop(_) => {}
        }
    }

    async fn event(&mut self, event: Event) {
        self.step(Event::Log(self.hands.position())).await;
        self.step(event).await;
        self.show();
    }

    async fn step(&mut self, event: Event) {
        let actions = self.machine.step(event, self.clock.now());
        for action in actions {
            self.act(action).await;
        }
    }

    fn show(&self) {
        let facts = self.machine.facts(self.clock.now());
        self.facts.send_if_modified(|known| {
            // The time left changes with each look, and nobody waits for it.
            let is_news = Facts {
                serves_for_ms: known.serves_for_ms,
                ..facts.clone()
            } != *known;
            *known = facts;
            is_news
        });
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::ReadPlace => self.read_place(),
            Action::ReadLease => self.read_lease(),
            Action::Swap { expected, next } => self.swap(expected, *next),
            Action::SwapLease { expected, next } => self.swap_lease(expected, next),
            Action::Save(durable) => {
                let saving = self.hands.save(durable.clone());
                self.later(async move {
                    match saving.await {
                        Ok(()) => Some(Event::Saved(durable)),
                        Err(_) => Some(Event::SaveFailed),
                    }
                });
            }
            Action::Follow { master, epoch } => self.hands.follow(master, epoch),
            Action::Unfollow => self.hands.unfollow().await,
            Action::Promote { epoch } => {
                let promoting = self.hands.promote(epoch);
                self.later(async move {
                    Some(match promoting.await {
                        Ok(start) => Event::Promoted { epoch, start },
                        Err(problem) => Event::PromotionFailed { problem },
                    })
                });
            }
            Action::Require { number, members } => self.hands.require(number, members),
            Action::OpenWrites { epoch } => self.hands.open_writes(epoch),
            Action::CloseWrites { why } => self.hands.close_writes(why).await,
            Action::ServeUntil(until) => self.hands.serve_until(until),
            Action::Fence { why } => {
                self.hands.fence(why);
                let demoting = self.hands.demote();
                self.later(async move {
                    demoting.await;
                    Some(Event::Fenced)
                });
            }
            Action::Ask {
                round,
                members,
                question,
            } => {
                let limit = Duration::from_millis(self.timings.away_ms);
                for member in members {
                    let asking = self.hands.ask(member, question);
                    self.later(async move {
                        let answer = tokio::time::timeout(limit, asking).await;
                        let standing = answer.ok().flatten()?;
                        Some(Event::Answered { round, standing })
                    });
                }
            }
            Action::Answer { id, standing } => {
                if let Some(answer) = self.questions.remove(&id) {
                    // Who asked may have gone.
                    let _ = answer.send(standing);
                }
            }
            Action::Tell(finding) => self.hands.tell(finding),
        }
    }

    fn later(&self, event: impl Future<Output = Option<Event>> + Send + 'static) {
        self.pending.push(Box::pin(event));
    }

    /// A place that does not answer in time is away.
    fn limit(&self) -> Duration {
        Duration::from_millis(self.timings.away_ms)
    }

    fn read_place(&self) {
        let (place, limit) = (Arc::clone(&self.place), self.limit());
        self.later(async move {
            Some(match tokio::time::timeout(limit, place.read()).await {
                Ok(Ok(record)) => Event::Read(record),
                Ok(Err(_)) | Err(_) => Event::ReadFailed,
            })
        });
    }

    fn read_lease(&self) {
        let (place, limit) = (Arc::clone(&self.place), self.limit());
        self.later(async move {
            Some(
                match tokio::time::timeout(limit, place.read_lease()).await {
                    Ok(Ok(lease)) => Event::LeaseRead(lease),
                    Ok(Err(_)) | Err(_) => Event::LeaseReadFailed,
                },
            )
        });
    }

    fn swap(&self, expected: Option<Version>, next: Record) {
        let (place, limit) = (Arc::clone(&self.place), self.limit());
        self.later(async move {
            let swapping = place.compare_and_swap(expected, next);
            Some(Event::Swapped(
                match tokio::time::timeout(limit, swapping).await {
                    Ok(Ok(swap)) => Swapped::Known(swap),
                    Ok(Err(PlaceError::Unknown { .. })) | Err(_) => Swapped::Unknown,
                    Ok(Err(PlaceError::Failed { .. } | PlaceError::Invalid { .. })) => {
                        Swapped::Failed
                    }
                },
            ))
        });
    }

    fn swap_lease(&self, expected: Option<Version>, next: Lease) {
        let (place, limit) = (Arc::clone(&self.place), self.limit());
        self.later(async move {
            let swapping = place.swap_lease(expected, next);
            Some(Event::LeaseSwapped(
                match tokio::time::timeout(limit, swapping).await {
                    Ok(Ok(swap)) => LeaseSwapped::Known(swap),
                    Ok(Err(PlaceError::Unknown { .. })) | Err(_) => LeaseSwapped::Unknown,
                    Ok(Err(PlaceError::Failed { .. } | PlaceError::Invalid { .. })) => {
                        LeaseSwapped::Failed
                    }
                },
            ))
        });
    }
}

/// Sends what changes in the place, and asks again when the stream is over.
async fn watch_place(place: Arc<dyn Place>, changes: mpsc::Sender<Change>, pause: Duration) {
    loop {
        let mut stream = place.watch();
        while let Some(Ok(change)) = stream.next().await {
            if changes.send(change).await.is_err() {
                return;
            }
        }
        drop(stream);
        tokio::time::sleep(pause).await;
    }
}
