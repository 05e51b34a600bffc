//! W3C trace context in messages (properties `traceparent` and `tracestate`), and the spans of a message's way: `send` at the producer;
//! `receive` at the consumer, and in it `handle` and `settle`.
//!
//! A message carries the context that is current where it is sent. A span that is recorded is a step of its trace: the message then
//! carries the span's own id, and a send without a context begins a trace. Java's own trace keys are other properties, which nothing here
//! touches. Without a subscriber the cost is a look at a task-local for each send, and at two properties for each message that a
//! handler gets; `docs/develop/client.md` has figures.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use tracing::Span;
use tracing::field::Empty;

use crate::message::Message;
use crate::received::ReceivedMessage;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// Parts of a `traceparent`, which [`is_parent`] has looked at.
const TRACE_ID: std::ops::Range<usize> = 3..35;
const SPAN_ID: std::ops::Range<usize> = 36..52;
const FLAGS: std::ops::Range<usize> = 53..55;

tokio::task_local! {
    /// Of the message that is handled here.
    static HANDLED: Option<TraceContext>;
}

/// Where a message stands in a trace, as <https://www.w3.org/TR/trace-context/> writes it.
///
/// ```
/// use rmq_client::TraceContext;
///
/// let context = TraceContext::new("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
/// assert!(context.parent().starts_with("00-"));
/// assert!(TraceContext::new("nonsense", None).is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    parent: Arc<str>,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// The context of these headers; `None` when `parent` is not one.
    #[must_use]
    pub fn new(parent: &str, state: Option<&str>) -> Option<Self> {
        is_parent(parent).then(|| Self {
            parent: parent.into(),
            state: state.map(Into::into),
        })
    }

    /// `traceparent`: version, trace, span and flags.
    #[must_use]
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// `tracestate`: what vendors add.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// What a message carries.
    pub(crate) fn of(message: &ReceivedMessage) -> Option<Self> {
        // Nearly no message of others has one.
        let parent = message.property(PARENT)?;
        Self::new(parent, message.property(STATE))
    }

    /// The context of the message that is handled in this task.
    #[must_use]
    pub fn current() -> Option<Self> {
        HANDLED.try_with(Clone::clone).ok().flatten()
    }

    /// Lets `future` belong to a context, such as one that a request brought: messages that it sends carry it.
    ///
    /// # Cancel safety
    /// As that of `future`.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        HANDLED.scope(Some(self), future).await
    }

    /// The start of a trace.
    fn root() -> Self {
        let parent = format!("00-{:016x}{:016x}-{:016x}-01", random(), random(), random());
        Self {
            parent: parent.into(),
            state: None,
        }
    }

    /// A span of the same trace, below this one.
    fn child(&self) -> Self {
        let parent = format!(
            "00-{}-{:016x}-{}",
            &self.parent[TRACE_ID],
            random(),
            &self.parent[FLAGS]
        );
        Self {
            parent: parent.into(),
            state: self.state.clone(),
        }
    }

    fn span_id(&self) -> &str {
        &self.parent[SPAN_ID]
    }

    /// Adds it to a message that has none.
    fn add_to(&self, message: &mut Message) {
        message.share(PARENT, Arc::clone(&self.parent));
        if let Some(state) = &self.state {
            message.share(STATE, Arc::clone(state));
        }
    }
}

/// The span of a send.
pub(crate) fn send(topic: &str) -> Span {
    tracing::debug_span!(
        "send",
        topic,
        message_id = Empty,
        traceparent = Empty,
        parent_id = Empty,
    )
}

/// Lets a message carry on the trace that it belongs to; one that carries a context already is left alone.
pub(crate) fn carry(message: &mut Message, span: &Span) {
    if let Some(own) = message.get(PARENT) {
        span.record("traceparent", own);
        return;
    }
    let current = TraceContext::current();
    let context = match (current, span.is_disabled()) {
        (None, true) => return,
        (Some(current), true) => current,
        (current, false) => step(current.as_ref(), span),
    };
    context.add_to(message);
}

