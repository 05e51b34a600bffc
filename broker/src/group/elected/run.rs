//! Starts the election's part of a member, and stops it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rmq_election::driver::{Driver, Handle, RequestError, Wish};
use rmq_election::machine::{Facts, Machine, Question, State, WritesClosed};
use rmq_election::place::MemberId;
use rmq_replication::{Asked, MasterEvent};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::AGAIN;
use super::hands::MemberHands;
use super::port::Port;
use super::state::Elected;
use crate::group::lead::{self, replication};
use crate::lives::{Ending, Lives, TAKES_SNAPSHOT};
use crate::start::StartError;
use crate::tasks;

/// A master that stops hands over to a replica within this time, or else the others notice that it is gone: time for a second replica, and
/// half of what Kubernetes leaves a pod.
const HAND_OVER_MAX: Duration = Duration::from_secs(15);
/// How often the end of a hand-over is looked for.
const HAND_OVER_LOOK: Duration = Duration::from_millis(20);

/// Takes part in the election from now on, with the first life begun, until [`Lives::ends`].
///
/// # Errors
/// The replication port cannot be served.
pub(crate) async fn start(
    lives: &Arc<Lives>,
    elected: &Arc<Elected>,
) -> Result<JoinHandle<()>, StartError> {
    let listener = lives.listeners.replication.as_ref();
    let listener = listener.map(std::net::TcpListener::try_clone).transpose();
    let listener = listener.map_err(|source| StartError::Listen {
        addr: lives.replication_addr(),
        key: "replicationListen",
        source,
    })?;
    let Some(listener) = listener else {
        return Err(StartError::Election(
            "the other members need a replication port of this one".to_owned(),
        ));
    };
    let port = Arc::new(Port::new(listener, replication(&lives.config, &lives.tls)));
    let (events, told) = mpsc::unbounded_channel();
    let (questions, asked) = mpsc::unbounded_channel();
    let (needs_snapshot, wanted) = mpsc::channel(1);
    let hands = MemberHands::new(
        Arc::clone(lives),
        Arc::clone(elected),
        port,
        events,
        questions,
        needs_snapshot,
    );
    hands.serve_no_master().await;
    tracing::info!(
        group = lives.config.broker_name,
        member = %elected.me,
        election = elected.election(),
        place = elected.place(),
        "this member takes part in the election of its group's master"
    );
    tell_of_place(elected).await;
    let member = Member {
        lives: Arc::clone(lives),
        elected: Arc::clone(elected),
        hands,
    };
    let (handle, driving) = member.drive()?;
    Ok(tasks::serve(
        member.run(handle, driving, told, asked, wanted),
    ))
}

/// Says at the start what people are likely to have set up wrongly. Nothing depends on it.
async fn tell_of_place(elected: &Elected) {
    match elected.place.read().await {
        Err(error) => tracing::warn!(
            place = elected.place_text,
            "the place that holds who is master cannot be read: {error}; trying on. Meanwhile this member follows the master that it followed before, if any"
        ),
        Ok(None) => {}
        Ok(Some(record)) => {
            let Some(group) = &elected.config.group else {
                return;
            };
            let record = record.value;
            if record.members != group.members {
                tracing::warn!(
                    place = elected.place_text,
                    recorded = ?record.members,
                    configured = ?group.members,
                    "members of the record are others than those of this member's configuration; the next master writes its own there. When nobody has changed members, another group has the same clusterName and brokerName there"
                );
            }
            if record.policy != group.policy {
                tracing::warn!(
                    place = elected.place_text,
                    recorded = ?record.policy,
                    configured = ?group.policy,
                    "ackMode or minInSync of the record is another than that of this member's configuration; the next master writes its own there. Give all members the same"
                );
            }
        }
    }
}

struct Member {
    lives: Arc<Lives>,
    elected: Arc<Elected>,
    hands: MemberHands,
}

impl Member {
    /// A driver for the data that the member has now.
    fn drive(&self) -> Result<(Handle, JoinHandle<()>), StartError> {
        let elected = &self.elected;
        let Some(durable) = elected.durable() else {
            return Err(StartError::Election(
                "the store was never opened".to_owned(),
            ));
        };
        let machine = Machine::new(elected.me, elected.config.clone(), durable);
        let (driver, handle) = Driver::new(
            machine,
            Arc::clone(&elected.place),
            Arc::new(self.hands.clone()),
            Arc::clone(&elected.clock),
        );
        *elected.handle.write() = Some(handle.clone());
        // Without a snapshot's history this would be true; nobody asks for such a member yet.
        Ok((handle, tasks::serve(driver.run(false))))
    }

