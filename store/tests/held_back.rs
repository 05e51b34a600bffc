//! What the replicas of a master do not have is seen by nobody: not by readers, who waits, look-ups, tables, or what is on the disk. Budget: 2 s.

mod common;

use std::sync::Arc;

use common::{ASYNC, Clock, config, message, offsets, open};
use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;
use rmq_store::fs::SimulatedDisk;
use rmq_store::{Arrival, Arrivals, Boundary, Change, Follower, KeyKind, Master, ReadError, Store};

#[derive(Default)]
struct Told(Mutex<Vec<i64>>);

impl Arrivals for Told {
    fn arrived(&self, arrivals: &[Arrival]) {
        let offsets = arrivals.iter().map(|arrival| arrival.offset);
        self.0.lock().extend(offsets);
    }
}

fn keys(store: &Store, key: &str) -> usize {
    let found = store.find_by_key("t", key, KeyKind::Key, 10, 0, i64::MAX);
    found.count()
}

fn append(master: &Master, key: &str) -> LogPosition {
    let queue = master.queue("t", 0).expect("a queue");
    let properties = format!("KEYS\u{1}{key}\u{2}");
    let appended = master.append(&message(&queue, key.as_bytes(), properties.as_bytes(), key));
    let end = appended.expect("appended").end;
    master.write_out().expect("written");
    end
}

#[test]
fn what_replicas_do_not_have_is_seen_by_nobody() {
    let clock = Clock::at(1_000);
    let disk = SimulatedDisk::new();
    let master = open(config("store", ASYNC, &clock), disk.clone()).expect("opens");
    let told = Arc::new(Told::default());
    master.set_arrivals(Arc::clone(&told) as Arc<dyn Arrivals>);
    let queue = master.queue("t", 0).expect("a queue");
    queue.set_wanted(true);
    let first = append(&master, "first");
    master.replicated(Some(first));
    clock.advance(1_000);
    let second = append(&master, "second");
    let changes = [
        Change::set(common::KV, "k", "v"),
        Change::set(common::ORDERED, "k", "v"),
    ];
    let end = master.settings().put(&changes).expect("put");
    master.write_out().expect("written");
    master.checkpoint().expect("sealed");
    let seen = |store: &Store| {
        let queue = store.find_queue("t", 0).expect("looked up");
        let queue = queue.expect("a queue");
        let by_time = store.offset_by_time(&queue, 1_500, Boundary::Lower);
        let rows = store.rows(common::ORDERED, b"", None, 10);
        (
            (queue.max_offset(), offsets(store, &queue, 0)),
            keys(store, "second"),
            by_time.expect("known").0,
            store.record_at(first).map(drop),
            (
                store.values(common::KV).len(),
                rows.expect("readable").len(),
            ),
        )
    };
    let before = seen(&master);
    assert_eq!((before.0, before.1, before.4), ((1, vec![0]), 0, (0, 0)));
    assert!(matches!(before.3, Err(ReadError::BeyondEnd { .. })));
    assert_eq!(*told.0.lock(), [0]);
    assert!(master.try_settle(second).is_none());
    assert_eq!(*master.watch_confirmed().borrow(), first.0);
    // A replica is given what nobody sees.
    let piece = master.log_piece(first, 1 << 10).expect("readable");
    assert!(piece.is_some_and(|piece| piece.position == first));
    // Nor is it on the disk: not in the tables, nor in a run.
    let left = disk.after_crash(disk.steps(), rmq_store::fs::Crash::Kill);
    let config_of = || config("store", ASYNC, &clock);
    let (other, _) = Follower::open(config_of(), Arc::new(left)).expect("opens");
    let on_disk = seen(&other);
    assert_eq!((on_disk.0, on_disk.1, on_disk.4), ((1, vec![0]), 0, (0, 0)));
    other.abandon();

    master.replicated(Some(second));
    let now = seen(&master);
    assert_eq!(
        (now.0, now.1, now.2, now.4),
        ((2, vec![0, 1]), 1, 1, (0, 0))
    );
    assert!(now.3.is_ok());
    assert_eq!(*told.0.lock(), [0, 1]);
    master.replicated(Some(end));
    assert_eq!(seen(&master).4, (1, 1));
    assert!(matches!(master.try_settle(end), Some(Ok(()))));
    master.abandon();
}
