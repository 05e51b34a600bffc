//! The one error type: what failed, where, why, and whether trying again can help.

use std::error::Error as StdError;
use std::fmt;

use rmq_protocol::ResponseCode;
use rmq_protocol::bodies::BodyError;
use rmq_protocol::requests::FieldError;
use rmq_transport::CallError;

/// What kind of failure it is; new kinds may come.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::ErrorKind;
///
/// match client.route("orders").await {
///     Err(error) if error.kind() == ErrorKind::NoRoute => println!("not there: {:?}", error.help()),
///     other => drop(other?),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller gave something that cannot be sent.
    InvalidInput,
    /// No name server knows a route of the topic.
    NoRoute,
    /// No connection to the other side.
    Unreachable,
    /// No answer in time; it may have been processed.
    Timeout,
    /// The other side is too busy, or is about to stop.
    Busy,
    /// The other side does not allow it.
    Denied,
    /// What was asked for does not exist.
    NotFound,
    /// The other side refused it for another reason; its code says which.
    Refused,
    /// Whether the message of a send is stored is not known. One of the tries reached a broker, and no answer came, or code 10, 11 or 12:
    /// the master has the message and could not confirm it in time, so the message may be gone with the master. A second send can store
    /// the message twice. The other kinds, and [`Closed`](Self::Closed) where [`Error::may_have_been_processed`] is false, mean that
    /// the message is not stored.
    Indeterminate,
    /// The answer cannot be understood.
    Protocol,
    /// The body of a message is not the value that was asked for.
    Undecodable,
    /// The client was shut down.
    Closed,
}

