//! A consumer group of the cluster: how far it is, and what it gave up.

use rmq_client::protocol::names::{dlq_topic, retry_topic};
use tokio::time::Instant;

use crate::cluster::TestCluster;
use crate::topic::{LOOK_EVERY, TopicHandle, WITHIN};

/// A consumer group.
#[derive(Debug)]
#[must_use]
pub struct GroupHandle<'c> {
    cluster: &'c TestCluster,
    name: String,
}

impl<'c> GroupHandle<'c> {
    pub(crate) fn new(cluster: &'c TestCluster, name: String) -> Self {
        Self { cluster, name }
    }

    /// Waits until the group has consumed everything in these topics, and what it gave back. Consumers commit every five seconds
    /// unless they are told otherwise (`commit_every`) or end.
    ///
    /// # Panics
    /// With the queues that are behind, when that is not so within ten seconds.
    pub async fn drained(&self, topics: &[&str]) {
        let until = Instant::now() + WITHIN;
        loop {
            let behind = self.behind(topics).await;
            if behind.is_empty() {
                return;
            }
            assert!(
                Instant::now() < until,
                "group \"{}\" has not consumed everything:\n{}",
                self.name,
                behind.join("\n")
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// One line for each queue that the group is behind in.
    async fn behind(&self, topics: &[&str]) -> Vec<String> {
        let client = self.cluster.client().await;
        let admin = client.admin();
        let retries = retry_topic(&self.name);
        let mut behind = Vec::new();
        for topic in topics.iter().copied().chain([retries.as_str()]) {
            let route = match client.route(topic).await {
                Ok(route) => route,
                Err(_) if topic == retries => continue,
                Err(error) => {
                    behind.push(format!("  {topic}: {error}"));
                    continue;
                }
            };
            for queue in route.readable() {
                let read = async {
                    let end = admin.max_offset(queue).await?;
                    let at = admin.committed_offset(&self.name, queue).await?;
                    Ok::<_, rmq_client::Error>((end, at))
                };
                match read.await {
                    Ok((end, at)) if at.unwrap_or(0) < end => behind.push(format!(
                        "  {queue}: at {} of {end}",
                        at.map_or_else(|| "nothing".to_owned(), |at| at.to_string())
                    )),
                    Ok(_) => {}
                    Err(error) => behind.push(format!("  {queue}: {error}")),
                }
            }
        }
        behind
    }

    /// The group gave up exactly so many messages.
    ///
    /// # Panics
    /// When it did not within ten seconds, or it gave up more.
    pub async fn assert_dead_letters(&self, count: usize) {
        TopicHandle::new(self.cluster, dlq_topic(&self.name))
            .assert_messages(count)
            .await;
    }
}
