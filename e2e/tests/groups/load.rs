//! Senders and readers of one group, and what they saw.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rmq_client::{Client, Consumer, Message, PullOptions, PullStatus, Queue, StartFrom};
use rmq_e2e::crowd::{body, key, place};
use rmq_e2e::history::{History, Key, Place};
use rmq_e2e::java::Java;
use rmq_protocol::message::OffsetMessageId;
use tokio::task::JoinHandle;

use crate::until;

/// Queues of a load's topic. The last one is the Java client's.
pub(crate) const QUEUES: u16 = 4;
/// A sender gives an attempt up after this time, so that a stopped master costs no more than that beside the group's own time.
const SEND_WITHIN: Duration = Duration::from_secs(1);
/// Between two messages of a sender, and after a failure.
const PAUSE: Duration = Duration::from_millis(15);
/// Longest time until a consumer has joined its group.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// Producers of the Java client begin with this number.
const JAVA_PRODUCERS: u32 = 1_000_000;

/// An acknowledged send of our client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    /// The member that acknowledged.
    pub(crate) by: Ipv4Addr,
    /// Where the message is in the log.
    pub(crate) position: u64,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// How often each message was given to a group, by queue and offset.
pub(crate) type Seen = HashMap<(i32, i64), u32>;

/// What senders and readers saw.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) history: History,
    acks: Mutex<Vec<Ack>>,
    /// When each send of the Java client was acknowledged, with the moment at which it was sent.
    java_acks: Mutex<Vec<(Instant, Instant)>>,
    java_sent: Mutex<HashMap<Key, Instant>>,
    seen: Mutex<BTreeMap<String, Seen>>,
    problems: Mutex<Vec<String>>,
    failures: Mutex<BTreeMap<String, u32>>,
    producers: AtomicU32,
    java_stopped: AtomicBool,
    is_over: AtomicBool,
    is_sent: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    fn new_producer(&self) -> Key {
        let producer = self.producers.fetch_add(1, Ordering::Relaxed);
        Key {
            producer,
            number: 0,
        }
    }

    fn failed(&self, what: String) {
        *lock(&self.failures).entry(what).or_default() += 1;
    }

    pub(crate) fn problem(&self, what: String) {
        lock(&self.problems).push(what);
    }

    fn saw(&self, group: &str, queue: i32, offset: i64) {
        let mut seen = lock(&self.seen);
        let times = seen.entry(group.to_owned()).or_default();
        *times.entry((queue, offset)).or_default() += 1;
    }

    /// Notes what the Java program says of this topic.
    pub(crate) fn hear(self: &Arc<Self>, java: &Java, topic: &str, broker: &str) {
        let (notes, broker) = (Arc::clone(self), broker.to_owned());
        java.watch(topic, move |words| {
            if let Err(why) = notes.java_says(&broker, words) {
                notes.problem(format!("{why}: {}", words.join(" ")));
            }
        });
    }

    /// A line of the Java program about this load.
    fn java_says(&self, broker: &str, words: &[&str]) -> Result<(), String> {
        let number = |text: &str| text.parse::<i64>().map_err(|error| error.to_string());
        let at = |queue: &str| {
            let queue = queue.parse().map_err(|error| format!("{error}"))?;
            Ok::<_, String>(Place::queue(broker, queue))
        };
        match words {
            ["sending", _, queue, sent] => {
                let sent: Key = sent.parse()?;
                self.history.sending(sent, &at(queue)?, &body(sent));
                lock(&self.java_sent).insert(sent, Instant::now());
            }
            ["acked", _, sent, queue, offset] => {
                let sent: Key = sent.parse()?;
                self.history.acked(sent, &at(queue)?, number(offset)?);
                let began = lock(&self.java_sent).remove(&sent);
                let began = began.ok_or("an acknowledgement of nothing")?;
                lock(&self.java_acks).push((began, Instant::now()));
            }
            ["refused", _, sent, why @ ..] => {
                self.history.refused(sent.parse()?);
                self.failed(format!("java: refused: {}", shape(&why.join(" "))));
            }
            ["unknown", _, _, why @ ..] => {
                self.failed(format!("java: unknown: {}", shape(&why.join(" "))));
            }
            ["seen", _, group, queue, offset, sent, whole] => {
                let (sent, offset) = (sent.parse()?, number(offset)?);
                // An altered body has another digest than the one that was sent.
                let body = match *whole {
                    "whole" => body(sent),
                    _ => Vec::new(),
                };
                let at = at(queue)?;
                self.history.delivered(&at, offset, sent, &body);
                let queue = queue.parse().map_err(|error| format!("{error}"))?;
                self.saw(group, queue, offset);
            }
            ["stopped", _] => self.java_stopped.store(true, Ordering::Release),
            _ => return Err("this is no line of the program".to_owned()),
        }
        Ok(())
    }

    /// All acknowledged sends of our client.
    pub(crate) fn acks(&self) -> Vec<Ack> {
        lock(&self.acks).clone()
    }

    /// Who acknowledged last.
    pub(crate) fn last_ack(&self) -> Option<Ack> {
        lock(&self.acks).last().copied()
    }

    /// How long after `since` a send that began after `since` was acknowledged.
    pub(crate) fn first_ack_after(&self, since: Instant) -> Option<Duration> {
        let acks = lock(&self.acks);
        // They are noted in the order in which they end.
        let after = acks.iter().rev().take_while(|ack| ack.ended > since);
        let ended = after.filter(|ack| ack.began > since).map(|ack| ack.ended);
        ended.min().map(|ended| ended - since)
    }

    /// The same for sends of the Java client.
    pub(crate) fn first_java_ack_after(&self, since: Instant) -> Option<Duration> {
        let acks = lock(&self.java_acks);
        let after = acks.iter().filter(|(began, _)| *began > since);
        after.map(|(_, ended)| *ended - since).min()
    }

    /// Acknowledged sends of the Java client.
    pub(crate) fn java_acked(&self) -> usize {
        lock(&self.java_acks).len()
    }

    /// Waits until its producer has ended.
    pub(crate) fn java_stops(&self) -> Result<(), String> {
        let stopped = || match self.java_stopped.swap(false, Ordering::AcqRel) {
            true => Ok(()),
            false => Err("the Java producer does not stop".to_owned()),
        };
        until(Duration::from_secs(60), stopped)
    }

    /// The longest time without an acknowledged send, from `since` to `until`.
    pub(crate) fn longest_gap(&self, since: Instant, until: Instant) -> Duration {
        let acks = lock(&self.acks);
        let within = acks.iter().map(|ack| ack.ended);
        let mut at = since;
        let mut longest = Duration::ZERO;
        for ended in within.filter(|ended| (since..until).contains(ended)) {
            longest = longest.max(ended.saturating_duration_since(at));
            at = at.max(ended);
        }
        longest.max(until.saturating_duration_since(at))
    }

    /// How often `group` got each message.
    pub(crate) fn seen_by(&self, group: &str) -> Seen {
        lock(&self.seen).get(group).cloned().unwrap_or_default()
    }

    /// Why sends failed, and how many each time; and what readers found wrong.
    pub(crate) fn words(&self) -> String {
        let mut text = String::new();
        for (what, times) in lock(&self.failures).iter() {
            text.push_str(&format!("  {times} x {what}\n"));
        }
        for problem in lock(&self.problems).iter() {
            text.push_str(&format!("  problem: {problem}\n"));
        }
        text
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        lock(&self.problems).clone()
    }
}

