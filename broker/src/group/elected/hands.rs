//! What the machine wants done, done: see [`Hands`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, abortable};
use parking_lot::Mutex;
use rmq_election::driver::{Done, Hands};
use rmq_election::machine::{
    BootMs, Durable, Facts, FenceReason, Finding, Master, MemberProgress, Position, Progress,
    Question, Severity, Standing, WritesClosed,
};
use rmq_election::place::{Member, Record};
use rmq_protocol::Seat;
use rmq_protocol::message::LogPosition;
use rmq_protocol::route::MASTER_ID;
use rmq_replication::{
    Counts, Greeting, Identity, MasterEvents, Members, Questions, Reason, ReasonKind,
    ReplicationConfig, Source,
};
use rmq_store::Store;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::AGAIN;
use super::copying::Copying;
use super::port::Port;
use super::state::Elected;
use crate::broker::Broker;
use crate::lives::{Ending, Lives, NO_STORE, OpenAs};
use crate::registration::{Standing as Registered, Superseded};
use crate::role::Role;
use crate::tasks;

/// The hands of a member. Cheap to clone.
#[derive(Clone)]
pub(super) struct MemberHands(Arc<Inner>);

struct Inner {
    lives: Arc<Lives>,
    elected: Arc<Elected>,
    port: Arc<Port>,
    events: MasterEvents,
    questions: Questions,
    needs_snapshot: mpsc::Sender<String>,
    /// Held by who opens, promotes or closes the store.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last list of required members, with its number.
    required: (u64, Vec<Seat>),
    serve_until: BootMs,
    copying: Option<Copying>,
    /// While the store is a master's.
    leading: Option<Leading>,
    /// Counts the fences: what was begun before one is not completed after it.
    fences: u64,
    /// Why the last one came.
    fenced: Option<FenceReason>,
    /// The store becomes a follower's again. That is not left half done, also when the driver has ended.
    demoting: Option<JoinHandle<()>>,
    /// The store of the last life, and who had it.
    store: Option<(Identity, Store)>,
}

struct Leading {
    broker: Arc<Broker>,
    members: Arc<Members>,
    epoch: u64,
    start: LogPosition,
    /// Everything before the epoch is confirmed.
    is_ready: bool,
    /// It is waited for.
    has_begun: bool,
    writes: Writes,
    /// Wait until the writes can be opened, or for name servers that know a newer master.
    watching: Vec<AbortHandle>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Writes {
    /// They are opened when everything before the epoch is confirmed.
    Opening,
    Open,
    Closed,
}

impl MemberHands {
    pub(super) fn new(
        lives: Arc<Lives>,
        elected: Arc<Elected>,
        port: Arc<Port>,
        events: MasterEvents,
        questions: Questions,
        needs_snapshot: mpsc::Sender<String>,
    ) -> Self {
        Self(Arc::new(Inner {
            lives,
            elected,
            port,
            events,
            questions,
            needs_snapshot,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        }))
    }

    /// Answers questions, and copies to nobody, with the store of this life.
    pub(super) async fn serve_no_master(&self) {
        self.0.serve_no_master().await;
    }

    /// Copies and serves nothing any more.
    pub(super) async fn stop(&self) {
        let copying = self.0.state.lock().copying.take();
        if let Some(copying) = copying {
            copying.end().await;
        }
        let demoting = self.0.state.lock().demoting.take();
        if let Some(demoting) = demoting {
            // A panic in there is reported by the runtime.
            let _ = demoting.await;
        }
        self.0.port.stop().await;
    }

    /// Tells other members why this one answers nothing: its store is closed.
    pub(super) async fn refuse(&self, why: &str) {
        let reason = Reason::new(ReasonKind::NotMaster, why);
        self.0.port.refuse(reason).await;
    }

    /// Opens the store as a follower's.
    pub(super) async fn begin_follower(&self) {
        begin_follower(&self.0.lives).await;
        self.0.serve_no_master().await;
    }

