//! The wish of a person or a supervisor that this program ends.

use std::io;
use std::process::ExitCode;

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
            loop {
                let signal = tokio::select! {
                    _ = interrupt.recv() => Signal::Interrupt,
                    _ = terminate.recv() => Signal::Terminate,
                };
                if told.borrow().is_some() {
                    // Nothing is written here: stderr may be what hangs.
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
