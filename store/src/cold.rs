//! A small pool of threads for reads that wait for the disk, so that they never hold up a connection.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use parking_lot::Mutex;

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
    jobs: Mutex<Option<SyncSender<Job>>>,
}

impl ColdPool {
    pub(crate) fn new(threads: usize, queue_max: usize) -> Self {
        Self {
            threads,
            queue_max,
            jobs: Mutex::new(None),
        }
    }

    /// Has `job` run on one of the threads.
    ///
    /// # Errors
    /// When too many wait already; `job` is dropped.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) -> Result<(), ColdPoolFull> {
        let mut jobs = self.jobs.lock();
        let sender = jobs.get_or_insert_with(|| self.start());
        sender.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => ColdPoolFull {
                waiting: self.queue_max,
            },
        })
    }

    fn start(&self) -> SyncSender<Job> {
        let (sender, receiver) = sync_channel::<Job>(self.queue_max);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..self.threads {
            let receiver = Arc::clone(&receiver);
            let started = std::thread::Builder::new()
                .name(format!("rmq-cold-{number}"))
                .spawn(move || work(&receiver));
            if let Err(error) = started {
                tracing::error!("cannot start a thread for cold reads: {error}");
            }
        }
        sender
    }

    /// Ends the threads after what they are doing.
    pub(crate) fn stop(&self) {
        *self.jobs.lock() = None;
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    loop {
        // One thread waits in the channel, the others for the lock.
        let job = receiver.lock().recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}
