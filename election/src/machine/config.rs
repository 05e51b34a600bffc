//! What a member is told at its start.

use crate::place::{Member, Policy};

/// What a member is told at its start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Config {
    /// How long things take.
    pub timings: Timings,
    /// Members and policy where the configuration of the members has them: the record is made with them if there is none, and a master
    /// writes them into the record when they differ. `None`: somebody else writes them, as the operator in Kubernetes does.
    pub group: Option<NewGroup>,
}

/// Members and policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewGroup {
    /// Who may take part.
    pub members: Vec<Member>,
    /// What an acknowledgement promises.
    pub policy: Policy,
}

/// How long things take, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timings {
    /// How long a master counts as alive after a renewal. 1,000 to 120,000.
    pub lease_ms: u64,
    /// How long after a renewal was sent its master serves. At least 2 x `retry_ms`, at most 9/10 of `lease_ms`.
    pub renew_deadline_ms: u64,
    /// How long a master waits between two renewals, and everybody between two tries. From 50.
    pub retry_ms: u64,
    /// How long a connected member of the in-sync set may be behind. 1,000 to 600,000.
    pub lag_limit_ms: u64,
    /// How long a member of the in-sync set may be without a connection. From `retry_ms` to `lag_limit_ms`.
    pub silent_limit_ms: u64,
    /// How long a member of the in-sync set that has closed its connection may take to connect again, where enough others are in the
    /// set. At most `silent_limit_ms`.
    pub reconnect_limit_ms: u64,
    /// How long a new master waits for the members of the in-sync set before it takes those that did not come out of the set.
    /// At most 60,000.
    pub recover_limit_ms: u64,
    /// How long a switchover waits until its target is in sync, and at its end until the target comes. 500 to 60,000.
    pub transfer_limit_ms: u64,
    /// How long writes stay closed until the target of a switchover has the end of the log. 500 to 60,000.
    pub drain_limit_ms: u64,
    /// How long a candidate waits for the answers of other members; a candidate with an empty log waits ten times as long at the first
    /// start of a group. At most 10,000.
    pub ask_ms: u64,
    /// After this time without an answer a place counts as away, and a member's renewal as failed. From `retry_ms`.
    pub away_ms: u64,
}

impl Timings {
    /// All in proportion to a lease, with the defaults for the rest.
    #[must_use]
    pub fn of_lease(lease_ms: u64) -> Self {
        Self {
            lease_ms,
            renew_deadline_ms: lease_ms / 3 * 2,
            retry_ms: lease_ms / 15 * 2,
            lag_limit_ms: lease_ms.max(5_000),
            silent_limit_ms: lease_ms / 5 * 3,
            reconnect_limit_ms: 300,
            recover_limit_ms: 1_000,
            transfer_limit_ms: 5_000,
            drain_limit_ms: 3_000,
            ask_ms: 300,
            away_ms: lease_ms / 15 * 4,
        }
    }

    /// Whether all are in their ranges.
    ///
    /// # Errors
    /// The first that is not, with its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let deadline_max = self.lease_ms / 10 * 9;
        let rows = [
            ("lease", self.lease_ms, 1_000, 120_000),
            ("retry", self.retry_ms, 50, self.lease_ms / 4),
            (
                "renew deadline",
                self.renew_deadline_ms,
                self.retry_ms.saturating_mul(2),
                deadline_max,
            ),
            ("lag limit", self.lag_limit_ms, 1_000, 600_000),
            (
                "silence limit",
                self.silent_limit_ms,
                self.retry_ms,
                self.lag_limit_ms,
            ),
            (
                "reconnect limit",
                self.reconnect_limit_ms,
                0,
                self.silent_limit_ms,
            ),
            ("recover limit", self.recover_limit_ms, 0, 60_000),
            ("transfer limit", self.transfer_limit_ms, 500, 60_000),
            ("drain limit", self.drain_limit_ms, 500, 60_000),
            ("ask limit", self.ask_ms, 0, 10_000),
            (
                "away limit",
                self.away_ms,
                self.retry_ms,
                self.renew_deadline_ms,
            ),
        ];
        for (what, value, min, max) in rows {
            if !(min..=max).contains(&value) {
                return Err(ConfigError {
                    what,
                    value,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}

impl Default for Timings {
    /// A lease of 5 seconds.
    fn default() -> Self {
        Self::of_lease(5_000)
    }
}

/// A time is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the election's {what} of {value} ms is not between {min} and {max} ms")]
pub struct ConfigError {
    /// Which one.
    pub what: &'static str,
    /// What it is, milliseconds.
    pub value: u64,
    /// The least, milliseconds.
    pub min: u64,
    /// The most, milliseconds.
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_lease_and_have_ranges() {
        for lease in [1_000, 5_000, 15_000, 120_000] {
            assert_eq!(Timings::of_lease(lease).check(), Ok(()), "{lease}");
        }
        let short = Timings::of_lease(900).check().expect_err("too short");
        assert_eq!(
            short.to_string(),
            "the election's lease of 900 ms is not between 1000 and 120000 ms"
        );
        let late = Timings {
            renew_deadline_ms: 4_501,
            ..Timings::default()
        };
        assert_eq!(late.check().expect_err("too late").what, "renew deadline");
    }
}
