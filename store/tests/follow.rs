//! A follower that is fed with the bytes of another store's log ends with the same log, queues, index and tables, whatever happens in
//! between; and a log that is cut is as one that never was longer. Budget: 20 s.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::acts::{KEYS, QUEUES, act, send, settings};
use common::{
    ASYNC, Clock, Random, State, copy, end_somehow, follow, message, open, state, stored,
};
use rmq_protocol::message::LogPosition;
use rmq_store::fs::{Crash, FaultyFs, Fs, Operation, SimulatedDisk};
use rmq_store::{
    CopyError, EpochError, FlushMode, Follower, Master, PromoteError, RetentionRound, Store,
    StoreConfig, TruncateError,
};

fn master_state(master: &Master) -> State {
    state(master, &QUEUES, &KEYS)
}

fn follower_state(follower: &Follower) -> State {
    state(follower, &QUEUES, &KEYS)
}

fn written(store: &Store) -> u64 {
    store.positions().written
}

/// Copies everything and confirms it.
fn follow_to_end(master: &Master, follower: &Follower) {
    let end = copy(master, follower, 1 << 15, u64::MAX);
    assert_eq!(end.0, written(master));
    follower.confirm(end).expect("confirmed");
}

fn expire(store: &Store, clock: &Clock, needed_from: Option<u64>) -> u64 {
    let round = RetentionRound {
        now_ms: Some(clock.now()),
        needed_from,
    };
    store.run_retention(round).expect("removed").segments
}

/// What the master has not removed stays.
fn expire_as(master: &Master, follower: &Follower, clock: &Clock) {
    follower.master_begins(LogPosition(master.positions().min));
    expire(follower, clock, None);
    assert!(follower.positions().min <= master.positions().min);
}

/// A history of both at once: the follower copies some, is told some, expires, seals, ends and starts.
fn history(seed: u64) -> u64 {
    let mut random = Random(seed);
    let clock = Clock::at(1_000_000);
    let flush = match random.chance(2) {
        true => FlushMode::Sync,
        false => ASYNC,
    };
    let config = || settings(&clock, flush);
    let (master_disk, mut disk) = (SimulatedDisk::new(), SimulatedDisk::new());
    let mut master = open(config(), master_disk.clone()).expect("opens");
    let mut follower = follow(config(), disk.clone());
    let mut expired = 0;
    let actions = 40 + random.below(80);
    for _ in 0..actions {
        act(&mut random, &master, &clock);
        match random.below(9) {
            0 | 1 => {
                let until = random.below(written(&master) + 1);
                let end = copy(&master, &follower, 1 << random.below(16), until);
                if random.chance(2) {
                    follower.confirm(end).expect("confirmed");
                }
            }
            2 => follower
                .confirm(LogPosition(random.below(written(&master) + 1)))
                .expect("confirmed"),
            3 if random.chance(3) => follower.checkpoint().expect("sealed"),
            4 if random.chance(4) => {
                // What the follower has not copied yet is needed.
                let needed = follower.positions().dispatched;
                expired += expire(&master, &clock, Some(needed));
                expire_as(&master, &follower, &clock);
            }
            5 if random.chance(4) => {
                disk = end_somehow(follower, disk, flush, &mut random);
                follower = follow(config(), disk.clone());
            }
            6 if random.chance(6) => {
                master.close().expect("closed");
                drop(master);
                master = open(config(), master_disk.clone()).expect("opens");
            }
            _ => {}
        }
        let (here, there) = (follower.positions(), master.positions());
        assert!(
            here.dispatched <= here.confirmed.min(here.written),
            "seed {seed}"
        );
        assert!(here.written <= there.written, "seed {seed}");
    }
    follow_to_end(&master, &follower);
    clock.advance(500);
    expired += expire(&master, &clock, None);
    expire_as(&master, &follower, &clock);
    let expected = master_state(&master);
    assert!(expected == follower_state(&follower), "seed {seed}");
    // A start finds the same, and so does a master that is opened on what the follower has.
    follower.close().expect("closed");
    drop(follower);
    let follower = follow(config(), disk.clone());
    follower
        .confirm(LogPosition(written(&follower)))
        .expect("confirmed");
    assert!(expected == follower_state(&follower), "seed {seed}, again");
    follower.abandon();
    drop(follower);
    let other = open(config(), disk).expect("opens");
    // Its life was not closed, so another epoch has begun.
    let [mut epochs, before] = [other.epochs(), expected.epochs.clone()];
    let begun = epochs.pop().expect("an epoch");
    let last = before.last().expect("an epoch").number;
    assert_eq!((begun.number, begun.first.0), (last + 1, written(&other)));
    assert!(epochs == before || written(&other) == 0, "seed {seed}");
    let found = State {
        epochs: before,
        ..master_state(&other)
    };
    assert!(expected == found, "seed {seed}, as master");
    for (topic, id) in QUEUES {
        let next = |store: &Master| {
            let queue = store.queue(topic, id).expect("a queue");
            let appended = store.append(&message(&queue, b"next", b"", ""));
            appended.expect("appended")
        };
        assert_eq!(next(&master), next(&other), "seed {seed}");
    }
    master.abandon();
    other.abandon();
    expired
}

