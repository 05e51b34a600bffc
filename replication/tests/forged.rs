//! What a member says that cannot be: nothing of it counts, and the connection ends with the reason.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{ASYNC, append, config, follower, identity, master, seat};
use rmq_protocol::MemberId;
use rmq_protocol::message::LogPosition;
use rmq_replication::session::{Ended, MasterSession, ReplicaSession};
use rmq_replication::wire::{Decoder, Frame, Marks, Outgoing};
use rmq_replication::{
    Counts, Followed, Following, Greeting, MasterEvent, Members, Reason, ReasonKind,
    ReplicationConfig, Report, Source, Target,
};
use rmq_store::fs::SimulatedDisk;
use rmq_store::{Epoch, LogPiece, Master};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const NOW: Duration = Duration::from_secs(1);

fn at(received: u64, flushed: u64) -> Report {
    Report {
        received: LogPosition(received),
        flushed: LogPosition(flushed),
    }
}

fn limits() -> ReplicationConfig {
    ReplicationConfig {
        piece_bytes: 4_096,
        in_flight_bytes_max: 10_000,
        ..ReplicationConfig::default()
    }
}

/// A master with some log, and one session that has greeted.
struct Served {
    master: Master,
    source: Source,
    session: MasterSession,
    events: UnboundedReceiver<MasterEvent>,
    theirs: Greeting,
}

impl Served {
    fn greeted() -> Self {
        let master = master(config("m", ASYNC), SimulatedDisk::new());
        let (tell, events) = unbounded_channel();
        let replicated = master.clone();
        let members = Members::new(
            MemberId(0),
            Counts::Received,
            Arc::new(|| NOW),
            Box::new(move |position| replicated.replicated(position)),
        );
        members.require(&[seat(1)]);
        for number in 0..40 {
            append(&master, "t", &[number; 500]);
        }
        master.write_out().expect("written");
        let source = Source {
            identity: identity(0),
            epoch: 1,
            store: (*master).clone(),
            members: Arc::new(members),
            events: tell,
            questions: unbounded_channel().0,
        };
        let theirs = Greeting {
            version: rmq_replication::VERSION,
            identity: identity(1),
            epoch: 1,
            leads: false,
            epochs: vec![Epoch {
                number: 1,
                first: LogPosition(0),
            }],
            begin: LogPosition(0),
            end: LogPosition(0),
            confirmed: LogPosition(0),
            fetches: true,
        };
        let mut session = MasterSession::new(limits(), NOW);
        let mut out = Vec::new();
        session
            .receive(Frame::Greeting(theirs.clone()), &source, NOW, &mut out)
            .expect("welcome");
        assert_eq!(out.len(), 1);
        Self {
            master,
            source,
            session,
            events,
            theirs,
        }
    }

    fn receive(&mut self, frame: Frame<'_>) -> Result<(), Reason> {
        self.session
            .receive(frame, &self.source, NOW, &mut Vec::new())
    }

    fn begun() -> Self {
        let mut served = Self::greeted();
        served
            .receive(Frame::Begin {
                position: LogPosition(0),
                report: at(0, 0),
            })
            .expect("begun");
        served
    }

    /// Sends as much as may be on the way. Returns where pieces ended.
    fn send(&mut self) -> Vec<u64> {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        while let Some(want) = self.session.wants(&self.source) {
            let piece = self.master.log_piece(want.from, want.bytes_max);
            let piece = piece.expect("readable").expect("written");
            ends.push(piece.end.0);
            self.session.send(piece, &self.source, NOW, &mut out);
        }
        assert_eq!(out.len(), ends.len());
        ends
    }
}

