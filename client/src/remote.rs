//! One server: typed requests, raw requests, answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmq_protocol::requests::{Reply, Request};
use rmq_protocol::{FieldSource, ResponseCode};
use rmq_transport::{CallError, Caller, OwnedFrame};

use crate::credentials::Credentials;
use crate::error::Error;
use crate::life::Life;

/// A server at one address. Cheap to clone; all clones share one connection, which is opened when it is first needed.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::protocol::requests::GetBrokerRuntimeInfo;
/// let answer = client.remote("127.0.0.1:10911").call(&GetBrokerRuntimeInfo {}, b"").await?;
/// println!("{} bytes", answer.body().len());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Remote {
    caller: Caller,
    /// The same for all answers.
    addr: Arc<str>,
    timeout: Duration,
    credentials: Option<Arc<Credentials>>,
    life: Arc<Life>,
}

impl Remote {
    pub(crate) fn new(
        caller: Caller,
        timeout: Duration,
        credentials: Option<Arc<Credentials>>,
        life: Arc<Life>,
    ) -> Self {
        Self {
            addr: caller.addr().into(),
            caller,
            timeout,
            credentials,
            life,
        }
    }

    /// Its address, `host:port`.
    #[must_use]
    pub fn addr(&self) -> &str {
        self.caller.addr()
    }

