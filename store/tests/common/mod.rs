//! What the tests of the store share.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod acts;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rmq_protocol::message::{LogPosition, QueueOffset};
use rmq_store::fs::{Crash, Fs, SimulatedDisk};
use rmq_store::{
    AllMessages, AppendError, Appended, Epoch, FedRecord, FedRow, Feed, FlushMode, Follower,
    KeyKind, LIGHT_QUEUE_ID, Master, NewMessage, OpenError, QueueRef, ReadLimits, Row, Store,
    StoreConfig, Table, TableId, Temperature,
};

pub(crate) const LIMITS: ReadLimits = ReadLimits {
    messages_max: 1_000,
    bytes_max: 1 << 24,
    scan_entries_max: 10_000,
};

pub(crate) const TOPICS: TableId = TableId::new(1);
pub(crate) const CONSUMER_OFFSETS: TableId = TableId::new(3);
pub(crate) const DELAY_PROGRESS: TableId = TableId::new(4);
pub(crate) const KV: TableId = TableId::new(7);
pub(crate) const ORDERED: TableId = TableId::new(200);

/// The tables that the tests declare.
pub(crate) fn tables() -> Vec<Table> {
    vec![
        Table::values(TOPICS, "topics"),
        Table::values(CONSUMER_OFFSETS, "consumer_offsets").progress(),
        Table::values(DELAY_PROGRESS, "delay_progress").progress(),
        Table::values(KV, "kv").fed_by(Arc::new(Numbers)),
        Table::on_disk(ORDERED, "ordered").fed_by(Arc::new(Marks)),
    ]
}

/// Messages of the topic `fed` set a row of [`ORDERED`]: `fed`, then their position. One with a prepared position sets the row `ended` of that
/// position as well.
pub(crate) struct Marks;

impl Feed for Marks {
    fn rows(&self, record: &FedRecord<'_>, rows: &mut Vec<FedRow>) {
        if record.topic == "fed" {
            rows.push(FedRow::placed(ORDERED, b"fed", b"!"));
        }
        if record.prepared_position != 0 {
            let key = [b"ended", &record.prepared_position.to_be_bytes()[..]].concat();
            rows.push(FedRow::plain(ORDERED, &key));
        }
    }

    fn changed(&self, _key: &[u8], _is_set: bool) {}
}

/// Messages of the topic `numbered` set a row of [`KV`], and one with a position of such a message as its prepared position removes that row.
pub(crate) struct Numbers;

impl Feed for Numbers {
    fn rows(&self, record: &FedRecord<'_>, rows: &mut Vec<FedRow>) {
        if record.topic == "numbered" {
            rows.push(FedRow::numbered(KV, b"<", b">"));
        }
        if record.prepared_position > 0 {
            let key = record.prepared_position.to_string();
            rows.push(FedRow::removed(KV, key.as_bytes()));
        }
    }

    fn changed(&self, _key: &[u8], _is_set: bool) {}
}

/// A clock that a test moves.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn at(ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(ms)))
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Long enough for no flush by time.
pub(crate) const ASYNC: FlushMode = FlushMode::Async {
    interval_ms: 60_000,
    bytes: 1 << 30,
};

/// Numbers that follow from a seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// Small segments and runs; nothing happens in the background unless the test asks for it.
pub(crate) fn config(dir: impl AsRef<Path>, flush: FlushMode, clock: &Clock) -> StoreConfig {
    let clock = clock.clone();
    StoreConfig {
        segment_bytes: 64 << 10,
        index_run_bytes: 16 << 10,
        flush,
        retention_ms: 10_000,
        background: false,
        now_ms: Arc::new(move || clock.now()),
        tables: tables(),
        ..StoreConfig::new(dir.as_ref())
    }
}

pub(crate) fn open(config: StoreConfig, fs: impl Fs) -> Result<Master, OpenError> {
    Master::open(config, Arc::new(fs)).map(|(store, _)| store)
}

