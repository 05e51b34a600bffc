//! The master's end of a connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rmq_protocol::Seat;
use rmq_protocol::message::LogPosition;
use rmq_store::{LogPiece, Snapshot};
use tokio::sync::oneshot;

use super::fetching::Fetching;
use crate::config::ReplicationConfig;
use crate::event::{Asked, MasterEvent};
use crate::greeting::{Greeting, Identity};
use crate::members::{Connection, NotAdmitted, Report};
use crate::reason::{Reason, ReasonKind};
use crate::serve::Source;
use crate::snapshot::take_snapshot;
use crate::wire::{Frame, Marks, Outgoing, encode, encode_piece};

/// Pieces that may be on the way, however small.
const PIECES_MAX: usize = 4_096;

/// A stretch of the log that a session wants to send: at most so many bytes, or one record that is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Where it begins.
    pub from: LogPosition,
    /// Its size, bytes.
    pub bytes_max: usize,
}

/// One connection of a replica. An error ends it; [`end`](Self::end) is to be called in any case.
pub struct MasterSession {
    config: ReplicationConfig,
    began: Duration,
    heard: Duration,
    spoken: Duration,
    state: State,
    /// The replica's side has closed the connection.
    is_closed: bool,
}

enum State {
    /// Nothing has come yet.
    Waiting,
    /// The two know each other.
    Greeted(Box<[Greeting; 2]>),
    /// The tables are sent, and nothing else: the replica connects again for the log.
    Snapshot,
    /// The election answers. One question is all that such a connection is for.
    Asked(u64, oneshot::Receiver<Vec<u8>>),
    Copying(Box<Copying>),
}

struct Copying {
    connection: Connection,
    /// What this master said of its log.
    own: Greeting,
    /// Where the replica began.
    began_at: LogPosition,
    /// The next byte to send.
    next: LogPosition,
    reported: Report,
    in_flight: VecDeque<Sent>,
    told: Marks,
    /// When the confirmed position is told if nothing else is sent.
    confirm_due: Option<Duration>,
    fetching: Fetching,
    /// The replica may be asked for stretches of its log.
    may_fetch: bool,
}

struct Sent {
    end: LogPosition,
    /// When it was sent, if it was the end of the log then.
    was_all_at: Option<Duration>,
}

impl MasterSession {
    /// Somebody has connected.
    #[must_use]
    pub fn new(config: ReplicationConfig, now: Duration) -> Self {
        Self {
            config,
            began: now,
            heard: now,
            spoken: now,
            state: State::Waiting,
            is_closed: false,
        }
    }

    /// The replica's side has closed the connection: it has said so, or its system has, as when its process ends. To be called before
    /// [`end`](Self::end).
    pub fn closed(&mut self) {
        self.is_closed = true;
    }

