//! Events: what people read in `kubectl describe`, and lines of the log.

use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource, ResourceExt};

use crate::objects::hash;

/// Longest note that the API server takes, in characters.
pub(crate) const NOTE_MAX: usize = 1_000;

/// One event about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    is_warning: bool,
    /// One word, in camel case.
    pub(crate) reason: String,
    pub(crate) note: String,
}

impl News {
    /// Something went as planned.
    pub(crate) fn normal(reason: impl Into<String>, note: impl Into<String>) -> Self {
        Self {
            is_warning: false,
            reason: reason.into(),
            note: note.into(),
        }
    }

    /// A person should look.
    pub(crate) fn warning(reason: impl Into<String>, note: impl Into<String>) -> Self {
        Self {
            is_warning: true,
            reason: reason.into(),
            note: note.into(),
        }
    }
}

/// Writes events to the API server.
#[derive(Clone)]
pub(crate) struct Events {
    recorder: Recorder,
}

impl Events {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }

    /// Writes one event. A failure is only logged: no look depends on an event.
    pub(crate) async fn tell<K>(&self, object: &K, news: &News)
    where
        K: Resource<DynamicType = ()>,
    {
        let News {
            is_warning,
            reason,
            note,
        } = news;
        tracing::info!(kind = %K::kind(&()), namespace = object.namespace(), name = object.name_any(), reason, "{note}");
        let event = Event {
            type_: if *is_warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: reason.clone(),
            note: Some(note.chars().take(NOTE_MAX).collect()),
            // Events of the same action become one series, which keeps its first note. So another note is another action.
            action: format!("{reason}-{}", &hash(note)[..6]),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!("cannot write an event: {error}");
        }
    }

    /// Writes an event about something that went as planned.
    pub(crate) async fn note<K>(&self, object: &K, reason: &str, note: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.tell(object, &News::normal(reason, note)).await;
    }
}
