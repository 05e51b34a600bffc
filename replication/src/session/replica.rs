//! The replica's end of a connection.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;
use rmq_store::{
    AppendError, CopyError, EpochError, Follower, LogPiece, StoreHealth, TruncateError,
};

use super::Want;
use super::fetching::Fetching;
use crate::config::ReplicationConfig;
use crate::event::{Parting, ReplicaEvent};
use crate::follow::{Following, ReplicaEvents};
use crate::greeting::Greeting;
use crate::members::Report;
use crate::reason::{Reason, ReasonKind};
use crate::wire::{Frame, Marks, Outgoing, encode};

/// What is further behind the end of the master's log than this is not kept in memory, bytes: it is the oldest that a consumer could read.
const ASIDE_BYTES: u64 = 64 << 20;

/// Why a connection ends, as seen by the replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It is tried again.
    Again(Reason),
    /// The store cannot continue.
    Store(Reason),
    /// The logs part below what is confirmed.
    Diverged(Box<Parting>),
    /// The master has no log any more from where this one ends.
    Expired(Reason),
}

impl Ended {
    /// What is said to the master.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        match self {
            Self::Again(reason) | Self::Store(reason) | Self::Expired(reason) => reason,
            Self::Diverged(parting) => &parting.reason,
        }
    }
}

impl From<Reason> for Ended {
    fn from(reason: Reason) -> Self {
        Self::Again(reason)
    }
}

/// One connection to a master.
pub struct ReplicaSession {
    config: ReplicationConfig,
    began: Duration,
    heard: Duration,
    spoken: Duration,
    own: Greeting,
    /// The master, once it has greeted.
    master: Option<Box<Copying>>,
    /// What the store said when it could not store.
    failure: Failure,
}

type Failure = Arc<Mutex<Option<AppendError>>>;

/// What was copied and is not written yet: see [`ReplicaSession::begin_write`].
pub struct Unwritten {
    end: LogPosition,
    failure: Failure,
}

impl Unwritten {
    /// Writes it. The session hears of an error with the next [`store`](ReplicaSession::store).
    pub fn write(self, store: &Follower) {
        if let Err(error) = self.try_write(store) {
            *self.failure.lock() = Some(error);
        }
    }

    fn try_write(&self, store: &Follower) -> Result<(), AppendError> {
        // Written at once, whatever the flush mode: that is what is received.
        if let Some(Err(error)) = store.try_receive(self.end) {
            return Err(error);
        }
        store.try_store(self.end).unwrap_or_else(|| {
            let failure = Arc::clone(&self.failure);
            let done = move |outcome: Result<(), AppendError>| {
                if let Err(error) = outcome {
                    *failure.lock() = Some(error);
                }
            };
            store.store(self.end, Box::new(done));
            Ok(())
        })
    }
}

struct Copying {
    greeting: Greeting,
    /// Where this log ends.
    end: LogPosition,
    /// Where the master's does, as far as it has said.
    master_end: LogPosition,
    /// The epoch of what comes next.
    epoch: u64,
    /// Up to where the store was asked to store.
    asked: LogPosition,
    /// Another thread writes below that.
    is_writing: bool,
    /// What came last is far behind the end of the master's log.
    is_far: bool,
    reported: Report,
    confirmed: LogPosition,
    /// What of that the store was told.
    told: LogPosition,
    is_caught_up: bool,
    fetching: Fetching,
}

impl ReplicaSession {
    /// A connection is there: the greeting is said.
    #[must_use]
    pub fn new(following: &Following, now: Duration, out: &mut Vec<Outgoing>) -> Self {
        let own = Greeting::of(
            &following.identity,
            following.target.epoch,
            &following.store,
        );
        out.push(encode(&Frame::Greeting(own.clone())));
        Self {
            config: following.config.clone(),
            began: now,
            heard: now,
            spoken: now,
            own,
            master: None,
            failure: Arc::default(),
        }
    }

