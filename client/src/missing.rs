//! Topics that consumers of this client subscribe to and that no name server knows.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind};

/// Groups and topics.
#[derive(Debug, Default)]
pub(crate) struct Missing(Mutex<BTreeSet<(String, String)>>);

impl Missing {
    /// Notes that a topic has no route; false when that was known.
    pub(crate) fn note(&self, group: &str, topic: &str) -> bool {
        self.0.lock().insert((group.to_owned(), topic.to_owned()))
    }

    /// The topic has a route; whether it had none before.
    pub(crate) fn found(&self, group: &str, topic: &str) -> bool {
        let mut missing = self.0.lock();
        // Nearly always nothing is missing: the pair is not made for nothing.
        !missing.is_empty() && missing.remove(&(group.to_owned(), topic.to_owned()))
    }

    /// The group's consumer ended.
    pub(crate) fn forget(&self, group: &str) {
        self.0.lock().retain(|(other, _)| other != group);
    }

    /// What is missing for a group.
    pub(crate) fn of(&self, group: &str) -> Option<Error> {
        let missing = self.0.lock();
        missing
            .iter()
            .find(|(other, _)| other == group)
            .map(|(group, topic)| error(group, topic))
    }

    /// What is missing for any.
    pub(crate) fn any(&self) -> Option<Error> {
        let missing = self.0.lock();
        missing.first().map(|(group, topic)| error(group, topic))
    }
}

fn error(group: &str, topic: &str) -> Error {
    Error::new(
        ErrorKind::NoRoute,
        format!("group \"{group}\" consumes topic \"{topic}\", which has no route"),
    )
    .advice("no broker has registered it: create it, or check its name")
}
