//! When an object is looked at again: by its verdict, or by its failures in a row.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use kube::Resource;
use kube::core::object::HasStatus;
use kube::runtime::controller::Action;
use parking_lot::Mutex;

use crate::conditions::{Status, Verdict};
use crate::error::Error;

/// Every object is looked at again once in this time, because brokers can be changed by hand.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// Longest pause after failures in a row.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Pause after a conflict: by then the watch has the newer object.
const AFTER_CONFLICT: Duration = Duration::from_millis(300);
/// An event tells of a failure when it came this often in a row.
const TOLD_AT: u32 = 3;

/// Pauses between looks at an object whose servers are not ready yet. The watches report everything but events, so only an event can
/// bring news in such a look.
pub(crate) const SERVERS: RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(300);

/// The time from `now_ms` until the next look at objects of this seed. Looks at different seeds are spread over [`LOOK_AGAIN`]; objects
/// with the same seed are looked at together.
fn until_next(seed: &str, now_ms: u64) -> Duration {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let period = u64::try_from(LOOK_AGAIN.as_millis()).unwrap_or(u64::MAX);
    let phase = hasher.finish() % period;
    // An object that was looked at just before its time is not looked at twice.
    let after = period - (now_ms + phase) % period;
    let is_soon = after < period / 10;
    Duration::from_millis(if is_soon { after + period } else { after })
}

/// The next look at an object with this verdict. Pure.
///
/// The pause grows with the time for which the object has been progressing or stalled, within `pause`: the watches wake the object, so
/// this look is only for changes that no watch reports.
pub(crate) fn next<K>(
    object: &K,
    verdict: &Verdict,
    pause: RangeInclusive<Duration>,
    seed: &str,
    now: Timestamp,
) -> Action
where
    K: Resource<DynamicType = ()> + HasStatus<Status: Status>,
{
    let type_ = match (verdict.stalled, verdict.progressing) {
        (true, _) => "Stalled",
        (_, true) => "Progressing",
        _ => {
            let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
            return Action::requeue(until_next(seed, now_ms));
        }
    };
    let conditions = object.status().map(Status::conditions).unwrap_or_default();
    let since = conditions
        .iter()
        .find(|condition| condition.type_ == type_ && condition.status == "True");
    let lasts = since.map_or(0, |since| {
        let lasts = now.duration_since(since.last_transition_time.0);
        u64::try_from(lasts.as_secs()).unwrap_or(0)
    });
    Action::requeue(Duration::from_secs(lasts).clamp(*pause.start(), *pause.end()))
}

/// The next look at an object that a person has to correct first: the correction wakes the object at once.
pub(crate) fn refused() -> Action {
    Action::requeue(BACKOFF_MAX / 2)
}

/// Failures in a row, by namespace and name of the object.
#[derive(Default)]
pub(crate) struct Failures {
    in_a_row: Mutex<HashMap<(String, String), u32>>,
}

impl Failures {
    /// Counts a failure: how many there are in a row, and the next try. A conflict does not count: it only means that the watch has not
    /// delivered the newer object yet.
    pub(crate) fn count(
        &self,
        namespace: String,
        name: String,
        error: &Error,
    ) -> (Option<u32>, Action) {
        if error.is_conflict() {
            return (None, Action::requeue(AFTER_CONFLICT));
        }
        let failures = {
            let mut all = self.in_a_row.lock();
            let failures = all.entry((namespace, name)).or_insert(0);
            *failures = failures.saturating_add(1);
            *failures
        };
        let pause = BACKOFF_MAX.min(Duration::from_millis(500 << failures.min(7)));
        (Some(failures), Action::requeue(pause))
    }

    /// Whether an event tells of the failure that makes this many in a row.
    pub(crate) fn is_told(in_a_row: u32) -> bool {
        in_a_row == TOLD_AT
    }

    /// Begins to count again: a look succeeded, or the object is gone.
    pub(crate) fn clear(&self, namespace: String, name: String) {
        self.in_a_row.lock().remove(&(namespace, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_spread_and_those_of_one_seed_come_together() {
        let now = 1_764_000_000_000;
        let period = u64::try_from(LOOK_AGAIN.as_millis()).expect("a small number");
        for seed in ["a", "b", "c", "d"] {
            let due = now + until_next(seed, now).as_millis() as u64;
            assert_ne!(due, now + until_next("x", now).as_millis() as u64);
            // Asked a little later, it is the same time; asked at that time, it is a period later.
            assert_eq!(
                now + 1_000 + until_next(seed, now + 1_000).as_millis() as u64,
                due
            );
            assert_eq!(until_next(seed, due).as_millis() as u64, period);
        }
        let soon = (0..period).map(|ms| until_next("a", now + ms));
        assert!(soon.clone().min() >= Some(LOOK_AGAIN / 10));
        assert!(soon.max() <= Some(LOOK_AGAIN * 11 / 10));
    }

    #[test]
    fn the_pause_doubles_with_each_failure_up_to_a_minute() {
        let failures = Failures::default();
        let error = Error::NotYet("no broker".to_owned());
        let fails = || failures.count("shop".to_owned(), "a".to_owned(), &error);
        let seconds = [1, 2, 4, 8, 16, 32, 60, 60];
        for (number, seconds) in (1..).zip(seconds) {
            let again = Action::requeue(Duration::from_secs(seconds));
            assert_eq!(fails(), (Some(number), again));
        }
        failures.clear("shop".to_owned(), "a".to_owned());
        assert_eq!(fails().0, Some(1));
    }

    #[test]
    fn a_conflict_is_no_failure() {
        let status = serde_json::json!({"status": "Failure", "code": 409, "message": "changed", "reason": "Conflict"});
        let status: kube::core::Status = serde_json::from_value(status).expect("a status");
        let error = Error::doing("writing the status")(kube::Error::Api(Box::new(status)));
        let counted = Failures::default().count("shop".to_owned(), "a".to_owned(), &error);
        assert_eq!(counted, (None, Action::requeue(AFTER_CONFLICT)));
    }
}