    /// Whether the master has greeted and the logs agree.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.master.is_some()
    }

    /// Takes a frame. What it copies is not stored yet: [`store`](Self::store) is to follow, once for any number of frames.
    ///
    /// # Errors
    /// Why the connection ends. Nothing of the frame counts.
    pub fn receive(
        &mut self,
        frame: Frame<'_>,
        following: &Following,
        now: Duration,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Ended> {
        match (self.master.as_deref_mut(), frame) {
            (_, Frame::Close(reason)) => return Err(reason.into()),
            (None, Frame::Greeting(theirs)) => self.greeted(theirs, following, now, out)?,
            (
                Some(copying),
                Frame::Piece {
                    position,
                    epoch,
                    marks,
                    bytes,
                },
            ) => {
                copying.copy(&following.store, position, epoch, bytes)?;
                let end = copying.end;
                copying.marked(marks, end, following);
            }
            (Some(copying), Frame::Progress { marks, end }) => {
                copying.marked(marks, end, following);
            }
            (
                Some(copying),
                frame @ (Frame::Fetch { .. } | Frame::Fetched { .. } | Frame::Missing { .. }),
            ) => {
                let common = copying.reported.received;
                copying.fetching.receive(frame, &copying.greeting, common)?;
            }
            _ => {
                return Err(Reason::new(
                    ReasonKind::Protocol,
                    "a frame came where another one was due: give both members the same release of rmq",
                )
                .into());
            }
        }
        self.heard = now;
        Ok(())
    }

    fn greeted(
        &mut self,
        theirs: Greeting,
        following: &Following,
        now: Duration,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Ended> {
        self.own.check(&theirs)?;
        let (target, seat) = (&following.target, theirs.identity.seat);
        if let Some(wanted) = target.member
            && wanted != seat.member
        {
            return Err(Reason::new(
                ReasonKind::Member,
                format!(
                    "{} is member {}, and member {wanted} is looked for there: correct the address",
                    target.address, seat.member
                ),
            )
            .into());
        }
        if theirs.epoch < self.own.epoch {
            return Err(Reason::new(
                ReasonKind::StaleMaster,
                format!(
                    "member {} is the master of epoch {}, and member {} knows epoch {}: another member is the master",
                    seat.member, theirs.epoch, self.own.identity.seat.member, self.own.epoch
                ),
            )
            .into());
        }
        if !theirs.leads {
            return Err(Reason::new(
                ReasonKind::NotMaster,
                format!(
                    "member {} is not the master of the group {:?}",
                    seat.member, theirs.identity.group
                ),
            )
            .into());
        }
        let mut copying = Copying::begin(&self.own, theirs, following)?;
        let report = copying.has(&following.store);
        copying.reported = report;
        out.push(encode(&Frame::Begin {
            position: copying.end,
            report,
        }));
        self.spoken = now;
        tell_event(
            &following.events,
            ReplicaEvent::Connected {
                master: seat,
                epoch: copying.greeting.epoch,
            },
        );
        following
            .followed
            .connected(seat, copying.greeting.epoch, copying.greeting.end);
        self.master = Some(Box::new(copying));
        Ok(())
    }

    /// Has what was copied stored, and reports what is stored by now.
    ///
    /// # Errors
    /// The store cannot continue.
    pub fn store(
        &mut self,
        following: &Following,
        now: Duration,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Ended> {
        let store = &following.store;
        if self.unwritten() > 0
            && let Some(unwritten) = self.begin_write()
        {
            let written = unwritten.try_write(store);
            self.end_write();
            written.map_err(|error| cannot_store(&error))?;
        }
        let Some(copying) = self.master.as_deref_mut() else {
            return Ok(());
        };
        if let Some(error) = self.failure.lock().take() {
            return Err(cannot_store(&error));
        }
        let report = copying.has(store);
        if report != copying.reported {
            copying.reported = report;
            self.spoken = now;
            out.push(encode(&Frame::Report(report)));
        }
        if !copying.is_caught_up && report.received >= copying.greeting.confirmed {
            copying.is_caught_up = true;
            tell_event(
                &following.events,
                ReplicaEvent::CaughtUp {
                    position: report.received,
                },
            );
        }
        Ok(())
    }

    /// Bytes that were copied, and that nobody was asked to write.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        self.master
            .as_deref()
            .map_or(0, |copying| copying.end.0.saturating_sub(copying.asked.0))
    }

    /// Whether this log is far behind its master's.
    #[must_use]
    pub fn is_far_behind(&self) -> bool {
        self.master.as_deref().is_some_and(|copying| copying.is_far)
    }

    /// What was copied, to be written by the caller on any thread; [`end_write`](Self::end_write) is to follow. `None`: nothing, or somebody is
    /// writing. Meanwhile more can be copied.
    pub fn begin_write(&mut self) -> Option<Unwritten> {
        let copying = self.master.as_deref_mut()?;
        if copying.is_writing || copying.asked >= copying.end {
            return None;
        }
        copying.is_writing = true;
        copying.asked = copying.end;
        Some(Unwritten {
            end: copying.end,
            failure: Arc::clone(&self.failure),
        })
    }

    /// What was [begun](Self::begin_write) is done.
    pub fn end_write(&mut self) {
        if let Some(copying) = self.master.as_deref_mut() {
            copying.is_writing = false;
        }
    }

    /// Whether something is confirmed and not shown yet.
    #[must_use]
    pub fn has_to_show(&self) -> bool {
        self.master
            .as_deref()
            .is_some_and(|copying| copying.confirmed.min(copying.end) > copying.told)
    }

    /// Shows what is confirmed. Best after the reports have left, as it reads the log again.
    ///
    /// # Errors
    /// The store cannot continue.
    pub fn confirm(&mut self, following: &Following) -> Result<(), Ended> {
        let Some(copying) = self.master.as_deref_mut() else {
            return Ok(());
        };
        let position = copying.confirmed.min(copying.end);
        if position <= copying.told {
            return Ok(());
        }
        following.store.confirm(position).map_err(|error| {
            Ended::Again(Reason::new(
                ReasonKind::Store,
                format!("what was copied cannot be shown: {error}"),
            ))
        })?;
        copying.told = position;
        Ok(())
    }

    /// What the master cannot read of its own log, to be read here, once. [`fetched`](Self::fetched) is to follow.
    pub fn fetches(&mut self) -> Option<Want> {
        self.master.as_deref_mut()?.fetching.wants()
    }

    /// Sends what the master [fetches](Self::fetches), or why there is none.
    pub fn fetched(&mut self, read: Result<LogPiece, Reason>, out: &mut Vec<Outgoing>) {
        if let Some(copying) = self.master.as_deref_mut() {
            copying.fetching.answer(read, out);
        }
    }

    /// Looks at the time and at the store. To be called when [`due`](Self::due) has come and when the store has progressed.
    ///
    /// # Errors
    /// Why the connection ends.
    pub fn tick(
        &mut self,
        following: &Following,
        now: Duration,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Ended> {
        let silence = |max: Duration| {
            Err(Ended::Again(Reason::new(
                ReasonKind::Silence,
                format!("nothing was heard of the master for {} ms", max.as_millis()),
            )))
        };
        if self.master.is_none() {
            return match now >= self.began + self.config.greeting_max {
                true => silence(self.config.greeting_max),
                false => Ok(()),
            };
        }
        if now >= self.heard + self.config.silence_max {
            return silence(self.config.silence_max);
        }
        if let StoreHealth::ReadOnly { reason } = following.store.health() {
            return Err(Ended::Store(Reason::new(ReasonKind::Store, &*reason)));
        }
        self.store(following, now, out)?;
        let Some(copying) = self.master.as_deref_mut() else {
            return Ok(());
        };
        if now >= self.spoken + self.config.heartbeat {
            self.spoken = now;
            out.push(encode(&Frame::Report(copying.reported)));
        }
        if copying.fetching.is_free()
            && let Some(wanted) = following.followed.wanted()
        {
            let may_fetch = copying.greeting.fetches;
            let master = &copying.greeting;
            copying.fetching.ask(wanted, master, may_fetch, out);
        }
        Ok(())
    }

    /// When [`tick`](Self::tick) is to be called at the latest.
    #[must_use]
    pub fn due(&self) -> Duration {
        match self.master {
            Some(_) => {
                (self.heard + self.config.silence_max).min(self.spoken + self.config.heartbeat)
            }
            None => self.began + self.config.greeting_max,
        }
    }
}

fn tell_event(events: &ReplicaEvents, event: ReplicaEvent) {
    // Whoever drives the replica may have ended.
    let _ = events.send(event);
}

fn cannot_store(error: &AppendError) -> Ended {
    let reason = Reason::new(
        ReasonKind::Store,
        format!("what was copied cannot be stored: {error}"),
    );
    match error {
        // A full disk, as a rule.
        AppendError::Refused { .. } => Ended::Again(reason),
        _ => Ended::Store(reason),
    }
}

fn no_epoch(error: &EpochError) -> Ended {
    let reason = Reason::new(
        ReasonKind::Store,
        format!("the epoch of the master cannot be noted: {error}"),
    );
    match error {
        EpochError::Io { .. } => Ended::Store(reason),
        _ => Ended::Again(reason),
    }
}

impl Copying {
    /// Compares the logs, and cuts off what the master does not have.
    fn begin(own: &Greeting, theirs: Greeting, following: &Following) -> Result<Self, Ended> {
        let store = &following.store;
        let common = own.common_end(&theirs);
        let (Some(common), true) = (common, theirs.begin <= own.end) else {
            tell_event(
                &following.events,
                ReplicaEvent::NeedsSnapshot {
                    end: own.end,
                    master_begin: theirs.begin,
                },
            );
            return Err(Ended::Expired(Reason::new(
                ReasonKind::Expired,
                format!(
                    "the log of member {} ends at {} and that of master {} begins at {}, so they have nothing in common: the member needs a snapshot",
                    own.identity.seat.member, own.end, theirs.identity.seat.member, theirs.begin
                ),
            )));
        };
        let confirmed = LogPosition(store.positions().confirmed);
        if common < confirmed {
            let reason = Reason::new(
                ReasonKind::Diverged,
                format!(
                    "the log of member {} is confirmed up to {confirmed} and is the same as that of master {} only up to {common}: nothing was cut; \
                     if the master is right, give the member an empty disk, and if not, promote the member",
                    own.identity.seat.member, theirs.identity.seat.member
                ),
            );
            return Err(Ended::Diverged(Box::new(Parting {
                reason,
                common,
                end: own.end,
                master: theirs,
            })));
        }
        // An epoch without bytes, after a power cut or a promotion that came to nothing, ends here too.
        let newest = own.epochs.last();
        let goes_on = common == own.end
            && newest
                .is_some_and(|newest| newest.first <= own.end && theirs.epochs.contains(newest));
        let cut = match goes_on {
            true => Ok(None),
            false => store.truncate_to(common),
        };
        let kept = cut.map_err(|error| {
            let reason = Reason::new(
                ReasonKind::Store,
                format!("the log cannot be cut where the master's parts from it: {error}"),
            );
            match error {
                TruncateError::Confirmed { .. } => Ended::Diverged(Box::new(Parting {
                    reason,
                    common,
                    end: own.end,
                    master: theirs.clone(),
                })),
                _ => Ended::Store(reason),
            }
        })?;
        if common < own.end {
            tell_event(
                &following.events,
                ReplicaEvent::Cut {
                    position: common,
                    end: own.end,
                    kept,
                },
            );
        }
        let mut copying = Self {
            end: LogPosition(store.positions().appended),
            master_end: theirs.end,
            epoch: 0,
            asked: LogPosition(0),
            is_writing: false,
            is_far: false,
            reported: Report {
                received: LogPosition(0),
                flushed: LogPosition(0),
            },
            confirmed: LogPosition(0),
            told: LogPosition(0),
            is_caught_up: false,
            fetching: Fetching::default(),
            greeting: theirs,
        };
        copying.begin_epoch(store)?;
        Ok(copying)
    }

    /// Notes the epoch of what follows, where it is a later one.
    fn begin_epoch(&mut self, store: &Follower) -> Result<(), Ended> {
        let (epoch, _) = self.greeting.epoch_at(self.end);
        if epoch == self.epoch {
            return Ok(());
        }
        let newest = store.epochs().last().map_or(0, |last| last.number);
        if epoch > newest {
            store
                .begin_epoch(epoch, self.end)
                .map_err(|error| no_epoch(&error))?;
        } else if epoch < newest {
            return Err(Ended::Store(Reason::new(
                ReasonKind::Store,
                format!(
                    "the log ends at {} in epoch {newest}, where the master's is of epoch {epoch}",
                    self.end
                ),
            )));
        }
        self.epoch = epoch;
        Ok(())
    }

    fn copy(
        &mut self,
        store: &Follower,
        position: LogPosition,
        epoch: u64,
        bytes: &[u8],
    ) -> Result<(), Ended> {
        if position != self.end {
            return Err(Reason::new(
                ReasonKind::Position,
                format!(
                    "the master sends its log from {position} on, and {} is due",
                    self.end
                ),
            )
            .into());
        }
        self.begin_epoch(store)?;
        if epoch != self.epoch {
            return Err(Reason::new(
                ReasonKind::Position,
                format!(
                    "the master says that its log is of epoch {epoch} at {position}, and of {} before",
                    self.epoch
                ),
            )
            .into());
        }
        self.is_far = self.master_end.0.saturating_sub(position.0) > ASIDE_BYTES;
        let copied = match self.is_far {
            true => store.copy_aside(position, bytes),
            false => store.copy(position, bytes),
        };
        self.end = copied.map_err(|error| match error {
            CopyError::Append(error) => cannot_store(&error),
            error => Ended::Again(Reason::new(
                match error {
                    CopyError::SegmentSize { .. } => ReasonKind::SegmentSize,
                    _ => ReasonKind::Position,
                },
                format!("the master's log cannot be copied: {error}"),
            )),
        })?;
        // What follows may be of the next one, with nothing of it there yet.
        self.begin_epoch(store)
    }

    fn marked(&mut self, marks: Marks, end: LogPosition, following: &Following) {
        self.confirmed = self.confirmed.max(marks.confirmed);
        self.master_end = self.master_end.max(marks.confirmed).max(end);
        following.store.master_begins(marks.begin);
        following.followed.marked(marks, end);
    }

    /// What the store has.
    fn has(&self, store: &Follower) -> Report {
        let (flushed, written) = (store.flushed(), store.written());
        Report {
            received: written.min(self.end),
            flushed: flushed.min(written).min(self.end),
        }
    }
}
