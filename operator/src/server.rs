//! What the management port tells of the operator.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmq_process::Managed;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

struct Management {
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
}

impl Managed for Management {
    const VERSION: &'static str = concat!("rmq-operator ", env!("CARGO_PKG_VERSION"));

    fn ready(&self) -> Result<String, String> {
        if self.ready.load(Ordering::Acquire) {
            Ok("ready\n".to_owned())
        } else {
            Err("not ready: the API server has not answered yet\n".to_owned())
        }
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        Ok(self.metrics.text())
    }
}

/// Serves until the process ends. `ready` is set when every watch has its first full list.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let managed = Arc::new(Management { metrics, ready });
    rmq_process::serve_management(listener, managed, std::future::pending()).await
}
