//! The runtime that a client lives in: its tasks, and with them its connections, end with that runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};

/// Whether the runtime in which the client was connected still runs.
#[derive(Debug, Default)]
pub(crate) struct Life {
    runtime_ended: AtomicBool,
}

impl Life {
    pub(crate) fn has_ended(&self) -> bool {
        self.runtime_ended.load(Ordering::Acquire)
    }

    /// The error of a call that cannot be made any more.
    pub(crate) fn closed(&self) -> Error {
        if self.has_ended() {
            return Error::new(
                ErrorKind::Closed,
                "the runtime in which the client was connected has ended",
            )
            .advice("connect in a runtime that lives as long as the client is used");
        }
        Error::closed()
    }

    /// A task that notices the end of the runtime: it is dropped with it. It ends without a word when `done`.
    pub(crate) async fn watch(
        self: Arc<Self>,
        done: CancellationToken,
        close: impl Fn() + Send + 'static,
    ) {
        let witness = Witness {
            life: self,
            done,
            close,
        };
        witness.done.cancelled().await;
    }
}

struct Witness<F: Fn()> {
    life: Arc<Life>,
    done: CancellationToken,
    close: F,
}

impl<F: Fn()> Drop for Witness<F> {
    fn drop(&mut self) {
        if !self.done.is_cancelled() {
            self.life.runtime_ended.store(true, Ordering::Release);
            (self.close)();
        }
    }
}
