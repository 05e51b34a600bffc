//! Tests of dispatch, split by what they look at.

mod damage;
mod model;
mod rig;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex as TestMutex;

use super::*;
use crate::index::keys::KeyHashes;
use crate::settings::Change;
use rig::{Rig, Send, TOPICS};

#[derive(Default)]
struct Seen(TestMutex<Vec<(String, i64)>>);

impl Arrivals for Seen {
    fn arrived(&self, arrivals: &[Arrival]) {
        self.0.lock().extend(
            arrivals
                .iter()
                .map(|arrival| (arrival.queue.topic().to_owned(), arrival.offset)),
        );
    }
}

fn to<'a>(topic: &'a str, queue_id: i32) -> Send<'a> {
    Send {
        topic,
        queue_id,
        tag: "TagA",
        body: 50,
        ..Send::default()
    }
}

#[test]
fn arrivals_come_for_wanted_queues_only() {
    let mut rig = Rig::new(1 << 16, 1 << 14);
    let seen = Arc::new(Seen::default());
    rig.dispatcher
        .set_arrivals(Arc::clone(&seen) as Arc<dyn Arrivals>);
    rig.dispatcher
        .queue("a", 0)
        .expect("a queue")
        .set_wanted(true);
    for _ in 0..2 {
        rig.send(&to("a", 0));
        rig.send(&to("b", 0));
    }
    rig.flush();
    assert_eq!(*seen.0.lock(), [("a".to_owned(), 0), ("a".to_owned(), 1)]);
    rig.dispatcher
        .queue("a", 0)
        .expect("a queue")
        .set_wanted(false);
    rig.send(&to("a", 0));
    rig.flush();
    assert_eq!(seen.0.lock().len(), 2);
    rig.check();
}

#[test]
fn nothing_above_the_confirmed_position_is_visible() {
    let mut rig = Rig::new(1 << 16, 1 << 14);
    let queue = rig.dispatcher.queue("a", 0).expect("a queue");
    let mut entries = Vec::new();
    for offset in 0..4 {
        let entry = Entry {
            fed: None,
            queue: queue.clone(),
            queue_offset: offset,
            position: offset as u64 * 100,
            size: 100,
            tag_hash: 0,
            store_ms: 1,
            keys: KeyHashes::new(),
            settings: None,
            further: None,
        };
        entries.push(entry);
    }
    rig.dispatcher.apply(&mut entries, 250);
    assert_eq!(queue.max_offset(), 2);
    assert_eq!(rig.dispatcher.dispatched(), 200);
    rig.dispatcher.apply(&mut entries, 299);
    assert_eq!(queue.max_offset(), 2);
    rig.dispatcher.apply(&mut entries, 400);
    assert_eq!(queue.max_offset(), 4);
    rig.flush();
}

#[test]
fn runs_of_a_complete_segment_become_one() {
    let mut rig = Rig::new(16 << 10, 2 << 10);
    for i in 0..400 {
        rig.now += 1;
        rig.send(&to(["a", "b", "c"][i % 3], (i % 4) as i32));
        rig.flush();
        rig.dispatcher.maybe_seal().unwrap();
    }
    let end = rig.log.end.load(Ordering::Relaxed);
    let complete = (end / rig.log.segment) as usize;
    let runs = rig.dispatcher.shared.index.runs().clone();
    assert!(complete >= 3, "{end}");
    for (index, run) in runs.iter().take(complete).enumerate() {
        let from = index as u64 * rig.log.segment;
        assert_eq!(
            run.span(),
            crate::index::Span::new(from, from + rig.log.segment)
        );
    }
    rig.check();
    let runs_on_disk = rig
        .files()
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "run"))
        .count();
    assert_eq!(runs_on_disk, rig.run_count());
}

#[test]
fn many_restarts_do_not_pile_up_runs() {
    let mut rig = Rig::new(1 << 20, 256 << 10);
    for _ in 0..40 {
        rig.send(&to("a", 0));
        rig.reopen(true, |_| {}).unwrap();
        rig.dispatcher.maybe_seal().unwrap();
    }
    assert!(rig.run_count() < 10, "{}", rig.run_count());
    rig.check();
}

