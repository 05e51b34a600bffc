//! A store that is made from a snapshot and copies the rest of the log ends as one that has copied everything, as far as both have the
//! log; and a crash in the middle leaves nothing or the whole. Budget: 20 s.

mod common;

use std::sync::Arc;

use common::acts::{KEYS, QUEUES, act, settings};
use common::{ASYNC, Clock, Random, State, copy, end_somehow, follow, open, state};
use rmq_protocol::message::{LogPosition, RecordView};
use rmq_store::fs::{Crash, Fs, SimulatedDisk};
use rmq_store::{
    FlushMode, Follower, History, InstallError, Installed, Installer, Master, OpenError,
    PromoteError, RetentionRound, Snapshot, SnapshotError, Store, StoreConfig, Table, TableId,
    TruncateError,
};

fn cases(default: u64) -> std::ops::Range<u64> {
    match std::env::var("RMQ_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("RMQ_CASES").map_or(default, |n| n.parse().expect("a number")),
    }
}

fn whole(store: &Store) -> State {
    state(store, &QUEUES, &KEYS)
}

/// What a store says that has the log from `begins` on only.
fn from(mut whole: State, begins: u64) -> State {
    let behind = |record: &[u8]| {
        let record = RecordView::parse(record).expect("a record");
        record.position().0 >= begins
    };
    let gone = whole
        .epochs
        .windows(2)
        .take_while(|pair| pair[1].first.0 <= begins)
        .count();
    whole.epochs.drain(..gone);
    for (_, (min, max, _, records)) in &mut whole.queues {
        records.retain(|record| behind(record));
        if *max >= 0 {
            *min = *max - records.len() as i64;
        }
    }
    for (_, positions) in &mut whole.keys {
        positions.retain(|position| *position >= begins);
    }
    whole
}

/// Both say the same; of the log, what the second has.
fn assert_same(mut expected: State, found: &State, what: &str) {
    let bytes = expected.bytes.len().saturating_sub(found.bytes.len());
    expected.bytes.drain(..bytes);
    expected.log.0 = found.log.0;
    assert!(expected.epochs == found.epochs, "{what}: epochs");
    assert!(
        expected.log == found.log && expected.bytes == found.bytes,
        "{what}: log"
    );
    for (one, other) in expected.queues.iter().zip(&found.queues) {
        let bounds = |queue: &common::QueueState| (queue.0, queue.1, queue.2, queue.3.len());
        assert!(
            one == other,
            "{what}: {} {:?} {:?}",
            one.0,
            bounds(&one.1),
            bounds(&other.1)
        );
    }
    assert!(expected.keys == found.keys, "{what}: keys");
    assert!(
        expected.settings == found.settings && expected.rows == found.rows,
        "{what}: settings"
    );
}

/// Copies everything, epoch by epoch, and confirms it.
fn follow_to_end(master: &Master, follower: &Follower) {
    for epoch in master.epochs() {
        if epoch.number > follower.epoch() {
            copy(master, follower, 1, epoch.first.0);
            follower
                .begin_epoch(epoch.number, epoch.first)
                .expect("it begins");
        }
    }
    let end = copy(master, follower, 1 << 15, u64::MAX);
    follower.confirm(end).expect("confirmed");
}

fn expire(store: &Store, clock: &Clock) {
    let round = RetentionRound {
        now_ms: Some(clock.now()),
        needed_from: None,
    };
    store.run_retention(round).expect("removed");
}

fn install(
    config: StoreConfig,
    fs: impl Fs,
    history: History,
    chunks: &[Vec<u8>],
) -> Result<Installed, InstallError> {
    let mut installer = Installer::new(config, Arc::new(fs), history)?;
    chunks.iter().try_for_each(|chunk| installer.take(chunk))?;
    installer.finish()
}

fn chunks(mut snapshot: Snapshot) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    while let Some(chunk) = snapshot.next_chunk().expect("readable") {
        chunks.push(chunk);
    }
    chunks
}

