//! Acknowledgements that wait for replicas. One that has waited for too long is answered with the reason; its message stays stored.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;
use rmq_store::{AppendError, Store};
use rmq_transport::Clock;
use tokio::sync::Notify;

/// What is done when an append is settled, or was not confirmed in time.
pub(crate) type Done = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

/// What waits, in the order of the log and so of the deadlines.
pub(crate) struct Acks {
    /// How long an acknowledgement waits, milliseconds; `None`: acknowledgements wait for no replica.
    timeout_ms: Option<i64>,
    waiting: Mutex<VecDeque<Waiting>>,
    added: Notify,
}

struct Waiting {
    deadline_ms: i64,
    end: LogPosition,
    /// The store or the deadline takes this, and answers.
    done: Arc<Mutex<Option<Done>>>,
}

impl Waiting {
    fn is_answered(&self) -> bool {
        self.done.lock().is_none()
    }
}

impl Acks {
    pub(crate) fn new(timeout_ms: Option<i64>) -> Self {
        Self {
            timeout_ms,
            waiting: Mutex::default(),
            added: Notify::new(),
        }
    }

    /// As [`Store::settle`]. Where acknowledgements wait for replicas, `done` is called at the latest when the time is up.
    pub(crate) fn settle(&self, store: &Store, clock: &dyn Clock, end: LogPosition, done: Done) {
        let Some(timeout_ms) = self.timeout_ms else {
            return store.settle(end, done);
        };
        let done = Arc::new(Mutex::new(Some(done)));
        let theirs = Arc::clone(&done);
        store.settle(
            end,
            Box::new(move |settled| {
                let done = theirs.lock().take();
                if let Some(done) = done {
                    done(settled);
                }
            }),
        );
        let waiting = Waiting {
            deadline_ms: clock.monotonic_ms().saturating_add(timeout_ms),
            end,
            done,
        };
        if waiting.is_answered() {
            return;
        }
        let mut queue = self.waiting.lock();
        while queue.front().is_some_and(Waiting::is_answered) {
            queue.pop_front();
        }
        let is_first = queue.is_empty();
        queue.push_back(waiting);
        drop(queue);
        if is_first {
            self.added.notify_one();
        }
    }

    /// Returns when what waits for replicas since now has waited for too long: never where nothing does.
    pub(crate) async fn late(&self, clock: &dyn Clock) {
        match self.timeout_ms {
            Some(timeout_ms) => clock.sleep_ms(timeout_ms).await,
            None => std::future::pending().await,
        }
    }

    /// Answers what has waited for too long, for ever. `why` is asked for the reason.
    pub(crate) async fn end_late(
        &self,
        clock: &dyn Clock,
        why: impl Fn(LogPosition) -> AppendError,
    ) {
        loop {
            let next = self.waiting.lock().front().map(|first| first.deadline_ms);
            match next {
                Some(at_ms) => clock.sleep_until_ms(at_ms).await,
                None => self.added.notified().await,
            }
            for waiting in self.take_due(clock.monotonic_ms()) {
                let done = waiting.done.lock().take();
                if let Some(done) = done {
                    done(Err(why(waiting.end)));
                }
            }
        }
    }

    fn take_due(&self, now_ms: i64) -> Vec<Waiting> {
        let mut queue = self.waiting.lock();
        let is_over = |waiting: &Waiting| waiting.is_answered() || waiting.deadline_ms <= now_ms;
        let mut due = Vec::new();
        while queue.front().is_some_and(is_over) {
            due.extend(queue.pop_front());
        }
        due
    }
}
