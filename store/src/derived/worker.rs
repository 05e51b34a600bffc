//! The thread that seals, heals and merges beside the message path.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::shared::Shared;
use crate::vital;

/// After a failure the work is tried again after this time, or at the next wake-up.
const RETRY: Duration = Duration::from_secs(1);

/// The background thread, once it is started.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Signal {
    /// Work was asked for; keeps the message path from signalling for each batch.
    asked: AtomicBool,
    stop: Mutex<bool>,
    changed: Condvar,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            signal: Arc::default(),
            thread: Mutex::new(None),
        }
    }

    /// Starts the thread. It looks for work at once.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut thread = self.thread.lock();
        if thread.is_some() {
            return Ok(());
        }
        let (shared, signal) = (Arc::clone(&self.shared), Arc::clone(&self.signal));
        signal.asked.store(true, Ordering::Release);
        let health = Arc::clone(&shared.health);
        let what = "the thread that writes the index";
        *thread = Some(vital::spawn("store-index", what, &health, move || {
            run(&shared, &signal);
        })?);
        Ok(())
    }

    /// Asks for a look at what is due.
    pub(crate) fn wake(&self) {
        if !self.signal.asked.swap(true, Ordering::AcqRel) {
            let _guard = self.signal.stop.lock();
            self.signal.changed.notify_one();
        }
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(&self) {
        *self.signal.stop.lock() = true;
        self.signal.changed.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the index has panicked");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared, signal: &Signal) {
    let mut failed = false;
    loop {
        {
            let mut stop = signal.stop.lock();
            while !*stop && !signal.asked.load(Ordering::Acquire) {
                if failed {
                    if signal.changed.wait_for(&mut stop, RETRY).timed_out() {
                        break;
                    }
                } else {
                    signal.changed.wait(&mut stop);
                }
            }
            if *stop {
                return;
            }
        }
        signal.asked.store(false, Ordering::Release);
        let outcome = shared.maintain();
        // A store that is read-only stays so: nothing is tried again.
        failed = outcome.is_err() && shared.health.check_writable().is_ok();
        if let Err(error) = outcome {
            shared.report(&error);
        }
    }
}
