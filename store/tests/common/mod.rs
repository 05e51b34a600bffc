//! What the tests of the store share.
#![allow(dead_code, reason = "each test uses a part")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rmq_protocol::message::{LogPosition, QueueOffset};
use rmq_store::fs::Fs;
use rmq_store::{
    AllMessages, AppendError, Appended, FlushMode, NewMessage, OpenError, QueueRef, ReadLimits,
    Store, StoreConfig, Temperature,
};

pub(crate) const LIMITS: ReadLimits = ReadLimits {
    messages_max: 1_000,
    bytes_max: 1 << 24,
    scan_entries_max: 10_000,
};

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
        ..StoreConfig::new(dir.as_ref())
    }
}

pub(crate) fn open(config: StoreConfig, fs: impl Fs) -> Result<Store, OpenError> {
    Store::open(config, Arc::new(fs)).map(|(store, _)| store)
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
    }
}

/// Waits until everything below `end` is acknowledged.
pub(crate) fn acked(store: &Store, end: LogPosition) {
    let (done, acked) = std::sync::mpsc::channel();
    store.when_acked(
        end,
        Box::new(move |outcome| done.send(outcome).expect("waited for")),
    );
    acked.recv().expect("called").expect("acknowledged");
}

/// Appends a message with one key and writes it out.
pub(crate) fn send(
    store: &Store,
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
