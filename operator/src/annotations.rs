//! Annotations: people's wishes, and the operator's own notes.

use kube::ResourceExt;

/// `"true"`: the operator leaves the object and everything of it as it is.
pub const PAUSED: &str = "rmq.rs/paused";
/// Any text; a new one restarts the pods one by one.
pub const RESTART: &str = "rmq.rs/restart";
/// A member of a BrokerGroup, by its number or pod: it is made anew from the others, with a new volume. The operator removes the annotation
/// when that is done.
pub(crate) const REBUILD: &str = rmq_crds::REBUILD;
/// `"false"` on a Topic, SubscriptionGroup or User: the operator no longer changes the brokers' settings.
pub const MANAGED: &str = "rmq.rs/managed";
/// `"true"`: a removal does not wait: neither for messages of a BrokerGroup that were not consumed, nor for name servers that know all
/// brokers.
pub const SKIP_DRAIN: &str = "rmq.rs/skip-drain";
/// On children: hash of the object as it was last applied.
pub(crate) const APPLIED: &str = "rmq.rs/applied";
/// On pods: hash of the configuration that they were started with.
pub(crate) const CONFIG_HASH: &str = "rmq.rs/config-hash";

/// On pods: how far they are with TLS; a plain one has none.
pub(crate) const TLS: &str = "rmq.rs/tls";
/// On pods of brokers: the Secret with the keys that they have.
pub(crate) const ACCESS: &str = "rmq.rs/access";

/// Whether the annotation has this value.
pub(crate) fn is(object: &impl ResourceExt, name: &str, value: &str) -> bool {
    object
        .annotations()
        .get(name)
        .is_some_and(|has| has == value)
}
