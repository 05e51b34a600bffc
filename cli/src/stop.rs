//! The wish of a person or a supervisor that this program ends.

use rmq_process::Signal;
pub(crate) use rmq_process::StopSignal;

use crate::error::Failure;
use crate::exit_code::Exit;

/// The signals that come from now on. The second one ends the process at once.
pub(crate) fn listen() -> Result<StopSignal, Failure> {
    StopSignal::listen()
        .map_err(|error| Failure::new(Exit::Failed, "cannot listen for signals").cause(&error))
}

/// The end of a command that was stopped before it came to its aim.
pub(crate) fn stopped(signal: Signal, what: impl Into<String>) -> Failure {
    let exit = match signal {
        Signal::Interrupt => Exit::Interrupted,
        Signal::Terminate => Exit::Terminated,
    };
    Failure::new(exit, what)
}

/// `command`, or what a signal makes of it: a command that waits for something.
pub(crate) async fn unless_stopped<T>(
    what: &str,
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut stop = listen()?;
    tokio::select! {
        done = command => done,
        signal = stop.wait() => Err(stopped(signal, format!("stopped by a signal while {what}"))),
    }
}
