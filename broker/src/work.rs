//! Work that may wait for the disk, or takes long, away from the threads of connections.

use tokio::task::JoinError;

/// Work of a request that did not end: it panicked, or the process ends.
#[derive(Debug, thiserror::Error)]
#[error("the request was not finished: {0}")]
pub(crate) struct Interrupted(#[from] JoinError);

/// Does the work on a thread that may wait.
///
/// # Errors
/// When the work panics, or the runtime ends.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}
