//! The replication port, which is served for as long as the process runs: a member answers questions also while its store is opened again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmq_replication::{Reason, ReplicationConfig, Source};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::tasks;

/// Pause before a port that failed is served again.
const RETRY: Duration = Duration::from_secs(1);

/// The port.
pub(super) struct Port {
    listener: Arc<std::net::TcpListener>,
    config: ReplicationConfig,
    serving: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

impl Port {
    pub(super) fn new(listener: std::net::TcpListener, config: ReplicationConfig) -> Self {
        Self {
            listener: Arc::new(listener),
            config,
            serving: Mutex::default(),
        }
    }

    /// Serves this from now on, and nothing that was served before: those connections are closed.
    pub(super) async fn serve(&self, source: Source) {
        let mut serving = self.serving.lock().await;
        end(serving.take()).await;
        let stop = CancellationToken::new();
        let (listener, config) = (Arc::clone(&self.listener), self.config.clone());
        let task = tasks::serve(serve(listener, source, config, stop.clone()));
        *serving = Some((stop, task));
    }

    /// Tells everybody who connects from now on why there is nothing here; what was served before is closed.
    pub(super) async fn refuse(&self, reason: Reason) {
        let mut serving = self.serving.lock().await;
        end(serving.take()).await;
        let stop = CancellationToken::new();
        let (listener, until) = (Arc::clone(&self.listener), stop.clone());
        let config = self.config.clone();
        let task = tasks::serve(async move {
            keep(&listener, &until, |listener| {
                rmq_replication::refuse(listener, reason.clone(), config.clone(), until.clone())
            })
            .await;
        });
        *serving = Some((stop, task));
    }

    /// Serves nothing any more.
    pub(super) async fn stop(&self) {
        end(self.serving.lock().await.take()).await;
    }
}

async fn end(serving: Option<(CancellationToken, JoinHandle<()>)>) {
    if let Some((stop, task)) = serving {
        stop.cancel();
        // A panic in there is reported by the runtime.
        let _ = task.await;
    }
}

async fn serve(
    listener: Arc<std::net::TcpListener>,
    source: Source,
    config: ReplicationConfig,
    stop: CancellationToken,
) {
    keep(&listener, &stop, |listener| {
        rmq_replication::serve(listener, source.clone(), config.clone(), stop.clone())
    })
    .await;
}

/// Serves the port until `stop`, also when it fails meanwhile.
async fn keep<F: Future<Output = io::Result<()>>>(
    listener: &std::net::TcpListener,
    stop: &CancellationToken,
    serve: impl Fn(TcpListener) -> F,
) {
    loop {
        let copy = listener.try_clone().and_then(TcpListener::from_std);
        let ended = match copy {
            Ok(listener) => serve(listener).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => return,
            Err(error) => tracing::error!(
                "the other members cannot reach this one, its replication port is not served: {error}; trying on"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}
