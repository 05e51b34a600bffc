//! `rmq-ctl explain`: what a code, a field of a manifest or a word means. Asks no server.

use clap::Args;
use rmq_client::protocol::ResponseCode;
use serde_json::Value;

use crate::codes::{self, Code};
use crate::error::Failure;
use crate::output::Output;

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Asks no server.

Examples:
  rmq-ctl explain RMQ-E017
  rmq-ctl explain TOPIC_NOT_EXIST      # a broker's code, also as 17
  rmq-ctl explain Topic.spec.queues    # a field of a manifest
  rmq-ctl explain lag                  # a word
  rmq-ctl explain                      # all codes and words")]
pub(crate) struct Options {
    /// An error code, a broker's response code, a field of a manifest, or a word. Default: a list of all.
    what: Option<String>,
}

/// Response codes that people meet: what they mean, and which of our codes says what to do.
const RESPONSES: &[(ResponseCode, &str, &Code)] = &[
    (
        ResponseCode::SystemError,
        "The broker failed at the request, or does not allow what it asks for; the remark says which.",
        &codes::SERVER,
    ),
    (
        ResponseCode::SystemBusy,
        "The broker protects itself: too many requests wait.",
        &codes::BUSY,
    ),
    (
        ResponseCode::RequestCodeNotSupported,
        "The server does not know this kind of request.",
        &codes::SERVER,
    ),
    (
        ResponseCode::FlushDiskTimeout,
        "The message is stored, but the disk had not confirmed it in time.",
        &codes::TIMEOUT,
    ),
    (
        ResponseCode::SlaveNotAvailable,
        "The message is stored, but no replica is there to confirm it.",
        &codes::SERVER,
    ),
    (
        ResponseCode::FlushSlaveTimeout,
        "The message is stored, but a replica had not confirmed it in time.",
        &codes::TIMEOUT,
    ),
    (
        ResponseCode::MessageIllegal,
        "The message breaks a rule: too large, a bad topic name, bad properties.",
        &codes::INVALID,
    ),
    (
        ResponseCode::ServiceNotAvailable,
        "The broker does not take messages now: its disk is full, or it is about to stop.",
        &codes::BUSY,
    ),
    (
        ResponseCode::NoPermission,
        "The topic, the broker or the group does not allow it, or the signature is wrong.",
        &codes::DENIED,
    ),
    (
        ResponseCode::TopicNotExist,
        "The server has no such topic.",
        &codes::NO_ROUTE,
    ),
    (
        ResponseCode::PullNotFound,
        "There is no new message at this offset yet.",
        &codes::NOT_FOUND,
    ),
    (
        ResponseCode::PullRetryImmediately,
        "There are messages, but none that the filter matches; the client continues.",
        &codes::NOT_FOUND,
    ),
    (
        ResponseCode::PullOffsetMoved,
        "The offset is outside of the queue: its messages have expired, or were never written.",
        &codes::NOT_FOUND,
    ),
    (
        ResponseCode::QueryNotFound,
        "There is no such offset, message or value.",
        &codes::NOT_FOUND,
    ),
    (
        ResponseCode::SubscriptionNotExist,
        "The group does not subscribe to the topic, as far as the broker knows.",
        &codes::NOT_FOUND,
    ),
    (
        ResponseCode::SubscriptionGroupNotExist,
        "The broker has no such consumer group, and does not create it by itself.",
        &codes::NOT_FOUND,
    ),
    (
        ResponseCode::ConsumerNotOnline,
        "No member of the group is connected to this broker.",
        &codes::NOT_FOUND,
    ),
];

/// Words, and what people who know RocketMQ's Java client call them.
const WORDS: &[(&str, &str)] = &[
    (
        "topic",
        "A name that messages are sent to. It is divided into queues, some at each broker.",
    ),
    (
        "queue",
        "A part of a topic at one broker (MessageQueue). Messages of a queue have an order; those of different queues have none.",
    ),
    (
        "offset",
        "The place of a message in its queue, from 0, without gaps. A group remembers an offset for each queue: the next one that it will get.",
    ),
    (
        "group",
        "Consumers under one name (consumer group, subscription group). They divide the queues among them; what one has acknowledged, the group does not get again.",
    ),
    (
        "lag",
        "Messages that are in a group's queues and not consumed yet (diff, accumulation).",
    ),
    (
        "tag",
        "A short word on a message that consumers choose by (TAGS). One for each message.",
    ),
    (
        "key",
        "A business key on a message that it can be found by later (KEYS). Several for each message.",
    ),
    (
        "dead letter",
        "A message that a group could not work on, after as many attempts as the group allows. It lies in the topic %DLQ%GROUP; see rmq-ctl dlq.",
    ),
    (
        "retry",
        "A message that a handler failed at comes again later, by way of the topic %RETRY%GROUP.",
    ),
    (
        "broker",
        "A server that stores messages. A broker group is one master (id 0) and its replicas, under one name (brokerName).",
    ),
    (
        "member",
        "A broker of a broker group. Its slot stays for life; who is the master (id 0) moves. rmq-ctl broker replication GROUP shows the members.",
    ),
    (
        "in-sync set",
        "The members of a broker group that have every acknowledged message, with an ackMode that waits for members (SyncStateSet). Only they are elected.",
    ),
    (
        "epoch",
        "Counts the masters of a broker group. A master of a lower epoch can neither acknowledge nor register.",
    ),
    (
        "switchover",
        "A master hands over to a member in sync, and nothing is lost: rmq-ctl broker switchover. Without a master the members elect one by themselves (failover).",
    ),
    (
        "name server",
        "A server that knows which broker serves which topic. Name servers know nothing of each other; every broker tells all of them.",
    ),
    (
        "route",
        "What a name server says of a topic: its brokers, their addresses, and how many queues each has.",
    ),
];

