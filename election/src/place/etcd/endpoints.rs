//! The members of an etcd, one after another: each call asks the one that answered last, and the next one when it fails.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{
    Certificate, Client, ConnectOptions, Error, Identity, TlsOptions, Txn, TxnResponse,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::config::EtcdConfig;
use crate::place::PlaceError;
use crate::place::refused::is_refused_connection;

/// An etcd closes connections that ask more often than every 5 s whether it is there (`--grpc-keepalive-min-time`).
const KEEP_ALIVE: Duration = Duration::from_secs(6);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// The endpoints.
pub(super) struct Endpoints {
    all: Vec<Endpoint>,
    /// Index of the one that is asked first.
    current: AtomicUsize,
    options: ConnectOptions,
    timeout: Duration,
}

struct Endpoint {
    url: String,
    /// A connection, made when it is needed; a failed one is dropped.
    client: Mutex<Option<Client>>,
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls = self.all.iter().map(|endpoint| &endpoint.url);
        f.debug_list().entries(urls).finish()
    }
}

/// Why a call failed.
struct Failure {
    text: String,
    sent: Sent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// The etcd does not know of the call.
    No,
    /// It has refused it.
    Refused,
    /// The etcd may have done it.
    Perhaps,
}

impl Failure {
    fn of(error: &Error) -> Self {
        let (text, sent) = match error {
            Error::GRpcStatus(status) if is_refused_connection(status) => (
                "the connection is refused: does etcd run there?".to_owned(),
                Sent::No,
            ),
            Error::GRpcStatus(status) => {
                let message = status.message();
                // The codes by their names: the crate of their type is no dependency.
                let code = format!("{:?}", status.code());
                match code.as_str() {
                    "Unauthenticated" => (
                        format!("{message}: check the user and password of etcd"),
                        Sent::Refused,
                    ),
                    "InvalidArgument" => (
                        format!("{message}: an etcd with access control needs a user and password"),
                        Sent::Refused,
                    ),
                    "PermissionDenied" => (
                        format!(
                            "{message}: the user needs the right to read and write all keys of the group"
                        ),
                        Sent::Refused,
                    ),
                    "ResourceExhausted" => (
                        format!(
                            "{message}: where its space is used up, compact and defragment the etcd and disarm its alarm"
                        ),
                        Sent::Refused,
                    ),
                    "FailedPrecondition" => (message.to_owned(), Sent::Refused),
                    _ => (format!("{code}: {message}"), Sent::Perhaps),
                }
            }
            Error::InvalidArgs(_)
            | Error::InvalidUri(_)
            | Error::EndpointError(_)
            | Error::InvalidMetadataValue(_) => (error.to_string(), Sent::No),
            _ => (error.to_string(), Sent::Perhaps),
        };
        Self { text, sent }
    }
}

