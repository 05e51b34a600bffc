//! What an error of the API server means for a place.

use kube::Error;

use crate::place::PlaceError;
use crate::place::refused::is_refused_connection;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It was not sent, or refused: nothing has changed.
    Refused,
    /// It may have been carried out.
    Perhaps,
}

/// The HTTP code of an answer of the API server.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Api(status) => Some(status.code),
        _ => None,
    }
}

pub(super) fn sent(error: &Error) -> Sent {
    match (code(error), error) {
        // Refused before anything was done: no right, wrong content, too much, another version.
        (Some(400..=499), _) | (None, Error::BuildRequest(_) | Error::Auth(_)) => Sent::Refused,
        (None, error) if is_refused_connection(error) => Sent::Refused,
        _ => Sent::Perhaps,
    }
}

/// What happened, and what to do.
pub(super) fn text(error: &Error) -> String {
    match error {
        Error::Api(status) => {
            let hint = match status.code {
                401 => ": the account of the pod is not accepted",
                403 => {
                    ": the role of the pod's account must give it the two objects by name; the operator makes both the role and the objects"
                }
                404 => ": the definition of BrokerGroupElection is not installed (chart rmq-crds)",
                _ => "",
            };
            format!(
                "the API server answers {}: {}{hint}",
                status.code, status.message
            )
        }
        error => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                let inner = error.to_string();
                if !text.contains(&inner) {
                    text = format!("{text}: {inner}");
                }
                cause = error.source();
            }
            text
        }
    }
}

/// A read failed.
pub(super) fn failed(place: &str, problem: impl Into<String>) -> PlaceError {
    PlaceError::Failed {
        place: place.to_owned(),
        problem: problem.into(),
    }
}

/// A change failed, or nobody knows whether it did.
pub(super) fn of_change(place: &str, error: &Error) -> PlaceError {
    match sent(error) {
        Sent::Refused => failed(place, text(error)),
        Sent::Perhaps => PlaceError::Unknown {
            place: place.to_owned(),
            problem: text(error),
        },
    }
}

/// The object is not what it should be.
pub(super) fn invalid(place: &str, problem: &str) -> PlaceError {
    PlaceError::Invalid {
        place: place.to_owned(),
        problem: format!(
            "it is not what this version of rmq can read: {problem}. Nothing was changed; to look at it: kubectl get brokergroupelections,leases -o yaml"
        ),
    }
}