fn cases(default: u64) -> std::ops::Range<u64> {
    match std::env::var("RMQ_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("RMQ_CASES").map_or(default, |n| n.parse().expect("a number")),
    }
}

#[test]
fn a_follower_ends_as_its_master() {
    let mut expired = 0;
    for seed in cases(60) {
        expired += history(seed);
    }
    assert!(expired > 0, "segments expire in these histories");
}

/// The follower's machine stops after every step that it takes on its disk; it starts again, and follows to the end. `RMQ_CASES`: of how
/// many histories.
#[test]
fn a_follower_that_crashes_at_any_step_ends_as_its_master() {
    for seed in cases(1) {
        for flush in [FlushMode::Sync, ASYNC] {
            crash_at_each_step(seed, flush);
        }
    }
}

fn crash_at_each_step(seed: u64, flush: FlushMode) {
    let mut random = Random(7 + seed);
    let clock = Clock::at(1_000_000);
    let config = || settings(&clock, flush);
    let disk = SimulatedDisk::new();
    let master = open(config(), SimulatedDisk::new()).expect("opens");
    let follower = follow(config(), disk.clone());
    for round in 0..60 {
        act(&mut random, &master, &clock);
        let end = copy(&master, &follower, 1 << 12, u64::MAX);
        if round % 3 == 0 {
            follower.confirm(end).expect("confirmed");
        }
        if round % 10 == 9 {
            follower.checkpoint().expect("sealed");
        }
        if round == 40 {
            clock.advance(900);
            follower.master_begins(LogPosition(u64::MAX));
            expire(&follower, &clock, None);
        }
    }
    follow_to_end(&master, &follower);
    follower.close().expect("closed");
    drop(follower);
    // The log as it was before anything expired, to copy from.
    let source = follow(config(), SimulatedDisk::new());
    copy(&master, &source, 1 << 15, u64::MAX);
    clock.advance(500);
    expire(&master, &clock, None);
    let expected = master_state(&master);
    let meet = |steps: usize, crash: Crash| {
        let what = format!("seed {seed}, {flush:?}, {crash:?} after step {steps}");
        let left = disk.after_crash(steps, crash);
        let (follower, report) = Follower::open(config(), Arc::new(left))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(report.damaged.is_empty(), "{what}: {report:?}");
        let end = copy(&source, &follower, 1 << 15, u64::MAX);
        follower.confirm(end).expect("confirmed");
        expire_as(&master, &follower, &clock);
        assert!(expected == follower_state(&follower), "{what}");
        follower.abandon();
    };
    let crashes: Vec<(usize, Crash)> = (0..=disk.steps())
        .flat_map(|steps| {
            let torn = Crash::Torn { seed: steps as u64 };
            // Without a sync the power takes what it took before.
            let is_news = steps == 0 || disk.is_sync(steps - 1);
            let cut = is_news.then_some((steps, Crash::PowerLoss));
            cut.into_iter().chain([(steps, torn)])
        })
        .collect();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((steps, crash)) = crashes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    meet(*steps, *crash);
                }
            });
        }
    });
    master.abandon();
    source.abandon();
}

