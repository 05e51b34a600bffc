//! Requests to a server of S3: the HTTP client and the TLS that the rest of the workspace has.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::TokioExecutor;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};

/// No connection by then is an error, which is tried again.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Nor is an answer by then, beside the time that the bytes take.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// The slowest link: bytes a second.
const BYTES_PER_SECOND_MIN: u64 = 32 << 10;

/// Makes clients of one kind, whatever is asked for.
#[derive(Debug)]
pub(super) struct Connections;

#[derive(Debug)]
struct Connected(Client<HttpsConnector<Tcp>, HttpRequestBody>);

#[derive(Debug, thiserror::Error)]
#[error("no answer after {} s", .0.as_secs())]
struct Late(Duration);

impl HttpConnector for Connections {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = Tcp::new();
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let provider = rustls::crypto::ring::default_provider();
        let tls = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
        let tls = tls.map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: Box::new(error),
        })?;
        let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(HttpClient::new(Connected(client)))
    }
}

/// How long so many bytes may take.
fn room(bytes: u64) -> Duration {
    ANSWER_MAX + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN)
}

impl Connected {
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let room_of_request = room(request.body().content_length() as u64);
        let asked = tokio::time::timeout(room_of_request, self.0.request(request)).await;
        let late = |after| HttpError::new(HttpErrorKind::Timeout, Late(after));
        let answer = asked.map_err(|_| late(room_of_request))?;
        let answer = answer.map_err(|error| {
            let kind = match error.is_connect() {
                true => HttpErrorKind::Connect,
                false => HttpErrorKind::Request,
            };
            HttpError::new(kind, error)
        })?;
        let (parts, body) = answer.into_parts();
        let length = parts.headers.get("content-length");
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let room_of_answer = room(length.unwrap_or(0));
        let read = tokio::time::timeout(room_of_answer, body.collect()).await;
        let body = read.map_err(|_| late(room_of_answer))?;
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?;
        let body = Full::<Bytes>::new(body.to_bytes()).map_err(|never| match never {});
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

impl HttpService for Connected {
    fn call<'this, 'call>(
        &'this self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'call>>
    where
        'this: 'call,
        Self: 'call,
    {
        Box::pin(self.answer(request))
    }
}