fn history(seed: u64) {
    let mut random = Random(seed);
    let clock = Clock::at(1_000_000);
    let flush = match random.chance(2) {
        true => FlushMode::Sync,
        false => ASYNC,
    };
    let config = || settings(&clock, flush);
    let master = open(config(), SimulatedDisk::new()).expect("opens");
    let all = follow(config(), SimulatedDisk::new());
    let more = |random: &mut Random| {
        for _ in 0..random.below(60) {
            act(random, &master, &clock);
            if random.chance(20) {
                master.begin_epoch(master.epoch() + 1).expect("it begins");
            }
        }
    };
    more(&mut random);
    follow_to_end(&master, &all);
    if random.chance(2) {
        clock.advance(700);
        expire(&master, &clock);
        more(&mut random);
    }
    // Of the master, or of a follower that has all.
    let mut snapshot = match random.chance(4) {
        true => {
            follow_to_end(&master, &all);
            all.snapshot()
        }
        false => master.snapshot(),
    }
    .expect("taken");
    let header = snapshot.header().clone();
    let mut parts = Vec::new();
    while let Some(chunk) = snapshot.next_chunk().expect("readable") {
        parts.push(chunk);
        more(&mut random);
    }
    drop(snapshot);
    let history = match random.below(3) {
        0 => History::All,
        1 => History::Newest,
        // Not below what the other store has.
        _ => History::From(LogPosition(header.begins.0.saturating_sub(1))),
    };
    let disk = SimulatedDisk::with_seed(seed);
    if random.chance(2) {
        // Something was there.
        let old = follow(config(), disk.clone());
        copy(&all, &old, 1 << 10, random.below(1 << 17));
        old.close().expect("closed");
    }
    let installed = install(config(), disk.clone(), history, &parts).expect("made");
    assert_eq!(installed.position, header.position, "seed {seed}");
    let begins = match history {
        History::All | History::From(_) => header.begins,
        History::Newest => header.segment,
    };
    assert_eq!(installed.begins, begins, "seed {seed}");
    let (mut disk, mut follower) = (disk.clone(), follow(config(), disk));
    assert!(follower.last_end().is_clean() && follower.started_clean());
    let mut is_whole = installed.position <= installed.begins;
    for _ in 0..3 {
        assert_eq!(
            follower.incomplete_below(),
            (!is_whole).then_some(installed.position),
            "seed {seed}"
        );
        // A part of it, up to an epoch that is not begun here, and an end.
        let next = master.epochs().into_iter();
        let next = next.map(|epoch| epoch.first.0).find(|first| {
            *first > follower.positions().appended
                || (*first == follower.positions().appended && *first > begins.0)
        });
        let until = next
            .unwrap_or(u64::MAX)
            .min(begins.0 + random.below(follower.positions().appended - begins.0 + (1 << 16)));
        let end = copy(&all_or(&master, &all, begins), &follower, 1, until);
        follower.confirm(end).expect("confirmed");
        if random.chance(2) {
            follower.checkpoint().expect("sealed");
        }
        is_whole |= end >= installed.position;
        disk = end_somehow(follower, disk, flush, &mut random);
        follower = follow(config(), disk.clone());
    }
    follow_to_end(&master, &follower);
    follow_to_end(&master, &all);
    assert_eq!(follower.incomplete_below(), None, "seed {seed}");
    let expected = || from(whole(&all), begins.0);
    assert_same(expected(), &whole(&follower), &format!("seed {seed}"));
    follower.close().expect("closed");
    drop(follower);
    let follower = follow(config(), disk);
    follower
        .confirm(LogPosition(follower.positions().written))
        .expect("confirmed");
    let again = format!("seed {seed}, again");
    assert_same(expected(), &whole(&follower), &again);
    // It becomes the master, and continues every queue where it is.
    let next = follower.promote(1_000).expect("promoted");
    next.replicated(None);
    for (topic, id) in QUEUES {
        let append = |store: &Master| {
            let queue = store.queue(topic, id).expect("a queue");
            let appended = store.append(&common::message(&queue, b"next", b"", ""));
            appended.expect("appended").queue_offset
        };
        assert_eq!(append(&next), append(&master), "seed {seed}: {topic}/{id}");
    }
    for store in [&*next, &*master, &*all] {
        store.abandon();
    }
}

/// The store that has the log from a position on.
fn all_or(master: &Master, all: &Follower, begins: LogPosition) -> Store {
    if master.positions().min <= begins.0 {
        Store::clone(master)
    } else {
        Store::clone(all)
    }
}

#[test]
fn a_store_from_a_snapshot_ends_as_one_that_copied_everything() {
    for seed in cases(60) {
        history(seed);
    }
}

