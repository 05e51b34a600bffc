//! The Leases of groups with replicas. Masters renew them all the time, so no watch has them: they are looked for once in a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt};
use parking_lot::Mutex;

use crate::context::Context;
use crate::objects::{is_owned_by, names};

use super::observed::{LeaseSeen, Observed};

/// A Lease that was there is looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(240);

/// When the Lease of each group was seen last, by uid of the group.
#[derive(Default)]
pub(crate) struct Leases {
    seen: Mutex<HashMap<String, Instant>>,
}

impl Leases {
    fn is_known(&self, uid: &str) -> bool {
        let seen = self.seen.lock();
        seen.get(uid).is_some_and(|at| at.elapsed() < LOOK_AGAIN)
    }

    fn note(&self, uid: &str) {
        self.seen.lock().insert(uid.to_owned(), Instant::now());
    }

    /// Drops what is known about a group that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.seen.lock().remove(uid);
    }
}

/// Whether the group has its Lease. An API server that does not answer counts as one that has it: nothing is made then.
pub(super) async fn look(observed: &Observed<'_>, context: &Context, leases: &Leases) -> LeaseSeen {
    let uid = observed.object.uid().unwrap_or_default();
    if leases.is_known(&uid) {
        return LeaseSeen::There;
    }
    let api: Api<Lease> = Api::namespaced(context.client.clone(), &observed.namespace());
    let name = names::brokers(&observed.name());
    match api.get_metadata_opt(&name).await {
        Ok(None) => LeaseSeen::Missing,
        Ok(Some(lease)) => {
            if !is_owned_by(&lease, &uid) {
                return LeaseSeen::Going;
            }
            leases.note(&uid);
            LeaseSeen::There
        }
        Err(error) => {
            tracing::warn!(name, "cannot look for the Lease: {error}");
            LeaseSeen::There
        }
    }
}
