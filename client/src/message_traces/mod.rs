//! Message traces that this client writes, where it is told to ([`ClientBuilder::message_traces`](crate::ClientBuilder::message_traces)): what it
//! did with each message, which `rmq-ctl trace` and `mqadmin queryMsgTraceById` read. Whoever has something to say puts a [`Record`] into a
//! bounded queue and never waits; one task makes messages of the records and sends them. The task keeps no client alive.

mod consuming;
mod record;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rmq_protocol::message::property;
use rmq_protocol::names::TRACE_TOPIC;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::client::{Client, WeakClient};
use crate::message::Message;
use crate::metrics;
use crate::producer::{Producer, ProducerState};
use crate::received::ReceivedMessage;

pub(crate) use consuming::Consuming;
pub(crate) use record::{
    ABSENT, EndTransaction, Ended, FIELDS, Kind, Pub, RECORDS, Recall, Record,
};

/// Records that wait to be sent at most, as in the original (`client/…/trace/AsyncTraceDispatcher.java`).
const WAITING_MAX: usize = 2_048;
/// Records in one message.
const RECORDS_MAX: usize = 64;
/// Bytes of records in one message, as in the original; a message is longer by one record at most.
const BODY_BYTES_MAX: usize = 128_000;
/// Bytes of ids and keys that find one message. A record with more of them is found by those that fit, its message's id among them.
const KEYS_BYTES_MAX: usize = 16 * 1_024;
/// How long a record waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// Messages with records that wait for an answer at once.
const IN_FLIGHT_MAX: usize = 4;
/// How long a message with records is tried, as in the original.
const DELIVER_WITHIN: Duration = Duration::from_secs(5);
/// The producer group of messages with records. The original's names begin so (`client/…/trace/TraceConstants.java`).
const GROUP: &str = "_INNER_TRACE_PRODUCER";

/// Where a client puts its records.
#[derive(Debug)]
pub(crate) struct Traces {
    topic: Arc<str>,
    entries: mpsc::Sender<Entry>,
    lost: Arc<Lost>,
}

#[derive(Debug)]
enum Entry {
    Record(Record),
    /// Nothing comes after it; told when all before it was sent.
    End(oneshot::Sender<()>),
}

/// Records that nobody will read.
#[derive(Debug, Default)]
struct Lost(AtomicU64);

impl Lost {
    fn add(&self, records: usize) {
        self.0.fetch_add(records as u64, Ordering::Relaxed);
        metrics::traces_lost(records);
    }
}

/// What traces say of a message that is sent.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) tag: Option<String>,
    pub(crate) keys: Option<String>,
    /// The region of the broker that it came from.
    pub(crate) region: Option<String>,
    pub(crate) body_bytes: usize,
    pub(crate) is_delayed: bool,
    pub(crate) began: Instant,
}

impl Traces {
    /// Traces go to `topic`. The queue's other end makes the task that sends them.
    pub(crate) fn new(topic: String) -> (Self, Waiting) {
        let (sender, entries) = mpsc::channel(WAITING_MAX);
        let lost = Arc::<Lost>::default();
        let topic: Arc<str> = topic.into();
        let traces = Self {
            topic: Arc::clone(&topic),
            entries: sender,
            lost: Arc::clone(&lost),
        };
        let waiting = Waiting {
            topic,
            entries,
            lost,
        };
        (traces, waiting)
    }