#[test]
fn deleted_queues_keep_counting() {
    let mut rig = Rig::new(8 << 10, 1 << 10);
    for i in 0..60 {
        rig.send(&to("gone", i % 2));
        rig.send(&to("kept", 0));
    }
    rig.flush();
    rig.dispatcher.maybe_seal().unwrap();
    // The queue is not in memory when its topic is deleted.
    rig.reopen(true, |_| {}).unwrap();
    rig.delete_topic("gone");
    rig.flush();
    rig.check();
    rig.send(&to("gone", 0));
    rig.flush();
    rig.check();
    for clean in [false, true, true] {
        rig.reopen(clean, |_| {}).unwrap();
        rig.check();
    }
    assert_eq!(
        rig.dispatcher
            .queue("gone", 0)
            .expect("a queue")
            .min_offset(),
        30
    );
    assert_eq!(
        rig.dispatcher
            .queue("gone", 1)
            .expect("a queue")
            .max_offset(),
        30
    );
    assert_eq!(rig.dispatcher.queues_of("gone").expect("a queue").len(), 2);
}

#[test]
fn a_failed_seal_loses_nothing() {
    let mut rig = Rig::new(8 << 10, 1 << 10);
    for i in 0..20 {
        rig.send(&to("a", 0));
        rig.put(&[Change::set(TOPICS, format!("t{i}"), vec![i as u8])]);
    }
    rig.flush();
    rig.log.sync_fails.store(true, Ordering::Relaxed);
    assert!(matches!(
        rig.dispatcher.maybe_seal(),
        Err(SealError::Log(_))
    ));
    assert_eq!(
        (rig.run_count(), rig.dispatcher.shared.tables.applied_to()),
        (0, 0)
    );
    rig.put(&[
        Change::set(TOPICS, "t3", b"newer".to_vec()),
        Change::remove(TOPICS, "t4"),
    ]);
    rig.send(&to("a", 1));
    rig.flush();
    rig.log.sync_fails.store(false, Ordering::Relaxed);
    rig.dispatcher.maybe_seal().unwrap();
    rig.check();
    rig.reopen(true, |_| {}).unwrap();
    rig.check();
}

#[test]
fn a_change_during_a_failed_seal_counts() {
    let mut rig = Rig::new(8 << 10, 1 << 10);
    rig.put(&[Change::set(TOPICS, "t", b"older".to_vec())]);
    rig.flush();
    let shared = Arc::clone(&rig.dispatcher.shared);
    *rig.log.at_sync.lock() = Some(Box::new(move || {
        shared.state.lock().pending.put(TOPICS, "t", Some(b"newer"));
    }));
    rig.log.sync_fails.store(true, Ordering::Relaxed);
    assert!(rig.dispatcher.seal().is_err());
    rig.log.sync_fails.store(false, Ordering::Relaxed);
    rig.dispatcher.seal().unwrap();
    rig.reopen(false, |_| {}).unwrap();
    let values = rig.dispatcher.declared().values(TOPICS).expect("declared");
    assert_eq!(values.get("t").as_deref(), Some(&b"newer"[..]));
}

#[test]
fn keys_that_share_a_hash_are_told_apart() {
    let mut rig = Rig::new(64 << 10, 32 << 10);
    rig.send(&Send {
        topic: "t",
        keys: "wanted",
        body: 10,
        ..Send::default()
    });
    rig.flush();
    // A collision cannot be made by hand, so records are indexed under a hash that is not theirs.
    let hash = crate::index::keys::key_hash(KeyKind::Key, "t", "wanted");
    let other = rig.send(&Send {
        topic: "t",
        keys: "other",
        body: 10,
        ..Send::default()
    });
    let wrong_topic = rig.send(&Send {
        topic: "u",
        keys: "wanted",
        body: 10,
        ..Send::default()
    });
    rig.flush();
    let push = |rig: &Rig| {
        let mut state = rig.dispatcher.shared.state.lock();
        state.keys.push(hash, other.position);
        state.keys.push(hash, wrong_topic.position);
    };
    push(&rig);
    rig.check_key("t", "wanted", KeyKind::Key);
    rig.dispatcher.close().unwrap();
    assert_eq!(rig.run_count(), 1);
    rig.check_key("t", "wanted", KeyKind::Key);
    rig.check_key("u", "wanted", KeyKind::Key);
    rig.check_key("t", "other", KeyKind::Key);
}

