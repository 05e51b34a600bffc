//! How long a broker has stored no message.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rmq_client::Admin;

use crate::time;

/// A broker that stored nothing for this long has no producers any more.
pub(super) const QUIET: SignedDuration = SignedDuration::from_secs(5);

/// Why a broker is watched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// The restart of the pod with this uid: it is out of the routes, and producers leave.
    Restart(String),
    /// The removal of the group: it is out of the routes, and producers leave.
    Leaving,
    /// The removal of the group: it refuses messages.
    Closed,
}

/// A number of stored messages, and when it was seen first.
type Seen = (u64, Timestamp);

/// What is remembered of each group's broker, by uid of the group.
#[derive(Default)]
pub(crate) struct Quiet {
    seen: Mutex<HashMap<String, HashMap<Purpose, Seen>>>,
}

impl Quiet {
    /// Asks a broker how many messages it has stored since its start. Returns for how long the number has been the same; the first question
    /// for a purpose begins to count. None when the broker does not say the number.
    pub(super) async fn ask(
        &self,
        admin: &Admin,
        broker: &str,
        uid: &str,
        purpose: Purpose,
    ) -> Result<Option<SignedDuration>, rmq_client::Error> {
        let info = admin.runtime_info(broker).await?;
        let stored = info.get("putMessageTimesTotal");
        let stored = stored.and_then(|stored| stored.parse().ok());
        Ok(stored.map(|stored| self.note(uid, purpose, stored, time::now())))
    }

    fn note(&self, uid: &str, purpose: Purpose, stored: u64, now: Timestamp) -> SignedDuration {
        let mut all = self.seen.lock();
        let of_group = all.entry(uid.to_owned()).or_default();
        let seen = of_group.entry(purpose).or_insert((stored, now));
        if seen.0 != stored {
            *seen = (stored, now);
        }
        now.duration_since(seen.1)
    }

    /// Whether the broker was asked for this purpose before.
    pub(super) fn has_begun(&self, uid: &str, purpose: &Purpose) -> bool {
        let all = self.seen.lock();
        all.get(uid).is_some_and(|seen| seen.contains_key(purpose))
    }

    /// The next question for this purpose begins to count again.
    pub(super) fn end(&self, uid: &str, purpose: &Purpose) {
        if let Some(seen) = self.seen.lock().get_mut(uid) {
            seen.remove(purpose);
        }
    }

    /// Drops everything about a group that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.seen.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_begins_the_count_again() {
        let quiet = Quiet::default();
        let note = |purpose: &Purpose, stored, second| {
            let now = Timestamp::from_second(second).expect("a small number");
            quiet.note("group", purpose.clone(), stored, now).as_secs()
        };
        let restart = Purpose::Restart("pod".to_owned());
        assert!(!quiet.has_begun("group", &restart));
        assert_eq!(note(&restart, 7, 100), 0);
        assert_eq!(note(&restart, 7, 104), 4);
        assert_eq!(note(&Purpose::Closed, 7, 104), 0, "another purpose");
        assert_eq!(note(&restart, 8, 105), 0, "a message");
        assert_eq!(note(&restart, 8, 111), 6);
        // A broker that started again counts from zero.
        assert_eq!(note(&restart, 0, 112), 0);
        quiet.end("group", &restart);
        assert!(!quiet.has_begun("group", &restart));
        assert!(quiet.has_begun("group", &Purpose::Closed));
        quiet.forget("group");
        assert!(!quiet.has_begun("group", &Purpose::Closed));
    }
}
