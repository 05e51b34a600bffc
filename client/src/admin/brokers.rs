//! Brokers.

use std::collections::BTreeMap;

use rmq_protocol::bodies::{KvTable, parse_properties, write_properties};
use rmq_protocol::message::OffsetMessageId;
use rmq_protocol::requests::{
    GetBrokerConfig, GetBrokerRuntimeInfo, UpdateBrokerConfig, ViewMessageById,
};

use super::Admin;
use crate::error::Error;
use crate::received::ReceivedMessage;

impl Admin {
    /// A broker's figures, by name.
    ///
    /// # Errors
    /// When the broker is unknown or does not answer.
    pub async fn runtime_info(&self, broker: &str) -> Result<BTreeMap<String, String>, Error> {
        let answer = self
            .client
            .master_of(broker)
            .await?
            .call(&GetBrokerRuntimeInfo {}, b"")
            .await?;
        Ok(KvTable::from_json(answer.body())?.table)
    }

    /// A broker's settings, by name.
    ///
    /// # Errors
    /// When the broker is unknown or does not answer.
    pub async fn broker_config(&self, broker: &str) -> Result<BTreeMap<String, String>, Error> {
        let answer = self
            .client
            .master_of(broker)
            .await?
            .call(&GetBrokerConfig {}, b"")
            .await?;
        Ok(parse_properties(answer.body())?.into_iter().collect())
    }

    /// Changes settings of a broker.
    ///
    /// # Errors
    /// When the broker is unknown, does not answer, or refuses a setting.
    pub async fn update_broker_config(
        &self,
        broker: &str,
        settings: &[(&str, &str)],
    ) -> Result<(), Error> {
        let body = write_properties(settings.iter().copied());
        self.client
            .master_of(broker)
            .await?
            .call(&UpdateBrokerConfig {}, &body)
            .await
            .map(drop)
    }

    /// The message with an offset id. The id names the broker's address.
    ///
    /// # Errors
    /// When the text is no such id, or the broker does not answer or has no such message.
    pub async fn message_by_id(&self, id: &str) -> Result<ReceivedMessage, Error> {
        let id: OffsetMessageId = id
            .parse()
            .map_err(|error| Error::invalid("cannot look the message up").source(error))?;
        let addr = id.host.to_string();
        let request = ViewMessageById {
            offset: id.position.0 as i64,
            topic: None,
        };
        let answer = self.client.remote(&addr).call(&request, b"").await?;
        let broker = self.broker_at(&addr).await?.unwrap_or_default();
        let found = ReceivedMessage::parse_all(answer.body(), &broker)?.pop();
        found.ok_or_else(|| Error::protocol(&addr, "the answer has no message"))
    }

    async fn broker_at(&self, addr: &str) -> Result<Option<String>, Error> {
        let info = self.client.cluster_info().await?;
        let mut groups = info.broker_addr_table.into_iter();
        Ok(groups
            .find(|(_, data)| data.broker_addrs.values().any(|known| known == addr))
            .map(|(name, _)| name))
    }
}
