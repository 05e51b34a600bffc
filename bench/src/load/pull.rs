//! Pulls what is stored, again and again: the hot read path.

use std::borrow::Cow;
use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::frame::{self, HeaderEncoding};
use rmq_protocol::header::CommandHead;
use rmq_protocol::requests::{GetMaxOffset, PullMessage, pull_flag};

use super::engine::Engine;
use super::{CONSUMER_GROUP, Send, Shape, Target, register_consumer};
use crate::report::{Report, Sample, latencies};
use crate::wire::{Answer, Desk, OPAQUE_BASE, Wire};

/// A pull load. It first stores `messages`.
#[derive(Debug, Clone)]
pub struct Pull {
    /// Sizes, topics, times.
    pub shape: Shape,
    /// Connections.
    pub connections: usize,
    /// Requests in flight on each connection, each with a place of its own in a queue.
    pub depth: usize,
    /// Messages stored before.
    pub messages: u64,
    /// Messages asked for by a request.
    pub messages_each: i32,
}

/// One place in a queue from which pulls go on.
#[derive(Debug, Clone)]
struct Cursor {
    topic: String,
    queue: i32,
    offset: i64,
    end: i64,
    began: Instant,
}

impl Pull {
    /// Stores the messages and runs.
    ///
    /// # Errors
    /// When a connection fails or the server refuses what is needed.
    pub fn run(&self, target: &Target) -> io::Result<Report> {
        let store = Send {
            shape: Shape {
                warm_up: Duration::ZERO,
                duration: Duration::from_secs(600),
                ..self.shape.clone()
            },
            connections: 4,
            depth: 32,
            batch: 1,
            rate: None,
            requests_max: Some(self.messages),
            ends: None,
        };
        let stored = store.run(target)?;
        if stored.errors > 0 {
            return Err(io::Error::other(format!(
                "storing what is to be pulled failed:\n{stored}"
            )));
        }
        let topics = self.shape.topic_names();
        let mut desk = Desk::connect(&target.addr)?;
        register_consumer(&mut desk, "bench@pull", CONSUMER_GROUP, &topics)?;
        let mut cursors = self.cursors(&mut desk, &topics)?;
        let mut wires = (0..self.connections)
            .map(|_| Wire::connect(&target.addr))
            .collect::<io::Result<Vec<_>>>()?;
        self.measure(target, &mut wires, &mut cursors)
    }

    fn cursors(&self, desk: &mut Desk, topics: &[String]) -> io::Result<Vec<Vec<Cursor>>> {
        let mut all = Vec::new();
        let queues = topics.len() * self.shape.queues as usize;
        for connection in 0..self.connections {
            let mut cursors = Vec::new();
            for slot in 0..self.depth {
                let number = connection * self.depth + slot;
                let topic = topics[number % queues % topics.len()].clone();
                let queue = (number % queues / topics.len()) as i32;
                let request = GetMaxOffset {
                    topic: Cow::Borrowed(&topic),
                    queue_id: queue,
                    committed: None,
                    broker_name: None,
                };
                let said = desk.ask(RequestCode::GetMaxOffset.as_i32(), &request, &[])?;
                let end = said.int("offset").filter(|end| *end > 0).ok_or_else(|| {
                    io::Error::other(format!(
                        "queue {queue} of {topic} has no messages (code {}: {})",
                        said.code, said.remark
                    ))
                })?;
                cursors.push(Cursor {
                    topic,
                    queue,
                    // Spread, so that two places in one queue do not ask for the same.
                    offset: end * (number / queues) as i64
                        / (self.connections * self.depth).div_ceil(queues) as i64,
                    end,
                    began: Instant::now(),
                });
            }
            all.push(cursors);
        }
        Ok(all)
    }