pub(crate) fn run(options: &Options, output: &Output) -> Result<(), Failure> {
    let Some(asked) = &options.what else {
        for code in codes::ALL {
            output.data(&format!("{}  {}", code.id, code.title));
        }
        for (response, ..) in RESPONSES {
            output.data(&format!("{:>9}  {response}", response.as_i32()));
        }
        for (word, _) in WORDS {
            output.data(&format!("{:>9}  {word}", "word"));
        }
        return Ok(());
    };
    let text = explained(asked).ok_or_else(|| {
        let mut known: Vec<String> = codes::ALL.iter().map(|code| code.id.to_owned()).collect();
        known.extend(WORDS.iter().map(|(word, _)| (*word).to_owned()));
        known.extend(
            RESPONSES
                .iter()
                .map(|(response, ..)| response.name().to_owned()),
        );
        let failure = Failure::coded(
            &codes::NOT_FOUND,
            format!("there is no code \"{asked}\", and no such field or word"),
        );
        match crate::cluster::closest(asked, &known) {
            Some(close) => failure.try_this(format!("rmq-ctl explain '{close}'   (close match)")),
            None => failure.try_this("rmq-ctl explain   (lists all)"),
        }
    })?;
    output.block(&text);
    Ok(())
}

fn explained(asked: &str) -> Option<String> {
    if let Some(code) = codes::find(asked) {
        return Some(format!(
            "{}: {} (exit code {})\n\n{}\n\nWhat to do: {}",
            code.id, code.title, code.exit as u8, code.why, code.what_to_do
        ));
    }
    let response = RESPONSES.iter().find(|(response, ..)| {
        response.name().eq_ignore_ascii_case(asked) || response.as_i32().to_string() == asked
    });
    if let Some((response, means, code)) = response {
        return Some(format!(
            "{} ({}): a response code of brokers and name servers\n\n{means}\n\nWhat to do: {}\nMore: {}",
            response.name(),
            response.as_i32(),
            code.what_to_do,
            code.explain
        ));
    }
    let word = WORDS
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(asked));
    if let Some((word, means)) = word {
        return Some(format!("{word}: {means}"));
    }
    field(asked)
}

/// A field of a custom resource, as `kubectl explain` writes it: `Topic.spec.queues`.
fn field(path: &str) -> Option<String> {
    let mut names = path.split('.');
    let kind = names.next()?;
    let definition = rmq_crds::definitions().into_iter().find(|definition| {
        let known = &definition.spec.names;
        known.kind.eq_ignore_ascii_case(kind) || known.plural.eq_ignore_ascii_case(kind)
    })?;
    let schema = serde_json::to_value(definition.spec.versions.first()?.schema.as_ref()?).ok()?;
    let mut at: &Value = &schema["openAPIV3Schema"];
    for name in names {
        at = at["properties"].get(name)?;
    }
    let text = |name: &str| at[name].as_str().unwrap_or_default();
    let mut out = format!("{path} ({})\n\n{}", text("type"), text("description"));
    for (name, label) in [
        ("default", "Default"),
        ("enum", "One of"),
        ("minimum", "At least"),
        ("maximum", "At most"),
        ("pattern", "Pattern"),
    ] {
        if let Some(value) = at.get(name) {
            out.push_str(&format!("\n{label}: {value}"));
        }
    }
    if let Some(fields) = at["properties"].as_object() {
        let names: Vec<&str> = fields.keys().map(String::as_str).collect();
        out.push_str(&format!("\nFields: {}", names.join(", ")));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fields_and_words_are_explained() {
        for (asked, says) in [
            ("RMQ-E017", "a topic has no route"),
            ("17", "TOPIC_NOT_EXIST"),
            ("no_permission", "RMQ-E020"),
            ("Topic.spec.queues", "Queues at each broker"),
            (
                "subscriptiongroups.spec.retry.maxAttempts",
                "before the message goes to the dead letters",
            ),
            ("Topic.spec", "Fields: attributes"),
            ("Dead Letter", "%DLQ%"),
        ] {
            let text = explained(asked).unwrap_or_default();
            assert!(text.contains(says), "{asked}: {text}");
        }
        for asked in ["E999", "Topic.spec.nothing", "Pod", ""] {
            assert_eq!(explained(asked), None, "{asked}");
        }
    }
}
