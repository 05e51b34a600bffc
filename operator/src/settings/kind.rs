//! `Topic`, `SubscriptionGroup` and `User` objects: what they have in common, and how they are found.

use std::sync::Arc;

use kube::ResourceExt;
use rmq_client::Client;
use rmq_crds::{DeletionPolicy, NameServer, NameServerRef};
use rmq_plan::Resource;

use crate::annotations;
use crate::conditions::Status;
use crate::context::Context;
use crate::controller::Reconciled;
use crate::error::Error;
use crate::fetch::age;
use crate::objects::names;
use crate::stores::Stores;
use crate::watch::Watch;

/// A kind whose objects stand for something that the brokers of a cluster keep.
pub(crate) trait Placed: Reconciled {
    /// The word for messages.
    const NOUN: &'static str;

    /// What the kinds have in common.
    fn common(&self) -> Common<'_>;
    /// Fills in the fields that do not depend on the verdict. `brokers` have it; None: unknown, and the status keeps its list.
    fn fill(&self, status: &mut Self::Status, brokers: Option<Vec<String>>);
    /// The watch of this kind.
    fn watch(stores: &Stores) -> &Watch<Self>;
    /// Deletes it at the brokers. The inner error says why it must not be deleted.
    fn delete(
        &self,
        client: &Client,
    ) -> impl Future<Output = Result<Result<(), String>, Error>> + Send;

    /// A change of the object was seen.
    fn touched(_old: &Self, _new: &Self, _context: &Context) {}
}

/// A kind whose objects are settings that plans compare.
pub(crate) trait Kind: Placed {
    /// Whether clients find it by routes of the name servers.
    const HAS_ROUTES: bool;

    /// The object, as plans take it.
    fn settings(&self) -> Resource;
}

/// What an object of such a kind says, whatever its kind.
pub(crate) struct Common<'a> {
    /// Its name at the brokers.
    pub(crate) name: &'a str,
    /// The cluster that it belongs to.
    pub(crate) name_server: Option<&'a NameServerRef>,
    /// The brokers that must have it; none: all.
    pub(crate) brokers: &'a [String],
    /// Whether it is deleted at the brokers with its object.
    pub(crate) deletion: DeletionPolicy,
}

/// The terms under which an object is found: its cluster, and its name in the cluster.
pub(crate) fn terms<K: Placed>(object: &K) -> Vec<String> {
    let namespace = object.namespace().unwrap_or_default();
    let cluster = object.common().name_server;
    let cluster = cluster.map(|reference| names::cluster_term(&namespace, &reference.name));
    cluster.into_iter().chain([name_term(object)]).collect()
}

/// The term of all objects that want the same name in the same cluster.
pub(crate) fn name_term<K: Placed>(object: &K) -> String {
    let Common {
        name, name_server, ..
    } = object.common();
    let cluster = name_server.map_or("", |reference| reference.name.as_str());
    let namespace = object.namespace().unwrap_or_default();
    rmq_plan::claim(&format!("{namespace}/{cluster}"), name)
}

/// Whether the last look found the object ready.
pub(super) fn was_ready<K: Placed>(object: &K) -> bool {
    let conditions = object.status().map_or(&[][..], Status::conditions);
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The NameServer object of the cluster, when it exists.
pub(super) fn name_server_of<K: Placed>(object: &K, context: &Context) -> Option<Arc<NameServer>> {
    let namespace = object.namespace().unwrap_or_default();
    let name_servers = &context.stores.name_servers;
    name_servers.get(&namespace, &object.common().name_server?.name)
}

/// The name of the older object that wants the same name in the same cluster.
pub(super) fn conflict<K: Placed>(object: &K, context: &Context) -> Option<String> {
    let rivals = K::watch(&context.stores).of(&name_term(object));
    let rivals = rivals.iter().filter(|other| {
        other.uid() != object.uid()
            && !annotations::is(&***other, annotations::MANAGED, "false")
            && age(&***other) < age(object)
    });
    let oldest = rivals.map(|other| age(&**other)).min();
    oldest.map(|(_, name)| name)
}

/// Drops the last survey of the cluster when an annotation of the object changed and its spec did not: such a change asks for a look at the
/// brokers, and the survey may be a second old. A new spec keeps the survey, so that one survey answers for many objects that are applied
/// at once.
pub(crate) fn touched<K: Kind>(old: &K, new: &K, context: &Context) {
    let is_touched =
        old.meta().generation == new.meta().generation && old.annotations() != new.annotations();
    if is_touched && let Some(name_server) = name_server_of(new, context) {
        let addresses = names::name_server_addresses(&name_server);
        context.clusters.survey_again(&addresses, &new.settings());
    }
}
