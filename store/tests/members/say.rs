//! What members say: how far they have come, and what they hold.

use std::fmt::Write as _;

use rmq_protocol::message::{QueueOffset, property};
use rmq_store::{AllMessages, PutAside, RecoveryReport, Temperature};

use super::{KEYS, Members, QUEUES, Role, Said, body, queue_of, shown};
use crate::common::{self, state};

impl Members {
    pub(super) fn visible(&self, name: &str) -> String {
        let positions = self.store(name).positions();
        format!("visible {}\n", positions.dispatched)
    }

    pub(super) fn state(&self, name: &str) -> Said {
        let store = self.store(name);
        let at = store.positions();
        let mut text = String::new();
        let role = match store {
            Role::Master(_) => "master",
            Role::Follower(_) => "follower",
        };
        let _ = write!(text, "{role} {}..{}", at.min, at.appended);
        if at.written != at.appended {
            let _ = write!(text, ", written {}", at.written);
        }
        if at.confirmed != at.appended {
            let _ = write!(text, ", confirmed {}", at.confirmed);
        }
        if at.dispatched != at.confirmed {
            let _ = write!(text, ", visible {}", at.dispatched);
        }
        if let Some(position) = store.incomplete_below() {
            let _ = write!(text, ", incomplete below {position}");
        }
        let health = store.health();
        if health != rmq_store::StoreHealth::Writable {
            let _ = write!(text, ", {health:?}");
        }
        text.push('\n');
        Ok(text)
    }

    pub(super) fn epochs(&self, name: &str) -> Said {
        let epochs = self.store(name).epochs();
        let lines = epochs
            .iter()
            .map(|epoch| format!("epoch {} from {}\n", epoch.number, epoch.first));
        Ok(lines.collect())
    }

    pub(super) fn read(&self, name: &str, queue: &str, from: Option<i64>) -> String {
        let (topic, id) = queue_of(queue);
        let store = self.store(name);
        let queue = match store.find_queue(topic, id) {
            Ok(Some(queue)) => queue,
            Ok(None) => return "no such queue\n".to_owned(),
            Err(error) => return shown(error),
        };
        let mut at = from.unwrap_or(queue.min_offset());
        let mut text = format!("[{}, {})\n", queue.min_offset(), queue.max_offset());
        while at < queue.max_offset() {
            let outcome = store.read(
                &queue,
                QueueOffset(at),
                common::LIMITS,
                &AllMessages,
                Temperature::MayWait,
            );
            for record in &outcome.records {
                let view = record.view().expect("a record");
                let _ = write!(text, "{} {}", view.queue_offset(), body(view.body()));
                if let Some(offsets) = view.property(property::INNER_MULTI_QUEUE_OFFSET) {
                    let names = view.property(property::INNER_MULTI_DISPATCH);
                    let _ = write!(text, ", also {} at {offsets}", names.unwrap_or_default());
                }
                text.push('\n');
            }
            if outcome.next_offset <= at {
                let _ = writeln!(text, "{:?}", outcome.status);
                break;
            }
            at = outcome.next_offset;
        }
        text
    }

    pub(super) fn same(&self, one: &str, other: &str) -> String {
        let of = |name: &str| state(self.store(name), &QUEUES, &KEYS);
        let (one, other) = (of(one), of(other));
        let parts = [
            ("epochs", one.epochs == other.epochs),
            ("log", one.log == other.log && one.bytes == other.bytes),
            ("queues", one.queues == other.queues),
            ("keys", one.keys == other.keys),
            (
                "settings",
                one.settings == other.settings && one.rows == other.rows,
            ),
        ];
        let differ: Vec<&str> = parts
            .iter()
            .filter(|(_, is_same)| !is_same)
            .map(|(part, _)| *part)
            .collect();
        if differ.is_empty() {
            "the same\n".to_owned()
        } else {
            format!("differ: {}\n", differ.join(", "))
        }
    }
}

/// What was put aside of a log.
pub(super) fn kept(kept: Option<PutAside>) -> String {
    kept.map_or_else(String::new, |kept| {
        let messages = kept.messages;
        format!("{messages} messages are kept in {}\n", kept.path.display())
    })
}

/// What a start has found that is worth a word.
pub(super) fn reported(report: &RecoveryReport) -> String {
    let mut text = String::new();
    if report.cut_bytes > 0 {
        text.push_str("the end was not intact and was cut\n");
    }
    for range in &report.damaged {
        let _ = writeln!(text, "damaged {}..{}", range.from, range.to);
    }
    for note in &report.rebuilt {
        let _ = writeln!(text, "{note}");
    }
    text
}