#[test]
fn a_settings_record_of_a_later_version_refuses_to_open() {
    let mut rig = Rig::new(64 << 10, 32 << 10);
    rig.send(&Send {
        topic: SETTINGS_TOPIC,
        body: 30,
        ..Send::default()
    });
    let error = rig.reopen(false, |_| {}).unwrap_err();
    assert!(
        matches!(error, DispatchError::Settings { position: 0, .. }),
        "{error}"
    );
}

#[test]
fn records_lost_in_the_log_leave_holes() {
    let mut rig = Rig::new(8 << 10, 2 << 10);
    for _ in 0..100 {
        rig.send(&to("a", 0));
    }
    rig.flush();
    // The long stretch is wider than a run.
    let lost: Vec<i64> = [3, 30, 31].into_iter().chain(50..75).chain([99]).collect();
    let expected = rig.queues.get_mut(&("a".to_owned(), 0)).unwrap();
    for offset in &lost {
        rig.log
            .remove_record(expected.messages[*offset as usize].position);
    }
    expected
        .messages
        .retain(|message| !lost.contains(&message.offset));
    expected.next = 99;
    // Nothing was sealed, so the replay meets the damage; later the same through runs, and merged ones.
    for clean in [false, true, true] {
        rig.reopen(clean, |_| {}).unwrap();
        rig.check();
    }
    rig.dispatcher.maybe_seal().unwrap();
    rig.check();
}

#[test]
fn a_gap_between_two_runs_survives_merging() {
    let mut rig = Rig::new(8 << 10, 2 << 10);
    for _ in 0..10 {
        rig.send(&to("a", 0));
    }
    rig.flush();
    rig.dispatcher.seal().unwrap();
    for _ in 0..20 {
        rig.send(&to("a", 0));
    }
    rig.flush();
    let expected = rig.queues.get_mut(&("a".to_owned(), 0)).unwrap();
    for message in expected.messages.drain(10..15) {
        rig.log.remove_record(message.position);
    }
    rig.reopen(false, |_| {}).unwrap();
    rig.check();
    rig.dispatcher.seal().unwrap();
    rig.check();
    assert_eq!(rig.run_count(), 2);
    while rig.log.end.load(Ordering::Relaxed) < rig.log.segment + 1000 {
        rig.send(&to("a", 0));
    }
    rig.flush();
    rig.dispatcher.maybe_seal().unwrap();
    assert_eq!(rig.run_count(), 1);
    rig.check();
}

#[test]
fn the_background_thread_seals_by_itself() {
    let mut rig = Rig::new(64 << 10, 4 << 10);
    rig.config.background = true;
    rig.reopen(false, |_| {}).unwrap();
    for _ in 0..100 {
        rig.send(&to("a", 0));
        rig.flush();
    }
    // Waits for the thread: it ends after the work it was asked for.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while rig.run_count() == 0 && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(rig.run_count() > 0);
    rig.check();
    rig.reopen(true, |_| {}).unwrap();
    rig.check();
}

#[test]
fn times_too_far_from_the_base_are_asked_of_the_log() {
    let mut rig = Rig::new(64 << 10, 32 << 10);
    rig.send(&to("a", 0));
    // 60 days later, and a clock that goes back behind the first message.
    rig.now += 60 * 86_400_000;
    for _ in 0..10 {
        rig.now += 1;
        rig.send(&to("a", 0));
    }
    rig.flush();
    rig.check();
    rig.reopen(true, |_| {}).unwrap();
    rig.check();
}

#[test]
fn the_base_of_times_moves_with_a_long_life() {
    let mut rig = Rig::new(8 << 10, 2 << 10);
    for day in 0..120 {
        rig.now += 86_400_000 + day;
        for topic in ["a", "b", "c"] {
            rig.send(&to(topic, 0));
        }
        rig.flush();
        // The rest of the segment, and so some entries, stay in memory.
        rig.dispatcher.seal().unwrap();
    }
    let base = rig.dispatcher.shared.state.lock().base_ms.unwrap();
    assert!(rig.now - base < 10 * 86_400_000, "{}", rig.now - base);
    let queue = rig.dispatcher.queue("b", 0).expect("a queue");
    for message in &rig.queues[&("b".to_owned(), 0)].messages {
        for boundary in [Boundary::Lower, Boundary::Upper] {
            let found = rig
                .dispatcher
                .offset_by_time(&queue, message.store_ms, boundary);
            assert_eq!(found.unwrap(), message.offset);
        }
    }
    rig.check();
    rig.reopen(true, |_| {}).unwrap();
    rig.check();
}
