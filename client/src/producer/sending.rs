//! A send from its call to its end: hooks, trace, measures.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::Span;

use super::{Producer, SharedError};
use crate::error::Error;
use crate::message::Message;
use crate::metrics;
use crate::trace;

/// What a hook says against a message.
type Refusal = Box<dyn StdError + Send + Sync>;
type Hook = Arc<dyn Fn(Message) -> Result<Message, Refusal> + Send + Sync>;

/// What each message goes through before it is sent, in this order.
#[derive(Clone, Default)]
pub(super) struct Hooks(Vec<Hook>);

impl Hooks {
    pub(super) fn add<H, E>(&mut self, hook: H)
    where
        H: Fn(Message) -> Result<Message, E> + Send + Sync + 'static,
        E: Into<Refusal>,
    {
        self.0
            .push(Arc::new(move |message| hook(message).map_err(Into::into)));
    }

    fn run(&self, mut message: Message) -> Result<Message, Error> {
        for hook in &self.0 {
            let topic = message.topic().to_owned();
            message = hook(message).map_err(|refusal| {
                let what = format!("a message for \"{topic}\" is refused by a hook: {refusal}");
                Error::invalid(what).boxed_source(refusal)
            })?;
        }
        Ok(message)
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hooks", self.0.len())
    }
}

/// A send that has begun. Dropped without an end it was cancelled.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) span: Span,
    pub(super) began: Instant,
    meter: metrics::Sending,
}

impl Producer {
    /// The message as it leaves.
    pub(super) fn begin_send(&self, message: Message) -> Result<(Message, Sending), Error> {
        // One look at the clock for all that counts from here.
        let began = Instant::now();
        let sending = Sending {
            span: trace::send(message.topic()),
            began,
            meter: self.client.meters().sending(message.topic(), began),
        };
        let hooks = &self.shared.hooks;
        let mut message = match hooks.0.is_empty() {
            true => message,
            false => match sending.span.in_scope(|| hooks.run(message)) {
                Ok(message) => message,
                Err(error) => return Err(sending.failed(error)),
            },
        };
        if self.shared.trace_context {
            trace::carry(&mut message, &sending.span);
        }
        Ok((message, sending))
    }

    /// As [`Producer::begin_send`], for messages that leave together, or not at all.
    pub(super) fn begin_all(
        &self,
        messages: Vec<Message>,
    ) -> Result<(Vec<Message>, Vec<Sending>), Error> {
        let mut begun = Vec::with_capacity(messages.len());
        let mut sendings = Vec::with_capacity(messages.len());
        for message in messages {
            match self.begin_send(message) {
                Ok((message, sending)) => {
                    begun.push(message);
                    sendings.push(sending);
                }
                Err(error) => return Err(failed(sendings, error)),
            }
        }
        Ok((begun, sendings))
    }
}

impl Sending {
    pub(super) fn failed(mut self, error: Error) -> Error {
        self.meter.failed(error.kind());
        error
    }

    pub(super) fn ended<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        self.note(result.as_ref().err());
        result
    }

    /// As [`Sending::ended`], for a request that carried several messages.
    pub(super) fn ended_with<T>(self, result: Result<T, SharedError>) -> Result<T, SharedError> {
        self.note(result.as_ref().err().map(AsRef::as_ref));
        result
    }

    fn note(mut self, error: Option<&Error>) {
        match error {
            None => self.meter.stored(),
            Some(error) => self.meter.failed(error.kind()),
        }
    }

    /// No answer will say what became of the message.
    pub(super) fn handed_over(mut self, result: Result<(), Error>) -> Result<(), Error> {
        match &result {
            Ok(()) => self.meter.handed_over(),
            Err(error) => self.meter.failed(error.kind()),
        }
        result
    }
}

/// All failed for one reason.
pub(super) fn failed(sendings: Vec<Sending>, error: Error) -> Error {
    sendings
        .into_iter()
        .fold(error, |error, sending| sending.failed(error))
}
