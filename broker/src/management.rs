//! Health, metrics and version over HTTP, on a port of its own.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use rmq_store::StoreHealth;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::metrics;

pub(crate) fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route(
            "/version",
            get(|| async { concat!("rmq-broker ", env!("CARGO_PKG_VERSION"), "\n") }),
        )
        .with_state(broker);
    tokio::spawn(async move {
        tokio::select! {
            // Connections that are kept open do not hold up the stop.
            () = stop.cancelled() => {}
            served = axum::serve(listener, routes) => {
                if let Err(error) = served {
                    tracing::error!("the management port ended: {error}");
                }
            }
        }
    })
}

/// Alive as long as it answers: with a store that takes no messages a restart would end the reads and mend nothing. It says so.
async fn live(State(broker): State<Arc<Broker>>) -> String {
    match store_problem(&broker) {
        None => "ok\n".to_owned(),
        Some(problem) => format!("ok\n[-] store: {problem}\n"),
    }
}

/// Why the store takes no messages, if it takes none.
fn store_problem(broker: &Broker) -> Option<String> {
    match broker.store.health() {
        StoreHealth::Writable => None,
        StoreHealth::Refusing { reason } => Some(format!("takes no messages for now: {reason}")),
        StoreHealth::ReadOnly { reason } => Some(format!("read-only: {reason}")),
    }
}

/// Each check with its outcome; 503 when one fails.
async fn ready(State(broker): State<Arc<Broker>>) -> impl IntoResponse {
    let mut checks = Vec::new();
    let mut check = |name: String, problem: Option<String>| checks.push((name, problem));
    check(
        "running".to_owned(),
        broker
            .is_stopping()
            .then(|| "the broker is stopping".to_owned()),
    );
    check("store".to_owned(), store_problem(&broker));
    let servers = broker.registrations.health();
    for server in &servers {
        let problem = match (&server.rival, server.registered) {
            (_, false) => Some(
                server
                    .error
                    .clone()
                    .unwrap_or_else(|| "not registered yet".to_owned()),
            ),
            (Some(rival), true) => Some(format!(
                "another broker, {rival}, is registered under this broker's name and id"
            )),
            (None, true) => None,
        };
        check(format!("name server {}", server.addr), problem);
    }
    let none_registered = !servers.is_empty() && servers.iter().all(|server| !server.registered);
    // One name server that is down does not make the broker useless.
    let is_ready = checks
        .iter()
        .filter(|(name, _)| !name.starts_with("name server"))
        .all(|(_, problem)| problem.is_none())
        && !none_registered;
    let mut text = String::new();
    for (name, problem) in &checks {
        match problem {
            None => text.push_str(&format!("[+] {name} ok\n")),
            Some(problem) => text.push_str(&format!("[-] {name}: {problem}\n")),
        }
    }
    text.push_str(if is_ready { "ready\n" } else { "not ready\n" });
    (
        if is_ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        text,
    )
}

async fn metrics_text(State(broker): State<Arc<Broker>>) -> impl IntoResponse {
    // Looks at every topic and asks the disk: away from the threads that serve connections.
    let text = tokio::task::spawn_blocking(move || metrics::encode(&broker)).await;
    match text.unwrap_or(Err(std::fmt::Error)) {
        Ok(text) => (
            StatusCode::OK,
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            format!("the metrics cannot be written: {error}\n"),
        ),
    }
}
