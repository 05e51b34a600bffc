//! `Topic` and `SubscriptionGroup`: settings of brokers rather than pods. Kubernetes is the truth: what somebody changes at a broker is
//! changed back, what has no object is left alone.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use rmq_client::{Client, ErrorKind};
use rmq_crds::{
    BrokerGroup, DeletionPolicy, NameServer, NameServerRef, SubscriptionGroup,
    SubscriptionGroupStatus, Topic, TopicStatus,
};
use rmq_plan::{Action as Change, Settings};

use crate::annotations;
use crate::apply;
use crate::broker_group;
use crate::build::names;
use crate::conditions::{Status, Verdict};
use crate::context::{Context, Stores};
use crate::controller::{Reconciled, next_after};
use crate::error::Error;
use crate::fetch::{age, is_terminating};
use crate::watch::Watch;

/// What both kinds have in common.
pub(crate) trait Kind: Reconciled {
    fn settings(&self) -> Settings;
    fn rocketmq_name(&self) -> &str;
    fn name_server_ref(&self) -> Option<&NameServerRef>;
    fn broker_groups(&self) -> &[String];
    fn deletion_policy(&self) -> DeletionPolicy;
    /// Writes what is the same for all verdicts.
    fn fill(&self, status: &mut Self::Status, brokers: Option<Vec<String>>);
    fn watch(stores: &Stores) -> &Watch<Self>;
    /// Deletes it at the brokers, or says why it must not.
    fn delete(
        &self,
        client: &Client,
    ) -> impl Future<Output = Result<Result<(), String>, Error>> + Send;
}

impl Kind for Topic {
    fn settings(&self) -> Settings {
        Settings::Topic(self.clone())
    }

    fn rocketmq_name(&self) -> &str {
        self.topic_name()
    }

    fn name_server_ref(&self) -> Option<&NameServerRef> {
        self.spec.name_server_ref.as_ref()
    }

    fn broker_groups(&self) -> &[String] {
        &self.spec.broker_groups
    }

