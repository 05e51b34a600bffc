//! Messages by their id alone: first at the position in an offset id, then topic by topic. Reads only.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use rmq_client::protocol::names::{is_dlq_topic, is_retry_topic, is_system_topic};
use rmq_client::{ErrorKind, ReceivedMessage};
use tokio::time::Instant;

use super::limits::AT_ONCE;
use super::topics;
use crate::cluster::Cluster;
use crate::codes;
use crate::error::Failure;
use crate::numbers;
use crate::output::Output;

/// Defaults of [`Bounds`].
const TOPICS_MAX: usize = 1_000;
const WITHIN: Duration = Duration::from_secs(30);

/// How far a look through topics goes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Bounds {
    /// Without -t: ask at most this many topics.
    #[arg(long, value_name = "N", default_value_t = TOPICS_MAX)]
    max_topics: usize,

    /// Without -t: look for at most this time.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = crate::when::parse_length)]
    within: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_topics: TOPICS_MAX,
            within: WITHIN,
        }
    }
}

/// The messages with this id. An offset id has one message; an id from a producer has all messages of the first topic that knows the id.
///
/// # Errors
/// No message has the id; the failure says what was asked.
pub(crate) async fn by_id(
    cluster: &Cluster,
    id: &str,
    bounds: Bounds,
    output: &Output,
) -> Result<Vec<ReceivedMessage>, Failure> {
    let failed = |error| cluster.failed(format!("cannot find message {id}"), error);
    let mut silent = match cluster.client.admin().message_by_id(id).await {
        Ok(message) => return Ok(vec![message]),
        // The id tells no position, or another message is there, or none.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => None,
        Err(error) => Some(error),
    };
    let mut topics = topics::names(cluster, true).await?;
    topics.retain(|topic| !is_system_topic(topic));
    // Topics of users first; then retry topics and dead letters.
    topics.sort_by_key(|topic| (is_retry_topic(topic) || is_dlq_topic(topic), topic.clone()));
    let all = topics.len();
    topics.truncate(bounds.max_topics);
    let began = Instant::now();
    let mut asked = 0;
    let mut answers = stream::iter(topics)
        .map(|topic| async move {
            let found = cluster
                .client
                .admin()
                .messages_by_unique_id(&topic, id)
                .await;
            (topic, found)
        })
        .buffer_unordered(AT_ONCE);
    let mut is_late = false;
    loop {
        let next = tokio::time::timeout_at(began + bounds.within, answers.next()).await;
        let (topic, found) = match next {
            Ok(Some(answer)) => answer,
            Ok(None) => break,
            Err(_) => {
                is_late = true;
                break;
            }
        };
        asked += 1;
        match found {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                if all > 1 {
                    output.say(&format!(
                        "found in topic \"{topic}\" after asking {asked} of {all} topics; -t {topic} asks this one alone"
                    ));
                }
                return Ok(found);
            }
            // Deleted while the list was read.
            Err(error) if error.kind() == ErrorKind::NoRoute => {}
            Err(error) => silent = Some(error),
        }
    }
    if let Some(error) = silent {
        return Err(failed(error).fact("looked", format!("in {asked} of {all} topics")));
    }
    let took = numbers::length(i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX));
    let why = match (is_late, asked < all) {
        (true, _) => format!(
            "the time was up after {asked} of {all} topics: name the topic with -t, or look longer with --within"
        ),
        (false, true) => format!(
            "{asked} of {all} topics were asked: name the topic with -t, or ask more with --max-topics"
        ),
        (false, false) => {
            "it was never stored under that id, or its time of retention is over".to_owned()
        }
    };
    Err(
        Failure::coded(&codes::NOT_FOUND, format!("there is no message {id}"))
            .fact("asked", &cluster.name)
            .fact(
                "looked",
                format!(
                    "at the position that the id tells, if it tells one, and in {asked} of {all} topics, in {took}"
                ),
            )
            .because(why),
    )
}
