//! Proves that a development cluster works, the way a user's program would: by a message that goes in and comes out.

use std::time::{Duration, Instant};

use rmq_client::{Client, Error, Message, PullOptions, TopicSpec};
use rmq_plan::Resource;

use super::plan::ClusterPlan;
use super::servers::{Cluster, Servers};
use crate::error::Failure;
use crate::exit_code::Exit;

const TOPIC: &str = "rmq-dev-self-check";
/// The broker is in this process: a route takes milliseconds.
const ROUTE_WITHIN: Duration = Duration::from_secs(10);
/// Between looks for a master.
const PAUSE: Duration = Duration::from_millis(20);

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
pub(crate) async fn apply(client: &Client, resource: &Resource) -> Result<(), Failure> {
    let what = || format!("cannot make the {} {}", resource.noun(), resource.name());
    let change = rmq_plan::plan(client, resource).await;
    let change = change.map_err(|error| failed(what(), &error))?;
    let made = rmq_plan::carry_out(client, resource, &change).await;
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

/// Clusters with their topics and groups, each checked with a message.
pub(super) struct Checked {
    /// Topics that were asked for, of the first cluster.
    pub(super) topics: Vec<String>,
    /// The check of the first cluster.
    pub(super) found: Found,
}

/// Waits until every broker group has a master that takes messages: members elect it within moments.
async fn masters(client: &Client, cluster: &Cluster) -> Result<(), Failure> {
    let deadline = Instant::now() + ROUTE_WITHIN;
    loop {
        let info = client.cluster_info().await;
        let info = info.map_err(|error| failed("cannot list the brokers".to_owned(), &error))?;
        let mut waits = None;
        for (name, _) in cluster.brokers() {
            let group = info.broker_addr_table.get(name);
            if !takes_messages(client, group.and_then(|group| group.master())).await {
                waits = Some(name);
                break;
            }
        }
        let Some(name) = waits else { return Ok(()) };
        if Instant::now() > deadline {
            let what = format!(
                "broker group \"{name}\" has no master that takes messages after {ROUTE_WITHIN:?}"
            );
            return Err(
                Failure::new(Exit::Failed, what).try_this("-v shows the log of its members")
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Makes topics and groups, and proves with a message to each cluster that it works.
pub(super) async fn prepare(
    topics: &[String],
    plans: &[ClusterPlan],
    servers: &Servers,
) -> Result<Checked, Failure> {
    let mut checked = None;
    for (cluster, plan) in servers.clusters().iter().zip(plans) {
        let client = connect(cluster.name_servers()).await?;
        masters(&client, cluster).await?;
        let mut made: Vec<String> = match checked {
            None => topics.to_vec(),
            Some(_) => Vec::new(),
        };
        for topic in &made {
            create_topic(&client, topic).await?;
        }
        for resource in &plan.resources {
            apply(&client, resource).await?;
            if resource.noun() == "topic" {
                made.push(resource.name().to_owned());
            }
        }
        let found = round_trip(&client, cluster).await?;
        client.shutdown().await;
        checked.get_or_insert(Checked {
            topics: made,
            found,
        });
    }
    checked.ok_or_else(|| Failure::new(Exit::Usage, "there is no cluster to start"))
}

/// A master that is new takes nothing before enough members are in sync with it.
async fn takes_messages(client: &Client, master: Option<&str>) -> bool {
    let Some(master) = master else { return false };
    let status = client.admin().group_status(master).await;
    status.is_ok_and(|status| status.writes_closed.is_none())
}
