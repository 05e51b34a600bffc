//! `SubscriptionGroup`: consumer groups at brokers.

use std::sync::Arc;

use kube::runtime::controller::Action;
use rmq_client::Client;
use rmq_crds::{SubscriptionGroup, SubscriptionGroupStatus};
use rmq_plan::Resource;

use crate::clusters::is_gone;
use crate::context::Context;
use crate::controller::Reconciled;
use crate::error::Error;
use crate::settings::{self, Common, Kind, Placed};
use crate::stores::Stores;
use crate::watch::Watch;

impl Reconciled for SubscriptionGroup {
    type Memory = ();

    async fn reconcile(&self, context: &Arc<Context>, _memory: &Arc<()>) -> Result<Action, Error> {
        settings::reconcile_settings(self, context).await
    }
}

impl Kind for SubscriptionGroup {
    const HAS_ROUTES: bool = false;

    fn settings(&self) -> Resource {
        Resource::Group(self.clone())
    }
}

impl Placed for SubscriptionGroup {
    const NOUN: &'static str = "group";

    fn touched(old: &Self, new: &Self, context: &Context) {
        settings::touched(old, new, context);
    }

    fn common(&self) -> Common<'_> {
        Common {
            name: self.group_name(),
            name_server: self.spec.name_server_ref.as_ref(),
            brokers: &self.spec.broker_groups,
            deletion: self.spec.deletion_policy,
        }
    }

    fn fill(&self, status: &mut SubscriptionGroupStatus, brokers: Option<Vec<String>>) {
        status.group_name = Some(self.group_name().to_owned());
        if let Some(brokers) = brokers {
            status.broker_groups = brokers;
        }
    }

    fn watch(stores: &Stores) -> &Watch<Self> {
        &stores.subscription_groups
    }

    async fn delete(&self, client: &Client) -> Result<Result<(), String>, Error> {
        match client.admin().delete_group(self.group_name(), true).await {
            Err(error) if !is_gone(&error) => Err(error.into()),
            _ => Ok(Ok(())),
        }
    }
}
