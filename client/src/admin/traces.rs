//! Message traces: what producers and consumers that write them ([`ClientBuilder::message_traces`](crate::ClientBuilder::message_traces), `enableMsgTrace` of Java clients) say of a message. Each trace is a message
//! of a topic for that, found by the ids and keys of the messages that it speaks of (apache/rocketmq `client/.../trace/TraceDataEncoder`).

use std::collections::HashMap;

use rmq_protocol::names::TRACE_TOPIC;

use super::Admin;
use crate::error::Error;
use crate::message_traces::{ABSENT, FIELDS, RECORDS};

/// Traces that one look-up brings of each broker.
const TRACES: u16 = 64;

/// What a step of a message's way was.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::TraceKind;
///
/// let steps = client.admin().traces("order-17", None).await?;
/// let consumed = steps.iter().filter(|step| step.kind == TraceKind::Consumed);
/// println!("consumed {} times", consumed.count());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TraceKind {
    /// It was sent.
    Sent,
    /// A consumer began with it.
    Received,
    /// The consumer has ended.
    Consumed,
    /// The transaction that it belongs to has ended.
    TransactionEnded,
    /// It was recalled.
    Recalled,
}

/// A step of a message's way, as the client that took it says. What a kind does not say is empty or absent.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// for step in client.admin().traces("order-17", None).await? {
///     println!("{} in {}: {:?}", step.message_id, step.topic, step.success);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceStep {
    /// What it was.
    pub kind: TraceKind,
    /// When it began, or of [`TraceKind::Consumed`] when it ended; Unix milliseconds by the client's clock.
    pub at_ms: Option<i64>,
    /// The group of producers or consumers.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The id that the producer gave the message.
    pub message_id: String,
    /// The tag.
    pub tag: String,
    /// The business keys, separated by blanks.
    pub keys: String,
    /// Where it was stored, `host:port`.
    pub stored_at: String,
    /// The client's host, or what stands between the first steps of one consumer (its request id).
    pub client: String,
    /// How long it took, milliseconds.
    pub took_ms: Option<i64>,
    /// Bytes of its body.
    pub body_bytes: Option<i64>,
    /// How often it was consumed before.
    pub retries: Option<i64>,
    /// Whether it went well.
    pub success: Option<bool>,
}

impl Admin {
    /// What clients say of the message with this id (or business key), oldest first. `topic` is where their traces are; `None`:
    /// `RMQ_SYS_TRACE_TOPIC`.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// for step in client.admin().traces("AC1100010001…", None).await? {
    ///     println!("{:?} by {}: {:?} ms", step.kind, step.group, step.took_ms);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the topic of traces has no route or a broker does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn traces(&self, id: &str, topic: Option<&str>) -> Result<Vec<TraceStep>, Error> {
        let topic = topic.unwrap_or(TRACE_TOPIC);
        let found = self.messages_by_key(topic, id, TRACES, ..).await?;
        let mut steps: Vec<TraceStep> = Vec::new();
        for message in &found {
            read(message.body(), &mut steps);
        }
        complete(&mut steps);
        steps.retain(|step| step.message_id == id || step.keys.split(' ').any(|key| key == id));
        steps.sort_by_key(|step| step.at_ms);
        Ok(steps)
    }
}

/// Reads the records of one message of the topic of traces.
fn read(body: &[u8], steps: &mut Vec<TraceStep>) {
    let text = String::from_utf8_lossy(body);
    steps.extend(text.split(RECORDS).filter_map(TraceStep::parse));
}

/// What one message of the topic of traces says.
#[cfg(feature = "fuzzing")]
pub(crate) fn steps_of(body: &[u8]) -> Vec<TraceStep> {
    let mut steps = Vec::new();
    read(body, &mut steps);
    complete(&mut steps);
    steps
}