#[test]
fn a_replica_that_says_what_cannot_be_moves_nothing() {
    let ends = Served::begun().send();
    // As far as bytes in flight allow, with whole pieces.
    assert!(
        ends.len() >= 2 && *ends.last().expect("sent") < 20_000,
        "{ends:?}"
    );
    let (one, all) = (ends[0], ends[ends.len() - 1]);
    let wrong = [
        ("more than was sent", vec![at(all + 1, 0)]),
        ("all there can be", vec![at(u64::MAX, 0)]),
        ("not where a piece ended", vec![at(one + 1, 0)]),
        ("inside of the first piece", vec![at(one - 1, 0)]),
        ("more on the disk than received", vec![at(one, all)]),
        ("received less than before", vec![at(all, 0), at(one, 0)]),
        ("flushed less than before", vec![at(all, one), at(all, 0)]),
    ];
    for (what, reports) in wrong {
        let mut served = Served::begun();
        served.send();
        let (last, before) = reports.split_last().expect("a report");
        for report in before {
            served.receive(Frame::Report(*report)).expect(what);
        }
        let confirmed = served.master.positions().confirmed;
        let missing = served.source.members.missing(LogPosition(all));
        let refused = served.receive(Frame::Report(*last)).expect_err(what);
        assert_eq!(refused.kind, ReasonKind::Position, "{what}");
        assert!(refused.text.contains("nothing of it counts"), "{refused}");
        assert_eq!(served.master.positions().confirmed, confirmed, "{what}");
        assert_eq!(
            served.source.members.missing(LogPosition(all)),
            missing,
            "{what}"
        );
        served.master.abandon();
    }
}

#[test]
fn what_was_sent_and_reported_counts_and_makes_room() {
    let mut served = Served::begun();
    let ends = served.send();
    assert_eq!(served.master.positions().confirmed, 0);
    for end in &ends {
        served
            .receive(Frame::Report(at(*end, 0)))
            .expect("a report");
        assert_eq!(served.master.positions().confirmed, *end);
    }
    // The same again is a heartbeat.
    let last = *ends.last().expect("sent");
    served
        .receive(Frame::Report(at(last, 0)))
        .expect("a report");
    assert!(!served.send().is_empty(), "there is room again");
    served.master.abandon();
}

#[test]
fn a_replica_begins_where_the_logs_are_the_same() {
    let written = Served::greeted().master.positions().written;
    let wrong = [
        ("beyond its own end", LogPosition(1), at(1, 0)),
        ("beyond the master's", LogPosition(written + 1), at(0, 0)),
        ("with more than that", LogPosition(0), at(1, 0)),
        ("with more on the disk", LogPosition(0), at(0, 1)),
    ];
    for (what, position, report) in wrong {
        let mut served = Served::greeted();
        let refused = served.receive(Frame::Begin { position, report });
        assert_eq!(
            refused.expect_err(what).kind,
            ReasonKind::Position,
            "{what}"
        );
        assert_eq!(served.source.members.progress(LogPosition(0)).len(), 1);
        assert!(served.events.try_recv().is_err(), "nobody has joined");
        served.master.abandon();
    }
}

#[test]
fn a_frame_out_of_turn_ends_the_connection() {
    let greeting = Served::greeted().theirs;
    let marks = Marks {
        confirmed: LogPosition(5),
        begin: LogPosition(0),
    };
    let begin = Frame::Begin {
        position: LogPosition(0),
        report: at(0, 0),
    };
    let progress = Frame::Progress {
        marks,
        end: LogPosition(5),
    };
    let piece = Frame::Piece {
        position: LogPosition(0),
        epoch: 1,
        marks,
        bytes: b"x",
    };
    let report = Frame::Report(at(0, 0));
    let frames = [
        &begin,
        &progress,
        &piece,
        &report,
        &Frame::Greeting(greeting),
    ];
    for (turn, served) in [
        ("greeted", Served::greeted as fn() -> Served),
        ("begun", Served::begun),
    ] {
        for frame in frames {
            let is_due = matches!(
                (turn, frame),
                ("greeted", Frame::Begin { .. }) | ("begun", Frame::Report(_))
            );
            let mut served = served();
            assert_eq!(
                served.receive(frame.clone()).is_ok(),
                is_due,
                "{turn}: {frame:?}"
            );
            served.master.abandon();
        }
    }
    let mut session = MasterSession::new(limits(), NOW);
    let served = Served::greeted();
    for frame in [&begin, &report] {
        let refused = session.receive(frame.clone(), &served.source, NOW, &mut Vec::new());
        assert_eq!(refused.expect_err("not greeted").kind, ReasonKind::Protocol);
    }
    served.master.abandon();
}