    /// Records that were not stored.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.0.load(Ordering::Relaxed)
    }

    /// Puts a record to those that wait, or counts it where there is no room.
    pub(crate) fn write(&self, record: Record) {
        if self.entries.try_send(Entry::Record(record)).is_err() {
            self.lost.add(1);
        }
    }

    /// Whether messages of a topic are traces, of which no traces are written: who reads traces would write for ever.
    fn is_trace(&self, topic: &str) -> bool {
        *topic == *self.topic || topic == TRACE_TOPIC
    }

    /// What to say of a message; `None`: nothing.
    pub(crate) fn subject(&self, message: &Message) -> Option<Box<Subject>> {
        if self.is_trace(message.topic()) {
            return None;
        }
        let text = |name| message.get(name).map(str::to_owned);
        Some(Box::new(Subject {
            tag: text(property::TAGS),
            keys: text(property::KEYS),
            region: None,
            body_bytes: message.body().len(),
            is_delayed: message.is_delayed(),
            began: Instant::now(),
        }))
    }

    /// The same of a message that a broker asks about.
    pub(crate) fn subject_of_half(&self, message: &ReceivedMessage) -> Box<Subject> {
        let text = |name| message.property(name).map(str::to_owned);
        Box::new(Subject {
            tag: text(property::TAGS),
            keys: text(property::KEYS),
            region: text(property::MSG_REGION),
            body_bytes: message.body().len(),
            is_delayed: false,
            began: Instant::now(),
        })
    }

    /// Sends what waits; nothing is sent afterwards.
    pub(crate) async fn end(&self) {
        let (ended, ends) = oneshot::channel();
        if self.entries.send(Entry::End(ended)).await.is_ok() {
            // An error: the task has ended.
            let _ = ends.await;
        }
    }
}

/// Records that wait, for the task that sends them.
#[derive(Debug)]
pub(crate) struct Waiting {
    topic: Arc<str>,
    entries: mpsc::Receiver<Entry>,
    lost: Arc<Lost>,
}

/// Records that leave in one message.
#[derive(Debug, Default)]
struct Open {
    records: Vec<Record>,
    body_bytes: usize,
    keys_bytes: usize,
}

impl Open {
    fn fits(&self, record: &Record) -> bool {
        self.records.is_empty() || self.keys_bytes + record.keys.len() < KEYS_BYTES_MAX
    }

    fn add(&mut self, record: Record) {
        self.body_bytes += record.text.len();
        self.keys_bytes += record.keys.len() + 1;
        self.records.push(record);
    }

    fn is_full(&self) -> bool {
        self.records.len() >= RECORDS_MAX || self.body_bytes >= BODY_BYTES_MAX
    }

    /// The message, found by each id and key of its records.
    fn message(&self, topic: &str) -> Message {
        let mut body = String::with_capacity(self.body_bytes);
        let mut keys = String::with_capacity(self.keys_bytes);
        let mut known = HashSet::new();
        for record in &self.records {
            body.push_str(&record.text);
            for key in record.keys.split(' ').filter(|key| !key.is_empty()) {
                if keys.len() + key.len() < KEYS_BYTES_MAX && known.insert(key) {
                    if !keys.is_empty() {
                        keys.push(' ');
                    }
                    keys.push_str(key);
                }
            }
        }
        Message::new(topic, body).key(keys)
    }
}

type Sends = FuturesUnordered<BoxFuture<'static, ()>>;

/// What the task needs to send a message.
struct Way {
    topic: Arc<str>,
    client: WeakClient,
    producer: Arc<ProducerState>,
    lost: Arc<Lost>,
}

impl Waiting {
    /// Sends records until [`Traces::end`], or until the client is gone.
    pub(crate) async fn send(mut self, client: WeakClient, producer: Arc<ProducerState>) {
        let way = Way {
            topic: self.topic,
            client,
            producer,
            lost: self.lost,
        };
        let mut open = Open::default();
        // When what is open leaves.
        let mut until = None;
        let mut sends = Sends::new();
        let ended = loop {
            let has_room = sends.len() < IN_FLIGHT_MAX;
            let due = until.unwrap_or_else(Instant::now);
            let entry = tokio::select! {
                biased;
                Some(()) = sends.next() => continue,
                () = sleep_until(due), if has_room && until.is_some() => {
                    until = None;
                    way.leave(&mut open, &sends);
                    continue;
                }
                entry = self.entries.recv(), if has_room => entry,
            };
            match entry {
                Some(Entry::Record(record)) => way.gather(record, &mut open, &sends),
                Some(Entry::End(ended)) => break Some(ended),
                None => break None,
            }
            until = match open.records.is_empty() {
                true => None,
                false => until.or_else(|| Some(Instant::now() + LINGER)),
            };
        };
        self.entries.close();
        while let Some(entry) = self.entries.recv().await {
            if let Entry::Record(record) = entry {
                way.gather(record, &mut open, &sends);
            }
        }
        way.leave(&mut open, &sends);
        while sends.next().await.is_some() {}
        if let Some(ended) = ended {
            let _ = ended.send(());
        }
    }
}

