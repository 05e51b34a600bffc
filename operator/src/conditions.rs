//! Conditions: the three that every kind has.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rmq_crds::{
    BrokerGroupStatus, Condition, ConditionStatus, Conditions, NameServerStatus,
    SubscriptionGroupStatus, TopicStatus, UserStatus,
};
use serde::Serialize;

use crate::annotations;

/// Reason, and type of the condition, of an object that a person paused.
const PAUSED: &str = "Paused";

/// What the statuses of all kinds have in common.
pub(crate) trait Status: Serialize + PartialEq {
    fn observed_generation(&mut self) -> &mut Option<i64>;
    fn conditions(&self) -> &[Condition];
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;
}

macro_rules! statuses {
    ($($status:ty),*) => {$(
        impl Status for $status {
            fn observed_generation(&mut self) -> &mut Option<i64> {
                &mut self.observed_generation
            }

            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }

            fn conditions_mut(&mut self) -> &mut Vec<Condition> {
                &mut self.conditions
            }
        }
    )*};
}

statuses!(
    NameServerStatus,
    BrokerGroupStatus,
    TopicStatus,
    SubscriptionGroupStatus,
    UserStatus
);

/// What one look at an object came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether the object does what its spec says.
    pub(crate) ready: ConditionStatus,
    /// One word, in camel case.
    pub(crate) reason: &'static str,
    /// Tells a person which field or pod it is about, and what to do.
    pub(crate) message: String,
    /// Whether the operator is at work, or waits for Kubernetes or a broker.
    pub(crate) progressing: bool,
    /// Whether nothing continues until a person does something.
    pub(crate) stalled: bool,
}

impl Verdict {
    pub(crate) fn ready(message: impl Into<String>) -> Self {
        Self {
            ready: ConditionStatus::True,
            reason: "Ready",
            message: message.into(),
            progressing: false,
            stalled: false,
        }
    }

    pub(crate) fn progressing(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            ready: ConditionStatus::False,
            reason,
            message: message.into(),
            progressing: true,
            stalled: false,
        }
    }

    pub(crate) fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            ready: ConditionStatus::False,
            reason,
            message: message.into(),
            progressing: false,
            stalled: true,
        }
    }

    /// The object is left alone, because an annotation says so.
    pub(crate) fn left_alone(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            ready: ConditionStatus::Unknown,
            reason,
            message: message.into(),
            progressing: false,
            stalled: false,
        }
    }

    /// The object is paused by its annotation.
    pub(crate) fn paused() -> Self {
        Self::left_alone(PAUSED, format!("annotation {} is set", annotations::PAUSED))
    }

    /// The NameServer object of the cluster does not exist.
    pub(crate) fn no_name_server(name: &str) -> Self {
        Self::stalled(
            "NameServerNotFound",
            format!(
                "spec.nameServerRef.name: there is no NameServer {name} in this namespace; create it, or correct the name"
            ),
        )
    }

    /// Writes the verdict as conditions.
    pub(crate) fn write(
        &self,
        conditions: &mut Vec<Condition>,
        generation: Option<i64>,
        now: &Time,
    ) {
        let word = |holds: bool, no: &'static str| if holds { self.reason } else { no };
        let text = |holds: bool| {
            if holds {
                self.message.clone()
            } else {
                String::new()
            }
        };
        conditions.set(
            "Ready",
            self.ready,
            self.reason,
            &self.message,
            generation,
            now.clone(),
        );
        conditions.set(
            "Progressing",
            self.progressing.into(),
            word(self.progressing, "Idle"),
            text(self.progressing),
            generation,
            now.clone(),
        );
        conditions.set(
            "Stalled",
            self.stalled.into(),
            word(self.stalled, "NotStalled"),
            text(self.stalled),
            generation,
            now.clone(),
        );
        let is_paused = self.reason == PAUSED;
        // An object that was never paused has no such condition.
        if is_paused || conditions.of(PAUSED).is_some() {
            conditions.set(
                PAUSED,
                is_paused.into(),
                word(is_paused, "GoesOn"),
                text(is_paused),
                generation,
                now.clone(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_shows_and_ends() {
        let now = Time(jiff::Timestamp::UNIX_EPOCH);
        let mut all = Vec::new();
        let status = |all: &Vec<Condition>, type_: &str| {
            all.of(type_).map(|condition| condition.status.clone())
        };
        Verdict::ready("serves").write(&mut all, Some(1), &now);
        assert_eq!(status(&all, "Paused"), None);
        Verdict::paused().write(&mut all, Some(2), &now);
        assert_eq!(status(&all, "Paused").as_deref(), Some("True"));
        assert_eq!(status(&all, "Ready").as_deref(), Some("Unknown"));
        Verdict::ready("serves").write(&mut all, Some(3), &now);
        assert_eq!(status(&all, "Paused").as_deref(), Some("False"));
        assert!(
            all.iter()
                .all(|condition| condition.observed_generation == Some(3))
        );
    }
}
