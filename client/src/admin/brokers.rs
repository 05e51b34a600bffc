//! Brokers.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use rmq_protocol::ResponseCode;
use rmq_protocol::bodies::{KvTable, TimerMetrics, parse_properties, write_properties};
use rmq_protocol::message::OffsetMessageId;
use rmq_protocol::requests::{
    GetBrokerConfig, GetBrokerRuntimeInfo, GetTimerMetrics, Request, UpdateBrokerConfig,
    ViewMessageById,
};

use super::Admin;
use crate::error::{Error, ErrorKind};
use crate::received::ReceivedMessage;

impl Admin {
    /// A broker's figures, by name.
    ///
    /// # Errors
    /// When the broker is unknown or does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn runtime_info(&self, broker: &str) -> Result<BTreeMap<String, String>, Error> {
        let answer = self
            .client
            .master_of(broker)
            .await?
            .call(&GetBrokerRuntimeInfo {}, b"")
            .await?;
        Ok(KvTable::from_json(answer.body())?.table)
    }

    /// How many messages wait for a timer at a broker, by topic.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// for (topic, messages) in client.admin().timers("broker-a").await? {
    ///     println!("{topic}: {messages} wait");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the broker is unknown or does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn timers(&self, broker: &str) -> Result<BTreeMap<String, i64>, Error> {
        let answer = self
            .client
            .master_of(broker)
            .await?
            .call(&GetTimerMetrics {}, b"")
            .await?;
        let counts = TimerMetrics::from_json(answer.body())?.timing_count;
        let counts = counts.into_iter().map(|(topic, of)| (topic, of.count));
        Ok(counts.collect())
    }

    /// A broker's settings, by name.
    ///
    /// # Errors
    /// When the broker is unknown or does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
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
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
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

    /// The message with an offset id. An id names an address, and a broker may have moved since, or the id may be another client's
    /// own: only brokers that are registered are asked, the one at that address first, and what they give is compared with the id.
    ///
    /// # Errors
    /// When the text is no such id, no registered broker has such a message, or a broker that may have it does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn message_by_id(&self, id: &str) -> Result<ReceivedMessage, Error> {
        let wanted: OffsetMessageId = id
            .parse()
            .map_err(|error| Error::invalid("cannot look the message up").source(error))?;
        let info = self.client.cluster_info().await?;
        let addr = wanted.host.to_string();
        // Of each group the master, or else the member with the lowest id.
        let (named, others): (Vec<_>, Vec<_>) = info
            .broker_addr_table
            .iter()
            .filter_map(|(name, data)| {
                let known = data.broker_addrs.values().find(|known| **known == addr);
                let known = known.or_else(|| data.broker_addrs.values().next());
                Some((name.as_str(), known?.as_str()))
            })
            .partition(|(_, known)| *known == addr);
        let mut silent = None;
        for brokers in [named, others] {
            let asked = brokers
                .iter()
                .map(|(broker, addr)| self.message_at(broker, addr, wanted));
            for answer in join_all(asked).await {
                match answer {
                    Ok(Some(message)) => return Ok(message),
                    Ok(None) => {}
                    Err(error) => silent = Some(error),
                }
            }
        }
        Err(silent.unwrap_or_else(|| {
            let known: Vec<_> = info.broker_addr_table.keys().map(String::as_str).collect();
            Error::new(
                ErrorKind::NotFound,
                format!("no registered broker has a message {id}"),
            )
            .advice(format!("asked for it: {}", known.join(", ")))
        }))
    }

    /// The message that a broker has at the id's position, when it is the one with this id.
    async fn message_at(
        &self,
        broker: &str,
        addr: &str,
        wanted: OffsetMessageId,
    ) -> Result<Option<ReceivedMessage>, Error> {
        let Ok(offset) = i64::try_from(wanted.position.0) else {
            return Ok(None);
        };
        let request = ViewMessageById {
            offset,
            topic: None,
        };
        let code = ViewMessageById::CODE.as_i32();
        let remote = self.client.remote(addr);
        let answer = remote.call_any(code, &request, b"").await?;
        if answer.code() != ResponseCode::Success.as_i32() {
            return Ok(None);
        }
        // Another broker may have anything at that position.
        let found = ReceivedMessage::parse_all(answer.body(), broker).unwrap_or_default();
        Ok(found
            .into_iter()
            .find(|message| message.offset_id() == wanted))
    }
}