pub(crate) fn message<'a>(
    queue: &'a QueueRef,
    body: &'a [u8],
    properties: &'a [u8],
    keys: &'a str,
) -> NewMessage<'a> {
    NewMessage {
        queue,
        topic: queue.topic(),
        flag: 0,
        sys_flag: 0,
        born_ms: 1,
        born_host: SocketAddr::from(([127, 0, 0, 1], 1)),
        reconsume_times: 0,
        prepared_position: 0,
        body,
        properties,
        tag_hash: 0,
        keys,
        unique_key: "",
        further: &[],
    }
}

/// The light queues of these names, with a comma between two, which the properties name from now on.
pub(crate) fn further(master: &Master, names: &str, properties: &mut String) -> Vec<QueueRef> {
    if names.is_empty() {
        return Vec::new();
    }
    *properties += &format!("INNER_MULTI_DISPATCH\u{1}{names}\u{2}");
    let queue = |name| master.queue(name, LIGHT_QUEUE_ID).expect("a queue");
    names.split(',').map(queue).collect()
}

/// Waits until everything below `end` is acknowledged.
pub(crate) fn acked(store: &Store, end: LogPosition) {
    let (done, acked) = std::sync::mpsc::channel();
    store.settle(
        end,
        Box::new(move |outcome| done.send(outcome).expect("waited for")),
    );
    acked.recv().expect("called").expect("acknowledged");
}

/// Appends a message with one key and writes it out.
pub(crate) fn send(
    store: &Master,
    queue: &QueueRef,
    key: &str,
    bytes: usize,
) -> Result<Appended, AppendError> {
    let properties = format!("KEYS\u{1}{key}\u{2}");
    let appended = store.append(&message(
        queue,
        &vec![b'.'; bytes],
        properties.as_bytes(),
        key,
    ))?;
    store.write_out()?;
    Ok(appended)
}

/// Offsets that can be read from `from` on.
pub(crate) fn offsets(store: &Store, queue: &QueueRef, mut from: i64) -> Vec<i64> {
    let mut found = Vec::new();
    loop {
        let outcome = store.read(
            queue,
            QueueOffset(from),
            LIMITS,
            &AllMessages,
            Temperature::MayWait,
        );
        found.extend(
            outcome
                .records
                .iter()
                .map(|record| record.view().expect("a record").queue_offset().0),
        );
        if outcome.next_offset <= from || outcome.next_offset >= outcome.max_offset {
            return found;
        }
        from = outcome.next_offset;
    }
}

/// Everything that a store says of some queues, keys and settings, and its log byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) epochs: Vec<Epoch>,
    /// Beginning and end of what is visible.
    pub(crate) log: (u64, u64),
    pub(crate) bytes: Vec<u8>,
    pub(crate) queues: Vec<(String, QueueState)>,
    /// Positions by topic and key, newest first.
    pub(crate) keys: Vec<(String, Vec<u64>)>,
    pub(crate) settings: Vec<(TableId, String, Vec<u8>)>,
    /// Of the table on disk.
    pub(crate) rows: Vec<Row>,
}

/// What a store says of a queue: its range, the first offset of its topic, and the records that are there.
pub(crate) type QueueState = (i64, i64, i64, Vec<Vec<u8>>);

