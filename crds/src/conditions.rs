//! Status conditions: what stands in `status.conditions` of every kind.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// `True`, `False` or `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell.
    Unknown,
}

impl ConditionStatus {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// A list of conditions with at most one of each type.
pub trait Conditions {
    /// The condition of this type.
    fn of(&self, type_: &str) -> Option<&Condition>;

    /// Sets a condition. Its time of transition moves only when the status changes. True when anything changed.
    fn set(
        &mut self,
        type_: &str,
        status: ConditionStatus,
        reason: &str,
        message: impl Into<String>,
        generation: Option<i64>,
        now: Time,
    ) -> bool;
}

impl Conditions for Vec<Condition> {
    fn of(&self, type_: &str) -> Option<&Condition> {
        self.iter().find(|condition| condition.type_ == type_)
    }

    fn set(
        &mut self,
        type_: &str,
        status: ConditionStatus,
        reason: &str,
        message: impl Into<String>,
        generation: Option<i64>,
        now: Time,
    ) -> bool {
        let mut new = Condition {
            type_: type_.to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
            observed_generation: generation,
            last_transition_time: now,
        };
        match self.iter_mut().find(|known| known.type_ == type_) {
            Some(known) => {
                if known.status == new.status {
                    new.last_transition_time = known.last_transition_time.clone();
                }
                let changed = *known != new;
                *known = new;
                changed
            }
            None => {
                self.push(new);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).expect("a small number"))
    }

    #[test]
    fn the_time_of_transition_moves_with_the_status_only() {
        let mut all = Vec::new();
        assert!(all.set(
            "Ready",
            ConditionStatus::False,
            "Starting",
            "0 of 1",
            Some(1),
            at(1)
        ));
        assert!(!all.set(
            "Ready",
            ConditionStatus::False,
            "Starting",
            "0 of 1",
            Some(1),
            at(2)
        ));
        assert!(all.set(
            "Ready",
            ConditionStatus::False,
            "Starting",
            "1 of 2",
            Some(2),
            at(3)
        ));
        assert_eq!(
            all.of("Ready")
                .map(|ready| ready.last_transition_time.clone()),
            Some(at(1))
        );
        assert!(all.set("Ready", ConditionStatus::True, "Ready", "", Some(2), at(4)));
        assert_eq!(
            all.of("Ready")
                .map(|ready| ready.last_transition_time.clone()),
            Some(at(4))
        );
        assert_eq!(all.len(), 1);
    }
}
