//! A small pool of threads for reads that wait for the disk, so that they never hold up a connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::vital::text_of;

type Job = Box<dyn FnOnce() + Send>;

/// The queue of cold reads is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} reads already wait for the disk; try again")]
pub struct ColdPoolFull {
    /// Reads that wait.
    pub waiting: usize,
}

/// Threads that may wait for the disk. They start with the first job.
#[derive(Debug)]
pub struct ColdPool {
    threads: usize,
    queue_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    jobs: Option<SyncSender<Job>>,
    running: Vec<JoinHandle<()>>,
    stopped: bool,
}

impl ColdPool {
    pub(crate) fn new(threads: usize, queue_max: usize) -> Self {
        Self {
            threads,
            queue_max,
            state: Mutex::default(),
        }
    }

    /// Has `job` run on one of the threads.
    ///
    /// # Errors
    /// When too many wait already, or the store is closed; `job` is dropped.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) -> Result<(), ColdPoolFull> {
        let full = ColdPoolFull {
            waiting: self.queue_max,
        };
        let mut state = self.state.lock();
        if state.stopped {
            return Err(full);
        }
        if state.jobs.is_none() {
            self.start(&mut state);
        }
        let sent = state.jobs.as_ref().map(|jobs| jobs.try_send(Box::new(job)));
        // A refused job is dropped outside the lock: it may hold the last handle of the store.
        drop(state);
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(full),
        }
    }

    fn start(&self, state: &mut State) {
        let (sender, receiver) = sync_channel::<Job>(self.queue_max);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..self.threads {
            let receiver = Arc::clone(&receiver);
            let started = std::thread::Builder::new()
                .name(format!("rmq-cold-{number}"))
                .spawn(move || work(&receiver));
            match started {
                Ok(thread) => state.running.push(thread),
                Err(error) => tracing::error!("cannot start a thread for cold reads: {error}"),
            }
        }
        // Without a thread the jobs would wait for ever; with one, it does the others' work.
        state.jobs = (!state.running.is_empty()).then_some(sender);
    }

    /// Ends the threads after the jobs they have, and waits for that.
    pub(crate) fn stop(&self) {
        let running = {
            let mut state = self.state.lock();
            state.stopped = true;
            state.jobs = None;
            std::mem::take(&mut state.running)
        };
        for thread in running {
            // The last handle of the store may go away in one of its jobs.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread for cold reads panicked");
            }
        }
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    loop {
        // One thread waits in the channel, the others for the lock.
        let job = receiver.lock().recv();
        match job {
            Ok(job) => {
                // The next reads need this thread. The caller of this job learns of its end by what the job drops.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                    let said = text_of(&*panic);
                    tracing::error!("a read that waited for the disk panicked: {said}");
                }
            }
            Err(_) => return,
        }
    }
}
