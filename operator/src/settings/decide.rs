//! Decides what one look at a `Topic`, `SubscriptionGroup` or `User` does, and the verdict on one that brokers have. Pure.

use std::sync::Arc;

use rmq_crds::{DeletionPolicy, NameServer};

use crate::annotations;
use crate::apply;
use crate::conditions::Verdict;

use super::bring::Brought;
use super::kind::{Placed, was_ready};

/// All that a decision takes.
pub(super) struct Observed<'a, K> {
    pub(super) object: &'a K,
    /// The NameServer object of the cluster, when it exists.
    pub(super) name_server: Option<Arc<NameServer>>,
    /// The older object that wants the same name in the same cluster.
    pub(super) winner: Option<String>,
}

/// What a look does: the finalizer, then the step.
pub(super) struct Decision {
    /// Whether the object has the finalizer. None: the finalizer stays as it is.
    pub(super) hold: Option<bool>,
    pub(super) step: Step,
}

/// The step of a look.
pub(super) enum Step {
    Rest,
    /// Write the status with this verdict.
    Say(Verdict),
    /// Delete it at the brokers of the cluster, where there is one, and let the object go.
    Remove(Option<Arc<NameServer>>),
    /// Bring it about at the brokers of the cluster.
    Bring(Arc<NameServer>),
}

impl From<Step> for Decision {
    fn from(step: Step) -> Self {
        Self { hold: None, step }
    }
}

/// The decision on what was seen.
pub(super) fn decide<K: Placed>(observed: Observed<'_, K>) -> Decision {
    let Observed {
        object,
        name_server,
        winner,
    } = observed;
    let is_managed = !annotations::is(object, annotations::MANAGED, "false");
    let common = object.common();
    if object.meta().deletion_timestamp.is_some() {
        if !apply::is_held(object) {
            return Step::Rest.into();
        }
        let is_ours = is_managed && winner.is_none();
        return Step::Remove(name_server.filter(|_| is_ours)).into();
    }
    if annotations::is(object, annotations::PAUSED, "true") {
        return Step::Say(Verdict::paused()).into();
    }
    if !is_managed {
        let message = format!(
            "annotation {}=\"false\": the operator does not change the brokers' settings",
            annotations::MANAGED
        );
        return Decision {
            hold: Some(false),
            step: Step::Say(Verdict::left_alone("Unmanaged", message)),
        };
    }
    if let Some(winner) = winner {
        let (noun, name) = (K::NOUN, common.name);
        let message =
            format!("{noun} {name} belongs to the older object {winner}; delete one of the two");
        return Step::Say(Verdict::stalled("ResourceConflict", message)).into();
    }
    let Some(reference) = common.name_server else {
        let message = "spec.nameServerRef is missing: name the NameServer object of the cluster";
        return Step::Say(Verdict::stalled("InvalidSpec", message)).into();
    };
    match name_server {
        None => Step::Say(Verdict::no_name_server(&reference.name)).into(),
        Some(name_server) => Decision {
            hold: Some(common.deletion == DeletionPolicy::Delete),
            step: Step::Bring(name_server),
        },
    }
}

/// The verdict on an object that was brought about: ready when all brokers have it, and clients find it there. `silent` name servers do not
/// show it.
pub(crate) fn judge<K: Placed>(object: &K, brought: &Brought, silent: &[String]) -> Verdict {
    let Brought { brokers, absent } = brought;
    if brokers.is_empty() {
        return Verdict::progressing(
            "WaitingForBrokers",
            "no broker of the cluster is in the routes yet",
        );
    }
    let (noun, at) = (K::NOUN, brokers.join(", "));
    if !absent.is_empty() {
        let absent = absent.join(", ");
        let message = format!("{noun} is up to date at {at}; not in the routes yet: {absent}");
        return Verdict {
            // Clients keep the brokers that they had.
            ready: was_ready(object).into(),
            ..Verdict::progressing("WaitingForBrokers", message)
        };
    }
    if !silent.is_empty() {
        let silent = silent.join(", ");
        let message = format!("{noun} is at {at}; not shown yet by {silent}");
        return Verdict::progressing("WaitingForRoutes", message);
    }
    Verdict::ready(format!("{noun} is up to date at {at}"))
}
