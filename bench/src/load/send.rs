//! Sends messages: as fast as the server answers (closed loop), or at a rate whatever it does (open loop).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use super::engine::Engine;
use super::{CONSUMER_GROUP, PRODUCER_GROUP, Shape, Target, create_topics, register_consumer};
use crate::report::{Report, Sample, latencies};
use crate::template::{SendTemplate, batch_body};
use crate::wire::{Desk, OPAQUE_BASE, Wire};

/// How long answers may be late after the last send.
const TAIL: Duration = Duration::from_secs(10);
/// Backlog from which an open loop's rate counts as not kept.
const BACKLOG_MAX: Duration = Duration::from_secs(1);

/// A send load.
#[derive(Debug, Clone)]
pub struct Send {
    /// Sizes, topics, times.
    pub shape: Shape,
    /// Connections.
    pub connections: usize,
    /// Requests in flight on each connection.
    pub depth: usize,
    /// Messages in one request; 1 sends code 310, more code 320.
    pub batch: usize,
    /// Requests a second over all connections; `None` is a closed loop.
    pub rate: Option<f64>,
    /// Ends after so many requests, whatever the time.
    pub requests_max: Option<u64>,
    /// Ends when this is set, whatever the time.
    pub ends: Option<Arc<AtomicBool>>,
}

impl Send {
    /// Creates the topics and runs.
    ///
    /// # Errors
    /// When a connection fails or the server refuses the topics.
    pub fn run(&self, target: &Target) -> io::Result<Report> {
        let mut desk = Desk::connect(&target.addr)?;
        create_topics(&mut desk, &self.shape.topic_names(), self.shape.queues)?;
        register_consumer(&mut desk, "bench@send", CONSUMER_GROUP, &[])?;
        Run::new(self, target)?.run(target)
    }

    fn describe(&self) -> String {
        let mut text = format!(
            "send {}x{}, {}",
            self.connections,
            self.depth,
            self.shape.describe()
        );
        if self.batch > 1 {
            text += &format!(", batches of {}", self.batch);
        }
        if self.shape.topics > 1 {
            text += &format!(", {} topics", self.shape.topics);
        }
        match self.rate {
            Some(rate) => text += &format!(", {rate:.0} requests/s"),
            None => text += ", closed loop",
        }
        text
    }
}

/// Requests of one connection.
struct Flight {
    /// When each slot's request was due or sent; `None` is a free slot.
    began: Vec<Option<Instant>>,
    free: Vec<usize>,
}

struct Run<'a> {
    plan: &'a Send,
    wires: Vec<Wire>,
    flights: Vec<Flight>,
    templates: Vec<SendTemplate>,
    body: Vec<u8>,
    sequence: u64,
    /// Due times that found no free slot.
    backlog: VecDeque<Instant>,
    in_flight: usize,
    tally: Tally,
}

struct Tally {
    from: Instant,
    to: Instant,
    /// An open loop counts by due time, a closed one by answer time.
    by_due_time: bool,
    messages_each: u64,
    messages: u64,
    errors: BTreeMap<i32, u64>,
    latencies: Histogram<u64>,
}

impl Tally {
    fn answered(&mut self, code: i32, began: Instant, now: Instant) {
        let counts_at = if self.by_due_time { began } else { now };
        if counts_at < self.from || counts_at >= self.to {
            return;
        }
        if code == 0 {
            self.messages += self.messages_each;
            let took = now.duration_since(began).as_nanos() as u64;
            self.latencies.saturating_record(took);
        } else {
            *self.errors.entry(code).or_default() += 1;
        }
    }
}

