//! Whatever is damaged, whoever follows the offsets comes to the end of the queue, gets nothing wrong, and what is missing is reported.
//!
//! Each case is a store with a random life, random damage of its files, and a reader with random limits and filters. Where the disk only
//! did not give what it has, a later life on a healthy disk serves everything that was acknowledged. Budget: 10 s;
//! `RMQ_CASES=5000 cargo test -p rmq-store --test progress` runs more of them.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Clock, Random, config, message, open};
use rmq_protocol::message::{QueueOffset, RecordView, tag_hash};
use rmq_store::fs::{Crash, FaultyFs, Fs, SimulatedDisk};
use rmq_store::{
    AllMessages, Boundary, DamagedRange, EntryFilter, FlushMode, KeyKind, Master, QueueRef,
    ReadLimits, ReadStatus, Temperature,
};

const QUEUES: [(&str, i32); 3] = [("t", 0), ("t", 1), ("u", 0)];

/// What was stored: queue, offset, body.
type Stored = BTreeMap<(usize, i64), Vec<u8>>;

fn body(number: u64, bytes: u64) -> Vec<u8> {
    let mut body = format!("message {number} ").into_bytes();
    body.resize(body.len() + bytes as usize, b'a' + (number % 26) as u8);
    body
}

fn append(store: &Master, queue: &QueueRef, body: &[u8], number: u64) -> i64 {
    let tag = ["A", "B"][number as usize % 2];
    let key = format!("k{}", number % 7);
    let properties = format!("TAGS\u{1}{tag}\u{2}KEYS\u{1}{key}\u{2}");
    let mut new = message(queue, body, properties.as_bytes(), &key);
    new.tag_hash = tag_hash(tag);
    let appended = store.append(&new).expect("appended");
    let (done, acked) = std::sync::mpsc::channel();
    store.settle(
        appended.end,
        Box::new(move |outcome| done.send(outcome).expect("waited for")),
    );
    acked.recv().expect("called").expect("acknowledged");
    appended.queue_offset.0
}

/// A life with some messages, and how it ends.
fn life(random: &mut Random, clock: &Clock) -> (SimulatedDisk, Stored) {
    let disk = SimulatedDisk::new();
    let store = open(config("store", FlushMode::Sync, clock), disk.clone()).expect("opens");
    let queues = QUEUES.map(|(topic, id)| store.queue(topic, id).expect("a queue"));
    let mut stored = Stored::new();
    let messages = 10 + random.below(120);
    // Often one queue is silent at the end.
    let last_of_first = random.below(messages);
    for number in 0..messages {
        clock.advance(1);
        let index = if number > last_of_first {
            1 + random.below(2)
        } else {
            random.below(3)
        } as usize;
        let size = 1 << random.below(13);
        let body = body(number, random.below(size));
        let offset = append(&store, &queues[index], &body, number);
        stored.insert((index, offset), body);
        if random.chance(40) {
            store.checkpoint().expect("written");
        }
    }
    if random.chance(2) {
        store.close().expect("closed");
    } else {
        store.abandon();
    }
    drop(store);
    (disk.after_crash(disk.steps(), Crash::PowerLoss), stored)
}

fn files(disk: &SimulatedDisk, folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("store").join(folder);
    let mut names = disk.list(&folder).expect("listed");
    names.sort();
    names.iter().map(|name| folder.join(name)).collect()
}

/// Damages something; says what, and whether the disk has it all the same and only does not give it.
fn damage(random: &mut Random, disk: &SimulatedDisk, faulty: &FaultyFs) -> (String, bool) {
    let index: Vec<PathBuf> = files(disk, "index")
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "tables"))
        .collect();
    let log = files(disk, "log");
    let path = if index.is_empty() || !random.chance(4) {
        log[random.below(log.len() as u64) as usize].clone()
    } else if random.chance(8) {
        PathBuf::from("store/watermark")
    } else {
        index[random.below(index.len() as u64) as usize].clone()
    };
    let file = disk.open(&path).expect("there");
    let len = file.len().expect("known").max(1);
    // The records end somewhere in the file: damage near their end is the hardest.
    let mut content = vec![0; len as usize];
    file.read_at(0, &mut content).expect("read");
    let used = content
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(1, |last| last as u64 + 1);
    let at = if random.chance(2) {
        used.saturating_sub(1 + random.below(200.min(used)))
    } else {
        random.below(used)
    };
    let what = match random.below(4) {
        0 => {
            let byte = content[at as usize] ^ (1 << random.below(8));
            file.write_at(at, &[byte]).expect("written");
            "flipped"
        }
        1 => {
            let zeros = vec![0; (1 + random.below(3_000)).min(len - at) as usize];
            file.write_at(at, &zeros).expect("written");
            "zeroed"
        }
        2 if path.extension().is_some() => {
            drop(file);
            disk.lose(&path);
            "lost"
        }
        _ => {
            let from = at / 4096 * 4096;
            let to = from + 4096 * (1 + random.below(3));
            faulty.set_bad(path.to_str().expect("UTF-8"), from..to);
            "unreadable"
        }
    };
    let text = format!("{} {what} at {at} (used to {used})", path.display());
    (text, what == "unreadable")
}

