//! A log in memory, the real derived files on a real disk, and a naive model of what must come out.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rmq_protocol::message::{
    LogPosition, QueueId, QueueOffset, RecordFields, RecordView, properties, property, tag_hash,
};
use smallvec::SmallVec;
use tempfile::TempDir;

use super::super::*;
use crate::fs::RealFs;
use crate::settings::{Change, TableId, encode};

pub(crate) const TOPICS: TableId = TableId::new(1);
pub(crate) const CONSUMER_OFFSETS: TableId = TableId::new(3);
pub(crate) const ORDERED: TableId = TableId::new(200);
pub(crate) const TABLES: [TableId; 3] = [TOPICS, CONSUMER_OFFSETS, ORDERED];

fn tables() -> Vec<Table> {
    vec![
        Table::values(TOPICS, "topics"),
        Table::values(CONSUMER_OFFSETS, "consumer_offsets").progress(),
        Table::on_disk(ORDERED, "ordered"),
    ]
}

/// Records in memory, laid out in segments as the real log does.
pub(crate) struct MemoryLog {
    records: Mutex<BTreeMap<u64, Vec<u8>>>,
    start: AtomicU64,
    pub(crate) end: AtomicU64,
    pub(crate) segment: u64,
    pub(crate) sync_fails: AtomicBool,
    /// Runs once within the next sync.
    pub(crate) at_sync: Mutex<Option<Box<dyn FnOnce() + std::marker::Send>>>,
}

impl MemoryLog {
    fn new(segment: u64) -> Self {
        Self {
            records: Mutex::default(),
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
            segment,
            sync_fails: AtomicBool::new(false),
            at_sync: Mutex::new(None),
        }
    }

    /// Where a record of this size goes.
    fn place(&self, size: u64) -> u64 {
        let end = self.end.load(Ordering::Relaxed);
        let segment_end = self.segment_end(end);
        if end + size + 8 > segment_end {
            segment_end
        } else {
            end
        }
    }

    pub(crate) fn drop_below(&self, position: u64) {
        self.start.store(position, Ordering::Relaxed);
        self.records.lock().retain(|at, _| *at >= position);
    }

    pub(crate) fn remove_record(&self, position: u64) {
        self.records.lock().remove(&position);
    }
}

impl LogReader for MemoryLog {
    fn visit(&self, position: u64, visit: &mut dyn FnMut(&[u8])) -> bool {
        let record = self.records.lock().get(&position).cloned();
        record.map(|bytes| visit(&bytes)).is_some()
    }

    fn store_time(&self, position: u64) -> Option<i64> {
        let records = self.records.lock();
        RecordView::parse(records.get(&position)?)
            .ok()
            .map(|record| record.store_ms())
    }

    fn start(&self) -> u64 {
        self.start.load(Ordering::Relaxed)
    }

    fn segment_end(&self, position: u64) -> u64 {
        (position / self.segment + 1) * self.segment
    }

    fn make_durable(&self, _up_to: u64) -> io::Result<()> {
        if let Some(at_sync) = self.at_sync.lock().take() {
            at_sync();
        }
        if self.sync_fails.load(Ordering::Relaxed) {
            Err(io::Error::other("sync fails"))
        } else {
            Ok(())
        }
    }

    fn scan(&self, from: u64, to: u64, visit: &mut dyn FnMut(u64, &[u8])) -> io::Result<()> {
        let part: Vec<_> = self
            .records
            .lock()
            .range(from..to)
            .map(|(at, bytes)| (*at, bytes.clone()))
            .collect();
        part.iter().for_each(|(at, bytes)| visit(*at, bytes));
        Ok(())
    }
}

/// One message of the model.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) offset: i64,
    pub(crate) position: u64,
    pub(crate) size: u32,
    pub(crate) tag_hash: i64,
    pub(crate) store_ms: i64,
    pub(crate) keys: String,
    pub(crate) unique_key: String,
}

/// What a queue must look like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) next: i64,
    pub(crate) messages: Vec<Message>,
}

/// What is appended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Send<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) tag: &'a str,
    pub(crate) keys: &'a str,
    pub(crate) unique_key: &'a str,
    pub(crate) body: usize,
}

pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) config: DispatchConfig,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) queues: BTreeMap<(String, i32), Expected>,
    pub(crate) settings: BTreeMap<(TableId, Vec<u8>), Bytes>,
    pub(crate) now: i64,
    staged: Vec<Entry>,
}

