//! What is decided of one look at a broker group.

use kube::runtime::controller::Action;
use rmq_crds::{BrokerGroupStatus, RebuildClaim, RolloutStep};

use crate::conditions::Verdict;
use crate::events::News;
use crate::objects::Children;
use crate::tls;

use super::observed::Member;

/// What a look does, in this order: the children, the labels, the step, the events, the status.
#[derive(Debug)]
pub(super) struct Decision {
    /// Certificates that are made before the children.
    pub(super) tls: Option<tls::Due>,
    /// The children as they must be. None: they stay as they are.
    pub(super) children: Option<Children>,
    /// Pods whose label says something else than what they are.
    pub(super) labels: Vec<(Member, &'static str)>,
    pub(super) step: Step,
    pub(super) events: Vec<News>,
    /// The new status, and the verdict that becomes its conditions. None: the status stays as it is.
    pub(super) status: Option<(BrokerGroupStatus, Verdict)>,
    pub(super) requeue: Action,
}

/// The one step of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Set the finalizer.
    Hold,
    /// Remove the finalizer: the object goes.
    Release,
    /// Delete the election of an earlier object of this name, whose volumes are gone.
    ForgetElection,
    /// Give these brokers the settings that need no restart, when that is due.
    Give {
        /// That of a group with replicas: a member that gets another role has the settings of its file.
        epoch: i64,
        brokers: Vec<Given>,
    },
    /// Take the broker out of the routes before the restart of this pod.
    Quiesce {
        pod_uid: String,
    },
    /// Delete this pod. With an election, only while that has the version that was seen.
    Delete {
        pod: String,
        uid: String,
        election: Option<String>,
    },
    /// Delete this pod, and the volume of the member, while the election has the version that was seen.
    Rebuild {
        pod: String,
        uid: String,
        claim: Option<RebuildClaim>,
        election: Option<String>,
    },
    /// Delete this pod without its node.
    ForceDelete {
        pod: String,
        uid: String,
    },
    /// Delete the pod that has restored a backup.
    EndRestore {
        pod: String,
        uid: String,
    },
    /// Let producers return to the broker: the restart of the pod that had this uid is over.
    Finish {
        pod_uid: String,
        /// The wish of a person that is fulfilled by it: an annotation that goes.
        wish: Option<&'static str>,
    },
    /// Take the broker out of the routes before its removal, and make it refuse messages.
    Close {
        refuse: bool,
    },
}

/// A broker that is given its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    /// Uid of its pod.
    pub(super) pod_uid: String,
    /// Its address, `host:port`. None: a broker alone, which the name servers know.
    pub(super) address: Option<String>,
}

impl Decision {
    /// A look that does nothing.
    pub(super) fn rest() -> Self {
        Self {
            tls: None,
            children: None,
            labels: Vec::new(),
            step: Step::Nothing,
            events: Vec::new(),
            status: None,
            requeue: Action::await_change(),
        }
    }

    /// A look that changes the finalizer alone: the object has another version then, and the change wakes it.
    pub(super) fn finalizer(step: Step, events: Vec<News>) -> Self {
        Self {
            step,
            events,
            ..Self::rest()
        }
    }

    /// A look that writes the status alone.
    pub(super) fn status(status: BrokerGroupStatus, verdict: Verdict, requeue: Action) -> Self {
        Self {
            status: Some((status, verdict)),
            requeue,
            ..Self::rest()
        }
    }

    /// The verdict of a drain also says why the broker could not be closed.
    pub(super) fn cannot_close(&mut self, problem: &str) {
        if let Some((_, verdict)) = &mut self.status
            && !verdict.message.contains(problem)
        {
            let message = &verdict.message;
            verdict.message = format!("{message}; cannot close the broker: {problem}");
        }
    }

    /// Whether the group needs the turn of its cluster: a broker leaves the routes, or its pod is deleted.
    pub(super) fn takes_the_turn(&self) -> bool {
        let status = self.status.as_ref();
        let rollout = status.and_then(|(status, _)| status.rollout.as_ref());
        rollout.is_some_and(|rollout| rollout.step != RolloutStep::Starting)
    }
}