#[test]
fn what_was_just_copied_is_shown_without_reading_it_again() {
    let clock = Clock::at(1_000_000);
    let config = || settings(&clock, ASYNC);
    let master = open(config(), SimulatedDisk::new()).expect("opens");
    let disk = FaultyFs::new(Arc::new(SimulatedDisk::new()));
    let opened = Follower::open(config(), Arc::new(disk.clone()));
    let (follower, _) = opened.expect("opens");
    for number in 0..40 {
        send(&master, 0, 800, number % KEYS.len() as u64);
    }
    let end = copy(&master, &follower, 1 << 13, u64::MAX);
    assert_eq!(end.0, written(&master));
    disk.record();
    // In the middle of a record, as a rule.
    for part in 1..=7 {
        let confirmed = follower.confirm(LogPosition(end.0 * part / 7));
        confirmed.expect("confirmed");
    }
    let is_read = |(what, path): &(Operation, String)| {
        matches!(what, Operation::Read | Operation::ReadCached) && path.contains("/log/")
    };
    assert!(!disk.recorded().iter().any(is_read));
    assert_eq!(follower_state(&follower), master_state(&master));
    follower.close().expect("closed");
    master.close().expect("closed");
}

/// Where records end in a log, and segments begin.
fn ends(store: &Store) -> Vec<u64> {
    let mut at = LogPosition(store.positions().min);
    let mut ends = vec![at.0];
    while let Some(piece) = store.log_piece(at, 1).expect("readable") {
        at = piece.end;
        ends.push(at.0);
    }
    ends
}

/// The records of a log from a position on.
fn records_from(store: &Store, mut at: LogPosition) -> Vec<u8> {
    let mut records = Vec::new();
    while let Some(piece) = store.log_piece(at, 1).expect("readable") {
        // A filler has 8 bytes, a record more.
        if piece.bytes.len() > 8 {
            let is_last = piece.end.0 - at.0 != piece.bytes.len() as u64;
            let bytes = piece.bytes.len() - if is_last { 8 } else { 0 };
            records.extend_from_slice(&piece.bytes[..bytes]);
        }
        at = piece.end;
    }
    records
}

/// What the quarantine of a store has.
fn kept(disk: &SimulatedDisk) -> Vec<u8> {
    let folder = Path::new("store/quarantine");
    let names = disk.list(folder).expect("listed");
    let mut names = names.iter().filter(|name| name.ends_with(".log"));
    match (names.next(), names.next()) {
        (Some(name), None) => disk.read(&folder.join(name), 1 << 20).expect("readable"),
        (None, _) => Vec::new(),
        more => panic!("{more:?}"),
    }
}