impl Way {
    /// Puts a record to the others; they leave when they are enough.
    fn gather(&self, record: Record, open: &mut Open, sends: &Sends) {
        if !open.fits(&record) {
            self.leave(open, sends);
        }
        open.add(record);
        if open.is_full() {
            self.leave(open, sends);
        }
    }

    fn leave(&self, open: &mut Open, sends: &Sends) {
        let open = std::mem::take(open);
        if open.records.is_empty() {
            return;
        }
        let (records, lost) = (open.records.len(), Arc::clone(&self.lost));
        let Some(client) = self.client.upgrade() else {
            // Nobody is left who could ask for the number.
            lost.add(records);
            return;
        };
        let producer = Producer::new(client, Arc::clone(&self.producer));
        let message = open.message(&self.topic);
        sends.push(Box::pin(async move {
            let topic = message.topic().to_owned();
            if let Err(error) = producer.send(message).await {
                lost.add(records);
                tracing::warn!(topic, records, "message traces are lost: {error}");
            }
        }));
    }
}

/// What the producer of traces is like.
pub(crate) fn producer(client: &Client) -> Arc<ProducerState> {
    client
        .producer_builder()
        .group(GROUP)
        .deliver_within(DELIVER_WITHIN)
        .trace_context(false)
        .shared()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(keys: &str) -> Record {
        Record {
            text: format!("Pub{FIELDS}{keys}{RECORDS}"),
            keys: keys.to_owned(),
        }
    }

    #[test]
    fn a_message_is_found_by_each_key_of_its_records_once() {
        let mut open = Open::default();
        for keys in ["ID1 a b", "ID1 a b", "ID2 b  c"] {
            assert!(open.fits(&record(keys)));
            open.add(record(keys));
        }
        let message = open.message("traces");
        assert_eq!(message.get(property::KEYS), Some("ID1 a b ID2 c"));
        let body = std::str::from_utf8(message.body()).unwrap();
        assert_eq!(body.matches(RECORDS).count(), 3);
        assert!(!open.is_full());
    }

    #[test]
    fn a_message_of_any_records_can_be_sent() {
        let mut open = Open::default();
        let long = format!("ID {}", "k".repeat(20_000));
        assert!(open.fits(&record(&long)), "alone it leaves alone");
        open.add(record(&long));
        assert!(!open.fits(&record("ID2")));
        let message = open.message("traces");
        assert_eq!(message.get(property::KEYS), Some("ID"));
        assert!(message.encode_properties("UNIQUE").is_ok());
        let mut open = Open::default();
        let each = "k".repeat(100);
        while !open.is_full() && open.fits(&record(&each)) {
            open.add(record(&each));
        }
        assert_eq!(open.records.len(), RECORDS_MAX);
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (traces, waiting) = Traces::new("traces".to_owned());
        for _ in 0..WAITING_MAX + 3 {
            traces.write(record("ID"));
        }
        assert_eq!(traces.lost(), 3);
        drop(waiting);
        traces.write(record("ID"));
        assert_eq!(traces.lost(), 4);
    }

    #[test]
    fn traces_have_no_traces() {
        let (traces, _waiting) = Traces::new("audit".to_owned());
        for topic in ["audit", TRACE_TOPIC] {
            assert!(traces.subject(&Message::new(topic, "x")).is_none());
        }
        let paid = Message::new("orders", "12").tag("paid").key("a").key("b");
        let subject = traces.subject(&paid).unwrap();
        assert_eq!(subject.tag.as_deref(), Some("paid"));
        assert_eq!(subject.keys.as_deref(), Some("a b"));
        assert_eq!((subject.body_bytes, subject.is_delayed), (2, false));
        let later = paid.deliver_after(Duration::from_secs(1));
        assert!(traces.subject(&later).unwrap().is_delayed);
    }
}
