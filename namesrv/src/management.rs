//! What the management port tells of a name server.

use std::fmt;
use std::sync::Arc;

use rmq_process::Managed;
use tokio_util::sync::CancellationToken;

use crate::handlers::Handlers;

/// A name server, as its management port sees it.
pub(crate) struct Management {
    pub(crate) handlers: Arc<Handlers>,
    /// From then on the name server is not ready.
    pub(crate) stopping: CancellationToken,
}

impl Managed for Management {
    const VERSION: &'static str = concat!("rmq-namesrv ", env!("CARGO_PKG_VERSION"));

    fn ready(&self) -> Result<String, String> {
        if self.stopping.is_cancelled() {
            return Err("not ready: the server is stopping\n".to_owned());
        }
        // A name server without brokers is ready: they register with it because it is.
        let sizes = self.handlers.registry.sizes();
        Ok(format!(
            "ok: {} brokers, {} topics\n",
            sizes.brokers, sizes.topics
        ))
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        let handlers = &self.handlers;
        Ok(handlers
            .metrics
            .text(handlers.registry.sizes(), handlers.memory.usage()))
    }
}
