//! What each scenario is given: the cluster, and the runtime that the client wants.

use std::sync::Arc;

use rocketmq_client_rust::{
    ClientRuntime, ClientRuntimeConfig, DefaultLitePullConsumer, DefaultLitePullConsumerBuilder,
    DefaultMQProducer, DefaultMQPushConsumer,
};
use rocketmq_model::common::consumer::consume_from_where::ConsumeFromWhere;
use rocketmq_observability::{TelemetryBootstrapConfig, TelemetryRuntimeGuard};
use rocketmq_runtime::{RuntimeConfig, RuntimeOwner};

pub(crate) struct Cluster {
    pub(crate) name_server: String,
    pub(crate) runtime: Arc<ClientRuntime>,
    _owner: RuntimeOwner,
    _telemetry: TelemetryRuntimeGuard,
}

pub(crate) fn topic(scenario: &str) -> String {
    format!("rust-{scenario}")
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Cluster {
    pub(crate) fn new(name_server: String) -> Result<Self, String> {
        let config = RuntimeConfig {
            thread_name: "compat".to_owned(),
            ..RuntimeConfig::default()
        };
        let plan = RuntimeOwner::plan(config).map_err(|error| format!("{error:?}"))?;
        let owner = plan.build().map_err(|error| format!("{error:?}"))?;
        let telemetry =
            rocketmq_observability::install_global(&TelemetryBootstrapConfig::default())
                .map_err(|error| format!("{error:?}"))?;
        let context = owner.root_context().component("client");
        let config = ClientRuntimeConfig::default();
        let runtime = ClientRuntime::try_new(context, config, telemetry.handle()).map_err(text)?;
        Ok(Self {
            name_server,
            runtime,
            _owner: owner,
            _telemetry: telemetry,
        })
    }

    pub(crate) async fn producer(&self, scenario: &str) -> Result<DefaultMQProducer, String> {
        let mut producer = DefaultMQProducer::builder(self.runtime.clone())
            .producer_group(format!("rust-producer-{scenario}"))
            .name_server_addr(self.name_server.clone())
            .send_msg_timeout(10_000)
            .build();
        producer.start().await.map_err(text)?;
        Ok(producer)
    }

    pub(crate) fn push_consumer(&self, scenario: &str) -> DefaultMQPushConsumer {
        DefaultMQPushConsumer::builder(self.runtime.clone())
            .consumer_group(format!("rust-consumer-{scenario}"))
            .name_server_addr(self.name_server.clone())
            .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset)
            .build()
    }

    pub(crate) fn pull_consumer(&self, scenario: &str) -> Result<DefaultLitePullConsumer, String> {
        DefaultLitePullConsumerBuilder::new(self.runtime.clone())
            .consumer_group(format!("rust-consumer-{scenario}"))
            .name_server_addr(self.name_server.clone())
            .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset)
            .build()
            .map_err(text)
    }
}
