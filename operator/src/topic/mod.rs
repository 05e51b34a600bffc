//! `Topic`: topics at brokers.

use std::sync::Arc;

use kube::runtime::controller::Action;
use rmq_client::Client;
use rmq_crds::{Topic, TopicStatus};
use rmq_plan::Resource;

use crate::clusters::is_gone;
use crate::context::Context;
use crate::controller::Reconciled;
use crate::error::Error;
use crate::settings::{self, Common, Kind, Placed};
use crate::stores::Stores;
use crate::watch::Watch;

impl Reconciled for Topic {
    type Memory = ();

    async fn reconcile(&self, context: &Arc<Context>, _memory: &Arc<()>) -> Result<Action, Error> {
        settings::reconcile_settings(self, context).await
    }
}

impl Kind for Topic {
    const HAS_ROUTES: bool = true;

    fn settings(&self) -> Resource {
        Resource::Topic(self.clone())
    }
}

impl Placed for Topic {
    const NOUN: &'static str = "topic";

    fn touched(old: &Self, new: &Self, context: &Context) {
        settings::touched(old, new, context);
    }

    fn common(&self) -> Common<'_> {
        Common {
            name: self.topic_name(),
            name_server: self.spec.name_server_ref.as_ref(),
            brokers: &self.spec.broker_groups,
            deletion: self.spec.deletion_policy,
        }
    }

    fn fill(&self, status: &mut TopicStatus, brokers: Option<Vec<String>>) {
        status.topic_name = Some(self.topic_name().to_owned());
        if let Some(brokers) = brokers {
            status.broker_groups = brokers;
        }
    }

    fn watch(stores: &Stores) -> &Watch<Self> {
        &stores.topics
    }

    async fn delete(&self, client: &Client) -> Result<Result<(), String>, Error> {
        let admin = client.admin();
        let name = self.topic_name();
        if !self.spec.delete_non_empty {
            let stats = match admin.topic_stats(name).await {
                Ok(stats) => stats,
                Err(error) if is_gone(&error) => return Ok(Ok(())),
                Err(error) => return Err(error.into()),
            };
            let messages: i64 = stats
                .offset_table
                .0
                .iter()
                .map(|(_, queue)| (queue.max_offset - queue.min_offset).max(0))
                .sum();
            if messages > 0 {
                return Ok(Err(format!(
                    "topic {name} still holds {messages} messages; set spec.deleteNonEmpty: true to lose them, or spec.deletionPolicy: Retain to keep the topic"
                )));
            }
        }
        match admin.delete_topic(name).await {
            Err(error) if !is_gone(&error) => Err(error.into()),
            _ => Ok(Ok(())),
        }
    }
}
