//! Topics and groups that belong to a resource: the operator would undo what is written past it.

use clap::Args;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use rmq_crds::{NameServerRef, SubscriptionGroup, Topic};
use rmq_plan::MANAGED;
use serde::de::DeserializeOwned;

use super::access::Kubernetes;
use super::problem::Problem;
use crate::codes;
use crate::error::Failure;
use crate::output::Output;

/// Objects that are read at once.
const PAGE: u32 = 500;

/// Options of commands that write what a resource may own.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OwnerOptions {
    /// Write even when a Topic or SubscriptionGroup resource owns it; the operator will undo the change.
    #[arg(long)]
    pub(crate) force_unmanaged: bool,
}

impl OwnerOptions {
    /// Stops when resources of the cluster's Kubernetes own one of these: `topic` or `group`, and its name in RocketMQ.
    pub(crate) async fn check(
        self,
        kubernetes: Option<&Kubernetes>,
        wanted: &[(&str, &str)],
        output: &Output,
    ) -> Result<(), Failure> {
        let Some(kubernetes) = kubernetes.filter(|_| !self.force_unmanaged) else {
            return Ok(());
        };
        let names = |noun: &str| -> Vec<&str> {
            let of = wanted.iter().filter(|(of, _)| *of == noun);
            of.map(|(_, name)| *name).collect()
        };
        let topics = kubernetes
            .owner(&names("topic"), "topics", |topic: &Topic| {
                (
                    topic.topic_name().to_owned(),
                    topic.spec.name_server_ref.as_ref(),
                )
            })
            .await;
        let groups = kubernetes
            .owner(
                &names("group"),
                "subscriptiongroups",
                |group: &SubscriptionGroup| {
                    (
                        group.group_name().to_owned(),
                        group.spec.name_server_ref.as_ref(),
                    )
                },
            )
            .await;
        for (noun, kind, plural, found) in [
            ("topic", "Topic", "topics", topics),
            ("group", "SubscriptionGroup", "subscriptiongroups", groups),
        ] {
            match found {
                Ok(None) => {}
                Ok(Some((name, object))) => {
                    let namespace = &kubernetes.namespace;
                    return Err(Failure::coded(
                        &codes::OWNED,
                        format!("{noun} \"{name}\" belongs to {kind} {namespace}/{object}"),
                    )
                    .because("the operator makes the brokers as that object says, and would undo this change")
                    .try_this(format!("kubectl edit {plural}.rmq.rs {object} -n {namespace}"))
                    .try_this(format!("kubectl annotate {plural}.rmq.rs {object} -n {namespace} {MANAGED}=false   (the object lets go)"))
                    .try_this("--force-unmanaged   (write anyway)"));
                }
                // Clusters without the definitions have no owners.
                Err(Problem::NotFound { .. }) => {}
                Err(problem) => output.say(&format!(
                    "warning: whether a {kind} owns it could not be found out: {problem}"
                )),
            }
        }
        Ok(())
    }
}

impl Kubernetes {
    /// The first of `wanted` that an object owns, and that object's name.
    async fn owner<K>(
        &self,
        wanted: &[&str],
        plural: &'static str,
        owns: impl Fn(&K) -> (String, Option<&NameServerRef>),
    ) -> Result<Option<(String, String)>, Problem>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let Some(cluster) = self.cluster.as_ref().filter(|_| !wanted.is_empty()) else {
            return Ok(None);
        };
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let listed = api.list(&page).await;
            let list =
                listed.map_err(|error| Problem::of(error, "list", plural, &self.namespace))?;
            for object in &list.items {
                let (name, of) = owns(object);
                let managed = object.annotations().get(MANAGED);
                if wanted.contains(&name.as_str())
                    && of.is_some_and(|of| of.name == *cluster)
                    && managed.is_none_or(|value| value != "false")
                {
                    return Ok(Some((name, object.name_any())));
                }
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(None),
            }
        }
    }
}