/// Older consumers say when they began and for how long, but not when they ended, nor their group: their first step says that. Each step is looked at
/// once, and anybody may write a trace, so its numbers may be any.
fn complete(steps: &mut [TraceStep]) {
    let mut begun: HashMap<(&str, &str), Begun> = HashMap::new();
    for step in steps.iter() {
        if step.kind == TraceKind::Received {
            let begun = begun.entry((&step.client, &step.message_id));
            // The first one counts.
            begun.or_insert_with(|| Begun::of(step));
        }
    }
    // Where a completed step stands, so that the steps can be changed while their texts are keys.
    let ends: Vec<(usize, Begun)> = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.kind == TraceKind::Consumed)
        .filter_map(|(index, step)| {
            let first = begun.get(&(step.client.as_str(), step.message_id.as_str()))?;
            Some((index, first.clone()))
        })
        .collect();
    for (index, first) in ends {
        let Some(step) = steps.get_mut(index) else {
            continue;
        };
        if step.group.is_empty() {
            step.group = first.group;
        }
        if step.at_ms.is_none() {
            let took = step.took_ms.unwrap_or(0);
            step.at_ms = first.at_ms.map(|at| at.saturating_add(took));
        }
        step.retries = first.retries;
    }
}

/// What the first step of a consumer says of its last.
#[derive(Clone)]
struct Begun {
    group: String,
    at_ms: Option<i64>,
    retries: Option<i64>,
}

impl Begun {
    fn of(step: &TraceStep) -> Self {
        Self {
            group: step.group.clone(),
            at_ms: step.at_ms,
            retries: step.retries,
        }
    }
}

impl TraceStep {
    fn new(kind: TraceKind) -> Self {
        Self {
            kind,
            at_ms: None,
            group: String::new(),
            topic: String::new(),
            message_id: String::new(),
            tag: String::new(),
            keys: String::new(),
            stored_at: String::new(),
            client: String::new(),
            took_ms: None,
            body_bytes: None,
            retries: None,
            success: None,
        }
    }