impl Endpoints {
    pub(super) fn new(config: &EtcdConfig) -> Self {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(config.timeout)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(true)
            // A member that has lost the majority ends what is watched there, instead of keeping silent.
            .with_require_leader(true);
        if let Some((name, password)) = &config.user {
            options = options
                .with_user(name, password)
                .with_auto_token_refresh(true);
        }
        if config.endpoints.iter().any(|url| url.starts_with("https")) {
            let tls = config.tls.clone().unwrap_or_default();
            let mut given = match tls.ca {
                Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(ca)),
                None => TlsOptions::new().with_enabled_roots(),
            };
            if let Some((certificate, key)) = tls.identity {
                given = given.identity(Identity::from_pem(certificate, key));
            }
            if let Some(name) = tls.server_name {
                given = given.domain_name(name);
            }
            options = options.with_tls(given);
        }
        let endpoint = |url: &String| Endpoint {
            url: url.clone(),
            client: Mutex::new(None),
        };
        Self {
            all: config.endpoints.iter().map(endpoint).collect(),
            current: AtomicUsize::new(0),
            options,
            timeout: config.timeout,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Asks for something that changes nothing: any endpoint may answer.
    pub(super) async fn read(&self, txn: Txn) -> Result<TxnResponse, PlaceError> {
        self.ask(txn, true).await
    }

    /// Asks for a change: another endpoint is asked only where the one before cannot know of it.
    pub(super) async fn change(&self, txn: Txn) -> Result<TxnResponse, PlaceError> {
        self.ask(txn, false).await
    }

    async fn ask(&self, txn: Txn, may_repeat: bool) -> Result<TxnResponse, PlaceError> {
        let end = Instant::now() + self.timeout;
        let mut problems = Vec::new();
        for left in (1..=self.all.len()).rev() {
            let at = self.at();
            let Some(endpoint) = self.all.get(at) else {
                break;
            };
            let rest = end.saturating_duration_since(Instant::now());
            // A silent endpoint leaves time for the others, where they may be asked.
            let share = if may_repeat {
                rest / u32::try_from(left).unwrap_or(1)
            } else {
                rest
            };
            let failure = match timeout(share, self.ask_one(endpoint, txn.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => Failure {
                    text: format!("no answer in {} ms", share.as_millis()),
                    sent: Sent::Perhaps,
                },
            };
            self.leave(at).await;
            problems.push(format!("{}: {}", endpoint.url, failure.text));
            if !may_repeat && failure.sent == Sent::Perhaps {
                return Err(PlaceError::Unknown {
                    place: "etcd".to_owned(),
                    problem: problems.join("; "),
                });
            }
            if failure.sent == Sent::Refused {
                break;
            }
        }
        Err(self.failed(&problems))
    }

    async fn ask_one(&self, endpoint: &Endpoint, txn: Txn) -> Result<TxnResponse, Failure> {
        // A user that cannot be authenticated has asked for nothing yet.
        let mut client = self.client(endpoint).await.map_err(|error| Failure {
            sent: Sent::No,
            ..Failure::of(&error)
        })?;
        client.txn(txn).await.map_err(|error| Failure::of(&error))
    }

    async fn client(&self, endpoint: &Endpoint) -> Result<Client, Error> {
        let mut client = endpoint.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let connected = Client::connect([&endpoint.url], Some(self.options.clone())).await?;
        Ok(client.insert(connected).clone())
    }

    /// A connection for a watch, its endpoint, and the endpoint's index.
    pub(super) async fn connection(&self) -> Result<(Client, usize), PlaceError> {
        let at = self.at();
        let Some(endpoint) = self.all.get(at) else {
            return Err(self.failed(&[]));
        };
        let problem = match timeout(self.timeout, self.client(endpoint)).await {
            Ok(Ok(client)) => return Ok((client, at)),
            Ok(Err(error)) => Failure::of(&error).text,
            Err(_) => format!("no connection in {} ms", self.timeout.as_millis()),
        };
        self.leave(at).await;
        Err(self.failed(&[format!("{}: {problem}", endpoint.url)]))
    }

    /// The longest time of a call.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What went wrong at an endpoint, as an error of the place.
    pub(super) async fn failed_at(&self, at: usize, problem: &str) -> PlaceError {
        self.leave(at).await;
        let url = self.all.get(at).map_or("", |endpoint| &endpoint.url);
        self.failed(&[format!("{url}: {problem}")])
    }

    fn failed(&self, problems: &[String]) -> PlaceError {
        PlaceError::Failed {
            place: "etcd".to_owned(),
            problem: problems.join("; "),
        }
    }

    fn at(&self) -> usize {
        self.current.load(Ordering::Relaxed) % self.all.len().max(1)
    }

    /// Drops the connection to an endpoint, and asks the next one first from now on.
    async fn leave(&self, at: usize) {
        let next = (at + 1) % self.all.len().max(1);
        // Somebody else may have left it before.
        let _ = self
            .current
            .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        if let Some(endpoint) = self.all.get(at) {
            *endpoint.client.lock().await = None;
        }
    }
}

/// What is wrong with a stream.
pub(super) fn text_of(error: &Error) -> String {
    Failure::of(error).text
}
