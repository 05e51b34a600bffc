//! Annotations by which people talk to the operator, and those that it writes itself.

use kube::ResourceExt;

/// `"true"`: the operator leaves the object and everything of it as it is.
pub const PAUSED: &str = "rmq.rs/paused";
/// Any text; a new one restarts the pods one by one.
pub const RESTART: &str = "rmq.rs/restart";
/// `"false"` on a Topic or SubscriptionGroup: the brokers' settings are no longer the object's.
pub const MANAGED: &str = "rmq.rs/managed";
/// `"true"`: what goes is not waited for: a BrokerGroup with messages that were not consumed, name servers that others do not replace.
pub const SKIP_DRAIN: &str = "rmq.rs/skip-drain";
/// On objects of the operator: hash of what it last applied.
pub(crate) const APPLIED: &str = "rmq.rs/applied";
/// On pods: hash of the configuration that they were started with.
pub(crate) const CONFIG_HASH: &str = "rmq.rs/config-hash";

/// Whether the annotation has this value.
pub(crate) fn is(object: &impl ResourceExt, name: &str, value: &str) -> bool {
    object
        .annotations()
        .get(name)
        .is_some_and(|has| has == value)
}