impl Rig {
    pub(crate) fn new(segment: u64, run_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(MemoryLog::new(segment));
        let config = DispatchConfig {
            tables_ahead: false,
            run_bytes,
            accept_lost_tables: false,
            background: false,
            tables: tables(),
        };
        let dispatcher = open(dir.path(), &log, &config).unwrap();
        Self {
            dir,
            log,
            config,
            dispatcher,
            queues: BTreeMap::new(),
            settings: BTreeMap::new(),
            now: 1_700_000_000_000,
            staged: Vec::new(),
        }
    }

    /// Appends a message; it is dispatched with the next [`flush`](Self::flush).
    pub(crate) fn send(&mut self, send: &Send<'_>) -> Message {
        let mut text = properties::Builder::new();
        for (name, value) in [
            (property::TAGS, send.tag),
            (property::KEYS, send.keys),
            (property::UNIQ_KEY, send.unique_key),
        ] {
            if !value.is_empty() {
                text.push(name, value);
            }
        }
        self.append(
            send.topic,
            send.queue_id,
            &vec![7; send.body],
            text.finish().as_bytes(),
            send,
        )
    }

    fn append(
        &mut self,
        topic: &str,
        queue_id: i32,
        body: &[u8],
        properties: &[u8],
        send: &Send<'_>,
    ) -> Message {
        let queue = self.dispatcher.queue(topic, queue_id).expect("a queue");
        let host = "127.0.0.1:10911".parse().unwrap();
        let mut fields = RecordFields {
            queue_id: QueueId(queue_id),
            flag: 0,
            queue_offset: QueueOffset(queue.next_offset()),
            position: LogPosition(0),
            sys_flag: 0,
            born_ms: self.now,
            born_host: host,
            store_ms: self.now,
            store_host: host,
            reconsume_times: 0,
            prepared_position: 0,
            body,
            topic,
            properties,
        };
        let size = fields.encoded_len() as u64;
        let position = self.log.place(size);
        fields.position = LogPosition(position);
        let mut bytes = Vec::new();
        fields.encode(&mut bytes).unwrap();
        let entry = self
            .dispatcher
            .entry_of(&RecordView::parse(&bytes).unwrap())
            .expect("a queue");
        queue.set_next_offset(entry.queue_offset + 1);
        self.log.records.lock().insert(position, bytes);
        self.log.end.store(position + size, Ordering::Relaxed);
        let message = Message {
            offset: entry.queue_offset,
            position,
            size: entry.size,
            tag_hash: tag_hash(send.tag),
            store_ms: self.now,
            keys: send.keys.to_owned(),
            unique_key: send.unique_key.to_owned(),
        };
        self.staged.push(entry);
        let expected = self.queues.entry((topic.to_owned(), queue_id)).or_default();
        assert_eq!(
            expected.next, message.offset,
            "offsets are dense and never used twice"
        );
        expected.next += 1;
        expected.messages.push(message.clone());
        message
    }

    pub(crate) fn put(&mut self, changes: &[Change]) {
        for (body, _) in encode(changes) {
            self.append(SETTINGS_TOPIC, 0, &body, b"", &Send::default());
        }
        for change in changes {
            let key = (change.table, change.key.clone());
            match &change.value {
                Some(value) => drop(self.settings.insert(key, value.clone())),
                None => drop(self.settings.remove(&key)),
            }
        }
    }

    pub(crate) fn delete_topic(&mut self, topic: &str) {
        let body = encode(&[Change::delete_queues(topic)]).remove(0).0;
        // As the store does, so that the dispatch of the record asks no disk.
        self.dispatcher.load_deleted(topic).expect("its queues");
        self.append(SETTINGS_TOPIC, 0, &body, b"", &Send::default());
        for (_, expected) in self
            .queues
            .iter_mut()
            .filter(|((name, _), _)| name == topic)
        {
            expected.messages.clear();
        }
    }

    /// Dispatches what was appended.
    pub(crate) fn flush(&mut self) {
        self.dispatcher
            .apply(&mut self.staged, self.log.end.load(Ordering::Relaxed));
        assert!(self.staged.is_empty());
    }