/// A failed operation.
///
/// ```
/// use rmq_client::{ClusterUrl, Error, ErrorKind};
///
/// let error: Error = "http://x".parse::<ClusterUrl>().unwrap_err().into();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// assert!(!error.is_retryable() && error.broker_code().is_none());
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    /// What failed last, when the kind is indeterminate.
    last: Option<ErrorKind>,
    what: String,
    addr: Option<String>,
    broker_code: Option<i32>,
    advice: Option<String>,
    may_have_been_processed: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            last: None,
            what: what.into(),
            addr: None,
            broker_code: None,
            advice: None,
            may_have_been_processed: false,
            source: None,
        }))
    }

    /// The error of a request that carried several messages, for one of them.
    pub(crate) fn shared(error: &std::sync::Arc<Error>) -> Self {
        Self(Box::new(Inner {
            kind: error.0.kind,
            last: error.0.last,
            what: error.0.what.clone(),
            addr: error.0.addr.clone(),
            broker_code: error.0.broker_code,
            advice: error.0.advice.clone(),
            may_have_been_processed: error.0.may_have_been_processed,
            source: Some(Box::new(std::sync::Arc::clone(error))),
        }))
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, what)
    }

    pub(crate) fn protocol(addr: &str, what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, what).at(addr)
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the client was shut down")
    }

    pub(crate) fn at(mut self, addr: &str) -> Self {
        self.0.addr = Some(addr.to_owned());
        self
    }

    pub(crate) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    pub(crate) fn source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.boxed_source(Box::new(source))
    }

    pub(crate) fn boxed_source(mut self, source: Box<dyn StdError + Send + Sync>) -> Self {
        self.0.source = Some(source);
        self
    }

    /// Notes that the other side may have done it, also in an earlier try.
    pub(crate) fn processed_perhaps(mut self, perhaps: bool) -> Self {
        self.0.may_have_been_processed |= perhaps;
        self
    }

    /// The error of a send that ends with it: its kind says whether the message may be stored.
    pub(crate) fn of_send(mut self) -> Self {
        if self.0.may_have_been_processed && self.0.kind != ErrorKind::Closed {
            self.0.last = Some(self.0.kind);
            self.0.kind = ErrorKind::Indeterminate;
        }
        self
    }

    /// Puts what was being done before what went wrong.
    pub(crate) fn doing(mut self, what: &str) -> Self {
        self.0.what = format!("{what}: {}", self.0.what);
        self
    }

    /// An answer with a code that is not success.
    pub(crate) fn answer(addr: &str, code: i32, remark: &str) -> Self {
        let known = ResponseCode::from_i32(code);
        let kind = match known {
            Some(ResponseCode::SystemBusy | ResponseCode::FlowControl | ResponseCode::GoAway) => {
                ErrorKind::Busy
            }
            Some(ResponseCode::ServiceNotAvailable) => ErrorKind::Busy,
            Some(ResponseCode::NoPermission) => ErrorKind::Denied,
            Some(
                ResponseCode::TopicNotExist
                | ResponseCode::QueryNotFound
                | ResponseCode::SubscriptionGroupNotExist
                | ResponseCode::SubscriptionNotExist
                | ResponseCode::ConsumerNotOnline
                | ResponseCode::BrokerNotExist
                | ResponseCode::UserNotExist
                | ResponseCode::PolicyNotExist,
            ) => ErrorKind::NotFound,
            _ => ErrorKind::Refused,
        };
        let name = known.map_or_else(|| format!("code {code}"), |known| known.to_string());
        let what = if remark.is_empty() {
            name
        } else {
            format!("{name}: {remark}")
        };
        let mut error = Self::new(kind, what).at(addr);
        error.0.broker_code = Some(code);
        // apache/rocketmq `SendStatus`: the master has it.
        error.0.may_have_been_processed = is_unconfirmed(code);
        error
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether doing the same again, maybe later, can succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.0.last.unwrap_or(self.0.kind) {
            ErrorKind::NoRoute | ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Busy => {
                true
            }
            ErrorKind::Refused => self.0.broker_code.is_some_and(|code| {
                code == ResponseCode::SystemError.as_i32() || is_unconfirmed(code)
            }),
            _ => false,
        }
    }

    /// The error for what a replica does not have, and its master may have.
    pub(crate) fn of_replica(mut self) -> Self {
        self.0.broker_code = Some(ResponseCode::QueryNotFound.as_i32());
        self
    }

    /// See [`Error::of_replica`].
    pub(crate) fn is_of_replica(&self) -> bool {
        self.0.kind == ErrorKind::Unreachable && self.0.broker_code.is_some()
    }

    /// Whether no answer came: the server may be away.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unreachable | ErrorKind::Timeout)
    }

    /// Whether the other side may have carried the request out anyway. After `false` nothing happened, so a second try cannot double it.
    #[must_use]
    pub fn may_have_been_processed(&self) -> bool {
        self.0.may_have_been_processed
    }

    /// The response code of the broker or name server, when it answered.
    #[must_use]
    pub fn broker_code(&self) -> Option<i32> {
        self.0.broker_code
    }

    /// Where it failed, `host:port`.
    #[must_use]
    pub fn addr(&self) -> Option<&str> {
        self.0.addr.as_deref()
    }

    /// What can be done about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }
}

/// Whether the code says that a message is stored, and not confirmed.
fn is_unconfirmed(code: i32) -> bool {
    matches!(
        ResponseCode::from_i32(code),
        Some(
            ResponseCode::FlushDiskTimeout
                | ResponseCode::FlushSlaveTimeout
                | ResponseCode::SlaveNotAvailable
        )
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        if let Some(addr) = &self.0.addr {
            write!(f, " (at {addr})")?;
        }
        if let Some(advice) = &self.0.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("what", &self.0.what)
            .field("addr", &self.0.addr)
            .field("broker_code", &self.0.broker_code)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        // Without the address, which stands at the end of each of our own texts.
        let (kind, addr, what) = match &error {
            CallError::Connect { addr, source } => {
                let what = format!("cannot connect: {source}");
                (ErrorKind::Unreachable, addr, what)
            }
            CallError::Lost { addr, why } => {
                let why = why
                    .as_ref()
                    .map_or_else(String::new, |why| format!(": {why}"));
                let what = format!("the connection was lost before the answer came{why}");
                (ErrorKind::Unreachable, addr, what)
            }
            CallError::Timeout { addr, after } => (
                ErrorKind::Timeout,
                addr,
                format!("no answer within {after:?}"),
            ),
            CallError::NotSent { addr, after, why } => {
                let what = format!("the request could not be sent within {after:?}: {why}");
                (ErrorKind::Unreachable, addr, what)
            }
            CallError::TooLarge { bytes, max, .. } => {
                return Self::invalid(format!(
                    "a request of {bytes} bytes is too large: servers take {max}"
                ))
                .source(error);
            }
            CallError::Closed { .. } => return Self::closed(),
            _ => return Self::new(ErrorKind::Unreachable, error.to_string()).source(error),
        };
        let mut out = Self::new(kind, what).at(addr);
        out.0.may_have_been_processed = error.may_have_been_processed();
        out.source(error)
    }
}

