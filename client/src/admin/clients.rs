//! Connected clients.

use rmq_protocol::bodies::{ConsumerRunningInfo, GroupList, ProducerTable};
use rmq_protocol::requests::{GetAllProducerInfo, GetConsumerRunningInfo, QueryTopicConsumeByWho};

use super::Admin;
use crate::error::Error;

impl Admin {
    /// What a member of a group does now, asked of the member itself by way of a broker group.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// let info = client.admin().running_info("broker-a", "billing", "10.0.0.7@1234").await?;
    /// println!("{} queues", info.mq_table.0.len());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the broker does not know the member, or the member does not answer it.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn running_info(
        &self,
        broker: &str,
        group: &str,
        client_id: &str,
    ) -> Result<ConsumerRunningInfo, Error> {
        let request = GetConsumerRunningInfo {
            consumer_group: group.into(),
            client_id: client_id.into(),
            jstack_enable: Some(false),
        };
        let broker = self.client.master_of(broker).await?;
        let answer = broker.call(&request, b"").await?;
        Ok(ConsumerRunningInfo::from_json(answer.body())?)
    }

    /// All producers that a broker group knows, by producer group.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// println!("{:?}", client.admin().producers("broker-a").await?.data.keys());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the broker is unknown or does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn producers(&self, broker: &str) -> Result<ProducerTable, Error> {
        let broker = self.client.master_of(broker).await?;
        let answer = broker.call(&GetAllProducerInfo {}, b"").await?;
        Ok(ProducerTable::from_json(answer.body())?)
    }

    /// Names of the groups that consume a topic or have, sorted.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// println!("{:?}", client.admin().groups_of_topic("orders").await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the topic has no route or a broker does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn groups_of_topic(&self, topic: &str) -> Result<Vec<String>, Error> {
        let route = self.client.refresh_route(topic).await?;
        let mut groups = std::collections::BTreeSet::new();
        for data in &route.raw().queue_datas {
            let Some(addr) = route.reader(&data.broker_name) else {
                continue;
            };
            let request = QueryTopicConsumeByWho {
                topic: topic.into(),
            };
            let answer = self.client.remote(addr).call(&request, b"").await?;
            groups.extend(GroupList::from_json(answer.body())?.group_list);
        }
        Ok(groups.into_iter().collect())
    }
}