impl<'a> Run<'a> {
    fn new(plan: &'a Send, target: &Target) -> io::Result<Self> {
        let shape = &plan.shape;
        let is_batch = plan.batch > 1;
        let body = if is_batch {
            batch_body(plan.batch, shape.body_bytes)
        } else {
            vec![b'x'; shape.body_bytes]
        };
        let born_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64);
        // Queue after queue of one topic would only shift load; topic by topic within a queue spreads it.
        let topics = shape.topic_names();
        let templates = (0..shape.queues)
            .flat_map(|queue| topics.iter().map(move |topic| (queue, topic)))
            .map(|(queue, topic)| {
                SendTemplate::new(
                    shape.encoding,
                    PRODUCER_GROUP,
                    topic,
                    queue,
                    body.len(),
                    is_batch,
                    born_ms,
                )
            })
            .collect();
        let wires = (0..plan.connections)
            .map(|_| Wire::connect(&target.addr))
            .collect::<io::Result<Vec<_>>>()?;
        let flights = wires
            .iter()
            .map(|_| Flight {
                began: vec![None; plan.depth],
                free: (0..plan.depth).rev().collect(),
            })
            .collect();
        let now = Instant::now();
        Ok(Self {
            plan,
            wires,
            flights,
            templates,
            body,
            sequence: 0,
            backlog: VecDeque::new(),
            in_flight: 0,
            tally: Tally {
                from: now,
                to: now,
                by_due_time: plan.rate.is_some(),
                messages_each: plan.batch as u64,
                messages: 0,
                errors: BTreeMap::new(),
                latencies: latencies(),
            },
        })
    }

    fn run(mut self, target: &Target) -> io::Result<Report> {
        let mut engine = Engine::new(&self.wires)?;
        let start = Instant::now();
        self.tally.from = start + self.plan.shape.warm_up;
        self.tally.to = self.tally.from + self.plan.shape.duration;
        let (mut before, mut after): (Option<Sample>, Option<Sample>) = (None, None);
        let mut ended = None;
        let mut sustained = true;
        let mut due_requests = 0u64;
        if self.plan.rate.is_none() {
            for number in 0..self.wires.len() {
                self.fill(number, start)?;
            }
        }
        loop {
            let now = Instant::now();
            if before.is_none() && now >= self.tally.from {
                before = Some(target.sample()?);
            }
            let is_over = now >= self.tally.to || self.is_enough();
            if is_over && ended.is_none() {
                ended = Some(now);
                after = Some(target.sample()?);
                self.backlog.clear();
            }
            match ended {
                Some(at) if self.in_flight == 0 || now >= at + TAIL => break,
                _ => {}
            }
            let mut wait = Duration::from_millis(10);
            if let (Some(rate), None) = (self.plan.rate, ended) {
                let due_at = |number: u64| start + Duration::from_secs_f64(number as f64 / rate);
                while due_at(due_requests) <= now {
                    self.backlog.push_back(due_at(due_requests));
                    due_requests += 1;
                }
                sustained &= self
                    .backlog
                    .front()
                    .is_none_or(|due| now.duration_since(*due) < BACKLOG_MAX);
                self.send_due()?;
                wait = due_at(due_requests)
                    .saturating_duration_since(Instant::now())
                    .max(Duration::from_nanos(1));
            }
            let is_closed_loop = self.plan.rate.is_none();
            engine.wait(wait, |number| {
                self.receive(number)?;
                if is_closed_loop && ended.is_none() {
                    self.fill(number, Instant::now())?;
                }
                self.wires[number].flush()
            })?;
            if !is_closed_loop && ended.is_none() {
                self.send_due()?;
            }
        }
        let ended = ended.unwrap_or_else(Instant::now);
        let measured = ended
            .min(self.tally.to)
            .saturating_duration_since(self.tally.from)
            .max(Duration::from_nanos(1));
        let payload = self.tally.messages * self.plan.shape.body_bytes as u64;
        let mut report = Report::new(
            self.plan.describe(),
            measured,
            self.tally.messages,
            payload,
            &self.tally.latencies,
        );
        report.errors = self.tally.errors.values().sum::<u64>() + self.in_flight as u64;
        report.error_codes = self
            .tally
            .errors
            .iter()
            .map(|(code, count)| (format!("code {code}"), *count))
            .collect();
        if self.in_flight > 0 {
            report
                .error_codes
                .insert("nothing".to_owned(), self.in_flight as u64);
        }
        report.sustained = self.plan.rate.map(|_| sustained);
        if let (Some(before), Some(after), true) = (before, after, target.pid.is_some()) {
            report.set_server(&before, &after, payload);
        }
        Ok(report)
    }

    fn is_enough(&self) -> bool {
        let plan = self.plan;
        plan.requests_max.is_some_and(|max| self.sequence >= max)
            || plan
                .ends
                .as_ref()
                .is_some_and(|ends| ends.load(Ordering::Relaxed))
    }

    fn receive(&mut self, number: usize) -> io::Result<()> {
        let flight = &mut self.flights[number];
        let (tally, in_flight) = (&mut self.tally, &mut self.in_flight);
        loop {
            let mut now = None;
            let more = self.wires[number].receive(|answer| {
                let now = *now.get_or_insert_with(Instant::now);
                if let Some(began) = flight.began.get_mut(answer.slot).and_then(Option::take) {
                    flight.free.push(answer.slot);
                    *in_flight -= 1;
                    tally.answered(answer.code, began, now);
                }
            })?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Uses every free slot of a connection.
    fn fill(&mut self, number: usize, now: Instant) -> io::Result<()> {
        while !self.is_enough()
            && let Some(slot) = self.flights[number].free.pop()
        {
            self.send(number, slot, now);
        }
        self.wires[number].flush()
    }

    /// Sends what is due, spread over the connections.
    fn send_due(&mut self) -> io::Result<()> {
        let connections = self.wires.len();
        let mut full = 0;
        while full < connections && !self.is_enough() {
            let Some(due) = self.backlog.front().copied() else {
                break;
            };
            let number = (self.sequence as usize + full) % connections;
            match self.flights[number].free.pop() {
                Some(slot) => {
                    self.backlog.pop_front();
                    self.send(number, slot, due);
                    full = 0;
                }
                None => full += 1,
            }
        }
        self.wires.iter_mut().try_for_each(Wire::flush)
    }

    fn send(&mut self, number: usize, slot: usize, began: Instant) {
        let template = &self.templates[self.sequence as usize % self.templates.len()];
        let out = &mut self.wires[number].output;
        template.append(out, OPAQUE_BASE + slot as i32, self.sequence);
        out.extend_from_slice(&self.body);
        self.flights[number].began[slot] = Some(began);
        self.sequence += 1;
        self.in_flight += 1;
    }
}