    /// Takes what has changed in the group.
    pub(super) fn note_facts(&self, facts: &Facts) {
        let (Some(broker), Some(record)) = (self.0.lives.broker(), &facts.record) else {
            return;
        };
        let others = record
            .in_sync
            .iter()
            .filter(|seat| seat.member != self.0.elected.me);
        broker.member.set_in_sync(others.copied().collect());
        if let Some(leading) = &self.0.state.lock().leading {
            admit(&leading.members, record);
        }
    }

    /// Replaces the closed store by a snapshot of the master's at this address.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn install(&self, master: &str) -> Result<(), String> {
        self.0.install(master).await
    }
}

/// Whether a start, a switchover or a failover shows this for a moment.
fn passes(finding: &Finding) -> bool {
    matches!(
        finding,
        Finding::NoMaster { .. } | Finding::OutOfSet { .. } | Finding::BelowMinimum { .. }
    )
}

fn log(group: &str, finding: &Finding) {
    match finding.severity() {
        Severity::Note => tracing::info!(group, "{finding}"),
        Severity::Warning => tracing::warn!(group, "{finding}"),
        Severity::Error => tracing::error!(group, "{finding}"),
    }
}

/// Only members of the group are copied to.
fn admit(members: &Members, record: &Record) {
    if !record.members.is_empty() {
        members.admit(record.members.iter().map(|member| (member.id, None)));
    }
}

impl Inner {
    fn broker(&self) -> Option<Arc<Broker>> {
        self.lives.broker()
    }

    async fn serve_no_master(&self) {
        let Some(broker) = self.broker() else { return };
        self.state.lock().store = Some((broker.member.identity.clone(), (*broker.store).clone()));
        let members = Arc::new(Members::of_no_master(self.elected.me));
        self.port
            .serve(self.source(&broker, broker.store.epoch(), members))
            .await;
    }

    fn source(&self, broker: &Broker, epoch: u64, members: Arc<Members>) -> Source {
        Source {
            identity: broker.member.identity.clone(),
            epoch,
            store: (*broker.store).clone(),
            members,
            events: self.events.clone(),
            questions: self.questions.clone(),
        }
    }

    async fn promote(&self, epoch: u64) -> Result<u64, String> {
        let fences = self.state.lock().fences;
        let _turn = self.turn.lock().await;
        self.check_policy()?;
        let Some(broker) = self.broker() else {
            return Err("the store is not open".to_owned());
        };
        let promoted = broker.promote(epoch).await;
        let start = promoted.map_err(|error| error.to_string())?;
        let master = broker
            .store
            .master()
            .map_err(|error| error.to_string())?
            .clone();
        let counts = match broker.member.mode.is_flushed() {
            true => Counts::Flushed,
            false => Counts::Received,
        };
        let clock = Arc::clone(&self.elected.clock);
        let members = Arc::new(Members::new(
            self.elected.me,
            counts,
            Arc::new(move || Duration::from_millis(clock.now().0)),
            Box::new(move |position| master.replicated(position)),
        ));
        if let Some(record) = self.elected.facts().and_then(|facts| facts.record) {
            admit(&members, &record);
        }
        broker.member.lead(Arc::clone(&members));
        {
            let mut state = self.state.lock();
            if state.fences != fences {
                members.close();
                return Err("the member was fenced meanwhile".to_owned());
            }
            members.require(&state.required.1);
            broker.member.term.until(state.serve_until);
            state.leading = Some(Leading {
                broker: Arc::clone(&broker),
                members: Arc::clone(&members),
                epoch,
                start,
                is_ready: false,
                has_begun: false,
                writes: Writes::Closed,
                watching: self.watch_name_servers(&broker).into_iter().collect(),
            });
        }
        self.port.serve(self.source(&broker, epoch, members)).await;
        Ok(start.0)
    }