    /// Segments below the one of the newest record go.
    pub(crate) fn expire(&mut self, segments_kept: u64) {
        self.flush();
        let end = self.log.end.load(Ordering::Relaxed);
        let position = (end / self.log.segment).saturating_sub(segments_kept) * self.log.segment;
        if position <= self.log.start() {
            return;
        }
        self.dispatcher.drop_below(position).unwrap();
        self.log.drop_below(position);
        for expected in self.queues.values_mut() {
            expected
                .messages
                .retain(|message| message.position >= position);
        }
    }

    /// Ends the dispatcher with or without its last seal, lets `meanwhile` at the files, and opens it again.
    pub(crate) fn reopen(
        &mut self,
        clean: bool,
        meanwhile: impl FnOnce(&Path),
    ) -> Result<(), DispatchError> {
        self.flush();
        if clean {
            self.dispatcher.close().unwrap()
        } else {
            self.dispatcher.abandon()
        }
        // The old one must let go of its files first.
        let spare = tempfile::tempdir().unwrap();
        let empty = Arc::new(MemoryLog::new(self.log.segment));
        self.dispatcher = open(spare.path(), &empty, &self.config).unwrap();
        meanwhile(self.dir.path());
        self.dispatcher = open(self.dir.path(), &self.log, &self.config)?;
        Ok(())
    }

    /// Compares everything with the model.
    pub(crate) fn check(&self) {
        for ((topic, id), expected) in &self.queues {
            self.check_queue(topic, *id, expected);
        }
        for table in TABLES {
            let text = |key: &Vec<u8>| String::from_utf8(key.clone()).expect("text");
            let wanted = self.settings.iter().filter(|((of, _), _)| *of == table);
            if table == ORDERED {
                let wanted: Vec<Row> = wanted
                    .map(|((_, key), value)| (key.clone(), value.clone()))
                    .collect();
                self.check_rows(&wanted);
            } else {
                let wanted: Vec<_> = wanted
                    .map(|((_, key), value)| (text(key), value.clone()))
                    .collect();
                let values = self.dispatcher.declared().values(table).expect("declared");
                assert_eq!(values.scan(), wanted, "{table}");
            }
        }
    }

    /// The table on disk in one piece, in batches, and from key to key.
    fn check_rows(&self, wanted: &[Row]) {
        let declared = self.dispatcher.declared();
        let table = declared.get(ORDERED).expect("declared");
        let read = |from: &[u8], to: Option<&[u8]>, max| {
            self.dispatcher.rows(table, from, to, max).expect("rows")
        };
        assert_eq!(read(b"", None, usize::MAX), wanted);
        for max in [1, 2, 3] {
            let (mut found, mut from) = (Vec::new(), Vec::new());
            loop {
                let batch = read(&from, None, max);
                assert!(batch.len() <= max);
                let Some((last, _)) = batch.last() else { break };
                from = [last.as_slice(), &[0]].concat();
                found.extend(batch);
            }
            assert_eq!(found, wanted, "in batches of {max}");
        }
        for (index, (from, _)) in wanted.iter().enumerate() {
            for (end, (to, _)) in wanted.iter().enumerate() {
                let part = wanted.get(index..end).unwrap_or_default();
                assert_eq!(read(from, Some(to), usize::MAX), part);
            }
        }
    }

    fn check_queue(&self, topic: &str, id: i32, expected: &Expected) {
        let queue = self
            .dispatcher
            .find_queue(topic, id)
            .expect("a queue")
            .unwrap_or_else(|| panic!("queue {topic}/{id} is known"));
        let first = expected
            .messages
            .first()
            .map_or(expected.next, |message| message.offset);
        assert_eq!(
            (queue.min_offset(), queue.max_offset()),
            (first, expected.next),
            "bounds of {topic}/{id}"
        );
        assert_eq!(
            queue.next_offset(),
            expected.next,
            "next offset of {topic}/{id}"
        );
        for step in [1, 7, 1000] {
            let mut found = SmallVec::new();
            let mut at = 0;
            while at < expected.next {
                let before = found.len();
                let next = self
                    .dispatcher
                    .locate(&queue, at, step, &mut found)
                    .unwrap();
                assert!(
                    next > at && found.len() - before <= step,
                    "{topic}/{id} at {at}: {next}"
                );
                at = next;
            }
            assert_eq!(
                found.len(),
                expected.messages.len(),
                "{topic}/{id} in steps of {step}"
            );
            for (found, want) in found.iter().zip(&expected.messages) {
                assert_eq!(
                    (found.offset, found.position, found.size, found.tag_hash),
                    (want.offset, want.position, want.size, want.tag_hash)
                );
            }
        }
        self.check_times(&queue, expected);
    }