/// A log is cut at any record behind what is confirmed, with a crash after every step of that (apache/rocketmq #10666: what was cut is there again
/// after a crash; #6665: positions are not cut with the log).
#[test]
fn what_is_cut_never_was() {
    for seed in cases(6) {
        let mut random = Random(seed);
        let clock = Clock::at(1_000_000);
        let config = || settings(&clock, FlushMode::Sync);
        let disk = SimulatedDisk::new();
        let master = open(config(), SimulatedDisk::new()).expect("opens");
        for _ in 0..20 + random.below(60) {
            act(&mut random, &master, &clock);
        }
        let ends = ends(&master);
        let cut_at = random.below(ends.len() as u64) as usize;
        let position = LogPosition(ends[cut_at]);
        let confirmed = LogPosition(ends[random.below(cut_at as u64 + 1) as usize]);
        let prefix = || {
            let follower = follow(config(), SimulatedDisk::new());
            copy(&master, &follower, 1, position.0);
            follower.confirm(confirmed).expect("confirmed");
            follower
        };
        let follower = follow(config(), disk.clone());
        copy(&master, &follower, 1 << 14, u64::MAX);
        follower.confirm(confirmed).expect("confirmed");
        if random.chance(2) {
            follower.checkpoint().expect("sealed");
        }
        let tail = records_from(&master, position);
        let begun = disk.steps();
        let file = follower.truncate_to(position).expect("cut");
        assert_eq!(file.is_some(), !tail.is_empty());
        let ended = disk.steps();
        let same = |follower: Follower, what: &str| {
            let prefix = prefix();
            follower.confirm(confirmed).expect("confirmed");
            assert!(
                follower_state(&follower) == follower_state(&prefix),
                "{what}"
            );
            // Both become masters, and place the next message alike.
            let [one, other] = [follower, prefix].map(|it| it.promote(2).expect("promoted"));
            for master in [&one, &other] {
                // Nobody follows it yet that must.
                master.replicated(None);
                send(master, 0, 10, 0);
                send(master, 2, 40_000, 1);
            }
            assert!(master_state(&one) == master_state(&other), "{what}, later");
            one.abandon();
            other.abandon();
        };
        for steps in begun..=ended {
            let seed_of_torn = steps as u64;
            let crashes = [
                Crash::PowerLoss,
                Crash::Kill,
                Crash::Torn { seed: seed_of_torn },
            ];
            // The first history meets each crash at each step.
            let (skip, step) = if seed == 0 { (0, 1) } else { (steps % 3, 3) };
            for crash in crashes.into_iter().skip(skip).step_by(step) {
                let what = format!("seed {seed}: cut at {position}, {crash:?} after step {steps}");
                let left = disk.after_crash(steps, crash);
                let (follower, report) = Follower::open(config(), Arc::new(left.clone()))
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(
                    [position.0, written(&master)].contains(&report.end),
                    "{what}: {report:?}"
                );
                assert!(report.damaged.is_empty(), "{what}: {report:?}");
                // What is gone from the log is in the quarantine.
                if report.end < written(&master) {
                    assert_eq!(kept(&left), tail, "{what}");
                }
                follower
                    .truncate_to(position)
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                same(follower, &what);
            }
        }
        same(follower, &format!("seed {seed}: cut at {position}"));
        master.abandon();
    }
}

#[test]
fn what_is_confirmed_or_inside_of_a_record_is_not_cut() {
    let clock = Clock::at(1_000);
    let config = || settings(&clock, FlushMode::Sync);
    let master = open(config(), SimulatedDisk::new()).expect("opens");
    let ends: Vec<LogPosition> = (0..3).map(|key| send(&master, 0, 100, key)).collect();
    let follower = follow(config(), SimulatedDisk::new());
    copy(&master, &follower, 1 << 14, u64::MAX);
    follower.confirm(ends[1]).expect("confirmed");
    let before = follower_state(&follower);
    assert!(matches!(
        follower.truncate_to(ends[0]),
        Err(TruncateError::Confirmed { .. })
    ));
    assert!(matches!(
        follower.truncate_to(LogPosition(ends[1].0 + 1)),
        Err(TruncateError::NotAtRecord { .. })
    ));
    assert!(before == follower_state(&follower));
    follower.truncate_to(ends[2]).expect("nothing to cut");
    follower.truncate_to(ends[1]).expect("cut");
    assert_eq!(written(&follower), ends[1].0);
    follower.abandon();
    master.abandon();
}