/// Passes the tag A, and looks at the record where it is told to.
struct TagA {
    by_record: bool,
}

impl EntryFilter for TagA {
    fn by_tag(&self, hash: i64) -> bool {
        self.by_record || hash == tag_hash("A")
    }

    fn needs_record(&self) -> bool {
        self.by_record
    }

    fn by_record(&self, record: &RecordView<'_>) -> bool {
        record.property("TAGS") == Some("A")
    }
}

/// Follows the offsets of a queue to its end; which messages came.
fn follow(
    random: &mut Random,
    store: &Master,
    index: usize,
    stored: &Stored,
    tag_only: bool,
) -> BTreeSet<i64> {
    let (topic, id) = QUEUES[index];
    let queue = store.queue(topic, id).expect("a queue");
    let filter: Box<dyn EntryFilter> = if tag_only {
        let by_record = random.chance(2);
        Box::new(TagA { by_record })
    } else {
        Box::new(AllMessages)
    };
    let mut found = BTreeSet::new();
    let mut from = 0;
    let mut steps = 0;
    loop {
        let limits = ReadLimits {
            messages_max: 1 + random.below(40) as usize,
            bytes_max: 1 << random.below(16),
            scan_entries_max: 1 + random.below(50) as usize,
        };
        let read =
            |temperature| store.read(&queue, QueueOffset(from), limits, &*filter, temperature);
        let mut outcome = read(Temperature::HotOnly);
        if outcome.status == ReadStatus::Cold {
            outcome = read(Temperature::MayWait);
        }
        steps += 1;
        for record in &outcome.records {
            let view = record.view().expect("a record");
            let offset = view.queue_offset().0;
            assert!(
                offset >= from && offset < outcome.next_offset,
                "{outcome:?}"
            );
            assert_eq!(
                Some(view.body()),
                stored.get(&(index, offset)).map(|body| &body[..])
            );
            assert!(found.insert(offset));
        }
        match outcome.status {
            ReadStatus::AtEnd | ReadStatus::NoMessageInQueue => break,
            ReadStatus::OffsetTooBig => {
                assert_eq!(from, 0, "{outcome:?}");
                break;
            }
            ReadStatus::Found
            | ReadStatus::NoMatch
            | ReadStatus::OffsetTooSmall
            | ReadStatus::Removed => {}
            ReadStatus::Cold | ReadStatus::Unavailable => panic!("{outcome:?}"),
        }
        assert!(outcome.next_offset > from, "no progress: {outcome:?}");
        from = outcome.next_offset;
        assert!(
            steps <= queue.max_offset() + 2,
            "too many steps: {outcome:?}"
        );
    }
    assert!(found.iter().all(|offset| *offset < queue.max_offset()));
    found
}

/// Every look-up answers, and only with what is right.
fn look_ups(store: &Master, stored: &Stored, clock: &Clock) {
    for (index, (topic, id)) in QUEUES.into_iter().enumerate() {
        let queue = store.queue(topic, id).expect("a queue");
        for key in ["k0", "k3"] {
            for record in store.find_by_key(topic, key, KeyKind::Key, 64, 0, i64::MAX) {
                let view = record.view().expect("a record");
                assert_eq!(view.property("KEYS"), Some(key));
            }
        }
        for ms in [0, 1_000, clock.now(), i64::MAX] {
            for boundary in [Boundary::Lower, Boundary::Upper] {
                let found = store.offset_by_time(&queue, ms, boundary).expect("found");
                assert!((0..=queue.max_offset()).contains(&found.0));
            }
        }
        let readable = store.earliest_store_time(&queue).is_some();
        let any = stored.keys().any(|(of, _)| *of == index);
        assert!(any || !readable);
    }
}

