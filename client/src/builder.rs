//! Settings of a client.

use std::sync::Arc;
use std::time::Duration;

use rmq_protocol::code::RequestCode;
use rmq_protocol::header::Language;
use rmq_protocol::names::{TRACE_TOPIC, validate_topic};
use rmq_transport::{CallerConfig, Clock, Connector, SystemClock, TcpConnector};

use crate::client::Client;
use crate::credentials::Credentials;
use crate::error::Error;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::url::ClusterUrl;

/// Time limits.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use std::time::Duration;
/// use rmq_client::{Client, Timeouts};
///
/// let mut timeouts = Timeouts::default();
/// timeouts.request = Duration::from_secs(2);
/// let patient = Client::builder("rmq://localhost:9876").timeouts(timeouts).connect().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// One attempt to connect. Default 3 s.
    pub connect: Duration,
    /// One request, connecting included. Default 5 s.
    pub request: Duration,
    /// How old a route may become before a newer one is asked for. Default 30 s. It is used meanwhile, up to four times as old.
    pub route_age: Duration,
    /// Between heartbeats of a group's member. Default 30 s; brokers forget a client after 120 s.
    pub heartbeat: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            request: Duration::from_secs(5),
            route_age: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
        }
    }
}

/// Builds a [`Client`] with other than the usual settings.
///
/// ```no_run
/// # async fn example() -> Result<(), rmq_client::Error> {
/// use std::time::Duration;
/// let client = rmq_client::Client::builder("rmq://localhost:9876")
///     .name("checkout")
///     .request_timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use]
pub struct ClientBuilder {
    url: String,
    pub(crate) name: Option<String>,
    pub(crate) timeouts: Timeouts,
    pub(crate) connector: Arc<dyn Connector>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) caller: CallerConfig,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) first_connect_within: Duration,
    pub(crate) message_traces: Option<String>,
}

impl ClientBuilder {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: None,
            timeouts: Timeouts::default(),
            connector: Arc::new(TcpConnector),
            #[cfg(feature = "tls")]
            tls: None,
            clock: Arc::new(SystemClock),
            caller: CallerConfig {
                language: Language::Rust,
                probe: Some(RequestCode::GetBrokerRuntimeInfo.as_i32()),
                ..CallerConfig::default()
            },
            credentials: None,
            first_connect_within: Duration::ZERO,
            message_traces: None,
        }
    }

    /// Tells clients of one process apart; part of the client id that brokers show. Default: unique.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// All time limits at once.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The time limit of one request, connecting included.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.request = timeout;
        self
    }

    /// How connections are opened: plain TCP unless told otherwise.
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = connector;
        self
    }

    /// Connects with TLS, over what the [connector](Self::connector) opens. Default: connections are plain.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), rmq_client::Error> {
    /// use rmq_client::{Client, Tls};
    ///
    /// let tls = Tls::new().ca_file("/etc/rmq/ca.crt");
    /// let client = Client::builder("rmq://localhost:9876").tls(tls).connect().await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The clock of what is written into messages and heartbeats. Lengths of time are tokio's, which no change of the system's clock
    /// touches. Default: the system's clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Signs every request. Default: requests are not signed.
    #[cfg(feature = "credentials")]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Requests that may wait for an answer at once, for each connection; more wait for room. Default 65,535.
    pub fn in_flight_max(mut self, requests: usize) -> Self {
        self.caller.in_flight_max = requests.max(1);
        self
    }

    /// Lets [`ClientBuilder::connect`] try for so long, with growing pauses, while no name server answers: for a service that may start
    /// before its cluster does. Default: one try. What waiting does not mend, such as an address that makes no sense, fails at once.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), rmq_client::Error> {
    /// use std::time::Duration;
    /// use rmq_client::Client;
    ///
    /// let client = Client::builder("rmq://ns-0:9876")
    ///     .retry_first_connect(Duration::from_secs(60))
    ///     .connect()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn retry_first_connect(mut self, within: Duration) -> Self {
        self.first_connect_within = within;
        self
    }

    /// Writes what the client does with each message into `topic`; `None`: `RMQ_SYS_TRACE_TOPIC`, which brokers make. Producers say that they
    /// sent it, how a transaction ended and that they recalled it; consumers say when they began with it and how it ended. `rmq-ctl trace`,
    /// `mqadmin queryMsgTraceById` and [`Admin::traces`](crate::Admin::traces) read it. Default: off.
    ///
    /// Traces leave within a second, in messages of up to 64 records, and never hold up what they speak of: beyond 2,048 records that wait
    /// they are dropped and counted ([`Client::message_traces_lost`]). [`Client::shutdown`] sends what waits; a client that is only
    /// dropped takes up to a second of it along. No traces are written of messages of `topic` and of `RMQ_SYS_TRACE_TOPIC`.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), rmq_client::Error> {
    /// use rmq_client::{Client, Message};
    ///
    /// let client = Client::builder("rmq://localhost:9876").message_traces(None).connect().await?;
    /// let receipt = client.producer().send(Message::new("orders", "17")).await?;
    /// println!("rmq-ctl trace {}", receipt.message_id());
    /// client.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn message_traces(mut self, topic: Option<&str>) -> Self {
        self.message_traces = Some(topic.unwrap_or(TRACE_TOPIC).to_owned());
        self
    }

    /// Connects: `Ok` means that a name server answered.
    ///
    /// # Errors
    /// When the address cannot be understood, the topic of message traces has a name that is not allowed, files of TLS cannot be used, or no name
    /// server answers in time.
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn connect(mut self) -> Result<Client, Error> {
        let url: ClusterUrl = self.url.parse()?;
        if let Some(topic) = &self.message_traces {
            validate_topic(topic).map_err(|error| Error::invalid(error.to_string()))?;
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.take() {
            let through = Arc::clone(&self.connector);
            let opened = tokio::task::spawn_blocking(move || tls.connector(through)).await;
            self.connector = opened.map_err(|error| Error::closed().source(error))??;
        }
        self.caller.connect_timeout = self.timeouts.connect;
        Client::start(url, self).await
    }
}
