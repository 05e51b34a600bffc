//! The management port: `/livez`, `/readyz`, `/metrics`, `/version`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::handlers::Handlers;

#[derive(Clone)]
struct Shared {
    handlers: Arc<Handlers>,
    stopping: CancellationToken,
}

/// Serves until `closed`; `/readyz` says no as soon as the server stops.
pub(crate) async fn serve(
    listener: TcpListener,
    handlers: Arc<Handlers>,
    stopping: CancellationToken,
    closed: CancellationToken,
) {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route(
            "/version",
            get(|| async { concat!("rmq-namesrv ", env!("CARGO_PKG_VERSION"), "\n") }),
        )
        .with_state(Shared { handlers, stopping });
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(closed.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!("the management port failed: {error}");
    }
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    let sizes = shared.handlers.registry.sizes();
    if shared.stopping.is_cancelled() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the server is stopping\n".to_owned(),
        );
    }
    // A name server without brokers is ready: they register with it because it is.
    (
        StatusCode::OK,
        format!("ok: {} brokers, {} topics\n", sizes.brokers, sizes.topics),
    )
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let text = shared.handlers.metrics.text(
        shared.handlers.registry.sizes(),
        shared.handlers.memory.usage(),
    );
    (
        [(
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        text,
    )
}