    fn deletion_policy(&self) -> DeletionPolicy {
        self.spec.deletion_policy
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

impl Kind for SubscriptionGroup {
    fn settings(&self) -> Settings {
        Settings::Group(self.clone())
    }

    fn rocketmq_name(&self) -> &str {
        self.group_name()
    }

    fn name_server_ref(&self) -> Option<&NameServerRef> {
        self.spec.name_server_ref.as_ref()
    }

    fn broker_groups(&self) -> &[String] {
        &self.spec.broker_groups
    }

    fn deletion_policy(&self) -> DeletionPolicy {
        self.spec.deletion_policy
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

/// There is no such thing at the brokers.
pub(crate) fn is_gone(error: &rmq_client::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoRoute)
}

pub(crate) async fn reconcile<K: Kind>(object: &K, context: &Context) -> Result<Action, Error> {
    let is_managed = !annotations::is(object, annotations::MANAGED, "false");
    let name_server = name_server_of(object, context);
    let winner = conflict(object, context);
    if object.meta().deletion_timestamp.is_some() {
        let is_ours = is_managed && winner.is_none();
        return remove(object, name_server.as_deref().filter(|_| is_ours), context).await;
    }
    if annotations::is(object, annotations::PAUSED, "true") {
        return write(context, object, None, &Verdict::paused()).await;
    }
    if !is_managed {
        if apply::finalizer(context, object, false).await? {
            return Ok(Action::await_change());
        }
        let verdict = Verdict::left_alone(
            "Unmanaged",
            format!(
                "annotation {}=\"false\": the brokers' settings are nobody's but theirs",
                annotations::MANAGED
            ),
        );
        return write(context, object, None, &verdict).await;
    }
    if let Some(winner) = winner {
        let noun = object.settings().noun();
        let verdict = Verdict::stalled(
            "ResourceConflict",
            format!(
                "{noun} {} belongs to the older object {winner}; delete one of the two",
                object.settings().name()
            ),
        );
        return write(context, object, None, &verdict).await;
    }
    let Some(reference) = object.name_server_ref() else {
        let verdict = Verdict::stalled(
            "InvalidSpec",
            "spec.nameServerRef is missing: which cluster is meant?",
        );
        return write(context, object, None, &verdict).await;
    };
    let Some(name_server) = name_server else {
        let verdict = Verdict::no_name_server(&reference.name);
        return write(context, object, None, &verdict).await;
    };
    let must_go_too = object.deletion_policy() == DeletionPolicy::Delete;
    if apply::finalizer(context, object, must_go_too).await? {
        return Ok(Action::await_change());
    }
    let (verdict, brokers) = match bring(object, &name_server, context).await {
        Ok(brought) => (
            judge(object, &name_server, &brought, context).await,
            Some(brought.brokers),
        ),
        Err(error @ (Error::Cluster(_) | Error::ClusterAway(_))) => (
            Verdict::progressing("ClusterUnreachable", error.to_string()),
            None,
        ),
        Err(Error::NotYet(what)) => (Verdict::progressing("WaitingForBrokers", what), None),
        Err(error) => return Err(error),
    };
    write(context, object, brokers, &verdict).await
}

/// It is at these brokers; whether clients find it there, and whether that is all of them.
async fn judge<K: Kind>(
    object: &K,
    name_server: &NameServer,
    Brought { brokers, absent }: &Brought,
    context: &Context,
) -> Verdict {
    if brokers.is_empty() {
        return Verdict::progressing(
            "WaitingForBrokers",
            "no broker of the cluster is in the routes yet",
        );
    }
    let settings = object.settings();
    let at = brokers.join(", ");
    let conditions = object.status().map_or(&[][..], Status::conditions);
    let was_ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if !absent.is_empty() {
        let message = format!(
            "{} is as it shall be at {at}; not in the routes yet: {}",
            settings.noun(),
            absent.join(", ")
        );
        return Verdict {
            // What clients had they have.
            ready: was_ready.into(),
            ..Verdict::progressing("WaitingForBrokers", message)
        };
    }
    // Once is enough: a route that was there goes only with its broker.
    if !was_ready && matches!(settings, Settings::Topic(_)) {
        let addresses = names::name_server_addresses(name_server);
        let silent = context
            .clusters
            .unrouted_at(&addresses, settings.name(), brokers)
            .await;
        if !silent.is_empty() {
            let message = format!(
                "topic is at {at}, and not shown yet by {}",
                silent.join(", ")
            );
            return Verdict::progressing("WaitingForRoutes", message);
        }
    }
    Verdict::ready(format!("{} is as it shall be at {at}", settings.noun()))
}

/// Where it is as it shall be, and where it cannot be yet.
struct Brought {
    brokers: Vec<String>,
    absent: Vec<String>,
}

/// Brokers that serve, but not for the name server that was asked: a broker is ready when one of several name servers has it.
fn absent(groups: &[Arc<BrokerGroup>], masters: &[String]) -> Vec<String> {
    let serves = |group: &&Arc<BrokerGroup>| {
        let status = group.status.as_ref();
        group.metadata.deletion_timestamp.is_none()
            && status.is_some_and(|status| status.ready_replicas > 0)
    };
    let names = groups
        .iter()
        .filter(serves)
        .map(|group| group.broker_name());
    names
        .filter(|name| !masters.iter().any(|master| master == name))
        .map(str::to_owned)
        .collect()
}

/// Makes it so at all brokers that shall have it.
async fn bring<K: Kind>(
    object: &K,
    name_server: &NameServer,
    context: &Context,
) -> Result<Brought, Error> {
    let addresses = names::name_server_addresses(name_server);
    let settings = object.settings();
    let current = context.clusters.survey(&addresses, &settings).await?;
    let masters = current.masters();
    let wanted = object.broker_groups();
    if let Some(missing) = wanted.iter().find(|name| !masters.contains(name)) {
        return Err(Error::NotYet(format!(
            "spec.brokerGroups: the cluster has no broker {missing} at present"
        )));
    }
    let (brokers, absent) = match wanted {
        [] => {
            let namespace = name_server.namespace().unwrap_or_default();
            let groups = context
                .stores
                .groups_of(&namespace, &name_server.name_any());
            (masters.to_vec(), absent(&groups, masters))
        }
        some => (some.to_vec(), Vec::new()),
    };
    let brought = Brought { brokers, absent };
    if brought.brokers.is_empty() {
        return Ok(brought);
    }
    let change = match current.plan(&settings) {
        Some(change) => change,
        None => {
            let client = context.clusters.client(&addresses).await?;
            rmq_plan::plan(&client, &settings).await?
        }
    };
    if change.action == Change::Same {
        return Ok(brought);
    }
    current.changed(&settings);
    let what = Arc::new((settings, change));
    context.clusters.carry_out(&addresses, &what).await?;
    let (settings, change) = &*what;
    let fields: Vec<String> = change
        .fields
        .iter()
        .map(|field| {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            format!(
                "{} {} -> {}",
                field.field,
                text(&field.from),
                text(&field.to)
            )
        })
        .collect();
    let what = format!(
        "{} {} at {}",
        settings.noun(),
        settings.name(),
        change.brokers.join(", ")
    );
    match change.action {
        Change::Create => {
            context
                .note(object, "Created", format!("{what}: created"))
                .await
        }
        _ => {
            context
                .note(object, "Updated", format!("{what}: {}", fields.join(", ")))
                .await
        }
    }
    Ok(brought)
}

/// Under what both kinds are found: their cluster, and their name in it.
pub(crate) fn terms<K: Kind>(object: &K) -> Vec<String> {
    let namespace = object.namespace().unwrap_or_default();
    let cluster = object.name_server_ref();
    let cluster = cluster.map(|reference| names::cluster_term(&namespace, &reference.name));
    cluster.into_iter().chain([name_term(object)]).collect()
}

/// Under what the objects are found that want the same thing of the same cluster.
pub(crate) fn name_term<K: Kind>(object: &K) -> String {
    let cluster = object.name_server_ref();
    let cluster = cluster.map_or("", |reference| reference.name.as_str());
    let namespace = object.namespace().unwrap_or_default();
    rmq_plan::claim(&format!("{namespace}/{cluster}"), object.rocketmq_name())
}

/// The cluster that is meant, when it is there.
fn name_server_of<K: Kind>(object: &K, context: &Context) -> Option<Arc<NameServer>> {
    let namespace = object.namespace().unwrap_or_default();
    let name_servers = &context.stores.name_servers;
    name_servers.get(&namespace, &object.name_server_ref()?.name)
}

/// Somebody who touches an object without changing what it wants asks for a look: what others of the cluster have just seen is too old
/// for that. A new spec is none of it: for many that are applied at once, one answer of the brokers is enough.
pub(crate) fn touched<K: Kind>(old: &K, new: &K, context: &Context) {
    let is_touched =
        old.meta().generation == new.meta().generation && old.annotations() != new.annotations();
    if is_touched && let Some(name_server) = name_server_of(new, context) {
        let addresses = names::name_server_addresses(&name_server);
        context.clusters.look_anew(&addresses, &new.settings());
    }
}

/// Whether no broker of the cluster ever served, as far as objects tell. A broker that has none may be away for a while.
fn never_served(name_server: &NameServer, context: &Context) -> bool {
    let namespace = name_server.namespace().unwrap_or_default();
    let groups = context
        .stores
        .groups_of(&namespace, &name_server.name_any());
    !groups.is_empty()
        && !groups
            .iter()
            .any(|group| broker_group::may_have_served(group))
}

/// The older object that wants the same thing of the same cluster.
fn conflict<K: Kind>(object: &K, context: &Context) -> Option<String> {
    let rivals = K::watch(&context.stores).of(&name_term(object));
    let rivals = rivals.iter().filter(|other| {
        other.uid() != object.uid()
            && !annotations::is(&***other, annotations::MANAGED, "false")
            && age(&***other) < age(object)
    });
    let oldest = rivals.map(|other| age(&**other)).min();
    oldest.map(|(_, name)| name)
}

/// The object goes; what it stands for only when it says so, and never in the way of a namespace or cluster that goes.
async fn remove<K: Kind>(
    object: &K,
    name_server: Option<&NameServer>,
    context: &Context,
) -> Result<Action, Error> {
    if !apply::is_held(object) {
        return Ok(Action::await_change());
    }
    let namespace = object.namespace().unwrap_or_default();
    let cluster = name_server.filter(|found| found.metadata.deletion_timestamp.is_none());
    if object.deletion_policy() == DeletionPolicy::Delete
        && let Some(name_server) = cluster
        && !is_terminating(context, &namespace).await
    {
        let addresses = names::name_server_addresses(name_server);
        let deleted = async {
            let client = context.clusters.client(&addresses).await?;
            object.delete(&client).await
        };
        match deleted.await {
            Ok(Ok(())) => {
                let settings = object.settings();
                context
                    .note(
                        object,
                        "Deleted",
                        format!(
                            "{} {} is deleted at all brokers",
                            settings.noun(),
                            settings.name()
                        ),
                    )
                    .await;
            }
            Ok(Err(refused)) => {
                return write(
                    context,
                    object,
                    None,
                    &Verdict::stalled("DeletionRefused", refused),
                )
                .await;
            }
            // No broker ever served: none can have it.
            Err(Error::Cluster(_)) if never_served(name_server, context) => {}
            Err(Error::Cluster(error)) => {
                let message = format!(
                    "{error}; the object goes when the cluster answers, or with annotation {}=\"false\"",
                    annotations::MANAGED
                );
                return write(
                    context,
                    object,
                    None,
                    &Verdict::progressing("ClusterUnreachable", message),
                )
                .await;
            }
            Err(error) => return Err(error),
        }
    }
    apply::finalizer(context, object, false).await?;
    Ok(Action::await_change())
}

async fn write<K: Kind>(
    context: &Context,
    object: &K,
    brokers: Option<Vec<String>>,
    verdict: &Verdict,
) -> Result<Action, Error> {
    let mut status = object.status().cloned().unwrap_or_default();
    object.fill(&mut status, brokers);
    context.record(object, status, verdict).await?;
    // A correction wakes a stalled one at once; it is looked at for what changes at the brokers.
    let pause = if verdict.stalled { 30..=60 } else { 2..=10 };
    let pause = Duration::from_secs(*pause.start())..=Duration::from_secs(*pause.end());
    // Those of one cluster at the same time: they are asked for together.
    let cluster = object.name_server_ref();
    let cluster = cluster.map_or("", |reference| reference.name.as_str());
    let cluster = names::cluster_term(&object.namespace().unwrap_or_default(), cluster);
    Ok(next_after(object, verdict, pause, &cluster))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use rmq_crds::BrokerGroupStatus;

    use super::*;

    #[test]
    fn a_broker_that_serves_and_is_not_in_the_routes_is_waited_for() {
        let group = |name: &str, ready_replicas| {
            let mut group: BrokerGroup = crate::yaml::case("broker-group-small");
            group.metadata.name = Some(name.to_owned());
            group.status = Some(BrokerGroupStatus {
                ready_replicas,
                ..BrokerGroupStatus::default()
            });
            group
        };
        let mut goes = group("goes", 1);
        goes.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        let mut renamed = group("d", 1);
        renamed.spec.broker_name = Some("renamed".to_owned());
        let mut young = group("young", 0);
        young.status = None;
        let groups = [group("a", 1), group("b", 1), group("down", 0)];
        let groups: Vec<Arc<BrokerGroup>> = groups
            .into_iter()
            .chain([goes, renamed, young])
            .map(Arc::new)
            .collect();
        let absent = |masters: &[&str]| {
            let masters: Vec<String> = masters.iter().map(|&name| name.to_owned()).collect();
            super::absent(&groups, &masters)
        };
        assert_eq!(absent(&["a"]), ["b", "renamed"]);
        assert_eq!(absent(&["renamed", "b", "a", "of-nobody"]), [""; 0]);
    }
}