impl From<crate::UrlError> for Error {
    fn from(error: crate::UrlError) -> Self {
        Self::invalid(error.to_string()).source(error)
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        Self::new(ErrorKind::Protocol, "the answer lacks what it must have").source(error)
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        Self::new(ErrorKind::Protocol, "the answer's body cannot be read").source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decide_what_can_be_retried() {
        for (code, kind, retryable) in [
            (ResponseCode::SystemError, ErrorKind::Refused, true),
            (ResponseCode::SystemBusy, ErrorKind::Busy, true),
            (ResponseCode::NoPermission, ErrorKind::Denied, false),
            (ResponseCode::TopicNotExist, ErrorKind::NotFound, false),
            (ResponseCode::MessageIllegal, ErrorKind::Refused, false),
            (ResponseCode::SlaveNotAvailable, ErrorKind::Refused, true),
        ] {
            let error = Error::answer("b:1", code.as_i32(), "why");
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{code}"
            );
            assert_eq!(error.broker_code(), Some(code.as_i32()));
            assert_eq!(error.to_string(), format!("{code}: why (at b:1)"));
        }
    }

    #[test]
    fn a_send_that_may_be_stored_is_indeterminate() {
        let refused = |code: ResponseCode| Error::answer("b:1", code.as_i32(), "why");
        let unconfirmed = refused(ResponseCode::FlushSlaveTimeout).of_send();
        assert_eq!(unconfirmed.kind(), ErrorKind::Indeterminate);
        assert!(unconfirmed.is_retryable() && unconfirmed.may_have_been_processed());
        let illegal = || refused(ResponseCode::MessageIllegal);
        assert_eq!(illegal().of_send().kind(), ErrorKind::Refused);
        // What an earlier try may have stored stays possible, and this one is refused for good.
        let after_silence = illegal().processed_perhaps(true).of_send();
        assert_eq!(after_silence.kind(), ErrorKind::Indeterminate);
        assert!(!after_silence.is_retryable());
        let closed = Error::closed().processed_perhaps(true).of_send();
        assert_eq!(closed.kind(), ErrorKind::Closed);
    }

    #[test]
    fn lost_calls_may_have_been_processed() {
        let lost: Error = CallError::Lost {
            addr: "b:1".to_owned(),
            why: None,
        }
        .into();
        assert!(lost.may_have_been_processed() && lost.is_retryable());
        assert_eq!(lost.addr(), Some("b:1"));
    }

    #[test]
    fn calls_without_an_answer_say_where_and_why() {
        let addr = || "b:1".to_owned();
        let after = std::time::Duration::from_secs(4);
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let (source, why) = (refused.into(), "not connected");
        let texts = [
            CallError::Connect {
                addr: addr(),
                source,
            },
            CallError::Lost {
                addr: addr(),
                why: Some("it broke".to_owned()),
            },
            CallError::Timeout {
                addr: addr(),
                after,
            },
            CallError::NotSent {
                addr: addr(),
                after,
                why,
            },
        ]
        .map(|error| Error::from(error).to_string());
        assert_eq!(
            texts,
            [
                "cannot connect: connection refused (at b:1)",
                "the connection was lost before the answer came: it broke (at b:1)",
                "no answer within 4s (at b:1)",
                "the request could not be sent within 4s: not connected (at b:1)",
            ]
        );
    }
}
