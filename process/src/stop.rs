//! The wish of a person or a supervisor that this program ends.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;

/// A signal that asks the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C on a terminal.
    Interrupt,
    /// SIGTERM: `kill`, a supervisor, Kubernetes.
    Terminate,
}

impl Signal {
    /// What a program exits with that this signal ended before it was done: 128 and the signal's number, as a shell reports a program that
    /// the signal killed.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// What a program does at the second signal, with the time since the first.
type LastWords = fn(Signal, Duration);

/// Longest time for the last words: they are lost when stderr is what hangs.
const LAST_WORDS_MAX: Duration = Duration::from_millis(200);

impl From<Signal> for ExitCode {
    fn from(signal: Signal) -> Self {
        Self::from(signal.exit_code())
    }
}

/// The signals that this process gets from now on. The first one completes [`StopSignal::wait`]; the second one ends the process at once,
/// with [`Signal::exit_code`], whatever the other threads do.
#[derive(Debug, Clone)]
pub struct StopSignal {
    first: watch::Receiver<Option<Signal>>,
}

impl StopSignal {
    /// Listens, on a thread of its own: a program that hangs in a system call ends at the second signal too.
    ///
    /// # Errors
    /// When the system refuses to listen, or to start the thread.
    pub fn listen() -> io::Result<Self> {
        Self::listen_with(None)
    }

    pub(crate) fn listen_with(last_words: Option<LastWords>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let (mut interrupt, mut terminate) = {
            let _here = runtime.enter();
            (
                unix::signal(SignalKind::interrupt())?,
                unix::signal(SignalKind::terminate())?,
            )
        };
        let (told, first) = watch::channel(None);
        let listens = async move {
            let mut since = None;
            loop {
                let signal = tokio::select! {
                    _ = interrupt.recv() => Signal::Interrupt,
                    _ = terminate.recv() => Signal::Terminate,
                };
                let first = *since.get_or_insert_with(Instant::now);
                if told.borrow().is_some() {
                    if let Some(say) = last_words {
                        let took = first.elapsed();
                        at_most(LAST_WORDS_MAX, move || say(signal, took));
                    }
                    std::process::exit(signal.exit_code().into());
                }
                // A program that no longer waits for the first signal is on its way out.
                told.send_replace(Some(signal));
            }
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(listens))?;
        Ok(Self { first })
    }

    /// The first signal, when it came.
    #[must_use]
    pub fn received(&self) -> Option<Signal> {
        *self.first.borrow()
    }

    /// Waits for the first signal. Returns it again when it came before.
    pub async fn wait(&mut self) -> Signal {
        let told = self.first.wait_for(Option::is_some).await;
        match told.ok().and_then(|told| *told) {
            Some(signal) => signal,
            // The thread that listens never ends before the process.
            None => std::future::pending().await,
        }
    }
}

/// Does something on a thread of its own, and waits for it no longer than `limit`.
fn at_most(limit: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        work();
        // Nobody waits any more after `limit`.
        let _ = done.send(());
    });
    if thread.is_ok() {
        let _ = is_done.recv_timeout(limit);
    }
}

/// Waits for the first SIGINT (Ctrl-C) or SIGTERM: what a service runs until. A second signal ends the process at once. Returns at once
/// when the system refuses to listen: a service that nobody could stop does not run.
///
/// ```no_run
/// # async fn serve() {
/// rmq_process::stop_signal().await;
/// // Finish what is in flight, then end.
/// # }
/// ```
pub async fn stop_signal() {
    if let Ok(mut stop) = StopSignal::listen() {
        stop.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_have_a_limit() {
        let (never, hangs) = mpsc::channel::<()>();
        at_most(Duration::from_millis(1), move || {
            let _ = hangs.recv();
        });
        drop(never);
        let (told, heard) = mpsc::channel();
        at_most(Duration::from_secs(60), move || {
            let _ = told.send(1);
        });
        assert_eq!(heard.recv(), Ok(1));
    }
}