    /// A name server that knows a newer master: a hint, which the machine looks into.
    fn watch_name_servers(&self, broker: &Broker) -> Option<AbortHandle> {
        let driver = self.elected.handle()?;
        let mut superseded = broker.registrations.superseded();
        let (watching, handle) = abortable(async move {
            while superseded.changed().await.is_ok() {
                let by = superseded.borrow_and_update().clone();
                if let Some(Superseded {
                    epoch,
                    master,
                    name_server,
                }) = by
                {
                    tracing::warn!(
                        epoch,
                        master,
                        name_server,
                        "a name server knows a newer master of this group"
                    );
                    driver.epoch_seen(epoch).await;
                }
            }
        });
        tasks::serve(watching);
        Some(handle)
    }

    /// A master keeps the promise of the record, or is none.
    fn check_policy(&self) -> Result<(), String> {
        let record = self.elected.facts().and_then(|facts| facts.record);
        let Some(record) = record else {
            return Ok(());
        };
        let (elected, own) = (&self.elected, self.elected.policy);
        // Where the configuration has the policy, the master writes it into the record.
        let is_written = elected.config.group.is_some();
        match is_written || record.policy.ack_mode == own.ack_mode {
            true => Ok(()),
            false => Err(format!(
                "the record wants ackMode {:?} and this member was started with {:?}: give all members of the group the same",
                record.policy.ack_mode, own.ack_mode
            )),
        }
    }

    /// Shows itself as the master, and opens the writes if they are to be open, when everything before the epoch is confirmed.
    async fn get_ready(self: Arc<Self>, broker: Arc<Broker>, epoch: u64, start: LogPosition) {
        if let Err(error) = broker.ready(start).await {
            tracing::warn!(epoch, "the writes do not open: {error}");
            return;
        }
        let mut state = self.state.lock();
        if let Some(leading) = state.leading.as_mut().filter(|now| now.epoch == epoch) {
            leading.is_ready = true;
            broker.registrations.stand(Registered {
                id: MASTER_ID,
                epoch: Some(epoch),
            });
            if leading.writes == Writes::Opening {
                leading.opened();
            }
        }
    }

    /// Gets ready once in an epoch.
    fn begin_to_get_ready(self: &Arc<Self>, leading: &mut Leading) {
        if std::mem::replace(&mut leading.has_begun, true) {
            return;
        }
        let (broker, start) = (Arc::clone(&leading.broker), leading.start);
        let ready = Arc::clone(self).get_ready(broker, leading.epoch, start);
        let (ready, handle) = abortable(ready);
        leading.watching.push(handle);
        tasks::serve(ready);
    }

    /// What passes with a start or an election of its own accord is worth a warning when it lasts longer than a lease.
    fn tell_of_passing(&self, finding: Finding) {
        let group = self.lives.config.broker_name.clone();
        tracing::info!(group, "{finding}");
        let lease = Duration::from_millis(self.elected.config.timings.lease_ms);
        let (elected, lives) = (Arc::clone(&self.elected), Arc::clone(&self.lives));
        tasks::serve(async move {
            tokio::select! {
                _ = lives.ends() => return,
                () = tokio::time::sleep(lease) => {}
            }
            let now = elected.facts();
            if now.is_some_and(|facts| facts.findings.contains(&finding)) {
                log(&group, &finding);
            }
        });
    }

    async fn close(self: &Arc<Self>, why: WritesClosed) {
        let leading = {
            let mut state = self.state.lock();
            let Some(leading) = &mut state.leading else {
                return;
            };
            leading.writes = Writes::Closed;
            // Reads go on, so clients are to find it.
            self.begin_to_get_ready(leading);
            let reason = text_of(why);
            leading.broker.role.set(Role::Closed {
                epoch: leading.epoch,
                why: reason.clone(),
            });
            (Arc::clone(&leading.broker), reason)
        };
        let (broker, reason) = leading;
        let paused = tasks::blocking(move || {
            if matches!(why, WritesClosed::Switchover(_))
                && let Err(error) = broker.save_progress(true)
            {
                tracing::warn!("progress of consumers is not handed over whole: {error}");
            }
            if let Ok(master) = broker.store.master() {
                master.pause(reason);
            }
        });
        if let Err(error) = paused.await {
            tracing::error!("the writes were not closed: {error}");
        }
    }