    async fn run(
        self,
        mut handle: Handle,
        mut driving: JoinHandle<()>,
        mut told: mpsc::UnboundedReceiver<MasterEvent>,
        mut asked: mpsc::UnboundedReceiver<Asked>,
        mut wanted: mpsc::Receiver<String>,
    ) {
        let mut facts = handle.watch();
        let mut stopping = std::pin::pin!(self.stop());
        let ending = loop {
            tokio::select! {
                ending = &mut stopping => break ending,
                Some(event) = told.recv() => {
                    if let MasterEvent::Superseded { by, epoch } = event {
                        tracing::info!(member = %by.member, epoch, "a member knows a newer master of this group");
                        handle.epoch_seen(epoch).await;
                    } else {
                        handle.progress_changed();
                        lead::note(event, hands_over(&handle.facts()));
                    }
                }
                Some(asked) = asked.recv() => answer(&handle, asked).await,
                Ok(()) = facts.changed() => {
                    let now = facts.borrow_and_update().clone();
                    self.hands.note_facts(&now);
                }
                Some(master) = wanted.recv() => {
                    handle.stop().await;
                    // Nobody asks it any more.
                    let _ = driving.await;
                    self.take_snapshot(&master).await;
                    match self.drive() {
                        Ok(drives) => (handle, driving) = drives,
                        Err(error) => {
                            tracing::error!("this member takes no part in the election any more: {error}");
                            return;
                        }
                    }
                    facts = handle.watch();
                }
            }
        };
        if ending == Ending::Kill {
            driving.abort();
        }
        // Aborted or at its end.
        let _ = driving.await;
        self.hands.stop().await;
    }

    /// Waits until the broker is to end, and takes no further part in the election then; a killed one does nothing more.
    async fn stop(&self) -> Ending {
        let ending = self.lives.ends().await;
        if ending != Ending::Kill
            && let Some(handle) = self.elected.handle()
        {
            self.hand_over(&handle).await;
            handle.stop().await;
        }
        ending
    }

    /// A master that stops asks a replica that has everything to take over: that is quicker than to be missed. Where that one does not, the next
    /// one is asked.
    async fn hand_over(&self, handle: &Handle) {
        let mut asked = BTreeSet::new();
        let hands_over = async {
            loop {
                let facts = handle.facts();
                if facts.state != State::Active {
                    return;
                }
                let ready = facts
                    .members
                    .iter()
                    .filter(|member| member.in_sync && member.connected && !member.partial);
                // Who was asked before comes last.
                let to = ready.min_by_key(|member| {
                    let member_id = member.seat.member;
                    (asked.contains(&member_id), member.lag_bytes, member_id)
                });
                let Some(to) = to.map(|member| member.seat.member) else {
                    return;
                };
                if !asked.insert(to) {
                    tokio::time::sleep(AGAIN).await;
                }
                if let Err(error) = self.hand_over_to(handle, to).await {
                    tracing::warn!("no replica is asked to take over: {error}");
                    return;
                }
            }
        };
        let is_late = tokio::time::timeout(HAND_OVER_MAX, hands_over)
            .await
            .is_err();
        if is_late {
            tracing::warn!(?asked, "no replica took over in time");
        }
    }

    /// Asks one replica, and waits until it has taken over or the record says why it does not.
    async fn hand_over_to(&self, handle: &Handle, to: MemberId) -> Result<(), RequestError> {
        let wish = Wish::Switchover { to };
        let number = format!("stop-{}-{}", self.elected.me, self.elected.clock.now().0);
        self.elected.request(wish, &number).await?;
        loop {
            let facts = handle.facts();
            if facts.state != State::Active {
                return Ok(());
            }
            let record = facts.record.as_ref();
            let outcome = record.and_then(|record| record.outcome.as_ref());
            if let Some(outcome) = outcome.filter(|outcome| outcome.request == number) {
                if let Some(refused) = &outcome.refused {
                    tracing::info!(%to, "a replica does not take over: {refused}");
                }
                return Ok(());
            }
            tokio::time::sleep(HAND_OVER_LOOK).await;
        }
    }

    /// Replaces the store by a snapshot of the master's, and begins a life with it. Where the snapshot does not come, the life has what the folder
    /// has, follows whoever is master then, and finds again that it needs one.
    async fn take_snapshot(&self, master: &str) {
        if let Err(error) = self.lives.end(Ending::Change).await {
            tracing::warn!("the store did not close well before a snapshot replaces it: {error}");
        }
        self.hands.refuse(TAKES_SNAPSHOT).await;
        let installing = async {
            tokio::select! {
                _ = self.lives.ends() => None,
                installed = self.hands.install(master) => Some(installed),
            }
        };
        let Some(installed) = self.lives.away(TAKES_SNAPSHOT, installing).await else {
            return;
        };
        self.hands.begin_follower().await;
        if let Err(reason) = installed {
            tracing::error!("no snapshot was taken: {reason}; trying on");
            tokio::select! {
                _ = self.lives.ends() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }
}

/// Whether this member hands over, or was the master before.
fn hands_over(facts: &Facts) -> bool {
    let closed = facts.writes_closed;
    facts.state != State::Active || matches!(closed, Some(WritesClosed::Switchover(_)))
}

/// Answers a question of another member.
async fn answer(handle: &Handle, asked: Asked) {
    let question: Question = match serde_json::from_slice(&asked.question) {
        Ok(question) => question,
        Err(error) => {
            tracing::warn!(from = %asked.from.member, "a question of another member is not understood: {error}");
            return;
        }
    };
    let (Question::Standing { from } | Question::Promise { from, .. }) = question;
    if from.member != asked.from.member {
        tracing::warn!(from = %asked.from.member, says = %from.member, "a member asks in another one's name");
        return;
    }
    if let Some(standing) = handle.question(question).await
        && let Ok(answer) = serde_json::to_vec(&standing)
    {
        // Who asked may have gone.
        let _ = asked.answer.send(answer);
    }
}