/// Nobody greets, nobody speaks: the connection does not stay.
#[test]
fn silence_ends_a_connection() {
    let limits = limits();
    let mut served = Served::greeted();
    let mut out = Vec::new();
    assert_eq!(served.session.due(), NOW + limits.greeting_max);
    let refused = served
        .session
        .tick(&served.source, NOW + limits.greeting_max, &mut out);
    assert_eq!(refused.expect_err("too late").kind, ReasonKind::Silence);
    served.master.abandon();
    let mut served = Served::begun();
    let heartbeat = served.session.due();
    assert_eq!(heartbeat, NOW + limits.heartbeat);
    served
        .session
        .tick(&served.source, heartbeat, &mut out)
        .expect("fine");
    assert_eq!(out.len(), 1, "a heartbeat");
    assert_eq!(served.session.due(), heartbeat + limits.heartbeat);
    let refused = served
        .session
        .tick(&served.source, NOW + limits.silence_max, &mut out);
    assert_eq!(refused.expect_err("silent").kind, ReasonKind::Silence);
    let reason = Reason::new(ReasonKind::Silence, "silent");
    served.session.end(&served.source, &reason);
    assert!(matches!(
        served.events.try_recv(),
        Ok(MasterEvent::Joined { .. })
    ));
    assert!(matches!(
        served.events.try_recv(),
        Ok(MasterEvent::Left { .. })
    ));
    served.master.abandon();
}

/// A replica that has greeted and begun, with nothing in its log.
fn following() -> (Following, ReplicaSession, Master) {
    let master = master(config("m", ASYNC), SimulatedDisk::new());
    for number in 0..5 {
        append(&master, "t", &[number; 300]);
    }
    master.write_out().expect("written");
    let following = Following {
        target: Target {
            address: "nowhere:1".to_owned(),
            member: Some(MemberId(0)),
            epoch: 0,
        },
        store: Arc::new(follower(config("r", ASYNC), SimulatedDisk::new())),
        identity: identity(1),
        config: limits(),
        events: unbounded_channel().0,
        followed: Arc::<Followed>::default(),
    };
    let mut out = Vec::new();
    let mut session = ReplicaSession::new(&following, NOW, &mut out);
    let greeting = Greeting {
        leads: true,
        ..Greeting::of(&identity(0), 1, &master)
    };
    session
        .receive(Frame::Greeting(greeting), &following, NOW, &mut out)
        .expect("welcome");
    assert!(matches!(frame(&out[1]), Some(Kind::Begin)));
    (following, session, master)
}

enum Kind {
    Begin,
    Report(Report),
}

fn frame(outgoing: &Outgoing) -> Option<Kind> {
    let mut decoder = Decoder::new();
    let greeting = Greeting::of(
        &identity(0),
        1,
        &follower(config("g", ASYNC), SimulatedDisk::new()),
    );
    let greeting = rmq_replication::wire::encode(&Frame::Greeting(greeting));
    decoder.push(&greeting.head);
    decoder.frame().expect("a greeting");
    decoder.push(&outgoing.head);
    match decoder.frame() {
        Ok(Some(Frame::Begin { .. })) => Some(Kind::Begin),
        Ok(Some(Frame::Report(report))) => Some(Kind::Report(report)),
        _ => None,
    }
}

