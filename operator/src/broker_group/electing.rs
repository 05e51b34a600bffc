//! The children that a group with replicas has besides those of a broker alone. Pure.

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use rmq_crds::{BrokerGroup, BrokerGroupElection, BrokerGroupElectionSpec, ElectionMember};

use crate::objects::names::{self, Labels};
use crate::objects::{Children, access, budget, internal, metadata};

use super::membership::Membership;

/// Adds the election, what brokers need to take part in it, the Services of the roles, and the disruption budget.
pub(super) fn add(
    children: &mut Children,
    object: &BrokerGroup,
    membership: &Membership,
    labels: &Labels,
) {
    let name = object.name_any();
    let workload = names::brokers(&name);
    let meta = |name: String| metadata(object, name, labels);
    let account = account(object);
    if object.spec.pod.service_account_name.is_none() {
        children
            .accounts
            .push(access::account(meta(account.clone())));
    }
    let role = access::role(meta(workload.clone()), &workload);
    children.roles.push(role);
    let binding = access::binding(meta(workload.clone()), &workload, &account);
    children.role_bindings.push(binding);
    if membership.makes_lease {
        children.leases.push(Lease {
            metadata: meta(workload.clone()),
            spec: None,
        });
    }
    children
        .elections
        .push(election(object, membership, labels));
    for role in [names::MASTER, names::REPLICA] {
        let service = internal(
            meta(names::role_service(&workload, role)),
            names::role_selector(&name, role),
            ("remoting", names::BROKER_PORT),
        );
        children.services.push(service);
    }
    let selector = names::selector(names::BROKER, &name);
    let budget = budget(meta(workload), &selector, membership.may_go);
    children.disruption_budgets.push(budget);
}

/// The account of the group's brokers.
pub(super) fn account(object: &BrokerGroup) -> String {
    let own = || names::brokers(&object.name_any());
    let chosen = object.spec.pod.service_account_name.clone();
    chosen.unwrap_or_else(own)
}

fn election(object: &BrokerGroup, membership: &Membership, labels: &Labels) -> BrokerGroupElection {
    let workload = names::brokers(&object.name_any());
    let namespace = object.namespace().unwrap_or_default();
    let members = membership.members.iter().map(|slot| {
        let pod = names::pod(&workload, i32::try_from(*slot).unwrap_or(i32::MAX));
        let host = names::host(&pod, &workload, &namespace);
        ElectionMember {
            slot: *slot,
            replication: format!("{host}:{}", names::BROKER_REPLICATION_PORT),
            client: format!("{host}:{}", names::BROKER_PORT),
        }
    });
    let mut metadata = metadata(object, workload.clone(), labels);
    if !membership.goes_too {
        // Volumes that outlive the object need the record of who has what.
        metadata.owner_references = None;
    }
    BrokerGroupElection {
        metadata,
        spec: BrokerGroupElectionSpec {
            members: members.collect(),
            ack_mode: membership.ack_mode,
            min_in_sync: membership.min_in_sync,
            switchover: membership.switchover.clone(),
            unclean_election: None,
        },
        status: None,
    }
}
