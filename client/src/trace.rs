//! W3C trace context in messages (properties `traceparent` and `tracestate`): what is sent while a message is handled belongs to the
//! message's trace.
//!
//! Java's own trace keys are other properties, which nothing here touches. The cost is a look at a task-local for each send, and at two
//! properties for each message that a handler gets.

use std::sync::Arc;

use crate::message::Message;
use crate::received::ReceivedMessage;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

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
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        HANDLED.scope(Some(self), future).await
    }

    /// Adds it to a message that has none.
    pub(crate) fn add_to(&self, message: &mut Message) {
        if message.has(PARENT) {
            return;
        }
        message.put(PARENT, self.parent());
        if let Some(state) = self.state() {
            message.put(STATE, state);
        }
    }
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
