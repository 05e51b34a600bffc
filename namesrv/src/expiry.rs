//! Looks for brokers that have been silent for too long.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::handlers::Handlers;

/// Runs until `stop`.
pub(crate) async fn run(handlers: Arc<Handlers>, stop: CancellationToken) {
    loop {
        let interval_ms = handlers.config.load().scan_interval_ms;
        tokio::select! {
            () = handlers.clock.sleep_ms(interval_ms) => {}
            () = stop.cancelled() => return,
        }
        let timeout_ms = handlers.config.load().broker_timeout_ms;
        let now_ms = handlers.clock.monotonic_ms();
        for change in handlers.registry.expire(now_ms, timeout_ms) {
            handlers.announce(&change);
        }
        if let Some(access) = &handlers.access {
            access.disown(|group| handlers.is_registered(group));
        }
    }
}