    /// The same server with another time limit for each request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same server with a limit that is not longer than this.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.timeout = self.timeout.min(limit);
        self
    }

    /// Sends a typed request; `Ok` means that the server answered with success.
    ///
    /// # Errors
    /// When there is no answer in time, or one with another code.
    ///
    /// # Cancel safety
    /// The server may have processed the request of a dropped call, or not.
    pub async fn call<'a, R: Request<'a> + Sync>(
        &self,
        request: &R,
        body: &[u8],
    ) -> Result<Answer, Error> {
        self.call_any(R::CODE.as_i32(), request, body)
            .await?
            .success()
    }

    /// Sends any request; `Ok` means that there is an answer, whatever its code.
    ///
    /// # Errors
    /// When there is no answer in time.
    ///
    /// # Cancel safety
    /// As [`Remote::call`].
    pub async fn call_any(
        &self,
        code: i32,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> Result<Answer, Error> {
        if let Some(credentials) = &self.credentials {
            let signature = credentials.sign(fields, body);
            return self.call_signed(code, &(fields, signature), body).await;
        }
        self.call_signed(code, fields, body).await
    }

    async fn call_signed(
        &self,
        code: i32,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> Result<Answer, Error> {
        if tracing::enabled!(target: "rmq_rpc", tracing::Level::TRACE) {
            return self.traced(code, fields, body).await;
        }
        let called = self.caller.call(code, fields, body, self.timeout).await;
        let frame = called.map_err(|error| self.failed(error))?;
        Ok(Answer {
            frame,
            addr: Arc::clone(&self.addr),
        })
    }

    /// As [`Remote::call_any`], with a line in the log of target `rmq_rpc`.
    async fn traced(
        &self,
        code: i32,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> Result<Answer, Error> {
        let began = std::time::Instant::now();
        let called = self.caller.call(code, fields, body, self.timeout).await;
        let (addr, micros) = (self.caller.addr(), began.elapsed().as_micros());
        let name = rmq_protocol::RequestCode::from_i32(code)
            .map_or_else(|| "?".to_owned(), |code| format!("{code:?}"));
        match &called {
            Ok(frame) => tracing::trace!(
                target: "rmq_rpc",
                "{addr} {name}({code}) {} B -> {} {} B in {micros} µs",
                body.len(),
                frame.code(),
                frame.body().len()
            ),
            Err(error) => {
                tracing::trace!(target: "rmq_rpc", "{addr} {name}({code}) {} B -> {error} in {micros} µs", body.len())
            }
        }
        Ok(Answer {
            frame: called.map_err(|error| self.failed(error))?,
            addr: Arc::clone(&self.addr),
        })
    }

    /// Sends a request that wants no answer. `Ok` means that it was handed to a connection, and nothing more.
    ///
    /// # Errors
    /// When there is no connection in time.
    ///
    /// # Cancel safety
    /// As [`Remote::call`].
    pub async fn one_way(
        &self,
        code: i32,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> Result<(), Error> {
        let signature = self
            .credentials
            .as_ref()
            .map(|credentials| credentials.sign(fields, body));
        let sent = match signature {
            Some(signature) => {
                let fields = (fields, signature);
                self.caller.one_way(code, &fields, body, self.timeout).await
            }
            None => self.caller.one_way(code, fields, body, self.timeout).await,
        };
        sent.map_err(|error| self.failed(error))
    }

    /// Connects if there is no connection.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let ready = self.caller.ready(self.timeout).await;
        ready.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: CallError) -> Error {
        // A lost connection of a runtime that ended stays lost.
        if matches!(error, CallError::Closed { .. }) || self.life.has_ended() {
            let may_have_been_processed = error.may_have_been_processed();
            return self
                .life
                .closed()
                .processed_perhaps(may_have_been_processed)
                .at(self.addr());
        }
        error.into()
    }

    /// The state of its connection as it changes.
    pub(crate) fn connection(&self) -> tokio::sync::watch::Receiver<rmq_transport::CallerEvent> {
        self.caller.events()
    }

    /// Ends the connection. The next call connects again.
    pub(crate) fn disconnect(&self) {
        self.caller.disconnect();
    }

    /// Who answers now: another server, and another life of the same one, may have forgotten what this one was told.
    pub(crate) fn keeper(&self) -> Keeper {
        Keeper::new(Arc::clone(&self.addr), self.caller.connections())
    }

    pub(crate) fn close(&self) {
        self.caller.close();
    }
}

/// A server, between two connections to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keeper {
    addr: Arc<str>,
    /// Counts connections.
    connection: u64,
}

impl Keeper {
    pub(crate) fn new(addr: impl Into<Arc<str>>, connection: u64) -> Self {
        let addr = addr.into();
        Self { addr, connection }
    }

    /// This client itself.
    pub(crate) fn local() -> Self {
        Self::new("", 0)
    }
}

/// A server's answer.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::protocol::requests::{GetBrokerRuntimeInfo, Request};
///
/// let broker = client.remote("127.0.0.1:10911").with_timeout(std::time::Duration::from_secs(1));
/// let code = GetBrokerRuntimeInfo::CODE.as_i32();
/// let answer = broker.call_any(code, &GetBrokerRuntimeInfo {}, b"").await?;
/// println!("{} {} {:?} {}", answer.code(), answer.remark(), answer.field("x"), answer.version());
/// println!("{} answered {} bytes", answer.addr(), answer.body().len());
/// let answer = answer.success()?;
/// broker.one_way(code, &GetBrokerRuntimeInfo {}, b"").await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Answer {
    frame: OwnedFrame,
    addr: Arc<str>,
}

impl Answer {
    /// The response code.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.frame.code()
    }

    /// The remark, empty when there is none.
    #[must_use]
    pub fn remark(&self) -> String {
        self.frame
            .header()
            .remark
            .map(|remark| remark.to_cow().into_owned())
            .unwrap_or_default()
    }

    /// The version ordinal of the server.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.frame.header().version
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        self.frame.body()
    }

    /// Who answered.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// The answer's typed fields.
    ///
    /// # Errors
    /// When a field is missing or malformed.
    pub fn fields<T: Reply>(&self) -> Result<T, Error> {
        T::decode(&self.frame.header().fields).map_err(|error| Error::from(error).at(&self.addr))
    }

    /// One field's text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        self.frame
            .header()
            .fields
            .get(name)
            .map(|text| text.to_cow().into_owned())
    }

    /// Itself when the code is success.
    ///
    /// # Errors
    /// The code and the remark as an error otherwise.
    pub fn success(self) -> Result<Self, Error> {
        if self.code() == ResponseCode::Success.as_i32() {
            Ok(self)
        } else {
            Err(self.error())
        }
    }

    pub(crate) fn error(&self) -> Error {
        Error::answer(&self.addr, self.code(), &self.remark())
    }
}
