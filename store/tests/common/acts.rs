//! What masters do in the histories of tests.

use rmq_protocol::message::LogPosition;
use rmq_store::{Change, FlushMode, Master, NewMessage, StoreConfig, TableId};

use super::{Clock, Random, acked, config, further, message};

pub(crate) const QUEUES: [(&str, i32); 6] = [
    ("t", 0),
    ("t", 1),
    ("u", 0),
    ("never", 0),
    ("%LMQ%a", 0),
    ("%LMQ%b", 0),
];
pub(crate) const KEYS: [&str; 4] = ["k0", "k1", "k2", "k3"];

/// Tables in memory and on disk.
pub(crate) const CHANGED: [TableId; 4] = [
    super::TOPICS,
    super::CONSUMER_OFFSETS,
    super::KV,
    super::ORDERED,
];

pub(crate) fn settings(clock: &Clock, flush: FlushMode) -> StoreConfig {
    StoreConfig {
        retention_ms: 1_000,
        ..config("store", flush, clock)
    }
}

pub(crate) fn send(master: &Master, queue: usize, bytes: u64, key: u64) -> LogPosition {
    let (topic, id) = QUEUES[queue];
    let queue = master.queue(topic, id).expect("a queue");
    let key = KEYS[key as usize];
    let mut properties = format!("KEYS\u{1}{key}\u{2}");
    let body = vec![b'a' + key.as_bytes()[1] % 26; bytes as usize];
    // Light queues by key: none, the first, both.
    let names = ["", "", "%LMQ%a", "%LMQ%b,%LMQ%a"][usize::from(key.as_bytes()[1] % 4)];
    let further = further(master, names, &mut properties);
    let appended = master
        .append(&NewMessage {
            further: &further,
            ..message(&queue, &body, properties.as_bytes(), key)
        })
        .expect("appended");
    acked(master, appended.end);
    appended.end
}

pub(crate) fn set(master: &Master, change: Change) {
    let end = master.settings().put(&[change]).expect("put");
    acked(master, end);
}

pub(crate) fn delete(master: &Master, topic: &str) {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(master.delete_queues(topic))
        .expect("deleted");
}

/// Something that a master does.
pub(crate) fn act(random: &mut Random, master: &Master, clock: &Clock) {
    clock.advance(1 + random.below(20) as i64);
    match random.below(12) {
        0 => {
            let table = CHANGED[random.below(4) as usize];
            let key = format!("x{}", random.below(5));
            let value = random.below(1_000).to_string();
            set(master, Change::set(table, key, value));
        }
        1 => {
            let table = CHANGED[random.below(4) as usize];
            set(
                master,
                Change::remove(table, format!("x{}", random.below(5))),
            );
        }
        2 if random.chance(3) => delete(master, ["t", "u"][random.below(2) as usize]),
        3 if random.chance(2) => master.checkpoint().expect("sealed"),
        _ => {
            let size = 1 << (5 + random.below(11));
            let bytes = random.below(size);
            send(master, random.below(3) as usize, bytes, random.below(4));
        }
    }
}
