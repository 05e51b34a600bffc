//! The management port of a server: `/livez`, `/readyz`, `/metrics` and `/version` over HTTP, on a port of its own.

use std::fmt;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What a server says on its management port.
pub trait Managed: Send + Sync + 'static {
    /// The program and its version, such as `rmq-broker 0.1.0`.
    const VERSION: &'static str;

    /// The text of `/livez`. A server is alive as long as it answers; the text may say what is wrong anyway.
    fn live(&self) -> String {
        "ok\n".to_owned()
    }

    /// The text of `/readyz`.
    ///
    /// # Errors
    /// The text when the server is not ready.
    fn ready(&self) -> Result<String, String>;

    /// The text of `/metrics` in the format OpenMetrics. Called on a thread that may block.
    ///
    /// # Errors
    /// When the text cannot be written.
    fn metrics(&self) -> Result<String, fmt::Error>;
}

/// Serves until `stop`. Connections that are kept open do not hold up the stop.
///
/// # Errors
/// When the port ends before.
pub async fn serve_management<M: Managed>(
    listener: TcpListener,
    managed: Arc<M>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    serve(listener, managed, stop).await
}

/// Serves the streams that come until `stop`, as with TLS: somebody else accepts connections.
///
/// # Errors
/// None is known.
pub async fn serve_management_streams<M, IO>(
    streams: mpsc::Receiver<IO>,
    managed: Arc<M>,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    M: Managed,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve(Streams(streams), managed, stop).await
}

/// Streams as axum takes them. Where they come from is nobody's concern here.
struct Streams<IO>(mpsc::Receiver<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Listener for Streams<IO> {
    type Io = IO;
    type Addr = ();

    async fn accept(&mut self) -> (IO, ()) {
        match self.0.recv().await {
            Some(stream) => (stream, ()),
            // Who accepts has ended, and the stop is near.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

async fn serve<M: Managed, L: Listener>(
    listener: L,
    managed: Arc<M>,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    L::Addr: fmt::Debug,
{
    let routes = Router::new()
        .route("/livez", get(live::<M>))
        .route("/readyz", get(ready::<M>))
        .route("/metrics", get(metrics::<M>))
        .route("/version", get(|| async { format!("{}\n", M::VERSION) }))
        .with_state(managed);
    tokio::select! {
        () = stop => Ok(()),
        served = axum::serve(listener, routes) => served,
    }
}

async fn live<M: Managed>(State(managed): State<Arc<M>>) -> String {
    managed.live()
}

async fn ready<M: Managed>(State(managed): State<Arc<M>>) -> impl IntoResponse {
    match managed.ready() {
        Ok(text) => (StatusCode::OK, text),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
    }
}

async fn metrics<M: Managed>(State(managed): State<Arc<M>>) -> impl IntoResponse {
    // A scrape of a broker looks at every topic and asks the disk: away from the threads that serve connections.
    let text = tokio::task::spawn_blocking(move || managed.metrics()).await;
    match text.unwrap_or(Err(fmt::Error)) {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    struct Server {
        is_ready: AtomicBool,
    }

    impl Managed for Server {
        const VERSION: &'static str = "a-server 1.2.3";

        fn ready(&self) -> Result<String, String> {
            if self.is_ready.load(Ordering::Relaxed) {
                Ok("ready\n".to_owned())
            } else {
                Err("not ready: it waits\n".to_owned())
            }
        }

        fn metrics(&self) -> Result<String, fmt::Error> {
            match self.is_ready.load(Ordering::Relaxed) {
                true => Ok("# EOF\n".to_owned()),
                false => panic!("a scrape that fails ends no server"),
            }
        }
    }

    async fn ask(addr: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn a_server_tells_how_it_is_until_it_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        let server = Arc::new(Server {
            is_ready: AtomicBool::new(false),
        });
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(serve_management(listener, Arc::clone(&server), async {
            stopped.await.expect("told");
        }));
        for (path, status, text) in [
            ("/livez", 200, "ok\n"),
            ("/readyz", 503, "not ready: it waits\n"),
            ("/metrics", 500, "the metrics cannot be written"),
            ("/version", 200, "a-server 1.2.3\n"),
            ("/", 404, ""),
        ] {
            let answer = ask(addr, path).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            assert!(answer.contains(text), "{answer}");
        }
        server.is_ready.store(true, Ordering::Relaxed);
        assert!(ask(addr, "/readyz").await.contains("200 OK"));
        let scrape = ask(addr, "/metrics").await;
        assert!(scrape.contains("application/openmetrics-text"), "{scrape}");
        assert!(scrape.ends_with("# EOF\n"), "{scrape}");
        // A connection that stays open does not hold up the stop.
        let mut open = TcpStream::connect(addr).await.expect("it listens");
        open.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .expect("asked");
        let mut first = [0; 12];
        open.read_exact(&mut first).await.expect("answered");
        stop.send(()).expect("it serves");
        served.await.expect("no panic").expect("a clean end");
    }
}
