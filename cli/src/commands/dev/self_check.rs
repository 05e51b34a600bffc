//! Proves that a development cluster works, the way a user's program would: by a message that goes in and comes out.

use std::time::{Duration, Instant};

use rmq_client::{Client, Error, Message, PullOptions, TopicSpec};

use super::servers::Cluster;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::manifest::Manifest;

const TOPIC: &str = "rmq-dev-self-check";
/// The broker is in this process: a route takes milliseconds.
const ROUTE_WITHIN: Duration = Duration::from_secs(10);

/// What the check found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) message_id: String,
    /// From the send to the message being read.
    pub(crate) took: Duration,
}

fn failed(what: String, error: &Error) -> Failure {
    let failure = Failure::new(
        if error.is_retryable() {
            Exit::Unreachable
        } else {
            Exit::Failed
        },
        what,
    )
    .cause(error);
    match error.help() {
        Some(help) => failure.try_this(help),
        None => failure,
    }
}

pub(crate) async fn connect(name_servers: &[String]) -> Result<Client, Failure> {
    Client::connect(format!("rmq://{}", name_servers.join(",")))
        .await
        .map_err(|error| {
            failed(
                "cannot connect to the name server that was just started".to_owned(),
                &error,
            )
        })
}

/// Creates a topic unless it exists.
pub(crate) async fn create_topic(client: &Client, topic: &str) -> Result<(), Failure> {
    let known = client
        .admin()
        .topics()
        .await
        .map_err(|error| failed("cannot list the topics".to_owned(), &error))?;
    if known.iter().any(|known| known == topic) {
        return Ok(());
    }
    client
        .admin()
        .create_topic(&TopicSpec::new(topic).queues(4))
        .await
        .map_err(|error| failed(format!("cannot create the topic {topic}"), &error))
}

/// Makes a topic or group as its manifest says.
pub(crate) async fn apply(client: &Client, settings: &Manifest) -> Result<(), Failure> {
    let what = || format!("cannot make the {} {}", settings.noun(), settings.name());
    let change = rmq_plan::plan(client, settings).await;
    let change = change.map_err(|error| failed(what(), &error))?;
    let made = rmq_plan::carry_out(client, settings, &change).await;
    made.map_err(|error| failed(what(), &error))
}

/// Sends one message and reads it back.
pub(crate) async fn round_trip(client: &Client, cluster: &Cluster) -> Result<Found, Failure> {
    create_topic(client, TOPIC).await?;
    client
        .wait_for_route(TOPIC, ROUTE_WITHIN)
        .await
        .map_err(|error| {
            failed(
                "the self-check has no route to the broker".to_owned(),
                &error,
            )
            .fact(
                "brokers",
                cluster
                    .brokers()
                    .map(|(_, addr)| addr)
                    .collect::<Vec<_>>()
                    .join(", "),
            )
        })?;
    let began = Instant::now();
    let body = format!("self-check by process {}", std::process::id());
    let receipt = client
        .producer()
        .send(Message::new(TOPIC, body.clone()))
        .await
        .map_err(|error| failed("the self-check could not send a message".to_owned(), &error))?;
    let pulled = client
        .pull(
            receipt.queue(),
            receipt.queue_offset(),
            &PullOptions::default().max_messages(1),
        )
        .await
        .map_err(|error| {
            failed(
                "the self-check could not read its message".to_owned(),
                &error,
            )
        })?;
    let took = began.elapsed();
    let found = pulled
        .messages
        .first()
        .map(|message| message.body().to_vec());
    if found.as_deref() != Some(body.as_bytes()) {
        return Err(Failure::new(
            Exit::CheckFailed,
            "the self-check read something else than it had sent",
        )
        .fact("queue", receipt.queue())
        .fact("offset", receipt.queue_offset())
        .because(format!(
            "found {:?}",
            found.map(|body: Vec<u8>| String::from_utf8_lossy(&body).into_owned())
        )));
    }
    Ok(Found {
        message_id: receipt.message_id().to_owned(),
        took,
    })
}
