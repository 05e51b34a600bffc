//! A topic of the cluster: making it, and what must be in it.

use std::time::Duration;

use rmq_client::{ReceivedMessage, TopicSpec};
use tokio::time::Instant;

use crate::cluster::TestCluster;

/// How long an assertion waits for what is on its way.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);
/// Between looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Messages that a report shows.
const SHOWN: usize = 20;

/// A topic. Assertions wait up to ten seconds for what is on its way, and say what was there instead when it does not come.
#[derive(Debug)]
#[must_use]
pub struct TopicHandle<'c> {
    cluster: &'c TestCluster,
    name: String,
    queues: u16,
}

impl<'c> TopicHandle<'c> {
    pub(crate) fn new(cluster: &'c TestCluster, name: String) -> Self {
        Self {
            cluster,
            name,
            queues: 4,
        }
    }

    /// Queues at each broker, for [`TopicHandle::create`]. Default 4.
    pub fn queues(mut self, queues: u16) -> Self {
        self.queues = queues;
        self
    }

    /// Creates it, and waits until it can be used.
    ///
    /// # Panics
    /// When it cannot be created.
    pub async fn create(&self) {
        let client = self.cluster.client().await;
        let spec = TopicSpec::new(self.name.as_str()).queues(self.queues);
        let created = client.admin().create_topic(&spec).await;
        created.unwrap_or_else(|error| panic!("topic \"{}\": {error}", self.name));
        let route = client.wait_for_route(&self.name, WITHIN).await;
        route.unwrap_or_else(|error| panic!("topic \"{}\": {error}", self.name));
    }

    /// All messages in it now, by time of storing. A topic that does not exist has none.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn messages(&self) -> Vec<ReceivedMessage> {
        let client = self.cluster.client().await;
        let reader = match client.reader(self.name.as_str()).open().await {
            Ok(reader) => reader,
            Err(error) if error.kind() == rmq_client::ErrorKind::NoRoute => return Vec::new(),
            Err(error) => panic!("topic \"{}\" cannot be read: {error}", self.name),
        };
        let mut messages = reader
            .all()
            .await
            .unwrap_or_else(|error| panic!("topic \"{}\" cannot be read: {error}", self.name));
        messages.sort_by_key(ReceivedMessage::stored_at);
        messages
    }

    /// There are exactly so many messages in it.
    ///
    /// # Panics
    /// When there are not within ten seconds, or there are more.
    pub async fn assert_messages(&self, count: usize) {
        let messages = self.wait(|messages| messages.len() >= count).await;
        assert!(
            messages.len() == count,
            "topic \"{}\" has {} messages instead of {count}:\n{}",
            self.name,
            messages.len(),
            report(&messages)
        );
    }

    /// There are exactly messages with these bodies in it, in any order.
    ///
    /// # Panics
    /// When there are not within ten seconds, or there are others.
    pub async fn assert_bodies(&self, bodies: &[&str]) {
        let messages = self.wait(|messages| messages.len() >= bodies.len()).await;
        let mut found: Vec<String> = messages.iter().map(body).collect();
        let mut wanted: Vec<String> = bodies.iter().map(|body| (*body).to_owned()).collect();
        found.sort();
        wanted.sort();
        assert!(
            found == wanted,
            "topic \"{}\" does not have the bodies {bodies:?}, but:\n{}",
            self.name,
            report(&messages)
        );
    }

    async fn wait(&self, enough: impl Fn(&[ReceivedMessage]) -> bool) -> Vec<ReceivedMessage> {
        let until = Instant::now() + WITHIN;
        loop {
            let messages = self.messages().await;
            if enough(&messages) || Instant::now() > until {
                return messages;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn body(message: &ReceivedMessage) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// One line a message.
fn report(messages: &[ReceivedMessage]) -> String {
    let mut lines: Vec<String> = messages
        .iter()
        .take(SHOWN)
        .map(|message| {
            let keys: Vec<&str> = message.keys().collect();
            format!(
                "  {}@{} tag {:?} keys {:?} attempts {} body {:?}",
                message.queue(),
                message.queue_offset(),
                message.tag().unwrap_or_default(),
                keys,
                message.reconsume_times(),
                body(message).chars().take(80).collect::<String>()
            )
        })
        .collect();
    match messages.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => lines.push(format!("  and {more} more")),
        _ if lines.is_empty() => lines.push("  nothing".to_owned()),
        _ => {}
    }
    lines.join("\n")
}
