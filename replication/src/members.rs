//! Where the members of a group are, and what all of those that must have a message have.
//!
//! ```text
//!  reports of replicas ──► positions by seat ──┐
//!                                              ├─ the smallest of the required ──► Master::replicated ──► confirmed
//!  require(U) ─────────────────────────────────┘
//! ```
//! A seat is a member with its data: positions of data that is gone count for nothing. A member has one connection; a newer one replaces
//! the older, whose reports count no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;
use rmq_protocol::{Incarnation, MemberId, Seat};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::sync::oneshot;

use crate::fetch::{Fetched, Wanted};

/// Snapshots whose log is kept, at most.
const HELD_MAX: usize = 64;

/// What a message must have reached at a member to count there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// The system of the member has it: `ackMode: inSync`.
    Received,
    /// The disk of the member has it: `ackMode: inSyncFlushed`.
    Flushed,
}

/// How far a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberProgress {
    /// Who.
    pub seat: Seat,
    /// Messages wait for it.
    pub is_required: bool,
    /// It has a connection.
    pub is_connected: bool,
    /// It has none, and its side has closed the last one: as a rule its process has ended.
    pub has_closed: bool,
    /// Where its log begins, as it said when it connected last. Above where the master's begins it lacks history.
    pub begin: LogPosition,
    /// End of what it has received and written.
    pub received: LogPosition,
    /// End of what its disk has.
    pub flushed: LogPosition,
    /// Bytes of the master's log that it has not received.
    pub lag_bytes: u64,
    /// Since when it has not had all of the master's log; zero when it has.
    pub lag: Duration,
    /// Since when nothing was heard of it.
    pub silent: Duration,
}

/// Where positions go: [`Master::replicated`](rmq_store::Master::replicated).
pub type Replicated = Box<dyn Fn(Option<LogPosition>) + Send + Sync>;

/// Time since any moment, as deadlines are reckoned: it never goes back, and counts while the machine sleeps.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The members of a group, as its master sees them during one epoch. The master itself is none of them.
pub struct Members {
    me: MemberId,
    counts: Counts,
    clock: Clock,
    replicated: Replicated,
    /// Held from the look at the positions until the store was told, so that no older position is told after a newer one.
    telling: Mutex<Option<Option<LogPosition>>>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Whose greeting is taken; `None` as data stands for any. Empty: everybody's.
    admitted: BTreeMap<MemberId, Option<Incarnation>>,
    required: BTreeSet<Seat>,
    seats: BTreeMap<Seat, At>,
    connections: BTreeMap<MemberId, Connection>,
    next_connection: u64,
    /// The log from here on is needed until that time, by replicas that take a snapshot.
    held: Vec<(LogPosition, Duration)>,
    /// Stretches of the log that members are to be asked for.
    wanted: BTreeMap<Seat, Wanted>,
    /// The master serves no more.
    closed: bool,
}

#[derive(Debug, Clone, Copy)]
struct At {
    begin: LogPosition,
    received: LogPosition,
    flushed: LogPosition,
    /// When it last had all that there was.
    caught_up: Duration,
    heard: Duration,
    /// Its side has closed the last connection.
    has_closed: bool,
}

impl At {
    fn new(now: Duration) -> Self {
        Self {
            begin: LogPosition(0),
            received: LogPosition(0),
            flushed: LogPosition(0),
            caught_up: now,
            heard: now,
            has_closed: false,
        }
    }
}

/// The connection of a member, by number. A newer one of the same member takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    seat: Seat,
    number: u64,
}

impl Connection {
    /// Whose it is.
    #[must_use]
    pub fn seat(&self) -> Seat {
        self.seat
    }
}

/// What a replica says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// End of what is received and written there.
    pub received: LogPosition,
    /// End of what the disk there has.
    pub flushed: LogPosition,
}

/// Why a member is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    Unknown,
    Data(Incarnation),
}

