//! Work that others wait for. When it ends in the middle, by a return that forgot them or by a panic, the store takes no more writes
//! and says why: nobody waits for a thread that is gone.

use std::any::Any;
use std::sync::Arc;

use crate::health::Health;

/// Makes the store read-only when it is dropped before [`Vital::done`].
pub(crate) struct Vital<'a> {
    health: &'a Health,
    what: &'static str,
    is_done: bool,
}

impl<'a> Vital<'a> {
    /// `what` is told: "the flusher thread".
    pub(crate) fn new(health: &'a Health, what: &'static str) -> Self {
        Self {
            health,
            what,
            is_done: false,
        }
    }

    /// The work ends in order.
    pub(crate) fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Vital<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let how = if std::thread::panicking() {
            "panicked; this is a defect, see the log of the process"
        } else {
            "ended although it was needed"
        };
        self.health.poison(format!("{} {how}", self.what));
    }
}

/// Starts a thread that makes the store read-only when it panics.
pub(crate) fn spawn(
    name: &str,
    what: &'static str,
    health: &Arc<Health>,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let health = Arc::clone(health);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let vital = Vital::new(&health, what);
            work();
            vital.done();
        })
}

/// What a panic said.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::StoreHealth;

    #[test]
    fn a_thread_that_panics_makes_the_store_read_only() {
        let health = Arc::new(Health::default());
        let work = |panics: bool| {
            let started = spawn("work", "the thread of this test", &health, move || {
                assert!(!panics, "as wanted");
            });
            started.expect("started").join().is_ok()
        };
        assert!(work(false));
        assert_eq!(health.get(), StoreHealth::Writable);
        assert!(!work(true));
        let StoreHealth::ReadOnly { reason } = health.get() else {
            panic!("{:?}", health.get());
        };
        assert!(
            reason.starts_with("the thread of this test panicked"),
            "{reason}"
        );
    }

    #[test]
    fn work_that_returns_without_a_word_counts_as_failed() {
        let health = Health::default();
        Vital::new(&health, "the work").done();
        assert_eq!(health.get(), StoreHealth::Writable);
        drop(Vital::new(&health, "the work"));
        assert!(matches!(health.get(), StoreHealth::ReadOnly { .. }));
    }
}