    async fn unfollow(&self) {
        let copying = self.state.lock().copying.take();
        if let Some(copying) = copying {
            copying.end().await;
        }
    }

    async fn demote(&self) {
        let _turn = self.turn.lock().await;
        // The stop of the process ends the life.
        if self.state.lock().fenced == Some(FenceReason::Stopping) {
            return;
        }
        let was_master = self
            .broker()
            .is_some_and(|broker| broker.member.follower().is_none());
        if !was_master {
            // Fenced before it was promoted.
            return;
        }
        if let Err(error) = self.lives.end(Ending::Change).await {
            tracing::warn!("the store of the master that was did not close well: {error}");
        }
        begin_follower(&self.lives).await;
        self.serve_no_master().await;
    }

    async fn ask(&self, member: Member, question: Question) -> Option<Standing> {
        let greeting = self.greeting()?;
        let question = serde_json::to_vec(&question).ok()?;
        let config = ReplicationConfig {
            guard: self.lives.tls.guard(),
            ..ReplicationConfig::default()
        };
        let answer = rmq_replication::ask(&member.replication, greeting, &question, &config).await;
        match answer {
            Ok(answer) => serde_json::from_slice(&answer).ok(),
            Err(reason) => {
                tracing::debug!(member = %member.id, "a question has no answer: {reason}");
                None
            }
        }
    }

    async fn install(&self, master: &str) -> Result<(), String> {
        let Some(greeting) = self.greeting() else {
            return Err("the store was never open".to_owned());
        };
        let installed = self.lives.install(master, greeting).await;
        installed.map(drop).map_err(|reason| reason.to_string())
    }

    /// What this member says of itself to another one.
    fn greeting(&self) -> Option<Greeting> {
        let state = self.state.lock();
        let (identity, store) = state.store.as_ref()?;
        Some(Greeting::of(identity, self.elected.durable()?.epoch, store))
    }
}

impl Leading {
    fn opened(&mut self) {
        self.writes = Writes::Open;
        if let Ok(master) = self.broker.store.master() {
            master.resume();
        }
        self.broker.role.set(Role::Master { epoch: self.epoch });
    }

    fn end(&self, why: &str) {
        for watching in &self.watching {
            watching.abort();
        }
        self.members.close();
        self.broker.role.set(Role::Replica { of: None });
        self.broker.member.term.until(BootMs(0));
        if let Ok(master) = self.broker.store.master() {
            master.fence(why);
        }
    }
}

fn text_of(why: WritesClosed) -> String {
    match why {
        WritesClosed::BelowMinimum {
            in_sync,
            min_in_sync,
        } => format!(
            "too few members of the group are in sync: {in_sync} of {min_in_sync} (minInSync), the master counted; nothing is stored until enough replicas have caught up. Send again later"
        ),
        WritesClosed::Switchover(to) => {
            format!("member {to} of the group takes over; send again in a moment")
        }
    }
}

