//! Mistakes of a BrokerGroup that are known before anything is made. Pure.

use rmq_crds::{BrokerGroup, NameServer};

use crate::conditions::Verdict;
use crate::forms;
use crate::keys;

/// All problems at once, as one verdict. `same_name` is the older group that has the broker name.
pub(crate) fn validate(
    object: &BrokerGroup,
    name_server: Option<&NameServer>,
    same_name: Option<&str>,
) -> Result<(), Verdict> {
    let mut problems =
        keys::problems::<rmq_config::BrokerConfig>("spec.config.extra", &object.spec.config.extra);
    problems.extend(forms::of_broker_group(object));
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
    let Some(name_server) = name_server else {
        return Err(Verdict::no_name_server(&object.spec.name_server_ref.name));
    };
    let is_closed = object.spec.authentication.is_some_and(|of| of.enabled);
    if is_closed && name_server.spec.authentication.is_none() {
        return Err(Verdict::stalled(
            "InvalidSpec",
            format!(
                "spec.authentication: NameServer {} has no spec.authentication, and so the cluster no keys: set it there, with enabled: false where name servers shall serve everybody",
                object.spec.name_server_ref.name
            ),
        ));
    }
    Ok(())
}