/// The machine stops after every step of making a store, with nothing or another store in the folder before.
#[test]
fn a_crash_leaves_nothing_or_the_whole() {
    for is_old_there in [false, true] {
        let mut random = Random(11);
        let clock = Clock::at(1_000_000);
        let config = || settings(&clock, FlushMode::Sync);
        let master = open(config(), SimulatedDisk::new()).expect("opens");
        for _ in 0..60 {
            act(&mut random, &master, &clock);
        }
        let disk = SimulatedDisk::with_seed(1);
        let mut before = None;
        let mut old_number = None;
        if is_old_there {
            let old = follow(config(), disk.clone());
            copy(&master, &old, 1 << 10, 10_000);
            let end = LogPosition(old.positions().written);
            old.confirm(end).expect("confirmed");
            before = Some(whole(&old));
            old_number = Some(old.incarnation());
            old.close().expect("closed");
        }
        let snapshot = chunks(master.snapshot().expect("taken"));
        for _ in 0..10 {
            act(&mut random, &master, &clock);
        }
        let expected = whole(&master);
        let begun = disk.steps();
        install(config(), disk.clone(), History::All, &snapshot).expect("made");
        let made = disk.steps();
        let follower = follow(config(), disk.clone());
        assert_ne!(Some(follower.incarnation()), old_number, "other data");
        follow_to_end(&master, &follower);
        follower.close().expect("closed");
        drop(follower);
        let (mut nothing, mut partly, mut old) = (0, 0, 0);
        for steps in (begun..=disk.steps()).step_by(3) {
            for crash in [Crash::PowerLoss, Crash::Torn { seed: steps as u64 }] {
                let what = format!("old: {is_old_there}, {crash:?} after step {steps}");
                let left = disk.after_crash(steps, crash);
                let opened = Follower::open(config(), Arc::new(left.clone()));
                let (mut follower, _) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
                let end = follower.positions().written;
                if follower.incomplete_below().is_some() {
                    partly += 1;
                } else if end == 0 {
                    nothing += 1;
                    assert!(follower.values(common::KV).is_empty(), "{what}");
                    assert!(follower.queues_of("t").expect("looked up").is_empty());
                    follower.close().expect("closed");
                    drop(follower);
                    install(config(), left.clone(), History::Newest, &snapshot)
                        .unwrap_or_else(|error| panic!("{what}: {error}"));
                    follower = follow(config(), left);
                } else if Some(follower.incarnation()) == old_number {
                    old += 1;
                    follower.confirm(LogPosition(end)).expect("confirmed");
                    assert_same(
                        before.clone().expect("it was there"),
                        &whole(&follower),
                        &what,
                    );
                    follower.abandon();
                    continue;
                }
                let begins = follower.positions().min;
                follow_to_end(&master, &follower);
                assert_eq!(follower.incomplete_below(), None, "{what}");
                let expected = from(expected.clone(), begins);
                assert_same(expected, &whole(&follower), &what);
                follower.abandon();
            }
        }
        assert!(nothing > 0 && partly > 0, "{nothing} {partly}");
        assert!(made > begun && (old > 0) == is_old_there, "{old}");
        master.abandon();
    }
}

#[test]
fn what_is_not_whole_is_neither_given_on_nor_made_a_master() {
    let mut random = Random(3);
    let clock = Clock::at(1_000_000);
    let config = || settings(&clock, FlushMode::Sync);
    let master = open(config(), SimulatedDisk::new()).expect("opens");
    for _ in 0..40 {
        act(&mut random, &master, &clock);
    }
    let parts = chunks(master.snapshot().expect("taken"));
    let disk = SimulatedDisk::with_seed(1);
    // Not to the end: nothing is there.
    let mut installer =
        Installer::new(config(), Arc::new(disk.clone()), History::All).expect("free");
    for chunk in &parts[..parts.len() - 1] {
        installer.take(chunk).expect("the next");
    }
    if parts.len() > 1 {
        assert!(installer.take(&parts[0]).is_err(), "it is not the next");
    }
    let error = installer.finish().expect_err("it has not ended");
    assert!(matches!(error, InstallError::NotWhole { .. }), "{error}");
    if parts.len() > 1 {
        let error = Master::open(config(), Arc::new(disk.clone())).expect_err("half a store");
        assert!(matches!(error, OpenError::Incomplete { .. }), "{error}");
    }
    install(config(), disk.clone(), History::All, &parts).expect("made");
    let error = Master::open(config(), Arc::new(disk.clone())).expect_err("without its log");
    assert!(matches!(error, OpenError::Incomplete { .. }), "{error}");
    let follower = follow(config(), disk.clone());
    assert!(matches!(
        follower.snapshot(),
        Err(SnapshotError::Incomplete { .. })
    ));
    assert!(matches!(
        follower.promote(9),
        Err(PromoteError::Incomplete { .. })
    ));
    // Somebody has it open.
    let open = follow(config(), disk.clone());
    let busy = install(config(), disk, History::All, &parts).expect_err("open");
    assert!(matches!(busy, InstallError::Open(OpenError::Locked { .. })));
    open.abandon();
    master.abandon();
}

