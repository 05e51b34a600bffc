//! Messages as commands choose and print them.

use clap::{Args, ValueEnum};
use rmq_client::protocol::message::property;
use rmq_client::{Filter, ReceivedMessage};
use schemars::JsonSchema;
use serde::Serialize;

use crate::when;

/// How messages are printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct PrintOptions {
    /// How messages are printed.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Form::Table, conflicts_with = "format")]
    form: Form,

    /// Your own form for each message.
    #[arg(long, value_name = "FORM")]
    format: Option<String>,
}

/// Which messages brokers choose.
#[derive(Debug, Clone, Args)]
pub(crate) struct FilterOptions {
    /// Only messages with one of these tags: A or "A || B".
    #[arg(long, value_name = "TAGS", default_value = "*")]
    tag: String,

    /// Only messages of whose properties this SQL92 expression is true: "amount > 100 AND region = 'eu'".
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "tag")]
    sql: Option<String>,
}

impl FilterOptions {
    /// As brokers take it.
    pub(crate) fn filter(&self) -> Filter {
        match &self.sql {
            Some(expression) => Filter::sql(expression),
            None => Filter::from(self.tag.as_str()),
        }
    }
}

/// Which messages are wanted, beyond what brokers choose.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChoiceOptions {
    /// Only messages whose body contains this text.
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,

    /// Only messages with this business key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Only messages with this property: NAME, or NAME=VALUE.
    #[arg(long, value_name = "NAME[=VALUE]")]
    property: Option<String>,
}

impl ChoiceOptions {
    /// Whether the message is wanted.
    pub(crate) fn takes(&self, message: &ReceivedMessage) -> bool {
        let body = self
            .grep
            .as_ref()
            .is_none_or(|wanted| contains(message.body(), wanted.as_bytes()));
        let key = self
            .key
            .as_ref()
            .is_none_or(|wanted| message.keys().any(|key| key == wanted));
        let property = self.property.as_ref().is_none_or(|wanted| {
            let (name, value) = match wanted.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (wanted.as_str(), None),
            };
            message
                .property(name)
                .is_some_and(|has| value.is_none_or(|value| has == value))
        });
        body && key && property
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A line with place, time, tag and keys, then the body; line ends and control characters in it are escaped.
    #[value(alias = "text")]
    Table,
    /// The same with the id and all properties.
    Wide,
    /// One JSON object a line.
    #[value(alias = "jsonl")]
    Json,
    /// One YAML document each.
    Yaml,
    /// `message/ID`.
    Name,
    /// The bodies as they are, a line each; escaped on a terminal.
    Body,
}

/// A message as JSON. Bodies that are not UTF-8 come as `bodyHex`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageItem<'m> {
    topic: &'m str,
    broker: &'m str,
    queue: i32,
    offset: i64,
    id: String,
    offset_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'m str>,
    keys: Vec<&'m str>,
    born_ms: i64,
    store_ms: i64,
    reconsume_times: i32,
    properties: std::collections::BTreeMap<&'m str, &'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

impl<'m> MessageItem<'m> {
    pub(crate) fn new(message: &'m ReceivedMessage) -> Self {
        let body = std::str::from_utf8(message.body()).ok();
        Self {
            topic: message.topic(),
            broker: message.queue().broker(),
            queue: message.queue().id(),
            offset: message.queue_offset(),
            id: message.message_id(),
            offset_id: message.offset_id().to_string(),
            tag: message.tag(),
            keys: message.keys().collect(),
            born_ms: when::unix_ms(message.born_at()),
            store_ms: when::unix_ms(message.stored_at()),
            reconsume_times: message.reconsume_times(),
            properties: message.properties().collect(),
            body,
            body_hex: body.is_none().then(|| {
                let digits = message.body().iter().map(|byte| format!("{byte:02x}"));
                digits.collect()
            }),
        }
    }
}

fn contains(body: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || body.windows(wanted.len()).any(|part| part == wanted)
}

impl PrintOptions {
    /// Appends the message, with the end of its line.
    pub(crate) fn print(&self, message: &ReceivedMessage, utc: bool, out: &mut Vec<u8>) {
        if let Some(format) = &self.format {
            return formatted(format, message, utc, out);
        }
        match self.form {
            Form::Json => {
                // A struct of texts and numbers always becomes JSON.
                let _ = serde_json::to_writer(&mut *out, &MessageItem::new(message));
            }
            Form::Yaml => {
                let document = crate::yaml::write(&MessageItem::new(message));
                out.extend_from_slice(b"---\n");
                out.extend_from_slice(document.trim_end().as_bytes());
            }
            Form::Name => {
                let line = format!("message/{}", message.message_id());
                out.extend_from_slice(rmq_texts::line(&line).as_bytes());
            }
            Form::Body => out.extend_from_slice(message.body()),
            Form::Table | Form::Wide => {
                let line = line(message, utc, self.form == Form::Wide);
                // One line, and nothing in it steers a terminal: others wrote it.
                out.extend_from_slice(rmq_texts::line(&line).as_bytes());
            }
        }
        out.push(b'\n');
    }
}

fn line(message: &ReceivedMessage, utc: bool, is_wide: bool) -> String {
    let keys: Vec<&str> = message.keys().collect();
    let mut line = format!(
        "{}@{} {} {} [{}] ",
        message.queue(),
        message.queue_offset(),
        when::show_time(when::unix_ms(message.stored_at()), utc),
        message.tag().unwrap_or("-"),
        keys.join(" ")
    );
    if is_wide {
        let properties = message.properties();
        let properties: Vec<String> = properties
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        line.push_str(&format!(
            "{} {{{}}} ",
            message.message_id(),
            properties.join(", ")
        ));
    }
    if let Some(reason) = message.property(property::DEAD_LETTER_REASON) {
        line.push_str(&format!("given up: {reason:?} "));
    }
    match std::str::from_utf8(message.body()) {
        Ok(text) => line.push_str(text),
        Err(_) => line.push_str(&format!("({} bytes, not text)", message.body().len())),
    }
    line
}

fn shown(text: &str) -> String {
    rmq_texts::line(text).into_owned()
}

/// Only bodies are as they are.
fn formatted(format: &str, message: &ReceivedMessage, utc: bool, out: &mut Vec<u8>) {
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        let text = match letter {
            '%' => match letters.next() {
                Some('t') => shown(message.topic()),
                Some('b') => shown(message.queue().broker()),
                Some('q') => message.queue().id().to_string(),
                Some('o') => message.queue_offset().to_string(),
                Some('i') => shown(&message.message_id()),
                Some('k') => shown(&message.keys().collect::<Vec<_>>().join(" ")),
                Some('g') => shown(message.tag().unwrap_or_default()),
                Some('s') => when::show_time(when::unix_ms(message.stored_at()), utc),
                Some('v') => {
                    out.extend_from_slice(message.body());
                    continue;
                }
                Some('%') => "%".to_owned(),
                Some(other) => format!("%{other}"),
                None => "%".to_owned(),
            },
            '\\' => match letters.next() {
                Some('n') => "\n".to_owned(),
                Some('t') => "\t".to_owned(),
                Some('\\') => "\\".to_owned(),
                Some(other) => format!("\\{other}"),
                None => "\\".to_owned(),
            },
            other => other.to_string(),
        };
        out.extend_from_slice(text.as_bytes());
    }
}