    /// A record; `None` when it is of a kind that nobody knows here, or too short. Newer clients add fields at the end.
    fn parse(record: &str) -> Option<Self> {
        let fields: Vec<&str> = record.split(FIELDS).collect();
        let text = |at: usize| {
            let field = fields.get(at).copied().unwrap_or_default();
            if field == ABSENT {
                String::new()
            } else {
                field.to_owned()
            }
        };
        let number = |at: usize| fields.get(at)?.parse().ok();
        let flag = |at: usize| fields.get(at)?.parse().ok();
        let least = |count: usize| (fields.len() >= count).then_some(());
        Some(match fields[0] {
            "Pub" => {
                least(12)?;
                // Without an offset id there is one field less.
                let success = if fields.len() >= 14 {
                    flag(13)
                } else {
                    flag(12)
                };
                Self {
                    at_ms: number(1),
                    group: text(3),
                    topic: text(4),
                    message_id: text(5),
                    tag: text(6),
                    keys: text(7),
                    stored_at: text(8),
                    body_bytes: number(9),
                    took_ms: number(10),
                    success,
                    client: text(14),
                    ..Self::new(TraceKind::Sent)
                }
            }
            "SubBefore" => {
                least(8)?;
                Self {
                    at_ms: number(1),
                    group: text(3),
                    client: text(4),
                    message_id: text(5),
                    retries: number(6),
                    keys: text(7),
                    ..Self::new(TraceKind::Received)
                }
            }
            "SubAfter" => {
                least(6)?;
                Self {
                    client: text(1),
                    message_id: text(2),
                    took_ms: number(3),
                    success: flag(4),
                    keys: text(5),
                    at_ms: number(7),
                    group: text(8),
                    ..Self::new(TraceKind::Consumed)
                }
            }
            "EndTransaction" => {
                least(13)?;
                Self {
                    at_ms: number(1),
                    group: text(3),
                    topic: text(4),
                    message_id: text(5),
                    tag: text(6),
                    keys: text(7),
                    stored_at: text(8),
                    success: Some(fields[11] == "COMMIT_MESSAGE"),
                    ..Self::new(TraceKind::TransactionEnded)
                }
            }
            "Recall" => {
                least(7)?;
                Self {
                    at_ms: number(1),
                    group: text(3),
                    topic: text(4),
                    message_id: text(5),
                    success: flag(6),
                    ..Self::new(TraceKind::Recalled)
                }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(record: &str) -> TraceStep {
        TraceStep::parse(&record.replace('|', "\u{1}")).expect("a record")
    }

    #[test]
    fn records_of_java_clients_are_read() {
        let sent = parse(
            "Pub|1700000000000|DefaultRegion|p|orders|ID|paid|k1 k2|10.0.0.1:10911|11|7|0|OFFSETID|true",
        );
        assert_eq!(
            (sent.kind, sent.at_ms, sent.took_ms, sent.success),
            (
                TraceKind::Sent,
                Some(1_700_000_000_000),
                Some(7),
                Some(true)
            )
        );
        assert_eq!(
            (
                sent.group.as_str(),
                sent.topic.as_str(),
                sent.message_id.as_str(),
                sent.keys.as_str()
            ),
            ("p", "orders", "ID", "k1 k2")
        );
        let mut steps = vec![
            parse("SubAfter|REQUEST|ID|25|false|k1|4"),
            parse("SubBefore|1700000000100|null|g|REQUEST|ID|2|k1"),
        ];
        complete(&mut steps);
        assert_eq!(
            (
                steps[0].group.as_str(),
                steps[0].at_ms,
                steps[0].retries,
                steps[0].success
            ),
            ("g", Some(1_700_000_000_125), Some(2), Some(false))
        );
        let ended =
            parse("EndTransaction|1700000000000|r|p|orders|ID|null||h|0|TX|ROLLBACK_MESSAGE|false");
        assert_eq!((ended.success, ended.tag.as_str()), (Some(false), ""));
        assert_eq!(
            parse("Recall|1|r|p|orders|ID|true").kind,
            TraceKind::Recalled
        );
        for odd in ["", "Pub|1", "Later|1|2|3"] {
            assert_eq!(TraceStep::parse(&odd.replace('|', "\u{1}")), None, "{odd}");
        }
    }

    #[test]
    fn numbers_of_any_size_are_read() {
        let (most, least) = (i64::MAX, i64::MIN);
        for (at, took, ended) in [
            (most, most, most),
            (least, least, least),
            (most, least, -1),
            (0, most, most),
        ] {
            let mut steps = vec![
                parse(&format!("SubBefore|{at}|null|g|R|ID|{took}|k")),
                parse(&format!("SubAfter|R|ID|{took}|true|k|0")),
            ];
            complete(&mut steps);
            assert_eq!(steps[1].at_ms, Some(ended), "{at} + {took}");
            assert_eq!(steps[1].retries, Some(took));
        }
        // What no number holds is absent.
        let mut steps = vec![
            parse("SubBefore|9223372036854775808|null|g|R|ID|x|k"),
            parse("SubAfter|R|ID|-9223372036854775809|true|k|0"),
        ];
        complete(&mut steps);
        let end = &steps[1];
        assert_eq!((end.at_ms, end.took_ms, end.retries), (None, None, None));
        assert_eq!(end.group, "g", "the rest counts");
    }

    /// Were each step compared with each, these would take minutes.
    #[test]
    fn a_large_trace_is_completed() {
        const STEPS: i64 = 200_000;
        let text = |number: i64| number.to_string();
        let mut steps: Vec<TraceStep> = (0..STEPS)
            .rev()
            .map(|number| TraceStep {
                client: text(number),
                message_id: "ID".to_owned(),
                took_ms: Some(7),
                ..TraceStep::new(TraceKind::Consumed)
            })
            .collect();
        steps.extend((0..STEPS).map(|number| TraceStep {
            client: text(number),
            message_id: "ID".to_owned(),
            group: "g".to_owned(),
            at_ms: Some(number),
            retries: Some(1),
            ..TraceStep::new(TraceKind::Received)
        }));
        complete(&mut steps);
        for (step, number) in steps.iter().zip((0..STEPS).rev()) {
            let end = (step.at_ms, step.retries, step.group.as_str());
            assert_eq!(end, (Some(number + 7), Some(1), "g"));
        }
    }
}
