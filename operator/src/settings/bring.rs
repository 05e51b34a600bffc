//! Brings a topic or subscription group about at the brokers that must have it.

use std::sync::Arc;

use kube::ResourceExt;
use rmq_crds::{BrokerGroup, NameServer};
use rmq_plan::{Action, Change, Resource};

use crate::context::Context;
use crate::error::Error;
use crate::events::News;
use crate::objects::names;

use super::kind::{Kind, was_ready};

/// The brokers of one look.
pub(crate) struct Brought {
    /// Brokers that have it, with all settings of its object.
    pub(crate) brokers: Vec<String>,
    /// Brokers that serve and cannot have it yet, because they are not in the routes.
    pub(crate) absent: Vec<String>,
}

/// Brokers that serve and are not among the masters that the asked name server shows. A broker is ready when any of several name servers
/// has it.
pub(crate) fn absent(groups: &[Arc<BrokerGroup>], masters: &[String]) -> Vec<String> {
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

/// Compares all brokers that must have it with its object, and changes those that differ.
pub(super) async fn bring<K: Kind>(
    object: &K,
    name_server: &NameServer,
    context: &Context,
) -> Result<Brought, Error> {
    let addresses = names::name_server_addresses(name_server);
    let settings = object.settings();
    let current = context.clusters.survey(&addresses, &settings).await?;
    let masters = current.masters();
    let wanted = object.common().brokers;
    if let Some(missing) = wanted.iter().find(|name| !masters.contains(name)) {
        return Err(Error::NotYet(format!(
            "spec.brokerGroups: the cluster has no broker {missing} at present"
        )));
    }
    let (brokers, absent) = match wanted {
        [] => {
            let namespace = name_server.namespace().unwrap_or_default();
            let stores = &context.stores;
            let groups = stores.groups_of(&namespace, &name_server.name_any());
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
    if change.action == Action::Same {
        return Ok(brought);
    }
    current.changed(&settings);
    let what = Arc::new((settings, change));
    context.clusters.carry_out(&addresses, &what).await?;
    let (settings, change) = &*what;
    context.events.tell(object, &news(settings, change)).await;
    Ok(brought)
}

/// Name servers that do not show it yet. The routes are checked once, when every broker has it: a route leaves the name servers only with its
/// broker.
pub(super) async fn silent<K: Kind>(
    object: &K,
    name_server: &NameServer,
    Brought { brokers, absent }: &Brought,
    context: &Context,
) -> Vec<String> {
    if !K::HAS_ROUTES || brokers.is_empty() || !absent.is_empty() || was_ready(object) {
        return Vec::new();
    }
    let addresses = names::name_server_addresses(name_server);
    let name = object.common().name;
    let clusters = &context.clusters;
    clusters.unrouted_at(&addresses, name, brokers).await
}

/// The event about a change at brokers.
fn news(settings: &Resource, change: &Change) -> News {
    let what = format!(
        "{} {} at {}",
        settings.noun(),
        settings.name(),
        change.brokers.join(", ")
    );
    if change.action == Action::Create {
        return News::normal("Created", format!("{what}: created"));
    }
    let fields: Vec<String> = change.fields.iter().map(ToString::to_string).collect();
    News::normal("Updated", format!("{what}: {}", fields.join(", ")))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use rmq_crds::BrokerGroupStatus;

    use super::*;

    #[test]
    fn a_broker_that_serves_and_is_not_in_the_routes_is_absent() {
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
