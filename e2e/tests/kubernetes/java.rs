//! The Java client beside our own: it sends to a queue of a group of three and consumes from it in order, through all its scenarios.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmq_client::{Client, Queue};
use rmq_e2e::crowd::{body, read_all};
use rmq_e2e::history::{History, Key, Place};
use rmq_e2e::java::{self, Java};

use crate::world::{World, demand, outside, until};

/// Where it runs along.
const NAMESPACE: &str = "replicas";
const TOPIC: &str = "java";
const GROUP: &str = "java-in-order";
const BROKER: &str = "a";
/// A producer that does not know what became of a message goes on under another number; no two of them have the same.
const NUMBERS: u32 = 100_000;
const WITHIN: Duration = Duration::from_secs(90);

/// The program, and all that it did so far.
pub(crate) struct Program {
    java: Java,
    notes: Arc<Notes>,
    address: String,
    next: AtomicU32,
    _home: tempfile::TempDir,
}

#[derive(Default)]
struct Notes {
    history: History,
    has_stopped: AtomicBool,
    failed: AtomicUsize,
    seen: Mutex<Seen>,
    problems: Mutex<Vec<String>>,
}

/// What the consumer got.
#[derive(Default)]
struct Seen {
    keys: HashSet<Key>,
    offsets: HashSet<i64>,
    /// The highest number of each producer.
    highest: HashMap<u32, u64>,
}

impl Seen {
    /// A message that comes for the first time must not come before an older one of its producer.
    fn note(&mut self, key: Key, offset: i64) -> Result<(), String> {
        self.offsets.insert(offset);
        if !self.keys.insert(key) {
            return Ok(());
        }
        let highest = self.highest.entry(key.producer).or_default();
        if key.number < *highest {
            return Err(format!(
                "the consumer got {key} after number {highest} of the same producer"
            ));
        }
        *highest = key.number;
        Ok(())
    }
}

impl Notes {
    fn hear(&self, words: &[&str]) -> Result<(), String> {
        let at = Place::queue(BROKER, 0);
        let offset = |text: &str| text.parse::<i64>().map_err(|error| error.to_string());
        match words {
            ["sending", _, _, sent] => {
                let sent: Key = sent.parse()?;
                self.history.sending(sent, &at, &body(sent));
            }
            ["acked", _, sent, _, place] => {
                self.history.acked(sent.parse()?, &at, offset(place)?);
            }
            ["refused", _, sent, ..] => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.history.refused(sent.parse()?);
            }
            ["unknown", ..] => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
            ["seen", _, _, _, place, sent, whole] => {
                let (sent, offset) = (sent.parse()?, offset(place)?);
                // An altered body has another digest than the one that was sent.
                let body = match *whole {
                    "whole" => body(sent),
                    _ => Vec::new(),
                };
                self.history.delivered(&at, offset, sent, &body);
                self.seen.lock().unwrap().note(sent, offset)?;
            }
            ["stopped", _] => self.has_stopped.store(true, Ordering::Release),
            _ => return Err("this is no line of the program".to_owned()),
        }
        Ok(())
    }
}

/// A producer at work.
pub(crate) struct Sending {
    acked: usize,
    failed: usize,
}

impl Program {
    fn start(world: &World) -> Result<Self, String> {
        let built = java::build()?;
        world.lab.apply(&format!(
            "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {{name: {TOPIC}, namespace: {NAMESPACE}}}\nspec: {{nameServerRef: {{name: main}}, queues: 1}}\n"
        ))?;
        world.wait_ready(NAMESPACE, &[&format!("topic/{TOPIC}")])?;
        let address = outside(world, NAMESPACE)?;
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        let java = Java::start(&built, &address, home.path())?;
        let notes = Arc::<Notes>::default();
        let heard = Arc::clone(&notes);
        java.watch(TOPIC, move |words| {
            if let Err(why) = heard.hear(words) {
                let problem = format!("{why}: {}", words.join(" "));
                heard.problems.lock().unwrap().push(problem);
            }
        });
        java.say(&format!("consume-orderly {TOPIC} {GROUP}"))?;
        Ok(Self {
            java,
            notes,
            address,
            next: AtomicU32::new(1),
            _home: home,
        })
    }
}

/// Begins to send, where it runs along.
pub(crate) fn send(world: &World, namespace: &str) -> Result<Option<Sending>, String> {
    if namespace != NAMESPACE {
        return Ok(None);
    }
    let program = world.java.get_or_init(|| Program::start(world));
    let program = program.as_ref().map_err(Clone::clone)?;
    let (acked, failed) = program.counts();
    let number = program.next.fetch_add(1, Ordering::Relaxed) * NUMBERS;
    program
        .java
        .say(&format!("produce {TOPIC} {BROKER} 0 {number}"))?;
    Ok(Some(Sending { acked, failed }))
}

impl Sending {
    /// Ends it. What was acknowledged is there, in order, and the consumer got all of it in order.
    pub(crate) fn finish(self, world: &World) -> Result<(), String> {
        let program = world.java.get().ok_or("no Java program")?;
        program.as_ref().map_err(Clone::clone)?.end(world, &self)
    }
}

impl Program {
    fn counts(&self) -> (usize, usize) {
        let notes = &self.notes;
        (
            notes.history.acked_count(),
            notes.failed.load(Ordering::Relaxed),
        )
    }

    #[expect(clippy::print_stdout, reason = "the figures are for who looks")]
    fn end(&self, world: &World, sending: &Sending) -> Result<(), String> {
        let notes = &self.notes;
        until(WITHIN, || {
            let has_sent = self.counts().0 > sending.acked;
            demand(has_sent, "the Java producer has sent nothing")
        })?;
        self.java.say(&format!("stop {TOPIC}"))?;
        until(WITHIN, || {
            let stopped = notes.has_stopped.swap(false, Ordering::AcqRel);
            demand(stopped, "the Java producer does not stop")
        })?;
        let queue = Queue::new(TOPIC, BROKER, 0);
        let heard = Arc::clone(notes);
        let address = self.address.clone();
        let reads = async move {
            let client = Client::connect(&address).await?;
            client.wait_for_route(TOPIC, WITHIN).await?;
            read_all(&heard.history, &client, std::slice::from_ref(&queue)).await;
            let ends = async {
                let admin = client.admin();
                Ok((
                    admin.min_offset(&queue).await?,
                    admin.max_offset(&queue).await?,
                ))
            };
            let ends: Result<(i64, i64), rmq_client::Error> = ends.await;
            client.shutdown().await;
            ends
        };
        let read = world.runtime.block_on(world.runtime.spawn(reads));
        let read = read.map_err(|error| format!("the queue of the Java client: {error}"))?;
        let (min, max) = read.map_err(|error| format!("the queue of the Java client: {error}"))?;
        until(WITHIN, || {
            let seen = notes.seen.lock().unwrap();
            let missing = (min..max).find(|offset| !seen.offsets.contains(offset));
            demand(
                missing.is_none(),
                format!("the Java consumer has not got offset {missing:?} of {min} to {max}"),
            )
        })?;
        let report = notes.history.check();
        let problems = notes.problems.lock().unwrap().clone();
        demand(
            report.violations.is_empty() && problems.is_empty(),
            format!("the Java client: {report}\n{}", problems.join("\n")),
        )?;
        let (acked, failed) = self.counts();
        println!(
            "Java client: {} sends acknowledged, {} failed; all are there and came in order",
            acked - sending.acked,
            failed - sending.failed
        );
        Ok(())
    }
}
