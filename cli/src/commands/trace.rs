//! `rmq-ctl trace`: what clients say of a message's way. Reads only.

use clap::Args;
use rmq_client::{TraceKind, TraceStep};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::{Cluster, ClusterOptions};
use crate::error::Failure;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of};
use crate::when;

/// Options of `trace`.
#[derive(Debug, Args)]
#[command(after_help = "Reads only.

Clients write traces when they are told to: Java with enableMsgTrace, Rust with ClientBuilder::message_traces. Producers say when a message was sent
and how long that took, consumers when they began with it and how it ended. `find message --groups` says what groups have done with it, without traces.

Examples:
  rmq-ctl trace AC110001000018B4AAC2187B1C4A0000
  rmq-ctl trace order-17
  rmq-ctl trace AC110001000018B4AAC2187B1C4A0000 --trace-topic audit -o json")]
pub(crate) struct Options {
    /// The id that its producer gave the message, or one of its business keys.
    id: String,

    /// The topic of the traces.
    #[arg(long, value_name = "TOPIC", default_value = "RMQ_SYS_TRACE_TOPIC")]
    trace_topic: String,

    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct StepItem {
    /// sent, received, consumed, transaction or recalled.
    step: &'static str,
    /// By the client's clock.
    at: Option<String>,
    group: String,
    topic: String,
    message_id: String,
    tag: String,
    keys: String,
    stored_at: String,
    client: String,
    took_ms: Option<i64>,
    body_bytes: Option<i64>,
    /// How often it was consumed before.
    retries: Option<i64>,
    success: Option<bool>,
}

impl StepItem {
    fn of(step: TraceStep) -> Self {
        Self {
            step: match step.kind {
                TraceKind::Sent => "sent",
                TraceKind::Received => "received",
                TraceKind::Consumed => "consumed",
                TraceKind::TransactionEnded => "transaction",
                TraceKind::Recalled => "recalled",
                _ => "other",
            },
            at: step.at_ms.map(|at| when::show_time(at, true)),
            group: step.group,
            topic: step.topic,
            message_id: step.message_id,
            tag: step.tag,
            keys: step.keys,
            stored_at: step.stored_at,
            client: step.client,
            took_ms: step.took_ms,
            body_bytes: step.body_bytes,
            retries: step.retries,
            success: step.success,
        }
    }

    fn row(self) -> Row {
        let or_dash = |text: Option<String>| {
            text.filter(|text| !text.is_empty())
                .unwrap_or_else(|| "-".to_owned())
        };
        let result = match self.success {
            Some(true) => "ok",
            Some(false) => "failed",
            None => "-",
        };
        let cells = vec![
            or_dash(self.at.clone()),
            self.step.to_owned(),
            or_dash(Some(self.group.clone())),
            or_dash(self.took_ms.map(|took| took.to_string())),
            result.to_owned(),
            or_dash(self.retries.map(|retries| retries.to_string())),
            or_dash(Some(self.topic.clone())),
            or_dash(Some(self.stored_at.clone())),
            or_dash(Some(self.client.clone())),
            or_dash(Some(self.keys.clone())),
            or_dash(Some(self.message_id.clone())),
        ];
        Row::new(self.message_id.clone(), cells, &self)
    }
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    let admin = cluster.client.admin();
    let topic = options.trace_topic.as_str();
    let steps = match admin.traces(&options.id, Some(topic)).await {
        Ok(steps) => steps,
        Err(error) => return Err(cluster.topic_failed(topic, error).await),
    };
    let rows = steps.into_iter().map(|step| StepItem::of(step).row());
    let listing = Listing {
        kind: "TraceList",
        schema: schema_of::<StepItem>,
        noun: "message",
        columns: &["AT", "STEP", "GROUP", "MS", "RESULT"],
        wide_columns: &["RETRIES", "TOPIC", "STORED-AT", "CLIENT", "KEYS", "ID"],
        rows: rows.collect(),
        empty: format!(
            "no client has written a trace of \"{}\" into {topic}",
            options.id
        ),
    };
    options.render.list(&listing, output)
}
