//! Transactions: what is committed comes, also behind a question of the broker.

use std::any::Any;

use rocketmq_client_rust::{
    ConsumeConcurrentlyContext, ConsumeConcurrentlyStatus, LocalTransactionState, MQPushConsumer,
    TransactionListener, TransactionMQProducer,
};
use rocketmq_model::common::message::MessageTrait;
use rocketmq_model::common::message::message_ext::MessageExt;

use crate::cluster::{Cluster, text, topic};
use crate::consume::{All, bodies};
use crate::send::message;
use crate::{Outcome, equal};

const SCENARIO: &str = "transactions";

/// Decides by the body, and at once unless it says `asked`.
struct ByBody;

impl ByBody {
    fn decide(body: Option<&[u8]>, is_asked: bool) -> LocalTransactionState {
        match body {
            Some(b"commit") => LocalTransactionState::CommitMessage,
            Some(b"asked") if is_asked => LocalTransactionState::CommitMessage,
            Some(b"asked") => LocalTransactionState::Unknown,
            _ => LocalTransactionState::RollbackMessage,
        }
    }
}

impl TransactionListener for ByBody {
    fn execute_local_transaction(
        &self,
        message: &dyn MessageTrait,
        _: Option<&(dyn Any + Send + Sync)>,
    ) -> LocalTransactionState {
        Self::decide(message.get_body().map(AsRef::as_ref), false)
    }

    fn check_local_transaction(&self, message: &MessageExt) -> LocalTransactionState {
        Self::decide(message.body().as_deref(), true)
    }
}

pub(crate) async fn transactions(cluster: &Cluster) -> Outcome {
    let mut producer = TransactionMQProducer::builder(cluster.runtime.clone())
        .producer_group(format!("rust-producer-{SCENARIO}"))
        .name_server_addr(cluster.name_server.clone())
        .topics(vec![topic(SCENARIO)])
        .transaction_listener(ByBody)
        .build();
    producer.start().await.map_err(text)?;
    for body in ["roll back", "asked", "commit"] {
        let message = message(SCENARIO, body).build();
        let message = message.map_err(|error| format!("{error:?}"))?;
        let sent = producer.send_message_in_transaction::<(), _>(message, None);
        sent.await.map_err(text)?;
    }
    let all = All::default();
    let mut consumer = cluster.push_consumer(SCENARIO);
    let subscribed = consumer.subscribe(topic(SCENARIO), "*");
    subscribed.await.map_err(text)?;
    let into = all.clone();
    consumer.register_message_listener_concurrently(
        move |messages: &[&MessageExt], _: &ConsumeConcurrentlyContext| {
            into.add(messages);
            Ok(ConsumeConcurrentlyStatus::ConsumeSuccess)
        },
    );
    consumer.start().await.map_err(text)?;
    let came = all.wait_for(2).await;
    consumer.shutdown().await;
    producer.shutdown().await;
    let expected = vec!["asked".to_owned(), "commit".to_owned()];
    equal("bodies", expected, bodies(&came))
}
