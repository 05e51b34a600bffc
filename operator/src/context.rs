//! Where every look reads and writes: the API server, what is watched, the clusters' brokers, events and metrics.

use std::sync::Arc;

use kube::Client;

use crate::clusters::Clusters;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::queues::Queues;
use crate::signer;
use crate::stores::Stores;

/// Shared by the looks at all kinds in one namespace, or in all namespaces. What one kind remembers is not here
/// but in its `Memory`.
pub(crate) struct Context {
    pub(crate) client: Client,
    /// The image of servers whose objects name no image.
    pub(crate) image: String,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clusters: Clusters,
    pub(crate) credentials: signer::Known,
    pub(crate) stores: Stores,
    pub(crate) queues: Queues,
}
