//! `User`: users of brokers with their rights, and the Secret with which workloads get their keys. The object is the truth: a change by hand at
//! a broker is changed back, and users without an object are left alone.

mod bring;
mod plan;
mod secret;

use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use rmq_client::Client;
use rmq_crds::{NameServer, User, UserBinding, UserStatus};

use crate::conditions::Verdict;
use crate::context::Context;
use crate::controller::Reconciled;
use crate::credentials;
use crate::error::Error;
use crate::settings::{self, Common, Placed};
use crate::stores::Stores;
use crate::watch::Watch;
use bring::Written;

/// What is remembered between looks: the passwords that brokers were given, which brokers that serve everybody tell nobody.
#[derive(Default)]
pub(crate) struct Memory {
    written: Written,
}

impl Reconciled for User {
    type Memory = Memory;

    async fn reconcile(
        &self,
        context: &Arc<Context>,
        memory: &Arc<Memory>,
    ) -> Result<Action, Error> {
        settings::reconcile(self, context, async |name_server: &NameServer| {
            bring(self, name_server, context, memory).await
        })
        .await
    }

    fn forget(&self, memory: &Memory) {
        memory.written.forget(&self.uid().unwrap_or_default());
    }
}

impl Placed for User {
    const NOUN: &'static str = "user";

    fn common(&self) -> Common<'_> {
        Common {
            name: self.user_name(),
            name_server: self.spec.name_server_ref.as_ref(),
            brokers: &[],
            deletion: self.spec.deletion_policy,
        }
    }

    fn fill(&self, status: &mut UserStatus, brokers: Option<Vec<String>>) {
        status.user_name = Some(self.user_name().to_owned());
        if let Some(brokers) = brokers {
            status.broker_groups = brokers;
            status.binding = Some(UserBinding {
                name: secret::name(self),
            });
        }
    }

    fn watch(stores: &Stores) -> &Watch<Self> {
        &stores.users
    }

    async fn delete(&self, client: &Client) -> Result<Result<(), String>, Error> {
        client.admin().delete_user(self.user_name()).await?;
        Ok(Ok(()))
    }
}

/// Brings a user about: the Secret for workloads first, then the brokers.
async fn bring(
    object: &User,
    name_server: &NameServer,
    context: &Context,
    memory: &Memory,
) -> Result<(Option<Vec<String>>, Verdict), Error> {
    let stalled = |reason, message: String| Ok((None, Verdict::stalled(reason, message)));
    if name_server.spec.authentication.is_none() {
        let name = name_server.name_any();
        return stalled(
            "NoAuthentication",
            format!(
                "NameServer {name} has no spec.authentication, and so no key to store passwords with: set it, with enabled: false where everybody shall be served"
            ),
        );
    }
    if credentials::is_reserved(name_server, context, object.user_name()) {
        return stalled(
            "ResourceConflict",
            format!(
                "user {} is one of the cluster's own; give this one another name",
                object.user_name()
            ),
        );
    }
    let rights = match plan::rights(object) {
        Ok(rights) => rights,
        Err(why) => return stalled("InvalidSpec", why),
    };
    let password = match secret::password(object, name_server, context).await? {
        Ok(password) => password,
        Err(verdict) => return Ok((None, verdict)),
    };
    let wanted = plan::Wanted {
        object,
        password,
        rights,
    };
    match bring::bring(&wanted, name_server, context, &memory.written).await {
        Ok(brought) => {
            let verdict = settings::judge(object, &brought, &[]);
            Ok((Some(brought.brokers), verdict))
        }
        Err(error @ (Error::Cluster(_) | Error::ClusterAway(_))) => {
            let verdict = Verdict::progressing("ClusterUnreachable", error.to_string());
            Ok((None, verdict))
        }
        Err(error) => Err(error),
    }
}
