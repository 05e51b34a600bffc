//! Delivery: messages sent at a rate and received by long poll; the latency is from when a message was due to when its
//! consumer has it. With several groups each message is delivered once to each of them.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rmq_protocol::code::ResponseCode;
use rmq_protocol::message::RecordView;

use super::engine::Engine;
use super::pull::encode_pull;
use super::{CONSUMER_GROUP, PRODUCER_GROUP, Shape, Target, create_topics, register_consumer};
use crate::report::{Report, Sample, latencies};
use crate::template::SendTemplate;
use crate::wire::{Desk, OPAQUE_BASE, Wire};

const LONG_POLL: Duration = Duration::from_secs(15);
/// How long messages may be under way after the last send.
const TAIL: Duration = Duration::from_secs(5);
/// Sends in flight on the producer's connection.
const DEPTH: usize = 4_096;

/// A delivery load: one producer connection, and for each group a consumer connection with a long poll for each queue.
#[derive(Debug, Clone)]
pub struct EndToEnd {
    /// Sizes, topics, times. One topic is used.
    pub shape: Shape,
    /// Messages a second.
    pub rate: f64,
    /// Groups that get every message.
    pub groups: usize,
    /// Most messages an answer may bring.
    pub messages_each: i32,
}

/// A group, and where it is in each queue.
struct Group {
    name: String,
    offsets: Vec<i64>,
}

struct Run<'a> {
    plan: &'a EndToEnd,
    topic: String,
    start: Instant,
    /// 0 sends, each of the others receives for a group.
    wires: Vec<Wire>,
    groups: Vec<Group>,
    free: Vec<usize>,
    encoded: BytesMut,
    sent: u64,
    received: u64,
    measured: u64,
    errors: u64,
    from: Instant,
    to: Instant,
    latencies: hdrhistogram::Histogram<u64>,
}

impl EndToEnd {
    /// Creates the topic and runs.
    ///
    /// # Errors
    /// When a connection fails or the server refuses what is needed.
    pub fn run(&self, target: &Target) -> io::Result<Report> {
        let topics = vec!["bench_delivery".to_owned()];
        let mut desk = Desk::connect(&target.addr)?;
        create_topics(&mut desk, &topics, self.shape.queues)?;
        let groups: Vec<Group> = (0..self.groups)
            .map(|number| Group {
                name: match number {
                    0 => CONSUMER_GROUP.to_owned(),
                    _ => format!("{CONSUMER_GROUP}_{number}"),
                },
                offsets: vec![0; self.shape.queues as usize],
            })
            .collect();
        // A connection of one client for each group: members for as long as they are open.
        let mut desks = vec![desk];
        for (number, group) in groups.iter().enumerate() {
            let mut desk = Desk::connect(&target.addr)?;
            let client = format!("bench@delivery{number}");
            register_consumer(&mut desk, &client, &group.name, &topics)?;
            desks.push(desk);
        }
        let start = Instant::now();
        let from = start + self.shape.warm_up;
        let run = Run {
            plan: self,
            topic: topics[0].clone(),
            start,
            wires: (0..=self.groups)
                .map(|_| Wire::connect(&target.addr))
                .collect::<io::Result<_>>()?,
            groups,
            free: (0..DEPTH).rev().collect(),
            encoded: BytesMut::new(),
            sent: 0,
            received: 0,
            measured: 0,
            errors: 0,
            from,
            to: from + self.shape.duration,
            latencies: latencies(),
        };
        run.run(target)
    }
}