    /// The member, once its place is known.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        match &self.state {
            State::Waiting | State::Snapshot | State::Asked(..) => None,
            State::Greeted(greetings) => {
                let [_, theirs] = &**greetings;
                Some(theirs.identity.seat)
            }
            State::Copying(copying) => Some(copying.connection.seat()),
        }
    }

    /// Whether the replica wants a snapshot of the store.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        matches!(self.state, State::Snapshot)
    }

    /// The snapshot that the replica [wants](Self::wants_snapshot): its chunks are to be sent, and an empty one behind them. The log from
    /// where it begins stays for a while. Blocks.
    ///
    /// # Errors
    /// The store gives none.
    pub fn snapshot(source: &Source) -> Result<Snapshot, Reason> {
        take_snapshot(source)
    }

    /// Whether the replica was accepted, and is copied to.
    #[must_use]
    pub fn is_welcome(&self) -> bool {
        matches!(self.state, State::Copying(_))
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// Why the connection ends. Nothing of the frame counts.
    pub fn receive(
        &mut self,
        frame: Frame<'_>,
        source: &Source,
        now: Duration,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Reason> {
        let next = match (&mut self.state, frame) {
            (_, Frame::Close(reason)) => {
                self.is_closed = true;
                return Err(reason);
            }
            (State::Waiting, Frame::Greeting(theirs)) => {
                let own = Greeting {
                    leads: !source.members.is_closed(),
                    ..Greeting::of(&source.identity, source.epoch, &source.store)
                };
                check(source, &own, &theirs)?;
                out.push(encode(&Frame::Greeting(own.clone())));
                Some(State::Greeted(Box::new([own, theirs])))
            }
            (State::Greeted(greetings), Frame::Begin { position, report }) => {
                let [own, theirs] = &**greetings;
                let copying = Copying::begin(source, own, theirs, position, report)?;
                Some(State::Copying(Box::new(copying)))
            }
            (State::Greeted(greetings), Frame::Snapshot) => {
                let [own, theirs] = &**greetings;
                check_role(source, own, theirs)?;
                Some(State::Snapshot)
            }
            (State::Copying(copying), Frame::Report(report)) => {
                copying.report(source, report)?;
                None
            }
            (
                State::Copying(copying),
                frame @ (Frame::Fetch { .. } | Frame::Fetched { .. } | Frame::Missing { .. }),
            ) => {
                let common = copying.reported.received;
                copying.fetching.receive(frame, &copying.own, common)?;
                None
            }
            (State::Greeted(greetings), Frame::Question { number, content }) => {
                let [_, theirs] = &**greetings;
                let (answer, receiver) = oneshot::channel();
                let asked = Asked {
                    from: theirs.identity.seat,
                    question: content.to_vec(),
                    answer,
                };
                // Whoever drives the member may have ended: there is no answer then.
                let _ = source.questions.send(asked);
                Some(State::Asked(number, receiver))
            }
            _ => {
                return Err(Reason::new(
                    ReasonKind::Protocol,
                    "a frame came where another one was due: give both members the same release of rmq",
                ));
            }
        };
        self.heard = now;
        if let Some(next) = next {
            self.state = next;
            self.spoken = now;
        }
        Ok(())
    }

    /// Whether the replica has reported everything that it was sent, and what follows begins at `from`.
    pub(crate) fn has_nothing_but(&self, from: LogPosition) -> bool {
        match &self.state {
            State::Copying(copying) => copying.in_flight.is_empty() && copying.next == from,
            _ => false,
        }
    }

    /// What is to be read and sent now, as far as the replica keeps up.
    #[must_use]
    pub fn wants(&self, source: &Source) -> Option<Want> {
        let State::Copying(copying) = &self.state else {
            return None;
        };
        let end = source.store.written();
        let in_flight = copying.next.0.saturating_sub(copying.reported.received.0);
        let is_full = !copying.in_flight.is_empty()
            && (in_flight >= self.config.in_flight_bytes_max
                || copying.in_flight.len() >= PIECES_MAX);
        if copying.next >= end || is_full {
            return None;
        }
        let (_, epoch_ends) = copying.own.epoch_at(copying.next);
        let room = epoch_ends.map_or(u64::MAX, |ends| ends.0 - copying.next.0);
        Some(Want {
            from: copying.next,
            bytes_max: usize::try_from(room)
                .unwrap_or(usize::MAX)
                .min(self.config.piece_bytes),
        })
    }

    /// Sends what was wanted. A piece that was not is left out.
    pub fn send(
        &mut self,
        piece: LogPiece,
        source: &Source,
        now: Duration,
        out: &mut Vec<Outgoing>,
    ) {
        let State::Copying(copying) = &mut self.state else {
            return;
        };
        if piece.position != copying.next {
            return;
        }
        let positions = source.store.positions();
        let marks = Marks {
            confirmed: LogPosition(positions.confirmed),
            begin: LogPosition(positions.min),
        };
        let (epoch, _) = copying.own.epoch_at(piece.position);
        copying.next = piece.end;
        copying.in_flight.push_back(Sent {
            end: piece.end,
            was_all_at: (piece.end.0 >= positions.written).then_some(now),
        });
        copying.told = marks;
        copying.confirm_due = None;
        self.spoken = now;
        out.push(encode_piece(piece.position, epoch, marks, piece.bytes));
    }

    /// What the replica cannot read of its own log, to be read here, once. [`fetched`](Self::fetched) is to follow.
    pub fn fetches(&mut self) -> Option<Want> {
        match &mut self.state {
            State::Copying(copying) => copying.fetching.wants(),
            _ => None,
        }
    }

    /// Sends what the replica [fetches](Self::fetches), or why there is none.
    pub fn fetched(&mut self, read: Result<LogPiece, Reason>, out: &mut Vec<Outgoing>) {
        if let State::Copying(copying) = &mut self.state {
            copying.fetching.answer(read, out);
        }
    }

    /// Looks at the time, the marks and the questions. To be called when [`due`](Self::due) has come, and when the store has progressed or
    /// the members have changed.
    ///
    /// # Errors
    /// Why the connection ends.
    pub fn tick(
        &mut self,
        source: &Source,
        now: Duration,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Reason> {
        let silence = |what: &str, max: Duration| {
            Err(Reason::new(
                ReasonKind::Silence,
                format!("{what} for {} ms", max.as_millis()),
            ))
        };
        let State::Copying(copying) = &mut self.state else {
            if now >= self.began + self.config.greeting_max {
                return silence(
                    "whoever connected has not greeted and begun",
                    self.config.greeting_max,
                );
            }
            return Ok(());
        };
        if now >= self.heard + self.config.silence_max {
            return silence("nothing was heard of the replica", self.config.silence_max);
        }
        copying.check_place(source)?;
        if copying.fetching.is_free()
            && let Some(wanted) = source.members.wanted(copying.connection)
        {
            let (own, may_fetch) = (&copying.own, copying.may_fetch);
            copying.fetching.ask(wanted, own, may_fetch, out);
        }
        let confirmed = source.store.confirmed();
        if confirmed > copying.told.confirmed && copying.confirm_due.is_none() {
            copying.confirm_due = Some(now + self.config.confirm_delay);
        }
        let confirm_is_due = copying.confirm_due.is_some_and(|due| now >= due);
        if confirm_is_due || now >= self.spoken + self.config.heartbeat {
            copying.confirm_due = None;
            copying.told = Marks {
                confirmed,
                begin: LogPosition(source.store.positions().min),
            };
            self.spoken = now;
            out.push(encode(&Frame::Progress {
                marks: copying.told,
                end: source.store.written(),
            }));
        }
        Ok(())
    }

    /// The answer of the election, when it is there. Never, while nothing was asked.
    pub fn poll_answered(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        match &mut self.state {
            State::Asked(_, answer) => Pin::new(answer).poll(cx).map(Result::ok),
            _ => Poll::Pending,
        }
    }

    /// As [`poll_answered`](Self::poll_answered), without waiting.
    pub fn try_answered(&mut self) -> Option<Option<Vec<u8>>> {
        let State::Asked(_, answer) = &mut self.state else {
            return None;
        };
        match answer.try_recv() {
            Ok(answer) => Some(Some(answer)),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(None),
        }
    }

    /// Passes the answer on. The connection ends when it has left.
    ///
    /// # Errors
    /// Why the connection ends.
    pub fn answer(
        &mut self,
        content: Option<Vec<u8>>,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Reason> {
        let (State::Asked(number, _), Some(content)) = (&self.state, &content) else {
            return Err(Reason::new(
                ReasonKind::Stopping,
                "the member answers nothing: it stops",
            ));
        };
        let number = *number;
        out.push(encode(&Frame::Answer { number, content }));
        Err(Reason::new(
            ReasonKind::Answered,
            "the question is answered",
        ))
    }

    /// When [`tick`](Self::tick) is to be called at the latest.
    #[must_use]
    pub fn due(&self) -> Duration {
        match &self.state {
            State::Copying(copying) => {
                let due =
                    (self.heard + self.config.silence_max).min(self.spoken + self.config.heartbeat);
                copying.confirm_due.map_or(due, |confirm| confirm.min(due))
            }
            _ => self.began + self.config.greeting_max,
        }
    }

    /// The connection has ended.
    pub fn end(&mut self, source: &Source, reason: &Reason) {
        if let State::Copying(copying) = std::mem::replace(&mut self.state, State::Waiting) {
            source
                .members
                .disconnect(copying.connection, self.is_closed);
            source.tell(MasterEvent::Left {
                seat: copying.connection.seat(),
                reason: reason.clone(),
            });
        }
    }
}

/// Whether a member may be copied to.
fn check(source: &Source, own: &Greeting, theirs: &Greeting) -> Result<(), Reason> {
    own.check(theirs)?;
    let seat = theirs.identity.seat;
    let group = &source.identity.group;
    match source.members.admits(seat) {
        Ok(()) => {}
        Err(NotAdmitted::Unknown) => {
            return Err(Reason::new(
                ReasonKind::Member,
                format!(
                    "member {} is not a member of the group {group:?}: add it to the members of the group",
                    seat.member
                ),
            ));
        }
        Err(NotAdmitted::Data(expected)) => {
            return Err(Reason::new(
                ReasonKind::Incarnation,
                format!(
                    "member {} has the data {} and the group {group:?} knows it with {expected}: start it with its old disk, or let the group take the new one",
                    seat.member, seat.incarnation
                ),
            ));
        }
    }
    if theirs.epoch > own.epoch {
        source.tell(MasterEvent::Superseded {
            by: seat,
            epoch: theirs.epoch,
        });
    }
    Ok(())
}

/// Whether this member is the master, as far as the other one knows.
fn check_role(source: &Source, own: &Greeting, theirs: &Greeting) -> Result<(), Reason> {
    if source.members.is_closed() {
        return Err(not_master(source));
    }
    if theirs.epoch > own.epoch {
        return Err(Reason::new(
            ReasonKind::StaleMaster,
            format!(
                "member {} is the master of epoch {} and member {} knows epoch {}: another member is the master",
                own.identity.seat.member, own.epoch, theirs.identity.seat.member, theirs.epoch
            ),
        ));
    }
    Ok(())
}

fn not_master(source: &Source) -> Reason {
    let Identity { group, seat, .. } = &source.identity;
    Reason::new(
        ReasonKind::NotMaster,
        format!(
            "member {} is not the master of the group {group:?}",
            seat.member
        ),
    )
}

fn wrong_position(seat: Seat, text: &str) -> Reason {
    Reason::new(
        ReasonKind::Position,
        format!(
            "member {} {text}: nothing of it counts; if it happens again, report it",
            seat.member
        ),
    )
}

impl Copying {
    fn begin(
        source: &Source,
        own: &Greeting,
        theirs: &Greeting,
        position: LogPosition,
        report: Report,
    ) -> Result<Self, Reason> {
        let seat = theirs.identity.seat;
        check_role(source, own, theirs)?;
        let positions = source.store.positions();
        if position.0 < positions.min {
            return Err(Reason::new(
                ReasonKind::Expired,
                format!(
                    "the log of member {} begins at {}, and member {} wants it from {position}",
                    own.identity.seat.member, positions.min, seat.member
                ),
            ));
        }
        let common = own.common_end(theirs);
        if common.is_none_or(|common| position > common) || position.0 > positions.written {
            return Err(wrong_position(
                seat,
                &format!(
                    "wants the log from position {position}, where its log and the master's are not the same"
                ),
            ));
        }
        if report.received > position || report.flushed > report.received {
            return Err(wrong_position(
                seat,
                &format!(
                    "begins at {position} and says that it has {} and flushed {}",
                    report.received, report.flushed
                ),
            ));
        }
        let connection = source.members.connect(seat, theirs.begin, report);
        source.tell(MasterEvent::Joined {
            seat,
            from: position,
        });
        Ok(Self {
            connection,
            own: own.clone(),
            began_at: position,
            next: position,
            reported: report,
            in_flight: VecDeque::new(),
            told: Marks {
                confirmed: LogPosition(0),
                begin: LogPosition(0),
            },
            confirm_due: None,
            fetching: Fetching::default(),
            may_fetch: theirs.fetches,
        })
    }

    /// A report counts when it can be: of bytes that were sent, up to where a piece ended, and not less than before.
    fn report(&mut self, source: &Source, report: Report) -> Result<(), Reason> {
        let seat = self.connection.seat();
        let last = self.reported;
        if report.received > self.next {
            return Err(wrong_position(
                seat,
                &format!(
                    "says that it has the log up to {}, and was sent it up to {}",
                    report.received, self.next
                ),
            ));
        }
        if report.received < last.received || report.flushed < last.flushed {
            return Err(wrong_position(
                seat,
                &format!(
                    "says that it has {} and flushed {}, after {} and {}",
                    report.received, report.flushed, last.received, last.flushed
                ),
            ));
        }
        if report.flushed > report.received {
            return Err(wrong_position(
                seat,
                &format!(
                    "says that it has flushed {} of {}",
                    report.flushed, report.received
                ),
            ));
        }
        let reached = self
            .in_flight
            .partition_point(|sent| sent.end <= report.received);
        let is_end = reached
            .checked_sub(1)
            .and_then(|at| self.in_flight.get(at))
            .is_some_and(|sent| sent.end == report.received);
        if !is_end && report.received > last.received && report.received > self.began_at {
            return Err(wrong_position(
                seat,
                &format!(
                    "says that it has the log up to {}, where no piece ended that it was sent",
                    report.received
                ),
            ));
        }
        let popped = self.in_flight.drain(..reached);
        let was_all_at = popped.filter_map(|sent| sent.was_all_at).max();
        let has_all = report.received >= source.store.written();
        let caught_up = match has_all {
            true => Some(source.members.now()),
            false => was_all_at,
        };
        self.reported = report;
        match source.members.report(self.connection, report, caught_up) {
            true => Ok(()),
            false => self.check_place(source),
        }
    }

    /// Whether the connection is still the member's.
    fn check_place(&self, source: &Source) -> Result<(), Reason> {
        if source.members.is_current(self.connection) {
            return Ok(());
        }
        if source.members.is_closed() {
            return Err(not_master(source));
        }
        let member = self.connection.seat().member;
        let is_admitted = source.members.admits(self.connection.seat()).is_ok();
        Err(match is_admitted {
            true => Reason::new(
                ReasonKind::Replaced,
                format!("member {member} has connected again"),
            ),
            false => Reason::new(
                ReasonKind::Member,
                format!("member {member} is not a member of the group any more"),
            ),
        })
    }
}
