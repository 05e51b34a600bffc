//! One condition of a broker group as a look wants it.

use rmq_crds::{BrokerGroupStatus, Conditions};

use crate::events::News;

use super::observed::Observed;

/// One condition as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    type_: &'static str,
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Said {
    pub(super) fn new(
        type_: &'static str,
        holds: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            holds,
            reason,
            message: message.into(),
        }
    }

    /// The event of a condition that is bad news, when the status says something else.
    pub(super) fn news(&self, status: &BrokerGroupStatus) -> Option<News> {
        let (bad, reason) = match self.type_ {
            "ReplicasInSync" => (false, "ReplicasNotInSync"),
            "ReplicaOnLostNode" | "DataLossPossible" => (true, self.type_),
            "Rebuilding" if self.is_rest() => return None,
            "Rebuilding" => (false, "RebuildRefused"),
            _ => return None,
        };
        let known = status.conditions.of(self.type_);
        let is_known = known.is_some_and(|known| known.reason == self.reason);
        // The first replicas of a new group are not in sync yet.
        let is_first = known.is_none() && self.type_ == "ReplicasInSync";
        (self.holds == bad && !is_known && !is_first).then(|| News::warning(reason, &*self.message))
    }

    /// A condition that held before and does not hold now.
    pub(super) fn done(type_: &'static str) -> Self {
        Self {
            type_,
            holds: false,
            reason: "Done",
            message: String::new(),
        }
    }

    /// Whether nothing is wrong with a condition that does not hold.
    fn is_rest(&self) -> bool {
        matches!(self.reason, "Done" | "Waiting")
    }

    /// Sets the condition in a status.
    pub(super) fn set(self, status: &mut BrokerGroupStatus, observed: &Observed<'_>) {
        let generation = observed.object.metadata.generation;
        status.conditions.set(
            self.type_,
            self.holds.into(),
            self.reason,
            self.message,
            generation,
            observed.time(),
        );
    }
}