/// The frames that a member has sent, as the other side sees them: what it fetches, what it gives, and what it does not have.
fn fetching(out: &[Outgoing]) -> Vec<String> {
    let mut decoder = Decoder::new();
    let store = follower(config("g", ASYNC), SimulatedDisk::new());
    let greeting = Greeting::of(&identity(0), 1, &store);
    store.abandon();
    decoder.push(&rmq_replication::wire::encode(&Frame::Greeting(greeting)).head);
    decoder.frame().expect("a greeting");
    let mut found = Vec::new();
    for outgoing in out {
        decoder.push(&outgoing.head);
        decoder.push(&outgoing.bytes);
        found.extend(match decoder.frame().expect("a frame").expect("whole") {
            Frame::Fetch {
                number,
                position,
                end,
                epoch,
            } => Some(format!("{number}: fetch {position}..{end} of {epoch}")),
            Frame::Fetched {
                number,
                position,
                end,
                bytes,
            } => Some(format!(
                "{number}: {} bytes at {position}..{end}",
                bytes.len()
            )),
            Frame::Missing { number, text } => Some(format!("{number}: {text}")),
            _ => None,
        });
    }
    found
}

fn fetch(number: u64, from: u64, to: u64, epoch: u64) -> Frame<'static> {
    Frame::Fetch {
        number,
        position: LogPosition(from),
        end: LogPosition(to),
        epoch,
    }
}

/// An answer of 100 bytes to the first question.
fn fetched(number: u64, from: u64, to: u64, bytes: &[u8]) -> Frame<'_> {
    Frame::Fetched {
        number,
        position: LogPosition(from),
        end: LogPosition(to),
        bytes,
    }
}

fn piece(from: u64, to: u64) -> LogPiece {
    LogPiece {
        position: LogPosition(from),
        end: LogPosition(to),
        bytes: vec![7; 100],
    }
}

/// What may be asked of the log up to a position that both have, and what not.
fn wrong_fetches(common: u64) -> Vec<(&'static str, ReasonKind, Vec<Frame<'static>>)> {
    let position = ReasonKind::Position;
    vec![
        ("nothing", position, vec![fetch(1, 0, 0, 1)]),
        ("backwards", position, vec![fetch(1, 5, 4, 1)]),
        (
            "more than both have",
            position,
            vec![fetch(1, 0, common + 1, 1)],
        ),
        ("anything", position, vec![fetch(1, 0, u64::MAX, 1)]),
        (
            "from further on",
            position,
            vec![fetch(1, u64::MAX - 1, u64::MAX, 1)],
        ),
        ("of another epoch", position, vec![fetch(1, 0, common, 2)]),
        (
            "two at once",
            ReasonKind::Protocol,
            vec![fetch(1, 0, common, 1), fetch(2, 0, common, 1)],
        ),
        (
            "an answer that nobody waits for",
            ReasonKind::Protocol,
            vec![fetched(1, 0, 100, &[7; 100])],
        ),
        (
            "a refusal of nothing",
            ReasonKind::Protocol,
            vec![Frame::Missing {
                number: 1,
                text: "none".to_owned(),
            }],
        ),
    ]
}

/// Answers that are none to the question for the log from 0 on.
fn wrong_answers() -> [(&'static str, ReasonKind, Frame<'static>); 4] {
    const BYTES: [u8; 100] = [7; 100];
    [
        (
            "another question",
            ReasonKind::Protocol,
            fetched(2, 0, 100, &BYTES),
        ),
        (
            "another place",
            ReasonKind::Position,
            fetched(1, 1, 101, &BYTES),
        ),
        ("no bytes", ReasonKind::Position, fetched(1, 0, 100, &[])),
        (
            "an end in the middle",
            ReasonKind::Position,
            fetched(1, 0, 99, &BYTES),
        ),
    ]
}