#[test]
fn a_snapshot_that_does_not_fit_removes_nothing() {
    let clock = Clock::at(1_000_000);
    let config = || settings(&clock, FlushMode::Sync);
    let master = open(
        StoreConfig {
            tables: [
                common::tables(),
                vec![Table::values(TableId::new(99), "newer")],
            ]
            .concat(),
            ..config()
        },
        SimulatedDisk::new(),
    )
    .expect("opens");
    let mut random = Random(5);
    for _ in 0..10 {
        act(&mut random, &master, &clock);
    }
    let parts = chunks(master.snapshot().expect("taken"));
    let disk = SimulatedDisk::with_seed(1);
    let old = follow(config(), disk.clone());
    copy(&master, &old, 1 << 14, u64::MAX);
    let number = old.incarnation();
    old.close().expect("closed");
    drop(old);
    let error = install(config(), disk.clone(), History::All, &parts).expect_err("refused");
    assert!(
        matches!(&error, InstallError::Table { name } if name == "newer"),
        "{error}"
    );
    let other = StoreConfig {
        segment_bytes: 128 << 10,
        tables: [
            common::tables(),
            vec![Table::values(TableId::new(99), "newer")],
        ]
        .concat(),
        ..config()
    };
    let error = install(other, disk.clone(), History::All, &parts).expect_err("refused");
    assert!(matches!(error, InstallError::SegmentSize { .. }), "{error}");
    let mut torn = parts[0].clone();
    let middle = torn.len() / 2;
    torn[middle] ^= 1;
    let error = install(config(), disk.clone(), History::All, &[torn]).expect_err("refused");
    assert!(
        matches!(error, InstallError::Chunk { number: 0, .. }),
        "{error}"
    );
    let old = follow(config(), disk);
    assert_eq!(old.incarnation(), number);
    assert_eq!(old.positions().written, master.positions().written);
    old.abandon();
    master.abandon();
}

/// A member has confirmed an end that is no part of the history of its group any more. With a crash after every step it has its log, or what it
/// gave up is in the quarantine.
#[test]
fn a_confirmed_end_is_kept_before_a_snapshot_takes_its_place() {
    for seed in cases(3) {
        let mut random = Random(seed);
        let clock = Clock::at(1_000_000);
        let config = || settings(&clock, FlushMode::Sync);
        let disk = SimulatedDisk::new();
        let old = open(config(), disk.clone()).expect("opens");
        for _ in 0..20 {
            act(&mut random, &old, &clock);
        }
        let next = follow(config(), SimulatedDisk::new());
        follow_to_end(&old, &next);
        let common = LogPosition(old.positions().appended);
        for _ in 0..20 {
            act(&mut random, &old, &clock);
        }
        let end = old.positions().appended;
        old.close().expect("closed");
        let next = next.promote(2).expect("promoted");
        next.replicated(None);
        for _ in 0..20 {
            act(&mut random, &next, &clock);
        }

        let parted = follow(config(), disk.clone());
        let cut = parted.truncate_to(common).expect_err("it is confirmed");
        assert!(matches!(cut, TruncateError::Confirmed { .. }), "{cut}");
        let data = parted.incarnation();
        let begun = disk.steps();
        let kept = parted.put_aside(common).expect("kept").expect("messages");
        assert_eq!((kept.from, kept.to.0), (common, end));
        assert!(kept.messages > 0);
        assert_eq!(parted.positions().appended, end, "nothing is cut");
        let content = disk.read(&kept.path, 1 << 20).expect("readable");
        parted.close().expect("closed");
        let chunks = chunks(next.snapshot().expect("a snapshot"));
        install(config(), disk.clone(), History::All, &chunks).expect("installed");
        for steps in begun..=disk.steps() {
            let crashes = [
                Crash::PowerLoss,
                Crash::Kill,
                Crash::Torn { seed: steps as u64 },
            ];
            let crash = crashes[(steps + seed as usize) % crashes.len()];
            let what = format!("seed {seed}: {crash:?} after step {steps}");
            let left = disk.after_crash(steps, crash);
            let (follower, report) = Follower::open(config(), Arc::new(left.clone()))
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            match follower.incarnation() == data {
                true => assert_eq!(report.end, end, "{what}"),
                false => {
                    let found = left.read(&kept.path, 1 << 20).expect("it is there");
                    assert!(found == content, "{what}");
                }
            }
            follower.abandon();
        }
        let member = follow(config(), disk.clone());
        follow_to_end(&next, &member);
        assert_same(whole(&next), &whole(&member), &format!("seed {seed}"));
        assert!(disk.read(&kept.path, 1 << 20).expect("there") == content);
        member.abandon();
        next.abandon();
    }
}