impl Hands for MemberHands {
    fn save(&self, durable: Durable) -> Done<std::io::Result<()>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let saved = tasks::blocking(move || inner.elected.save(durable)).await;
            let saved = saved.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            if let Err(error) = &saved {
                tracing::error!("what the election must not forget cannot be saved: {error}");
            }
            saved
        })
    }

    fn follow(&self, master: Master, epoch: u64) {
        let inner = &self.0;
        let (Some(broker), Some(handle)) = (inner.broker(), inner.elected.handle()) else {
            return;
        };
        let known = inner.elected.member(master.seat.member);
        let client = known.map_or_else(|| master.replication.clone(), |member| member.client);
        let mut state = inner.state.lock();
        debug_assert!(state.copying.is_none(), "unfollow comes before");
        state.copying = Some(Copying::start(
            broker,
            handle,
            master,
            client,
            epoch,
            inner.needs_snapshot.clone(),
        ));
    }

    fn unfollow(&self) -> Done<()> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.unfollow().await })
    }

    fn promote(&self, epoch: u64) -> Done<Result<u64, String>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let promoted = inner.promote(epoch).await;
            if let Err(problem) = &promoted {
                tracing::error!(epoch, "this member cannot be the master: {problem}");
            }
            promoted
        })
    }

    fn require(&self, number: u64, members: Vec<Seat>) {
        let mut state = self.0.state.lock();
        if let Some(leading) = &state.leading {
            leading.members.require(&members);
        }
        state.required = (number, members);
    }

    fn open_writes(&self, epoch: u64) {
        let mut state = self.0.state.lock();
        let Some(leading) = state
            .leading
            .as_mut()
            .filter(|leading| leading.epoch == epoch)
        else {
            return;
        };
        if leading.is_ready {
            leading.opened();
            return;
        }
        leading.writes = Writes::Opening;
        self.0.begin_to_get_ready(leading);
    }

    fn close_writes(&self, why: WritesClosed) -> Done<()> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.close(why).await })
    }

    fn serve_until(&self, until: BootMs) {
        let mut state = self.0.state.lock();
        state.serve_until = until;
        if let Some(leading) = &state.leading {
            leading.broker.member.term.until(until);
        }
    }

    fn fence(&self, why: FenceReason) {
        let mut state = self.0.state.lock();
        state.fences += 1;
        state.fenced = Some(why);
        if let Some(leading) = state.leading.take() {
            leading.end(&why.to_string());
        }
    }

    fn demote(&self) -> Done<()> {
        let inner = Arc::clone(&self.0);
        let (done, is_done) = oneshot::channel();
        let demoting = tasks::serve(async move {
            inner.demote().await;
            // The driver may have ended.
            let _ = done.send(());
        });
        self.0.state.lock().demoting = Some(demoting);
        Box::pin(async move {
            // A panic in there is reported by the runtime.
            let _ = is_done.await;
        })
    }

    fn ask(&self, member: Member, question: Question) -> Done<Option<Standing>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.ask(member, question).await })
    }

    fn position(&self) -> Position {
        let state = self.0.state.lock();
        let store = state.store.as_ref();
        store.map_or_else(Position::default, |(_, store)| Position {
            epoch: store.epoch(),
            end: store.positions().appended,
        })
    }

    fn progress(&self) -> Option<Progress> {
        let state = self.0.state.lock();
        let leading = state.leading.as_ref()?;
        let positions = leading.broker.store.positions();
        let is_flushed = leading.broker.member.mode.is_flushed();
        let members = leading.members.progress(LogPosition(positions.appended));
        let members = members.into_iter().map(|member| MemberProgress {
            seat: member.seat,
            stored: match is_flushed {
                true => member.flushed.0,
                false => member.received.0,
            },
            connected: member.is_connected,
            closed: member.has_closed,
            partial: member.is_connected && member.begin.0 > positions.min,
        });
        Some(Progress {
            required: state.required.0,
            confirmed: positions.confirmed,
            end: positions.appended,
            members: members.collect(),
        })
    }

    fn tell(&self, finding: Finding) {
        match passes(&finding) {
            true => self.0.tell_of_passing(finding),
            false => log(&self.0.lives.config.broker_name, &finding),
        }
    }
}

/// Opens the store until it opens, or until the broker is to end.
async fn begin_follower(lives: &Lives) {
    loop {
        match lives.begin(OpenAs::Follower).await {
            Ok(_) => return,
            Err(error) => tracing::error!("this member has no store: {error}; trying on"),
        }
        let pause = async {
            tokio::select! {
                _ = lives.ends() => true,
                () = tokio::time::sleep(AGAIN) => false,
            }
        };
        if lives.away(NO_STORE, pause).await {
            return;
        }
    }
}