#[test]
fn a_master_gives_and_asks_for_what_both_have_and_nothing_else() {
    let copied = || {
        let mut served = Served::begun();
        let end = served.send().pop().expect("sent");
        served.receive(Frame::Report(at(end, 0))).expect("counts");
        (served, end)
    };
    let (mut served, end) = copied();
    let mut out = Vec::new();
    assert_eq!(served.session.fetches(), None);
    served.receive(fetch(1, 0, end, 1)).expect("both have it");
    let want = served.session.fetches().expect("to be read");
    assert_eq!((want.from, want.bytes_max as u64), (LogPosition(0), end));
    assert_eq!(served.session.fetches(), None, "it is read once");
    served.session.fetched(Ok(piece(0, 100)), &mut out);
    served.receive(fetch(2, 0, end, 1)).expect("the next one");
    served.session.fetches().expect("to be read");
    let reason = Reason::new(ReasonKind::Store, "the disk is broken");
    served.session.fetched(Err(reason), &mut out);
    assert_eq!(
        fetching(&out),
        ["1: 100 bytes at 0..100", "2: the disk is broken"]
    );
    served.master.abandon();

    for (what, kind, frames) in wrong_fetches(end) {
        let (mut served, _) = copied();
        let mut outcomes = frames.into_iter().map(|frame| served.receive(frame));
        let refused = outcomes.find_map(Result::err).expect(what);
        assert_eq!(refused.kind, kind, "{what}: {refused}");
        served.master.abandon();
    }
    let mut early = Served::greeted();
    let refused = early.receive(fetch(1, 0, 1, 1)).expect_err("not begun");
    assert_eq!(refused.kind, ReasonKind::Protocol);
    early.master.abandon();

    let asks = |served: &mut Served, end: u64| {
        let mut out = Vec::new();
        let answer = served
            .source
            .members
            .fetch(seat(1), LogPosition(0), LogPosition(end));
        served
            .session
            .tick(&served.source, NOW, &mut out)
            .expect("fine");
        (answer, fetching(&out))
    };
    let (mut served, end) = copied();
    let (mut answer, out) = asks(&mut served, end);
    assert_eq!(out, [format!("1: fetch 0..{end} of 1")]);
    served
        .receive(fetched(1, 0, 100, &[7; 100]))
        .expect("an answer");
    let found = answer.try_recv().expect("told").expect("a piece");
    assert_eq!(found, piece(0, 100));
    let (mut answer, _) = asks(&mut served, end);
    let missing = Frame::Missing {
        number: 2,
        text: "it is damaged".to_owned(),
    };
    served.receive(missing).expect("an answer");
    let reason = answer.try_recv().expect("told").expect_err("no piece");
    assert_eq!(reason.text, "it is damaged");
    // The connection ends before the answer comes.
    let (mut answer, _) = asks(&mut served, end);
    let over = Reason::new(ReasonKind::Silence, "over");
    served.session.end(&served.source, &over);
    assert!(answer.try_recv().is_err());
    served.master.abandon();

    for (what, kind, frame) in wrong_answers() {
        let (mut served, end) = copied();
        let (mut answer, _) = asks(&mut served, end);
        let refused = served.receive(frame).expect_err(what);
        assert_eq!(refused.kind, kind, "{what}: {refused}");
        let over = Reason::new(ReasonKind::Position, "over");
        served.session.end(&served.source, &over);
        assert!(answer.try_recv().is_err(), "{what}: nothing was given");
        served.master.abandon();
    }
}