fn case(seed: u64) {
    let mut random = Random(seed);
    let clock = Clock::at(1_000);
    let (disk, mut stored) = life(&mut random, &clock);
    let faulty = FaultyFs::new(Arc::new(disk.clone()));
    let mut what = Vec::new();
    let (mut is_all_there, mut is_any_there) = (true, false);
    for _ in 0..=random.below(3) {
        let (text, is_there) = damage(&mut random, &disk, &faulty);
        what.push(text);
        is_all_there &= is_there;
        is_any_there |= is_there;
    }
    // Every offset that was ever acknowledged.
    let mut given = stored.clone();
    let mut is_cut = false;
    let what = format!("seed {seed}: {what:?}");
    let mut served: Vec<BTreeSet<i64>> = Vec::new();
    let mut reported: Vec<DamagedRange> = Vec::new();
    for round in 0..3 {
        let mut settings = config("store", FlushMode::Sync, &clock);
        settings.retention_ms = 1 << 40;
        settings.hot_bytes = [0, 4_096, 1 << 20][random.below(3) as usize];
        let (store, report) = Master::open(settings, Arc::new(faulty.clone()))
            .unwrap_or_else(|error| panic!("{what}, round {round}: {error}"));
        is_cut |= report.cut_bytes > 0;
        // What was told once is told at each start, but for sectors that can be read again since something was written there.
        for old in &reported {
            assert!(
                is_any_there
                    || report
                        .damaged
                        .iter()
                        .any(|new| new.from <= old.from && old.to <= new.to),
                "{what}, round {round}: {old:?} was known, {report:?}"
            );
        }
        let now: Vec<BTreeSet<i64>> = (0..QUEUES.len())
            .map(|index| follow(&mut random, &store, index, &given, false))
            .collect();
        for (index, served) in now.iter().enumerate() {
            let tagged = follow(&mut random, &store, index, &given, true);
            assert!(tagged.is_subset(served), "{what}, round {round}");
        }
        look_ups(&store, &given, &clock);
        // Never a silent hole.
        let missing: Vec<(usize, i64)> = stored
            .keys()
            .filter(|(index, offset)| !now[*index].contains(offset))
            .copied()
            .collect();
        assert!(
            missing.is_empty() || report.cut_bytes > 0 || !store.damage().is_empty(),
            "{what}, round {round}: {missing:?} are missing and nothing is reported, {report:?}"
        );
        if round > 0 {
            for (now, served) in now.iter().zip(&served) {
                let is_more = now.is_superset(served) && is_any_there;
                assert!(
                    is_more || now == served,
                    "{what}, round {round}: {served:?} was served, {now:?} is"
                );
            }
        } else {
            // What was cut was never promised.
            stored.retain(|(index, offset), _| now[*index].contains(offset));
        }
        served = now;
        // Life goes on, with offsets of their own.
        for (index, (topic, id)) in QUEUES.into_iter().enumerate() {
            clock.advance(1);
            let number = 1_000 + round * 10 + index as u64;
            let body = body(number, 300);
            let offset = append(
                &store,
                &store.queue(topic, id).expect("a queue"),
                &body,
                number,
            );
            // An end that is not intact and has nothing behind it was never promised.
            assert!(
                given.insert((index, offset), body.clone()).is_none() || is_cut,
                "{what}, round {round}: offset {offset} twice"
            );
            stored.insert((index, offset), body);
            served[index].insert(offset);
            // A sector that is written can be read again.
            let found = follow(&mut random, &store, index, &given, false);
            let is_more = found.is_superset(&served[index]) && is_any_there;
            assert!(
                is_more || found == served[index],
                "{what}, round {round}: {:?} was served, {found:?} is",
                served[index]
            );
            served[index] = found;
        }
        store
            .run_retention(clock.now())
            .expect("nothing has expired");
        reported = store.damage();
        match random.below(3) {
            0 => store.close().expect("closed"),
            1 => {
                store.checkpoint().expect("written");
                store.abandon();
            }
            _ => store.abandon(),
        }
    }
    if is_all_there {
        faulty.clear_bad();
        let settings = config("store", FlushMode::Sync, &clock);
        let store = open(settings, faulty).expect("opens");
        for index in 0..QUEUES.len() {
            let found = follow(&mut random, &store, index, &given, false);
            let wanted = given.keys().filter(|(of, _)| *of == index);
            let wanted: BTreeSet<i64> = wanted.map(|(_, offset)| *offset).collect();
            assert_eq!(found, wanted, "{what}, healthy again");
        }
        look_ups(&store, &given, &clock);
    }
}

#[test]
fn whoever_follows_the_offsets_comes_to_the_end() {
    let cases = std::env::var("RMQ_CASES").map_or(150, |cases| cases.parse().expect("a number"));
    let seeds = match std::env::var("RMQ_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..cases,
    };
    let failed: Vec<u64> = seeds
        .filter(|seed| std::panic::catch_unwind(|| case(*seed)).is_err())
        .collect();
    assert!(failed.is_empty(), "RMQ_SEED={failed:?}");
}