    fn measure(
        &self,
        target: &Target,
        wires: &mut [Wire],
        cursors: &mut [Vec<Cursor>],
    ) -> io::Result<Report> {
        let mut engine = Engine::new(wires)?;
        let start = Instant::now();
        let from = start + self.shape.warm_up;
        let to = from + self.shape.duration;
        let mut histogram = latencies();
        let (mut messages, mut bytes, mut errors) = (0u64, 0u64, 0u64);
        let mut before: Option<Sample> = None;
        let mut encoded = BytesMut::new();
        for (wire, cursors) in wires.iter_mut().zip(&mut *cursors) {
            for (slot, cursor) in cursors.iter_mut().enumerate() {
                self.ask(&mut encoded, wire, slot, cursor);
            }
            wire.flush()?;
        }
        loop {
            let now = Instant::now();
            if before.is_none() && now >= from {
                before = Some(target.sample()?);
            }
            if now >= to {
                break;
            }
            engine.wait(Duration::from_millis(10), |number| {
                let wire = &mut wires[number];
                let mut answered: Vec<usize> = Vec::new();
                loop {
                    let more = wire.receive(|answer| {
                        let now = Instant::now();
                        let Some(cursor) = cursors[number].get_mut(answer.slot) else {
                            return;
                        };
                        let found = count(&answer);
                        if now >= from {
                            messages += found.0;
                            bytes += found.1;
                            histogram.saturating_record((now - cursor.began).as_nanos() as u64);
                            errors += u64::from(
                                answer.code != ResponseCode::Success.as_i32() || found.0 == 0,
                            );
                        }
                        cursor.offset = match answer.int_field("nextBeginOffset") {
                            Some(next) if next < cursor.end && found.0 > 0 => next,
                            _ => 0,
                        };
                        answered.push(answer.slot);
                    })?;
                    if !more {
                        break;
                    }
                }
                for slot in answered {
                    self.ask(&mut encoded, wire, slot, &mut cursors[number][slot]);
                }
                wire.flush()
            })?;
        }
        let after = target.sample()?;
        let mut report = Report::new(
            format!(
                "pull {}x{}, {} messages a request, {}",
                self.connections,
                self.depth,
                self.messages_each,
                self.shape.describe()
            ),
            self.shape.duration,
            messages,
            bytes,
            &histogram,
        );
        report.errors = errors;
        if let (Some(before), true) = (before, target.pid.is_some()) {
            report.set_server(&before, &after, bytes);
        }
        Ok(report)
    }

    fn ask(&self, encoded: &mut BytesMut, wire: &mut Wire, slot: usize, cursor: &mut Cursor) {
        cursor.began = Instant::now();
        encode_pull(
            encoded,
            self.shape.encoding,
            slot,
            CONSUMER_GROUP,
            &cursor.topic,
            cursor.queue,
            cursor.offset,
            self.messages_each,
            Duration::ZERO,
        );
        wire.output.extend_from_slice(encoded);
    }
}

/// Encodes a pull request into `out`, which is cleared; a `wait` lets the server hold it until a message comes.
#[allow(clippy::too_many_arguments, reason = "the fields of one request")]
pub(super) fn encode_pull(
    out: &mut BytesMut,
    encoding: HeaderEncoding,
    slot: usize,
    group: &str,
    topic: &str,
    queue: i32,
    offset: i64,
    messages: i32,
    wait: Duration,
) {
    let mut sys_flag = pull_flag::SUBSCRIPTION;
    if !wait.is_zero() {
        sys_flag |= pull_flag::SUSPEND;
    }
    let request = PullMessage {
        consumer_group: Cow::Borrowed(group),
        topic: Cow::Borrowed(topic),
        queue_id: queue,
        queue_offset: offset,
        max_msg_nums: messages,
        sys_flag,
        commit_offset: 0,
        suspend_timeout_millis: wait.as_millis() as i64,
        subscription: Some(Cow::Borrowed("*")),
        sub_version: 1,
        expression_type: Some(Cow::Borrowed("TAG")),
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: None,
    };
    out.clear();
    let head = CommandHead::request(RequestCode::PullMessage.as_i32(), OPAQUE_BASE + slot as i32);
    frame::encode_frame(out, encoding, &head, &request, &[]);
}

/// Records in an answer's body and their bytes.
fn count(answer: &Answer<'_>) -> (u64, u64) {
    let (mut records, mut rest) = (0, answer.frame.body);
    while let Some(size) = rest.first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        match rest.get(size..) {
            Some(next) if size > 0 => rest = next,
            _ => break,
        }
        records += 1;
    }
    (records, answer.frame.body.len() as u64)
}