#[test]
fn only_what_follows_and_is_intact_is_copied() {
    let clock = Clock::at(1_000);
    let config = || settings(&clock, FlushMode::Sync);
    let master = open(config(), SimulatedDisk::new()).expect("opens");
    for key in 0..4 {
        send(&master, 0, 20_000, key);
    }
    let follower = follow(config(), SimulatedDisk::new());
    let start = LogPosition(0);
    let first = master.log_piece(start, 1).expect("readable").expect("some");
    let second = master
        .log_piece(first.end, 1)
        .expect("readable")
        .expect("some");
    let refused = |position, bytes: &[u8]| follower.copy(position, bytes).expect_err("refused");
    assert!(matches!(
        refused(first.end, &second.bytes),
        CopyError::NotNext { end: 0, .. }
    ));
    assert!(matches!(
        refused(start, &second.bytes),
        CopyError::Damaged { position: 0, .. }
    ));
    for at in (0..first.bytes.len()).step_by(97) {
        let mut bytes = first.bytes.clone();
        bytes[at] ^= 1;
        let error = refused(start, &bytes);
        assert!(matches!(error, CopyError::Damaged { .. }), "{at}: {error}");
        let cut = &first.bytes[..at];
        assert_eq!(follower.copy(start, cut).is_ok(), at == 0);
    }
    let both = [&first.bytes[..], &second.bytes[..second.bytes.len() - 1]].concat();
    assert!(matches!(
        refused(start, &both),
        CopyError::Damaged { position, .. } if position == first.end.0
    ));
    assert_eq!(follower.positions().appended, 0);
    let end = copy(&master, &follower, 1 << 20, u64::MAX);
    assert_eq!(end.0, written(&master));
    follower.abandon();

    let larger = StoreConfig {
        segment_bytes: 128 << 10,
        ..config()
    };
    let follower = follow(larger, SimulatedDisk::new());
    let mut at = start;
    let error = loop {
        let piece = master.log_piece(at, 1).expect("readable").expect("some");
        match follower.copy(at, &piece.bytes) {
            Ok(end) => at = end,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, CopyError::SegmentSize { theirs, ours } if theirs == 64 << 10 && ours == 128 << 10),
        "{error}"
    );
    follower.abandon();
    master.abandon();
}

#[test]
fn an_epoch_begins_at_the_end_and_a_promoted_follower_continues() {
    let clock = Clock::at(1_000);
    let config = || settings(&clock, FlushMode::Sync);
    let (disk, old_disk) = (SimulatedDisk::new(), SimulatedDisk::new());
    let old = open(config(), old_disk.clone()).expect("opens");
    let shared = send(&old, 0, 100, 0);
    let follower = follow(config(), disk.clone());
    copy(&old, &follower, 1 << 14, u64::MAX);
    follower.confirm(shared).expect("confirmed");
    assert!(matches!(
        follower.begin_epoch(2, LogPosition(0)),
        Err(EpochError::NotAtEnd { .. })
    ));
    let master = follower.promote(2).expect("promoted");
    // Nobody follows it yet that must.
    master.replicated(None);
    let lost = send(&old, 0, 300, 1);
    send(&master, 0, 200, 2);
    old.close().expect("closed");
    drop(old);
    let old = follow(config(), old_disk);
    let common = rmq_store::common_end(
        (&old.epochs(), LogPosition(written(&old))),
        (&master.epochs(), LogPosition(written(&master))),
    );
    assert_eq!(common, Some(shared));
    assert_eq!(written(&old), lost.0);
    // The old master has shown what nobody else has: it was closed with it in its index.
    assert!(matches!(
        old.truncate_to(shared),
        Err(TruncateError::Confirmed { .. })
    ));
    old.abandon();
    master.close().expect("closed");
    drop(master);
    let again = follow(config(), disk.clone());
    assert_eq!(again.epochs().len(), 2);
    assert!(matches!(
        again.promote(2),
        Err(PromoteError::Epoch(EpochError::NotLater { .. }))
    ));
    let again = open(config(), disk).expect("opens");
    assert_eq!(again.epoch(), 3, "the life before was not closed");
    again.abandon();
}

