//! What was just written is offered to those who take it from memory, and nobody is woken for what all have taken. Budget: 1 s.

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use common::{ASYNC, Clock, config, message, open, send};
use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;
use rmq_store::fs::SimulatedDisk;
use rmq_store::{FlushMode, Master, Taker};

#[derive(Default)]
struct Replica {
    offered: Mutex<Vec<(LogPosition, LogPosition, Vec<u8>)>>,
    is_busy: AtomicBool,
}

impl Taker for Replica {
    fn take(&self, from: LogPosition, to: LogPosition, bytes: &[u8]) -> bool {
        self.offered.lock().push((from, to, bytes.to_vec()));
        !self.is_busy.load(Ordering::Relaxed)
    }
}

/// Sends a message of so many bytes: whether whoever waits for progress was woken.
fn wakes(master: &Master, bytes: usize) -> bool {
    let progressed = pin!(master.progressed());
    let queue = master.queue("t", 0).expect("a queue");
    send(master, &queue, "k", bytes).expect("written");
    let woken = progressed.poll(&mut Context::from_waker(Waker::noop()));
    woken.is_ready()
}

#[test]
fn nobody_is_woken_for_what_all_have_taken() {
    let clock = Clock::at(1_000);
    let config = config("store", ASYNC, &clock);
    let master = open(config, SimulatedDisk::new()).expect("opens");
    master.replicated(Some(LogPosition(0)));
    assert!(wakes(&master, 10), "there is none");
    let replicas = [(); 2].map(|()| Arc::new(Replica::default()));
    let takers = replicas.clone().map(|replica| replica as Arc<dyn Taker>);
    for taker in &takers {
        master.add_taker(taker);
    }
    let from = LogPosition(master.positions().written);
    assert!(!wakes(&master, 1_000));
    let piece = master.log_piece(from, 1 << 14).expect("readable");
    let piece = piece.expect("it is written");
    for replica in &replicas {
        let offered = std::mem::take(&mut *replica.offered.lock());
        assert_eq!(offered, [(from, piece.end, piece.bytes.clone())]);
    }
    let [_, busy] = &replicas;
    busy.is_busy.store(true, Ordering::Relaxed);
    assert!(wakes(&master, 10), "one has not taken it");
    busy.is_busy.store(false, Ordering::Relaxed);
    assert!(wakes(&master, 20 << 10), "it is large");
    // Those before the last end in the first segment, and the last is behind its end.
    let mut woken = Vec::new();
    while master.positions().written < 64 << 10 {
        woken.push(wakes(&master, 10 << 10));
    }
    assert!(woken.pop().is_some_and(|is_woken| is_woken), "two parts");
    assert!(!woken.is_empty() && woken.iter().all(|is_woken| !is_woken));
    assert!(!wakes(&master, 10));
    master.replicated(None);
    assert!(wakes(&master, 10), "nobody waits for a replica");
    master.replicated(Some(LogPosition(0)));
    assert!(!wakes(&master, 10));
    for taker in &takers {
        master.remove_taker(taker);
    }
    assert!(wakes(&master, 10), "they are gone");
    for replica in &replicas {
        let offered = replica.offered.lock();
        assert!(offered.iter().all(|(from, to, bytes)| {
            let piece = master.log_piece(*from, bytes.len()).expect("readable");
            piece.is_some_and(|piece| piece.end == *to && piece.bytes == *bytes)
        }));
    }
}

/// Replicas copy while the disk works: they are woken before.
#[test]
fn with_sync_flush_nothing_is_offered() {
    let clock = Clock::at(1_000);
    let config = config("store", FlushMode::Sync, &clock);
    let master = open(config, SimulatedDisk::new()).expect("opens");
    let replica = Arc::new(Replica::default());
    let taker: Arc<dyn Taker> = Arc::clone(&replica) as _;
    master.add_taker(&taker);
    let queue = master.queue("t", 0).expect("a queue");
    let sent = master.append(&message(&queue, b"body", b"", ""));
    common::acked(&master, sent.expect("appended").end);
    assert!(replica.offered.lock().is_empty());
    master.close().expect("closed");
}