#[test]
fn a_replica_gives_and_asks_for_what_both_have_and_nothing_else() {
    let copied = || {
        let (following, mut session, master) = following();
        let piece = master
            .log_piece(LogPosition(0), 1 << 20)
            .expect("readable")
            .expect("written");
        let marks = Marks {
            confirmed: piece.end,
            begin: LogPosition(0),
        };
        let mut out = Vec::new();
        let all = Frame::Piece {
            position: LogPosition(0),
            epoch: 1,
            marks,
            bytes: &piece.bytes,
        };
        session
            .receive(all, &following, NOW, &mut out)
            .expect("a piece");
        session.store(&following, NOW, &mut out).expect("stored");
        master.abandon();
        (following, session, piece.end.0)
    };
    let (following, mut session, end) = copied();
    let mut out = Vec::new();
    let ask = fetch(1, 0, end, 1);
    session
        .receive(ask, &following, NOW, &mut out)
        .expect("both have it");
    let want = session.fetches().expect("to be read");
    assert_eq!((want.from, want.bytes_max as u64), (LogPosition(0), end));
    session.fetched(Ok(piece(0, 100)), &mut out);
    let mut answer = following.followed.fetch(LogPosition(0), LogPosition(end));
    session.tick(&following, NOW, &mut out).expect("fine");
    let wanted = [
        "1: 100 bytes at 0..100".to_owned(),
        format!("1: fetch 0..{end} of 1"),
    ];
    assert_eq!(fetching(&out), wanted);
    session
        .receive(fetched(1, 0, 100, &[7; 100]), &following, NOW, &mut out)
        .expect("an answer");
    let found = answer.try_recv().expect("told").expect("a piece");
    assert_eq!(found, piece(0, 100));
    following.store.abandon();

    for (what, kind, frames) in wrong_fetches(end) {
        let (following, mut session, _) = copied();
        let mut outcomes = frames
            .into_iter()
            .map(|frame| session.receive(frame, &following, NOW, &mut Vec::new()));
        let refused = outcomes.find_map(Result::err).expect(what);
        assert_eq!(refused.reason().kind, kind, "{what}: {refused:?}");
        following.store.abandon();
    }
    for (what, kind, frame) in wrong_answers() {
        let (following, mut session, end) = copied();
        let mut answer = following.followed.fetch(LogPosition(0), LogPosition(end));
        session
            .tick(&following, NOW, &mut Vec::new())
            .expect("fine");
        let refused = session
            .receive(frame, &following, NOW, &mut Vec::new())
            .expect_err(what);
        assert_eq!(refused.reason().kind, kind, "{what}: {refused:?}");
        drop(session);
        assert!(answer.try_recv().is_err(), "{what}: nothing was given");
        following.store.abandon();
    }
}

/// A master of a release before this one is not asked: it would end the connection.
#[test]
fn a_member_that_gives_nothing_is_not_asked() {
    let (following, _, master) = following();
    let mut out = Vec::new();
    let mut session = ReplicaSession::new(&following, NOW, &mut out);
    let greeting = Greeting {
        leads: true,
        fetches: false,
        ..Greeting::of(&identity(0), 1, &master)
    };
    session
        .receive(Frame::Greeting(greeting), &following, NOW, &mut out)
        .expect("welcome");
    out.clear();
    let mut answer = following.followed.fetch(LogPosition(0), LogPosition(1));
    session.tick(&following, NOW, &mut out).expect("fine");
    assert_eq!(fetching(&out), Vec::<String>::new());
    let reason = answer.try_recv().expect("told").expect_err("no piece");
    assert_eq!(reason.kind, ReasonKind::Version);
    following.store.abandon();
    master.abandon();
}

#[test]
fn a_master_that_sends_what_cannot_be_changes_nothing() {
    let marks = Marks {
        confirmed: LogPosition(u64::MAX),
        begin: LogPosition(0),
    };
    let (first, _, master) = following();
    first.store.abandon();
    let piece = master
        .log_piece(LogPosition(0), 1 << 20)
        .expect("readable")
        .expect("written");
    let second = master
        .log_piece(LogPosition(0), 1)
        .expect("readable")
        .expect("written")
        .end;
    let mut damaged = piece.bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let cut = &piece.bytes[..piece.bytes.len() - 1];
    let later = &piece.bytes[second.0 as usize..];
    let wrong: [(&str, u64, u64, &[u8]); 6] = [
        ("from further on", second.0, 1, later),
        ("from anywhere", 1 << 40, 1, &piece.bytes),
        ("of another epoch", 0, 2, &piece.bytes),
        ("damaged", 0, 1, &damaged),
        ("cut off", 0, 1, cut),
        ("from elsewhere in the log", 0, 1, later),
    ];
    for (what, position, epoch, bytes) in wrong {
        let (following, mut session, other) = following();
        let mut out = Vec::new();
        let frame = Frame::Piece {
            position: LogPosition(position),
            epoch,
            marks,
            bytes,
        };
        match session.receive(frame, &following, NOW, &mut out) {
            Err(Ended::Again(reason)) => {
                assert_eq!(reason.kind, ReasonKind::Position, "{what}: {reason}")
            }
            other => panic!("{what}: {other:?}"),
        }
        session
            .store(&following, NOW, &mut out)
            .expect("nothing to store");
        session.confirm(&following).expect("nothing to confirm");
        let positions = following.store.positions();
        assert_eq!((positions.appended, positions.confirmed), (0, 0), "{what}");
        assert!(out.is_empty(), "{what}: nothing is reported");
        following.store.abandon();
        other.abandon();
    }
    // The piece as it is: copied, reported, and confirmed as far as it is here.
    let (following, mut session, other) = following();
    let mut out = Vec::new();
    // Frames leave these bytes to the store.
    for at in 0..piece.bytes.len() {
        let mut bytes = piece.bytes.clone();
        bytes[at] ^= 0x10;
        let frame = Frame::Piece {
            position: LogPosition(0),
            epoch: 1,
            marks,
            bytes: &bytes,
        };
        let taken = session.receive(frame, &following, NOW, &mut out);
        assert!(taken.is_err(), "byte {at} is changed");
    }
    let frame_of_piece = Frame::Piece {
        position: LogPosition(0),
        epoch: 1,
        marks,
        bytes: &piece.bytes,
    };
    session
        .receive(frame_of_piece, &following, NOW, &mut out)
        .expect("a piece");
    session.store(&following, NOW, &mut out).expect("stored");
    match frame(&out[0]) {
        Some(Kind::Report(report)) => assert_eq!(report, at(piece.end.0, 0)),
        _ => panic!("{out:?}"),
    }
    session.confirm(&following).expect("confirmed");
    assert_eq!(following.store.positions().confirmed, piece.end.0);
    following.store.abandon();
    other.abandon();
    master.abandon();
}