/// The text of an error without its numbers, so that equal ones count as one.
fn shape(text: &str) -> String {
    let mut shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '#' } else { c })
        .collect();
    while shape.contains("##") {
        shape = shape.replace("##", "#");
    }
    shape.chars().take(220).collect()
}

/// Senders and readers at work.
pub(crate) struct Load {
    pub(crate) notes: Arc<Notes>,
    pub(crate) topic: String,
    pub(crate) client: Client,
    pub(crate) queues: Vec<Queue>,
    senders: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    consumer: Option<Consumer>,
    java: Option<Arc<Java>>,
}

impl Load {
    /// Puts them to work on a topic that is there. Queue 0 has two senders.
    pub(crate) async fn start(
        url: &str,
        topic: &str,
        java: Option<Arc<Java>>,
    ) -> Result<Self, String> {
        let failed = |error: rmq_client::Error| format!("the load does not begin: {error}");
        let connect = async || {
            let builder = Client::builder(url).request_timeout(SEND_WITHIN);
            builder.connect().await.map_err(failed)
        };
        let client = connect().await?;
        let route = client
            .wait_for_route(topic, STARTS_WITHIN)
            .await
            .map_err(failed)?;
        let queues = route.writable().to_vec();
        let mut load = Self {
            notes: Arc::default(),
            topic: topic.to_owned(),
            client,
            queues,
            senders: Vec::new(),
            readers: Vec::new(),
            consumer: None,
            java,
        };
        let own = load
            .queues
            .iter()
            .filter(|queue| queue.id() + 1 < i32::from(QUEUES));
        let own: Vec<Queue> = own.cloned().collect();
        for queue in own.iter().chain(own.first()) {
            let (queue, notes) = (queue.clone(), Arc::clone(&load.notes));
            let task = produce(connect().await?, queue, notes);
            load.senders.push(tokio::spawn(task));
        }
        for queue in &load.queues {
            let (queue, notes) = (queue.clone(), Arc::clone(&load.notes));
            let task = read(connect().await?, queue, notes);
            load.readers.push(tokio::spawn(task));
        }
        let began = Instant::now();
        // A member that changes its role at this moment ends its connections.
        load.consumer = loop {
            match consume(&load.client, topic, &load.rust_group(), &load.notes).await {
                Ok(consumer) => break Some(consumer),
                Err(error) if began.elapsed() > STARTS_WITHIN => return Err(failed(error)),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        if let Some(java) = &load.java {
            let broker = load.queues.first().map_or("", Queue::broker);
            load.notes.hear(java, topic, broker);
            java.say(&format!("consume {topic} {}", load.java_group()))?;
            let queue = QUEUES - 1;
            java.say(&format!(
                "produce {topic} {broker} {queue} {JAVA_PRODUCERS}"
            ))?;
        }
        Ok(load)
    }

    fn rust_group(&self) -> String {
        format!("{}-rust", self.topic)
    }

    fn java_group(&self) -> String {
        format!("{}-java", self.topic)
    }

    /// The groups that must get every message.
    pub(crate) fn groups(&self) -> Vec<String> {
        let mut groups = vec![self.rust_group()];
        groups.extend(self.java.as_ref().map(|_| self.java_group()));
        groups
    }

    /// Waits until so many more messages are acknowledged.
    pub(crate) fn goes_on(&self, more: usize) -> Result<(), String> {
        let before = self.notes.acks().len();
        until(Duration::from_secs(90), || {
            let now = self.notes.acks().len();
            match now >= before + more {
                true => Ok(()),
                false => Err(format!(
                    "{} of {more} messages were acknowledged\n{}",
                    now - before,
                    self.notes.words()
                )),
            }
        })
    }

    /// Ends the senders. Readers continue.
    pub(crate) async fn stop_sending(&mut self) -> Result<(), String> {
        self.notes.is_sent.store(true, Ordering::Release);
        for sender in self.senders.drain(..) {
            sender.await.map_err(|error| error.to_string())?;
        }
        let Some(java) = &self.java else {
            return Ok(());
        };
        java.say(&format!("stop {}", self.topic))?;
        self.notes.java_stops()
    }

    /// Ends the readers.
    pub(crate) async fn end(mut self) -> Result<Arc<Notes>, String> {
        self.notes.is_over.store(true, Ordering::Release);
        for reader in self.readers.drain(..) {
            reader.await.map_err(|error| error.to_string())?;
        }
        if let Some(consumer) = self.consumer.take() {
            // The test is about the messages.
            let _ = consumer.shutdown().await;
        }
        if let Some(java) = &self.java {
            java.say(&format!("leave {} {}", self.topic, self.java_group()))?;
        }
        self.client.shutdown().await;
        Ok(self.notes)
    }
}

/// A member of a group that notes everything it gets.
async fn consume(
    client: &Client,
    topic: &str,
    group: &str,
    notes: &Arc<Notes>,
) -> Result<Consumer, rmq_client::Error> {
    let (notes, name) = (Arc::clone(notes), group.to_owned());
    client
        .consumer(group)
        .subscribe(topic, "*")
        .from(StartFrom::First)
        .handler(move |delivery| {
            let (queue, offset) = (delivery.queue().clone(), delivery.queue_offset());
            match key(delivery.body()) {
                Some(sent) => {
                    let at = place(&queue);
                    notes.history.delivered(&at, offset, sent, delivery.body());
                    notes.saw(&name, queue.id(), offset);
                }
                None => notes.problem(format!("{queue} has a foreign message at {offset}")),
            }
            async { Ok::<(), std::convert::Infallible>(()) }
        })
        .start()
        .await
}

/// Sends message after message to one queue, each once: a repetition could be stored twice, which would be no fault of a broker.
async fn produce(client: Client, queue: Queue, notes: Arc<Notes>) {
    let producer = client.producer_builder().group("chaos").retries(0).build();
    let at = place(&queue);
    let mut sent = notes.new_producer();
    while !notes.is_sent.load(Ordering::Acquire) {
        let body = body(sent);
        notes.history.sending(sent, &at, &body);
        let began = Instant::now();
        let message = Message::new(queue.topic(), body);
        let is_open = match producer.send_to(&queue, message).await {
            Ok(receipt) => {
                notes.history.acked(sent, &at, receipt.queue_offset());
                match receipt.offset_id().parse() {
                    Ok(OffsetMessageId { host, position, .. }) => {
                        note_ack(&notes, host.ip(), position.0, began)
                    }
                    Err(error) => notes.problem(format!("an offset id: {error}")),
                }
                false
            }
            Err(error) => {
                let is_open = error.may_have_been_processed();
                if !is_open {
                    notes.history.refused(sent);
                }
                let kind = if is_open { "unknown" } else { "refused" };
                notes.failed(format!("{kind}: {}", shape(&error.to_string())));
                // The next try asks where the master is now. When no name server answers, the next failure asks again.
                let _ = client.refresh_route(queue.topic()).await;
                is_open
            }
        };
        // It may be stored later than what is sent next: only what comes after it from one producer has an order.
        match is_open {
            true => sent = notes.new_producer(),
            false => sent.number += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
    client.shutdown().await;
}

fn note_ack(notes: &Notes, by: IpAddr, position: u64, began: Instant) {
    let IpAddr::V4(by) = by else {
        return notes.problem(format!("acknowledged by {by}"));
    };
    let mut acks = lock(&notes.acks);
    acks.push(Ack {
        by,
        position,
        began,
        ended: Instant::now(),
    });
}

/// Follows a queue's end. What it got may never be gone.
async fn read(client: Client, queue: Queue, notes: Arc<Notes>) {
    let at = place(&queue);
    let group = format!("{}-tail", queue.topic());
    let options = PullOptions::default()
        .group(&group)
        .max_messages(32)
        .wait(Duration::from_millis(500));
    let mut next = 0;
    while !notes.is_over.load(Ordering::Acquire) {
        let pulled = match client.pull(&queue, next, &options).await {
            Ok(pulled) => pulled,
            Err(error) => {
                notes.failed(format!("pull: {}", shape(&error.to_string())));
                let _ = client.refresh_route(queue.topic()).await;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if pulled.status == PullStatus::OffsetMoved || pulled.next_offset < next {
            notes.problem(format!(
                "{queue}: a reader at {next} is told to go to {} ({:?}, {} to {})",
                pulled.next_offset, pulled.status, pulled.min_offset, pulled.max_offset
            ));
            break;
        }
        for message in &pulled.messages {
            let offset = message.queue_offset();
            if offset != next {
                notes.problem(format!("{queue}: {offset} comes where {next} is next"));
            }
            next = offset + 1;
            match key(message.body()) {
                Some(sent) => notes.history.delivered(&at, offset, sent, message.body()),
                None => notes.problem(format!("{queue} has a foreign message at {offset}")),
            }
        }
        if pulled.messages.is_empty() && pulled.next_offset != next {
            notes.problem(format!(
                "{queue}: sent on from {next} to {} without a message",
                pulled.next_offset
            ));
            break;
        }
        if pulled.messages.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    client.shutdown().await;
}