/// With replicas that must have it, nothing is settled or visible before they do, and a failure ends the waiting.
#[test]
fn a_master_with_replicas_waits_for_them() {
    let clock = Clock::at(1_000);
    for flush in [FlushMode::Sync, ASYNC] {
        let disk = SimulatedDisk::new();
        let faulty = rmq_store::fs::FaultyFs::new(Arc::new(disk));
        let master = open(settings(&clock, flush), faulty.clone()).expect("opens");
        let first = send(&master, 0, 10, 0);
        master.replicated(Some(first));
        let queue = master.queue("t", 0).expect("a queue");
        let mut told = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..3 {
            let appended = master.append(&message(&queue, b"x", b"", ""));
            let end = appended.expect("appended").end;
            assert!(master.try_settle(end).is_none());
            let (done, outcome) = std::sync::mpsc::channel();
            master.settle(
                end,
                Box::new(move |settled| done.send(settled.is_ok()).expect("waited for")),
            );
            ends.push(end);
            told.push(outcome);
        }
        assert_eq!(queue.max_offset(), 1);
        master.replicated(Some(ends[0]));
        if flush == FlushMode::Sync {
            // The flusher may still be on its way.
            assert_eq!(told[0].recv(), Ok(true));
        } else {
            assert_eq!(told[0].try_recv(), Ok(true));
        }
        assert_eq!(queue.max_offset(), 2);
        assert!(told[1].try_recv().is_err() && told[2].try_recv().is_err());
        // Another part of the store fails: nobody writes the log, and everybody is told.
        let plan = rmq_store::fs::Fault {
            operation: rmq_store::fs::Operation::Create,
            path_contains: "tables".to_owned(),
            after: 0,
            times: 1,
            kind: std::io::ErrorKind::Other,
        };
        faulty.plan_errno(plan, 5);
        master.checkpoint().expect_err("the disk fails");
        assert_eq!(told[1].recv(), Ok(false));
        assert_eq!(told[2].recv(), Ok(false));
        assert_eq!(queue.max_offset(), 2);
        master.abandon();
    }
}

/// What a follower has is told apart from what is settled.
#[test]
fn a_follower_tells_what_it_has() {
    let clock = Clock::at(1_000);
    let config = || settings(&clock, FlushMode::Sync);
    let master = open(config(), SimulatedDisk::new()).expect("opens");
    let end = send(&master, 0, 100, 0);
    let follower = follow(config(), SimulatedDisk::new());
    let piece = master.log_piece(LogPosition(0), 1 << 10);
    let piece = piece.expect("readable").expect("some");
    follower.copy(piece.position, &piece.bytes).expect("copied");
    stored(&follower, end);
    assert!(follower.try_settle(end).is_none());
    assert_eq!(follower.find_queue("t", 0).expect("looked up"), None);
    follower.confirm(end).expect("confirmed");
    follower
        .try_settle(end)
        .expect("settled")
        .expect("settled well");
    let queue = follower.find_queue("t", 0).expect("looked up");
    assert_eq!(queue.expect("a queue").max_offset(), 1);
    follower.abandon();
    master.abandon();
}

#[test]
fn what_a_killed_follower_had_is_awaited_until_it_is_confirmed_again() {
    let clock = Clock::at(1_000);
    let config = || settings(&clock, FlushMode::Sync);
    let master = open(config(), SimulatedDisk::new()).expect("opens");
    send(&master, 0, 100, 0);
    let disk = SimulatedDisk::new();
    let follower = follow(config(), disk.clone());
    assert!(!follower.awaits_confirmation());
    follow_to_end(&master, &follower);
    let shown = written(&follower);
    follower.abandon();

    // Its readers had seen the queue.
    let follower = follow(config(), disk.clone());
    assert_eq!(follower.find_queue("t", 0).expect("looked up"), None);
    assert!(follower.awaits_confirmation());
    follower.confirm(LogPosition(shown)).expect("confirmed");
    let queue = follower.find_queue("t", 0).expect("looked up");
    assert_eq!(queue.expect("a queue").max_offset(), 1);
    assert!(!follower.awaits_confirmation());
    // What comes later is no part of it.
    send(&master, 0, 100, 0);
    copy(&master, &follower, 1 << 15, u64::MAX);
    assert!(!follower.awaits_confirmation());
    follower.close().expect("closed");

    let follower = follow(config(), disk);
    assert!(!follower.awaits_confirmation());
    let queue = follower.find_queue("t", 0).expect("looked up");
    assert_eq!(queue.expect("a queue").max_offset(), 1);
    follower.abandon();
    master.abandon();
}