/// Neither side takes a greeting that contradicts itself.
#[test]
fn epochs_in_no_order_are_refused() {
    let epoch = |number, first| Epoch {
        number,
        first: LogPosition(first),
    };
    for epochs in [
        vec![],
        vec![epoch(2, 0), epoch(1, 5)],
        vec![epoch(1, 5), epoch(2, 5)],
        vec![epoch(1, 0), epoch(9, 5)],
    ] {
        let served = Served::greeted();
        let wrong = Greeting {
            epochs,
            ..served.theirs.clone()
        };
        let mut session = MasterSession::new(limits(), NOW);
        let refused = session.receive(Frame::Greeting(wrong), &served.source, NOW, &mut Vec::new());
        assert_eq!(refused.expect_err("no order").kind, ReasonKind::Protocol);
        served.master.abandon();
    }
}

/// A member that is no master has a log, and nobody compares with it: nothing is cut because of it, and nobody takes the logs for parted.
#[test]
fn the_log_of_a_member_that_is_no_master_says_nothing() {
    let other = follower(config("m", ASYNC), SimulatedDisk::new());
    let lone = master(config("r", ASYNC), SimulatedDisk::new());
    append(&lone, "t", &[1; 300]);
    lone.write_out().expect("written");
    let disk = SimulatedDisk::new();
    let store = follower(config("f", ASYNC), disk);
    let piece = lone
        .log_piece(LogPosition(0), 1 << 20)
        .expect("readable")
        .expect("written");
    store.copy(LogPosition(0), &piece.bytes).expect("copied");
    assert!(
        store
            .try_store(piece.end)
            .is_some_and(|stored| stored.is_ok())
    );
    let following = Following {
        target: Target {
            address: "nowhere:1".to_owned(),
            member: Some(MemberId(0)),
            epoch: 0,
        },
        store: Arc::new(store),
        identity: identity(1),
        config: limits(),
        events: unbounded_channel().0,
        followed: Arc::<Followed>::default(),
    };
    let mut out = Vec::new();
    let mut session = ReplicaSession::new(&following, NOW, &mut out);
    let greeting = Frame::Greeting(Greeting::of(&identity(0), 1, &other));
    match session.receive(greeting, &following, NOW, &mut out) {
        Err(Ended::Again(reason)) => assert_eq!(reason.kind, ReasonKind::NotMaster),
        other => panic!("{other:?}"),
    }
    assert_eq!(following.store.positions().written, piece.end.0);
    following.store.abandon();
    lone.abandon();
    other.abandon();
}