impl Run<'_> {
    fn run(mut self, target: &Target) -> io::Result<Report> {
        let shape = &self.plan.shape;
        let body_bytes = shape.body_bytes.max(8);
        let templates: Vec<SendTemplate> = (0..shape.queues)
            .map(|queue| {
                SendTemplate::new(
                    shape.encoding,
                    PRODUCER_GROUP,
                    &self.topic,
                    queue,
                    body_bytes,
                    false,
                    0,
                )
            })
            .collect();
        let filler = vec![b'x'; body_bytes - 8];
        let mut engine = Engine::new(&self.wires)?;
        for group in 0..self.groups.len() {
            for queue in 0..self.groups[group].offsets.len() {
                self.poll(group, queue);
            }
            self.wires[1 + group].flush()?;
        }
        let groups = self.groups.len() as u64;
        let rate = self.plan.rate;
        let due_at =
            |start: Instant, number: u64| start + Duration::from_secs_f64(number as f64 / rate);
        let (mut before, mut after): (Option<Sample>, Option<Sample>) = (None, None);
        let mut sustained = true;
        loop {
            let now = Instant::now();
            if before.is_none() && now >= self.from {
                before = Some(target.sample()?);
            }
            let is_over = now >= self.to;
            if is_over && after.is_none() {
                after = Some(target.sample()?);
            }
            if is_over && (self.received >= self.sent * groups || now >= self.to + TAIL) {
                break;
            }
            let mut wait = Duration::from_millis(10);
            if !is_over {
                while due_at(self.start, self.sent) <= now {
                    let Some(slot) = self.free.pop() else {
                        sustained &= now.duration_since(due_at(self.start, self.sent))
                            < Duration::from_secs(1);
                        break;
                    };
                    let due = due_at(self.start, self.sent);
                    let template = &templates[self.sent as usize % templates.len()];
                    let out = &mut self.wires[0].output;
                    template.append(out, OPAQUE_BASE + slot as i32, self.sent);
                    let due_ns = due.duration_since(self.start).as_nanos() as u64;
                    out.extend_from_slice(&due_ns.to_be_bytes());
                    out.extend_from_slice(&filler);
                    self.sent += 1;
                }
                self.wires[0].flush()?;
                wait = due_at(self.start, self.sent)
                    .saturating_duration_since(Instant::now())
                    .max(Duration::from_nanos(1));
            }
            engine.wait(wait, |number| {
                if number == 0 {
                    self.acknowledged()?;
                } else {
                    self.delivered(number - 1)?;
                }
                self.wires[number].flush()
            })?;
        }
        let payload = self.measured * body_bytes as u64;
        let mut report = Report::new(
            format!(
                "delivery by long poll, {} messages/s, {groups} groups, {} queues, {}",
                self.plan.rate,
                self.plan.shape.queues,
                self.plan.shape.describe()
            ),
            self.plan.shape.duration,
            self.measured,
            payload,
            &self.latencies,
        );
        report.errors = self.errors;
        let missing = (self.sent * groups).saturating_sub(self.received);
        if missing > 0 {
            report.errors += missing;
            report.error_codes.insert("no delivery".to_owned(), missing);
        }
        report.sustained = Some(sustained);
        if let (Some(before), Some(after), true) = (before, after, target.pid.is_some()) {
            report.set_server(&before, &after, payload);
        }
        Ok(report)
    }

    fn poll(&mut self, group: usize, queue: usize) {
        let Group { name, offsets } = &self.groups[group];
        encode_pull(
            &mut self.encoded,
            self.plan.shape.encoding,
            queue,
            name,
            &self.topic,
            queue as i32,
            offsets[queue],
            self.plan.messages_each,
            LONG_POLL,
        );
        self.wires[1 + group]
            .output
            .extend_from_slice(&self.encoded);
    }

    fn acknowledged(&mut self) -> io::Result<()> {
        let (free, errors) = (&mut self.free, &mut self.errors);
        while self.wires[0].receive(|answer| {
            free.push(answer.slot);
            *errors += u64::from(answer.code != 0);
        })? {}
        Ok(())
    }

    fn delivered(&mut self, group: usize) -> io::Result<()> {
        let mut answered: Vec<(usize, Option<i64>)> = Vec::new();
        let (start, from, to) = (self.start, self.from, self.to);
        let (received, measured) = (&mut self.received, &mut self.measured);
        let (errors, latencies) = (&mut self.errors, &mut self.latencies);
        loop {
            let more = self.wires[1 + group].receive(|answer| {
                let now = Instant::now();
                let mut next = None;
                if answer.code == ResponseCode::Success.as_i32() {
                    for record in RecordView::iter(answer.frame.body) {
                        let due = record
                            .ok()
                            .and_then(|record| record.body().first_chunk().copied())
                            .map(|due| start + Duration::from_nanos(u64::from_be_bytes(due)));
                        let Some(due) = due else {
                            *errors += 1;
                            continue;
                        };
                        *received += 1;
                        if due >= from && due < to {
                            *measured += 1;
                            let took = now.saturating_duration_since(due).as_nanos() as u64;
                            latencies.saturating_record(took);
                        }
                    }
                    next = answer.int_field("nextBeginOffset");
                } else if answer.code != ResponseCode::PullNotFound.as_i32()
                    && answer.code != ResponseCode::PullRetryImmediately.as_i32()
                {
                    *errors += 1;
                    next = answer.int_field("nextBeginOffset");
                }
                answered.push((answer.slot, next));
            })?;
            if !more {
                break;
            }
        }
        for (queue, next) in answered {
            if let Some(next) = next {
                self.groups[group].offsets[queue] = next;
            }
            self.poll(group, queue);
        }
        Ok(())
    }
}
