//! Name servers. They know nothing of each other, so each is asked.

use std::collections::BTreeMap;

use rmq_protocol::bodies::{KvTable, parse_properties};
use rmq_protocol::requests::{
    AddWritePermOfBroker, AddWritePermOfBrokerReply, DeleteKvConfig, GetKvListByNamespace,
    GetNamesrvConfig, PutKvConfig, Request, WipeWritePermOfBroker, WipeWritePermOfBrokerReply,
};

use super::Admin;
use crate::error::{Error, ErrorKind};
use crate::remote::Answer;

impl Admin {
    /// Asks every name server, one after the other, until one fails.
    pub(super) async fn at_every_name_server<'a, R: Request<'a> + Sync>(
        &self,
        request: &R,
    ) -> Result<Vec<Answer>, Error> {
        let mut answers = Vec::new();
        for addr in self.client.url().name_servers() {
            answers.push(self.client.remote(addr).call(request, b"").await?);
        }
        Ok(answers)
    }

    /// Takes the write permission from all topics of a broker group in the routes of every name server, so that producers go
    /// elsewhere. The number of topics that were changed.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// client.admin().stop_writes("broker-a").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When a name server does not answer or does not know the broker group.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn stop_writes(&self, broker: &str) -> Result<u32, Error> {
        let request = WipeWritePermOfBroker {
            broker_name: broker.into(),
        };
        let answers = self.at_every_name_server(&request).await;
        let answers =
            answers.map_err(|error| error.doing(&format!("stopping writes to \"{broker}\"")))?;
        let mut topics = 0;
        for answer in answers {
            topics = topics.max(
                answer
                    .fields::<WipeWritePermOfBrokerReply>()?
                    .wipe_topic_count,
            );
        }
        Ok(topics.max(0) as u32)
    }

    /// Undoes [`Admin::stop_writes`].
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// client.admin().allow_writes("broker-a").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Admin::stop_writes`].
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn allow_writes(&self, broker: &str) -> Result<u32, Error> {
        let request = AddWritePermOfBroker {
            broker_name: broker.into(),
        };
        let answers = self.at_every_name_server(&request).await;
        let answers =
            answers.map_err(|error| error.doing(&format!("allowing writes to \"{broker}\"")))?;
        let mut topics = 0;
        for answer in answers {
            topics = topics.max(
                answer
                    .fields::<AddWritePermOfBrokerReply>()?
                    .add_topic_count,
            );
        }
        Ok(topics.max(0) as u32)
    }

    /// The settings of the name server at `addr`.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// println!("{:?}", client.admin().name_server_config("ns-0:9876").await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When it does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn name_server_config(&self, addr: &str) -> Result<BTreeMap<String, String>, Error> {
        let answer = self
            .client
            .remote(addr)
            .call(&GetNamesrvConfig {}, b"")
            .await?;
        Ok(parse_properties(answer.body())?.into_iter().collect())
    }

    /// The values that the name servers keep in a namespace; of the first that answers.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// println!("{:?}", client.admin().kv("ORDER_TOPIC_CONFIG").await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When no name server answers.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn kv(&self, namespace: &str) -> Result<BTreeMap<String, String>, Error> {
        let request = GetKvListByNamespace {
            namespace: namespace.into(),
        };
        let answer = self.client.ask_name_server(&request, b"").await?;
        match answer.success() {
            Ok(answer) => Ok(KvTable::from_json(answer.body())?.table),
            // Nothing was ever put there.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Puts a value to every name server.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// client.admin().put_kv("ORDER_TOPIC_CONFIG", "orders", "broker-a:4").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When one does not answer; those before it have the value.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn put_kv(&self, namespace: &str, key: &str, value: &str) -> Result<(), Error> {
        let request = PutKvConfig {
            namespace: namespace.into(),
            key: key.into(),
            value: value.into(),
        };
        self.at_every_name_server(&request).await.map(drop)
    }

    /// Removes a value from every name server.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// client.admin().delete_kv("ORDER_TOPIC_CONFIG", "orders").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When one does not answer; it is gone from those before it.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn delete_kv(&self, namespace: &str, key: &str) -> Result<(), Error> {
        let request = DeleteKvConfig {
            namespace: namespace.into(),
            key: key.into(),
        };
        self.at_every_name_server(&request).await.map(drop)
    }
}