impl Members {
    /// Members of the group that `me` is the master of. `replicated` is told of what everybody required has, and of `None` while nobody is
    /// required. Nobody is, to begin with, and the store is told nothing before the first [`require`](Self::require).
    #[must_use]
    pub fn new(me: MemberId, counts: Counts, clock: Clock, replicated: Replicated) -> Self {
        Self {
            me,
            counts,
            clock,
            replicated,
            telling: Mutex::new(None),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The master's own number.
    #[must_use]
    pub fn me(&self) -> MemberId {
        self.me
    }

    /// Only these members are copied to, each with this data, or with any. To begin with everybody of the group is. Connections of others
    /// end.
    pub fn admit(&self, members: impl IntoIterator<Item = (MemberId, Option<Incarnation>)>) {
        self.state.lock().admitted = members.into_iter().collect();
        self.changed.notify_waiters();
    }

    /// From now on a message waits for all of these, the master left out. When this returns, nothing is confirmed by an earlier set any
    /// more; what an earlier set has confirmed stays confirmed. So a set grows safely in this order: require the union; see that the new
    /// member [has](Self::has) what the store has confirmed *after that call*; then swap the set at the place. And it shrinks only after
    /// the swap.
    pub fn require(&self, set: &[Seat]) {
        let now = self.now();
        {
            let mut state = self.state.lock();
            state.required = set
                .iter()
                .filter(|seat| seat.member != self.me)
                .copied()
                .collect();
            let state = &mut *state;
            for seat in &state.required {
                state.seats.entry(*seat).or_insert(At::new(now));
            }
        }
        // Whoever tells the store an older position has done it when the lock is free.
        let mut told = self.telling.lock();
        let position = self.everywhere();
        self.tell(&mut told, position);
        drop(told);
        self.tell_news();
        self.changed.notify_waiters();
    }

    /// The set of [`require`](Self::require), the master left out.
    #[must_use]
    pub fn required(&self) -> Vec<Seat> {
        self.state.lock().required.iter().copied().collect()
    }

    /// Whether a member has everything below a position, as it counts.
    #[must_use]
    pub fn has(&self, seat: Seat, position: LogPosition) -> bool {
        let state = self.state.lock();
        let at = state.seats.get(&seat);
        at.is_some_and(|at| self.counted(at) >= position)
    }

    /// Of those that a message waits for: the members that do not have everything below `position`.
    #[must_use]
    pub fn missing(&self, position: LogPosition) -> Vec<MemberId> {
        let state = self.state.lock();
        let lacks = |seat: &&Seat| {
            let at = state.seats.get(seat);
            at.is_none_or(|at| self.counted(at) < position)
        };
        let missing = state.required.iter().filter(lacks);
        missing.map(|seat| seat.member).collect()
    }

    /// Where all are that are required, admitted by name, or connected. `end` is where the master's log ends.
    #[must_use]
    pub fn progress(&self, end: LogPosition) -> Vec<MemberProgress> {
        let now = self.now();
        let state = self.state.lock();
        let progress = state.seats.iter().map(|(seat, at)| {
            let lag_bytes = end.0.saturating_sub(at.received.0);
            let is_connected = state.is_connected(*seat);
            MemberProgress {
                seat: *seat,
                is_required: state.required.contains(seat),
                is_connected,
                has_closed: at.has_closed && !is_connected,
                begin: at.begin,
                received: at.received,
                flushed: at.flushed,
                lag_bytes,
                lag: match lag_bytes {
                    0 => Duration::ZERO,
                    _ => now.saturating_sub(at.caught_up),
                },
                silent: now.saturating_sub(at.heard),
            }
        });
        progress.collect()
    }

    /// The log from here on is still to be copied to members that are connected or take a snapshot: retention had better leave it.
    #[must_use]
    pub fn needed_from(&self) -> Option<LogPosition> {
        let now = self.now();
        let mut state = self.state.lock();
        state.held.retain(|(_, until)| *until > now);
        let connected = state.connections.values();
        let received = connected.filter_map(|connection| state.seats.get(&connection.seat));
        let held = state.held.iter().map(|(position, _)| *position);
        received.map(|at| at.received).chain(held).min()
    }

    /// The log from here on is needed for a while.
    pub(crate) fn hold(&self, from: LogPosition, how_long: Duration) {
        let until = self.now() + how_long;
        let held = &mut self.state.lock().held;
        // A few: only greeted members take snapshots.
        held.truncate(HELD_MAX - 1);
        held.push((from, until));
    }

    /// Asks a member that is connected for a stretch of its log that ends at or below what it has [received](MemberProgress::received): what
    /// is damaged here. Dropped without an answer, the connection has ended. One question at a time to a member: a newer one takes the place
    /// of one that was not sent yet.
    pub fn fetch(
        &self,
        seat: Seat,
        from: LogPosition,
        to: LogPosition,
    ) -> oneshot::Receiver<Fetched> {
        let (wanted, answer) = Wanted::new(from, to);
        {
            let mut state = self.state.lock();
            if !state.closed && state.is_connected(seat) {
                state.wanted.insert(seat, wanted);
            }
        }
        self.changed.notify_waiters();
        answer
    }

    /// What the member of a connection is to be asked for.
    pub(crate) fn wanted(&self, connection: Connection) -> Option<Wanted> {
        let mut state = self.state.lock();
        match state.wanted.is_empty() || !state.is_current(connection) {
            true => None,
            false => state.wanted.remove(&connection.seat),
        }
    }

    /// Those of a member that is no master: nobody is copied to.
    #[must_use]
    pub fn of_no_master(me: MemberId) -> Self {
        let members = Self::new(
            me,
            Counts::Received,
            Arc::new(|| Duration::ZERO),
            Box::new(|_| {}),
        );
        members.close();
        members
    }

    /// Ends all connections that are copied to: the master is none any more. Nothing is reported afterwards.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.wanted.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits for the next change that sessions have to look at. Reports are none.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(crate) fn admits(&self, seat: Seat) -> Result<(), NotAdmitted> {
        self.state.lock().admits(seat)
    }

    /// A member has connected, and has this much of the log, which begins there at `begin`.
    pub(crate) fn connect(&self, seat: Seat, begin: LogPosition, report: Report) -> Connection {
        let now = self.now();
        let connection = {
            let mut state = self.state.lock();
            state.next_connection += 1;
            let number = state.next_connection;
            let connection = Connection { seat, number };
            state.connections.insert(seat.member, connection);
            let at = state.seats.entry(seat).or_insert(At::new(now));
            // What its disk had not got may be gone.
            at.begin = begin;
            at.received = report.received;
            at.flushed = report.flushed;
            at.heard = now;
            at.has_closed = false;
            connection
        };
        self.tell_news();
        self.changed.notify_waiters();
        connection
    }

    /// What the member of this connection has. Whether the connection is still the member's.
    pub(crate) fn report(
        &self,
        connection: Connection,
        report: Report,
        caught_up: Option<Duration>,
    ) -> bool {
        let now = self.now();
        {
            let mut state = self.state.lock();
            if !state.is_current(connection) {
                return false;
            }
            let at = state.seats.entry(connection.seat).or_insert(At::new(now));
            at.received = at.received.max(report.received);
            at.flushed = at.flushed.max(report.flushed);
            at.caught_up = at.caught_up.max(caught_up.unwrap_or_default());
            at.heard = now;
        }
        self.tell_news();
        true
    }

    pub(crate) fn is_current(&self, connection: Connection) -> bool {
        self.state.lock().is_current(connection)
    }

    /// The connection has ended; `has_closed`: its member's side has closed it. What its member had stays known, where somebody may ask for
    /// it.
    pub(crate) fn disconnect(&self, connection: Connection, has_closed: bool) {
        {
            let mut state = self.state.lock();
            let current = state.connections.get(&connection.seat.member);
            if current == Some(&connection) {
                state.connections.remove(&connection.seat.member);
                if let Some(at) = state.seats.get_mut(&connection.seat) {
                    at.has_closed = has_closed;
                }
                state.wanted.remove(&connection.seat);
            }
            let State {
                seats,
                required,
                connections,
                admitted,
                ..
            } = &mut *state;
            seats.retain(|seat, _| {
                let current = connections.get(&seat.member);
                required.contains(seat)
                    || current.is_some_and(|current| current.seat == *seat)
                    || (*seat == connection.seat && admitted.contains_key(&seat.member))
                    || seat.member != connection.seat.member
            });
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    fn counted(&self, at: &At) -> LogPosition {
        match self.counts {
            Counts::Received => at.received,
            Counts::Flushed => at.flushed,
        }
    }

    /// What everybody required has.
    fn everywhere(&self) -> Option<LogPosition> {
        let state = self.state.lock();
        let positions = state.required.iter().map(|seat| {
            let at = state.seats.get(seat);
            at.map_or(LogPosition(0), |at| self.counted(at))
        });
        positions.min()
    }

    /// Tells the store what it was not told, unless another thread does: that thread looks again afterwards.
    fn tell_news(&self) {
        loop {
            let Some(mut told) = self.telling.try_lock() else {
                return;
            };
            // Before the first set nobody has said who counts.
            let Some(mut last) = *told else {
                return;
            };
            let position = self.everywhere();
            if position != last {
                self.tell(&mut told, position);
                last = position;
            }
            drop(told);
            // A report that came in between found the lock held.
            if self.everywhere() == last {
                return;
            }
        }
    }

    fn tell(&self, told: &mut Option<Option<LogPosition>>, position: Option<LogPosition>) {
        *told = Some(position);
        (self.replicated)(position);
    }
}

impl State {
    fn is_current(&self, connection: Connection) -> bool {
        let current = self.connections.get(&connection.seat.member);
        !self.closed && current == Some(&connection) && self.admits(connection.seat).is_ok()
    }

    fn is_connected(&self, seat: Seat) -> bool {
        let current = self.connections.get(&seat.member);
        current.is_some_and(|current| current.seat == seat)
    }

    fn admits(&self, seat: Seat) -> Result<(), NotAdmitted> {
        if self.admitted.is_empty() {
            return Ok(());
        }
        match self.admitted.get(&seat.member) {
            None => Err(NotAdmitted::Unknown),
            Some(Some(incarnation)) if *incarnation != seat.incarnation => {
                Err(NotAdmitted::Data(*incarnation))
            }
            Some(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Members")
            .field("required", &state.required)
            .field("seats", &state.seats)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Seat = Seat {
        member: MemberId(1),
        incarnation: Incarnation(1),
    };
    const B: Seat = Seat {
        member: MemberId(2),
        incarnation: Incarnation(2),
    };
    /// Member 1 on an empty disk.
    const A_WIPED: Seat = Seat {
        member: MemberId(1),
        incarnation: Incarnation(3),
    };

    type Told = Arc<Mutex<Vec<Option<u64>>>>;

    fn members(counts: Counts) -> (Members, Told) {
        let told = Told::default();
        let tell = Arc::clone(&told);
        let members = Members::new(
            MemberId(0),
            counts,
            Arc::new(|| Duration::from_secs(7)),
            Box::new(move |position| tell.lock().push(position.map(|position| position.0))),
        );
        (members, told)
    }

    fn at(received: u64, flushed: u64) -> Report {
        Report {
            received: LogPosition(received),
            flushed: LogPosition(flushed),
        }
    }

    #[test]
    fn the_smallest_of_the_required_counts() {
        for (counts, expected) in [(Counts::Received, 50), (Counts::Flushed, 40)] {
            let (members, told) = members(counts);
            let [a, b] = [A, B].map(|seat| members.connect(seat, LogPosition(0), at(10, 10)));
            members.require(&[A, B]);
            assert!(members.report(a, at(50, 45), None));
            assert!(members.report(b, at(90, 40), None));
            assert_eq!(told.lock().last(), Some(&Some(expected)));
            let lacking = if counts == Counts::Received { 0 } else { 2 };
            assert_eq!(members.missing(LogPosition(50)).len(), lacking);
            assert!(members.has(B, LogPosition(40)) && !members.has(A, LogPosition(51)));
            // Whoever leaves the set is waited for no more.
            members.require(&[B]);
            let now = if counts == Counts::Received { 90 } else { 40 };
            assert_eq!(told.lock().last(), Some(&Some(now)));
        }
    }

    #[test]
    fn a_member_counts_once_and_its_newer_connection_does() {
        let (members, told) = members(Counts::Received);
        members.require(&[A, B]);
        let old = members.connect(A, LogPosition(0), at(0, 0));
        let new = members.connect(A, LogPosition(0), at(20, 0));
        let b = members.connect(B, LogPosition(0), at(100, 0));
        assert!(!members.report(old, at(90, 90), None), "replaced");
        assert_eq!(told.lock().last(), Some(&Some(20)));
        assert!(members.report(new, at(30, 0), None));
        assert_eq!(told.lock().last(), Some(&Some(30)));
        // The end of the old one ends nothing.
        members.disconnect(old, true);
        assert!(members.report(new, at(40, 0), None));
        // What a member had stays counted, and is what it has when it comes back with less.
        let has_closed = |members: &Members| members.progress(LogPosition(200))[0].has_closed;
        assert!(!has_closed(&members));
        members.disconnect(new, true);
        assert!(has_closed(&members));
        assert!(members.report(b, at(200, 0), None));
        assert_eq!(told.lock().last(), Some(&Some(40)));
        members.connect(A, LogPosition(0), at(35, 35));
        assert_eq!(told.lock().last(), Some(&Some(35)));
        let progress = members.progress(LogPosition(200));
        assert_eq!(progress.len(), 2);
        assert_eq!(progress[0].lag_bytes, 165);
        assert!(!has_closed(&members), "it is back");
    }

    #[test]
    fn other_data_counts_for_nothing() {
        let (members, told) = members(Counts::Received);
        members.require(&[A]);
        let wiped = members.connect(A_WIPED, LogPosition(0), at(0, 0));
        assert!(members.report(wiped, at(500, 500), None));
        assert_eq!(told.lock().last(), Some(&Some(0)));
        assert_eq!(members.missing(LogPosition(1)), [MemberId(1)]);
        let progress = members.progress(LogPosition(500));
        let of = |seat: Seat| {
            let found = progress.iter().find(|member| member.seat == seat);
            found.map(|member| (member.is_required, member.is_connected))
        };
        assert_eq!(of(A), Some((true, false)));
        assert_eq!(of(A_WIPED), Some((false, true)));
        members.require(&[A_WIPED]);
        assert_eq!(told.lock().last(), Some(&Some(500)));
    }

    #[test]
    fn who_is_not_admitted_has_no_connection() {
        let (members, _) = members(Counts::Received);
        let a = members.connect(A, LogPosition(0), at(0, 0));
        members.admit([(MemberId(1), Some(Incarnation(3))), (MemberId(2), None)]);
        assert_eq!(members.admits(A), Err(NotAdmitted::Data(Incarnation(3))));
        assert_eq!(members.admits(A_WIPED), Ok(()));
        assert_eq!(members.admits(B), Ok(()));
        let stranger = Seat {
            member: MemberId(9),
            ..A
        };
        assert_eq!(members.admits(stranger), Err(NotAdmitted::Unknown));
        assert!(!members.report(a, at(10, 0), None));
        let b = members.connect(B, LogPosition(0), at(0, 0));
        assert!(members.report(b, at(10, 0), None));
        members.close();
        assert!(!members.report(b, at(20, 0), None));
    }

    #[test]
    fn strangers_are_not_kept_in_mind() {
        let (members, _) = members(Counts::Received);
        for member in 10..1_000 {
            let seat = Seat {
                member: MemberId(member),
                ..A
            };
            let connection = members.connect(seat, LogPosition(0), at(0, 0));
            members.disconnect(connection, false);
        }
        assert!(members.progress(LogPosition(0)).is_empty());
    }

    /// Reports from many threads: the last thing that the store is told is what everybody has, and nothing that it is told was untrue when
    /// `require` returned.
    #[test]
    fn the_store_is_told_the_newest_position_last() {
        for _ in 0..200 {
            let (members, told) = members(Counts::Received);
            members.require(&[A, B]);
            let connections = [A, B].map(|seat| members.connect(seat, LogPosition(0), at(0, 0)));
            std::thread::scope(|scope| {
                for connection in connections {
                    let members = &members;
                    scope.spawn(move || {
                        for position in 1..=50 {
                            assert!(members.report(connection, at(position, 0), None));
                        }
                    });
                }
            });
            assert_eq!(told.lock().last(), Some(&Some(50)));
            assert!(told.lock().is_sorted());
        }
    }

    /// A teller that is held up in the middle: `require` does not return before it is done, so an older position is never told later.
    #[test]
    fn require_returns_when_no_older_set_confirms_any_more() {
        let (begun, wait_begun) = std::sync::mpsc::channel();
        let (go_on, wait_go_on) = std::sync::mpsc::channel::<()>();
        let wait_go_on = Mutex::new(wait_go_on);
        let told = Told::default();
        let tell = Arc::clone(&told);
        let members = Members::new(
            MemberId(0),
            Counts::Received,
            Arc::new(|| Duration::ZERO),
            Box::new(move |position| {
                if position == Some(LogPosition(100)) {
                    begun.send(()).expect("waited for");
                    wait_go_on.lock().recv().expect("told");
                }
                tell.lock().push(position.map(|position| position.0));
            }),
        );
        members.require(&[A]);
        let a = members.connect(A, LogPosition(0), at(0, 0));
        members.connect(B, LogPosition(0), at(50, 0));
        std::thread::scope(|scope| {
            scope.spawn(|| members.report(a, at(100, 0), None));
            wait_begun.recv().expect("it tells");
            let (returned, wait_returned) = std::sync::mpsc::channel();
            let members = &members;
            scope.spawn(move || {
                members.require(&[A, B]);
                returned.send(()).expect("waited for");
            });
            assert!(wait_returned.try_recv().is_err());
            go_on.send(()).expect("waits");
            wait_returned.recv().expect("it returns");
        });
        let mut told = told.lock();
        // Both may have told the last one.
        told.dedup();
        assert_eq!(*told, [Some(0), Some(100), Some(50)]);
    }
}