    fn check_times(&self, queue: &QueueRef, expected: &Expected) {
        let messages = &expected.messages;
        let times: Vec<i64> = messages
            .iter()
            .step_by(1 + messages.len() / 8)
            .flat_map(|m| [m.store_ms - 1, m.store_ms, m.store_ms + 1])
            .collect();
        for ms in times.into_iter().chain([0, i64::MAX]) {
            let lower = messages
                .iter()
                .find(|m| m.store_ms >= ms)
                .map_or(expected.next, |m| m.offset);
            let upper = messages
                .iter()
                .rev()
                .find(|m| m.store_ms <= ms)
                .map_or(0, |m| m.offset);
            assert_eq!(
                self.dispatcher
                    .offset_by_time(queue, ms, Boundary::Lower)
                    .unwrap(),
                lower,
                "{queue:?} at {ms}"
            );
            assert_eq!(
                self.dispatcher
                    .offset_by_time(queue, ms, Boundary::Upper)
                    .unwrap(),
                upper,
                "{queue:?} at {ms}"
            );
        }
        let earliest = messages.first().map(|m| m.store_ms);
        assert_eq!(self.dispatcher.earliest_store_time(queue), earliest);
    }

    /// Positions of a key by the model, newest first.
    pub(crate) fn expected_key(
        &self,
        topic: &str,
        key: &str,
        kind: KeyKind,
        from: i64,
        to: i64,
    ) -> Vec<u64> {
        let has = |m: &&Message| match kind {
            KeyKind::Key => m.keys.split(' ').any(|other| other == key),
            KeyKind::UniqueKey => m.unique_key == key,
        };
        let of_topic = self
            .queues
            .iter()
            .filter(|((name, _), _)| name == topic)
            .flat_map(|(_, expected)| &expected.messages);
        let mut found: Vec<u64> = of_topic
            .filter(has)
            .filter(|m| m.store_ms >= from && m.store_ms <= to)
            .map(|m| m.position)
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    pub(crate) fn check_key(&self, topic: &str, key: &str, kind: KeyKind) {
        let all = self
            .dispatcher
            .find_by_key(topic, key, kind, usize::MAX, i64::MIN, i64::MAX);
        assert_eq!(
            all,
            self.expected_key(topic, key, kind, i64::MIN, i64::MAX),
            "{topic} {key}"
        );
        let some = self
            .dispatcher
            .find_by_key(topic, key, kind, 2, i64::MIN, i64::MAX);
        assert_eq!(some, all[..all.len().min(2)]);
        let (from, to) = (self.now - 40, self.now - 10);
        assert_eq!(
            self.dispatcher.find_by_key(topic, key, kind, 64, from, to),
            self.expected_key(topic, key, kind, from, to)
        );
    }

    pub(crate) fn run_count(&self) -> usize {
        self.dispatcher.shared.index.runs().len()
    }

    pub(crate) fn files(&self) -> Vec<std::path::PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }
}

fn open(
    dir: &Path,
    log: &Arc<MemoryLog>,
    config: &DispatchConfig,
) -> Result<Dispatcher, DispatchError> {
    let dispatcher = Dispatcher::open(
        dir,
        Arc::new(RealFs),
        Arc::clone(log) as Arc<dyn LogReader>,
        config.clone(),
        Arc::default(),
        || Ok::<(), DispatchError>(()),
    )?;
    let mut entries = Vec::new();
    log.scan(dispatcher.replay_from(), u64::MAX, &mut |_, bytes| {
        entries.push(
            dispatcher
                .entry_of(&RecordView::parse(bytes).unwrap())
                .expect("a queue"),
        );
        if entries.len() == 5 {
            dispatcher.apply(&mut entries, u64::MAX);
        }
    })
    .unwrap();
    dispatcher.apply(&mut entries, u64::MAX);
    let end = log.end.load(Ordering::Relaxed);
    dispatcher.finish_replay(end, end)?;
    dispatcher.start()?;
    Ok(dispatcher)
}
