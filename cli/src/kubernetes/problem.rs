//! Why Kubernetes did not do what it was asked, with the right that is missing where one is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::causes::chain;
use crate::codes::{self, Code};

/// A request that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// A right is missing.
    #[error("not allowed: the right to {verb} {resource} in namespace {namespace} is missing")]
    NotAllowed {
        /// Of RBAC.
        verb: &'static str,
        /// Of RBAC, with the subresource.
        resource: &'static str,
        /// Where.
        namespace: String,
    },
    /// There is no such thing.
    #[error("{what}")]
    NotFound {
        /// What there is not.
        what: String,
    },
    /// The API server cannot be reached, or has an error of its own.
    #[error("the API server: {0}")]
    Server(String),
}

impl Problem {
    pub(super) fn of(
        error: kube::Error,
        verb: &'static str,
        resource: &'static str,
        namespace: &str,
    ) -> Self {
        use kube::client::UpgradeConnectionError::ProtocolSwitch;
        let code = match &error {
            kube::Error::Api(status) => status.code,
            kube::Error::UpgradeConnection(ProtocolSwitch(status)) => status.as_u16(),
            _ => 0,
        };
        match (code, error) {
            (401 | 403, _) => Self::NotAllowed {
                verb,
                resource,
                namespace: namespace.to_owned(),
            },
            (404, kube::Error::Api(status)) => Self::NotFound {
                what: status.message.clone(),
            },
            (_, kube::Error::Api(status)) => Self::Server(status.message.clone()),
            (_, error) => Self::Server(chain(&error)),
        }
    }

    pub(super) fn silent(within: Duration) -> Self {
        Self::Server(format!("no answer within {within:?}"))
    }

    /// The kind of error that this is for a person.
    pub(crate) fn code(&self) -> &'static Code {
        match self {
            Self::NotAllowed { .. } => &codes::NO_RIGHT,
            Self::NotFound { .. } => &codes::NOT_FOUND,
            Self::Server(_) => &codes::KUBERNETES,
        }
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> Vec<String> {
        match self {
            Self::NotAllowed {
                verb,
                resource,
                namespace,
            } => vec![
                format!("kubectl auth can-i {verb} {resource} -n {namespace}"),
                "the page docs/operate/outside.md has a Role with the rights that are needed"
                    .to_owned(),
            ],
            Self::NotFound { .. } | Self::Server(_) => Vec::new(),
        }
    }

    /// The one that a failed connection carries.
    pub(crate) fn in_chain<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Self> {
        let mut source = Some(error);
        while let Some(current) = source {
            let io = current
                .downcast_ref::<Arc<io::Error>>()
                .map(|shared| &**shared)
                .or_else(|| current.downcast_ref::<io::Error>());
            if let Some(problem) = io.and_then(io::Error::get_ref) {
                return problem.downcast_ref();
            }
            source = current.source();
        }
        None
    }
}

impl From<Problem> for io::Error {
    fn from(problem: Problem) -> Self {
        let kind = match &problem {
            Problem::NotAllowed { .. } => io::ErrorKind::PermissionDenied,
            Problem::NotFound { .. } => io::ErrorKind::NotFound,
            Problem::Server(_) => io::ErrorKind::NotConnected,
        };
        Self::new(kind, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_found_below_a_failed_connection() {
        let problem = Problem::NotAllowed {
            verb: "get",
            resource: "pods/portforward",
            namespace: "shop".to_owned(),
        };
        let error = Arc::new(io::Error::from(problem.clone()));
        assert_eq!(Problem::in_chain(&error), Some(&problem));
        assert_eq!(Problem::in_chain(&io::Error::other("x")), None);
        let says = problem.to_string();
        assert!(
            says.contains("get pods/portforward in namespace shop"),
            "{says}"
        );
    }
}