/// What a store of any role says.
pub(crate) fn state(store: &Store, queues: &[(&str, i32)], keys: &[&str]) -> State {
    let positions = store.positions();
    let mut bytes = Vec::new();
    let mut at = LogPosition(positions.min);
    while at.0 < positions.dispatched {
        let piece = store.log_piece(at, 1 << 14).expect("readable");
        let piece = piece.expect("it is written");
        bytes.extend(piece.bytes);
        at = piece.end;
    }
    let queues = queues.iter().map(|(topic, id)| {
        let name = format!("{topic}/{id}");
        let found = store.find_queue(topic, *id).expect("looked up");
        let Some(queue) = found else {
            return (name, (-1, -1, -1, Vec::new()));
        };
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let records = records(store, &queue, min);
        (name, (min, max, queue.first_offset(), records))
    });
    let topics: std::collections::BTreeSet<&str> = QUEUES_OF_KEYS.into_iter().collect();
    let keys = topics.into_iter().flat_map(|topic| {
        keys.iter().map(move |key| {
            let found = store.find_by_key(topic, key, KeyKind::Key, 100, 0, i64::MAX);
            let positions = found.map(|record| record.view().expect("a record").position().0);
            (format!("{topic} {key}"), positions.collect())
        })
    });
    State {
        epochs: store.epochs(),
        log: (positions.min, positions.dispatched),
        bytes,
        queues: queues.collect(),
        keys: keys.collect(),
        settings: TABLES
            .into_iter()
            .flat_map(|table| {
                let rows = store.values(table);
                rows.into_iter()
                    .map(move |(key, value)| (table, key, value.to_vec()))
            })
            .collect(),
        rows: store.rows(ORDERED, b"", None, 1_000).expect("readable"),
    }
}

/// Topics in which [`state`] looks for keys.
pub(crate) const QUEUES_OF_KEYS: [&str; 2] = ["t", "u"];
/// Tables that [`state`] looks at.
pub(crate) const TABLES: [TableId; 3] = [TOPICS, CONSUMER_OFFSETS, KV];

/// The records of a queue from an offset on.
pub(crate) fn records(store: &Store, queue: &QueueRef, mut from: i64) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    loop {
        let outcome = store.read(
            queue,
            QueueOffset(from),
            LIMITS,
            &AllMessages,
            Temperature::MayWait,
        );
        found.extend(outcome.records.iter().map(|record| record.to_vec()));
        if outcome.next_offset <= from || outcome.next_offset >= outcome.max_offset {
            return found;
        }
        from = outcome.next_offset;
    }
}

/// Copies pieces of at most `bytes_max` bytes until the follower has all that the other store has written, or ends at `to`. Returns where
/// it ends; what was copied is stored.
pub(crate) fn copy(from: &Store, to: &Follower, bytes_max: usize, until: u64) -> LogPosition {
    let mut end = LogPosition(to.positions().appended);
    while end.0 < until {
        let Some(piece) = from.log_piece(end, bytes_max).expect("readable") else {
            break;
        };
        end = to.copy(end, &piece.bytes).expect("copied");
        assert_eq!(end, piece.end);
    }
    stored(to, end);
    end
}

/// Waits until a follower has everything below `end`.
pub(crate) fn stored(follower: &Follower, end: LogPosition) {
    if let Some(stored) = follower.try_store(end) {
        return stored.expect("stored");
    }
    let (done, told) = std::sync::mpsc::channel();
    follower.store(
        end,
        Box::new(move |outcome| done.send(outcome).expect("waited for")),
    );
    told.recv().expect("called").expect("stored");
}

/// Ends a follower in one of three ways: closed, killed, or with the system. With async flush the system does not end: the power may take
/// log that the master has removed since. Returns the disk that is left.
pub(crate) fn end_somehow(
    follower: Follower,
    disk: SimulatedDisk,
    flush: FlushMode,
    random: &mut Random,
) -> SimulatedDisk {
    match random.below(3) {
        0 => {
            follower.close().expect("closed");
            disk
        }
        1 => {
            follower.abandon();
            disk
        }
        _ => {
            follower.abandon();
            let crash = match flush {
                FlushMode::Sync => Crash::PowerLoss,
                FlushMode::Async { .. } => Crash::Kill,
            };
            disk.after_crash(disk.steps(), crash)
        }
    }
}

pub(crate) fn follow(config: StoreConfig, fs: impl Fs) -> Follower {
    Follower::open(config, Arc::new(fs)).expect("opens").0
}