/// The context of a span that is recorded.
fn step(above: Option<&TraceContext>, span: &Span) -> TraceContext {
    let own = above.map_or_else(TraceContext::root, TraceContext::child);
    span.record("traceparent", own.parent());
    if let Some(above) = above {
        span.record("parent_id", above.span_id());
    }
    own
}

/// A message at its consumer, from its arrival until it is settled.
#[derive(Debug)]
pub(crate) struct Received {
    span: Span,
    /// The context of the span, when it is recorded.
    own: Option<TraceContext>,
}

impl Received {
    pub(crate) fn new(group: &str, message: &ReceivedMessage, attempt: u32) -> Self {
        let span = tracing::debug_span!(
            parent: None,
            "receive",
            group,
            queue = %message.queue(),
            message_id = message.message_id(),
            attempt,
            traceparent = Empty,
            parent_id = Empty,
        );
        let is_recorded = !span.is_disabled();
        let own = is_recorded.then(|| step(TraceContext::of(message).as_ref(), &span));
        Self { span, own }
    }

    /// What is done with the message belongs to this.
    pub(crate) fn context(&self, message: &ReceivedMessage) -> Option<TraceContext> {
        self.own.clone().or_else(|| TraceContext::of(message))
    }

    /// The span of a handler: what it logs is found by its message.
    pub(crate) fn handle(&self, group: &str, message: &ReceivedMessage, attempt: u32) -> Span {
        let own = self.own.as_ref().map(TraceContext::parent);
        tracing::info_span!(
            parent: &self.span,
            "handle",
            group,
            queue = %message.queue(),
            message_id = message.message_id(),
            attempt,
            traceparent = own.or_else(|| message.property(PARENT)),
        )
    }

    /// The span of a settlement. `delay_level`: how long a broker keeps the message, where one does.
    pub(crate) fn settle(&self, outcome: &'static str, delay_level: Option<i32>) -> Span {
        tracing::debug_span!(parent: &self.span, "settle", outcome, delay_level)
    }
}

/// Not zero, and not to be guessed from the one before.
fn random() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

/// Runs a handler in the context of its message.
pub(crate) async fn handled<F: Future>(context: Option<TraceContext>, handler: F) -> F::Output {
    HANDLED.scope(context, handler).await
}

/// The same for a handler that blocks.
pub(crate) fn handled_blocking<R>(context: Option<TraceContext>, handler: impl FnOnce() -> R) -> R {
    HANDLED.sync_scope(context, handler)
}

/// Two, 32, 16 and two hexadecimal digits in lower case; neither trace nor span is zero, and the version is not ff.
fn is_parent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut next = |digits: usize| {
        parts.next().filter(|part| {
            let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
            part.len() == digits && part.bytes().all(is_hex)
        })
    };
    let is_zero = |part: &str| part.bytes().all(|digit| digit == b'0');
    let (Some(version), Some(trace), Some(span), Some(_)) = (next(2), next(32), next(16), next(2))
    else {
        return false;
    };
    // Later versions may add parts.
    let ends = version != "00" || parts.next().is_none();
    version != "ff" && !is_zero(trace) && !is_zero(span) && ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_stays_in_its_trace() {
        let above = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let above = TraceContext::new(above, Some("vendor=1")).unwrap();
        let child = above.child();
        assert!(is_parent(child.parent()));
        assert_eq!(child.parent()[TRACE_ID], above.parent()[TRACE_ID]);
        assert_ne!(child.span_id(), above.span_id());
        assert_eq!(
            (&child.parent()[FLAGS], child.state()),
            ("00", Some("vendor=1"))
        );
        let later = TraceContext::new(&above.parent().replacen("00", "01", 1), None).unwrap();
        assert!(later.child().parent().starts_with("00-"));
        let (one, other) = (TraceContext::root(), TraceContext::root());
        assert!(is_parent(one.parent()) && one != other);
    }

    #[test]
    fn only_what_the_standard_allows_is_a_parent() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_parent(parent));
        assert!(is_parent(&format!(
            "{}-more",
            parent.replacen("00", "01", 1)
        )));
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert!(!is_parent(wrong), "{wrong}");
        }
    }
}
