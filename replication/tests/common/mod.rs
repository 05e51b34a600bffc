//! What the tests of replication share.
#![allow(dead_code, reason = "each test uses a part")]

use std::net::SocketAddr;
use std::sync::Arc;

use rmq_protocol::message::LogPosition;
use rmq_protocol::{Incarnation, MemberId, Seat};
use rmq_replication::Identity;
use rmq_store::fs::Fs;
use rmq_store::{
    Appended, FlushMode, Follower, Master, NewMessage, QueueRef, Store, StoreConfig, Table, TableId,
};

pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;
/// Long enough for no flush by time.
pub(crate) const ASYNC: FlushMode = FlushMode::Async {
    interval_ms: 60_000,
    bytes: 1 << 30,
};
pub(crate) const TOPICS: TableId = TableId::new(1);

pub(crate) fn config(dir: impl Into<std::path::PathBuf>, flush: FlushMode) -> StoreConfig {
    StoreConfig {
        segment_bytes: SEGMENT_BYTES,
        index_run_bytes: 16 << 10,
        flush,
        background: false,
        now_ms: Arc::new(|| 1_000_000),
        tables: vec![Table::values(TOPICS, "topics")],
        ..StoreConfig::new(dir)
    }
}

pub(crate) fn master(config: StoreConfig, fs: impl Fs) -> Master {
    Master::open(config, Arc::new(fs)).expect("opens").0
}

pub(crate) fn follower(config: StoreConfig, fs: impl Fs) -> Follower {
    Follower::open(config, Arc::new(fs)).expect("opens").0
}

pub(crate) fn seat(member: u64) -> Seat {
    Seat {
        member: MemberId(member),
        incarnation: Incarnation(1_000 + u128::from(member)),
    }
}

pub(crate) fn identity(member: u64) -> Identity {
    Identity {
        cluster: "c".to_owned(),
        group: "g".to_owned(),
        seat: seat(member),
        segment_bytes: SEGMENT_BYTES,
    }
}

pub(crate) fn message<'a>(queue: &'a QueueRef, body: &'a [u8]) -> NewMessage<'a> {
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
        properties: b"",
        tag_hash: 0,
        keys: "",
        unique_key: "",
        further: &[],
    }
}

/// Appends a message; it is not written yet.
pub(crate) fn append(master: &Master, topic: &str, body: &[u8]) -> Appended {
    let queue = master.queue(topic, 0).expect("a queue");
    master.append(&message(&queue, body)).expect("appended")
}

/// The log from its beginning up to a position, byte for byte.
pub(crate) fn log(store: &Store, until: u64) -> Vec<u8> {
    let mut at = LogPosition(store.positions().min);
    let mut bytes = Vec::new();
    while at.0 < until {
        let piece = store.log_piece(at, 1 << 14).expect("readable");
        let piece = piece.expect("it is written");
        bytes.extend(piece.bytes);
        at = piece.end;
    }
    bytes
}
