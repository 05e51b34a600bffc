//! The threads that a command runs on.

use crate::error::Failure;
use crate::exit_code::Exit;

/// Runs a command that continues until it is stopped.
pub(crate) fn on_all_threads<T>(
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Exit::Failed, "cannot start the worker threads").cause(&error)
        })?;
    runtime.block_on(command)
}

/// Runs a command that asks a cluster: one thread is enough, and starts at once.
pub(crate) fn on_cluster<T>(
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, "cannot start").cause(&error))?;
    let done = runtime.block_on(command);
    // A login program of the kubeconfig may still run; the end does not wait for it.
    runtime.shutdown_background();
    done
}
