//! What can be known to be wrong before anything is made. Pure.

use rmq_crds::{BrokerGroup, NameServer};

use crate::conditions::Verdict;
use crate::keys;
use crate::listeners;

/// All problems at once, as one verdict.
pub(crate) fn validate(
    object: &BrokerGroup,
    name_server: Option<&NameServer>,
    same_name: Option<&str>,
) -> Result<(), Verdict> {
    if object.spec.replicas > 1 {
        return Err(Verdict::stalled(
            "ReplicationNotSupported",
            format!(
                "spec.replicas: {} is more than the master, and this version does not replicate; use 1, and more broker groups for more throughput",
                object.spec.replicas
            ),
        ));
    }
    let mut problems = keys::BROKER.problems("spec.config.extra", &object.spec.config.extra);
    let external = object.spec.listeners.external.as_ref();
    problems.extend(listeners::problem("spec.listeners.external", external));
    if !problems.is_empty() {
        return Err(Verdict::stalled("InvalidSpec", problems.join("; ")));
    }
    if let Some(other) = same_name {
        return Err(Verdict::stalled(
            "ResourceConflict",
            format!(
                "spec.brokerName: broker group {other} of the same cluster has the broker name {} already; give this one another",
                object.broker_name()
            ),
        ));
    }
    if name_server.is_none() {
        return Err(Verdict::no_name_server(&object.spec.name_server_ref.name));
    }
    Ok(())
}
