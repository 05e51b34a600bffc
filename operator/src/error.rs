//! Why a look at an object failed.

use crate::conditions::Verdict;

/// What failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("{doing}: {source}")]
    Kubernetes {
        /// The request.
        doing: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// A broker or name server refused or did not answer.
    #[error("{0}")]
    Cluster(#[from] rmq_client::Error),
    /// Another look has just asked, and got no answer.
    #[error("{0}")]
    ClusterAway(String),
    /// An object of this name exists and belongs to another owner.
    #[error("{0}")]
    NameTaken(String),
    /// Something else must exist first.
    #[error("{0}")]
    NotYet(String),
    /// A value cannot be written as JSON.
    #[error("cannot write {0}")]
    Json(#[from] serde_json::Error),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(String),
    /// The process must end.
    #[error("{0}")]
    Fatal(String),
}

impl Error {
    /// For `map_err`: `what` is the request that failed.
    pub(crate) fn doing(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Kubernetes {
            doing: what.into(),
            source: Box::new(source),
        }
    }

    /// One word for events and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes { .. } if self.is_conflict() => "Conflict",
            Self::Kubernetes { source, .. } => match &**source {
                kube::Error::Api(status) if status.message.contains("exceeded quota") => {
                    "QuotaExceeded"
                }
                kube::Error::Api(_) => "KubernetesRefused",
                _ => "KubernetesUnreachable",
            },
            Self::Cluster(_) | Self::ClusterAway(_) => "ClusterUnreachable",
            Self::NameTaken(_) => "NameTaken",
            Self::NotYet(_) => "NotYet",
            Self::Json(_) => "NotJson",
            Self::Certificate(_) => "CertificateRefused",
            Self::Fatal(_) => "Fatal",
        }
    }

    /// The verdict for an error that stays until a person does something. None: the next try may succeed.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let status = match self {
            Self::NameTaken(_) => return Some(Verdict::stalled(self.reason(), self.to_string())),
            Self::Kubernetes { source, .. } => match &**source {
                kube::Error::Api(status) => status,
                _ => return None,
            },
            _ => return None,
        };
        let instead = match status.code {
            403 if status.message.contains("exceeded quota") => {
                "raise the ResourceQuota of the namespace, or ask for less"
            }
            // A namespace that ends takes no new object, and this object ends too.
            403 if status.message.contains("being terminated") => return None,
            403 => "give the operator's account this right (charts/rmq-operator)",
            400 | 413 | 422 => "correct the field of the spec that causes it",
            _ => return None,
        };
        Some(Verdict::stalled(
            self.reason(),
            format!("{self}; {instead}"),
        ))
    }

    /// Whether the object was changed after it was read: the next look reads it again.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Kubernetes { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 409))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str) -> Error {
        let status = serde_json::json!({"status": "Failure", "code": code, "message": message, "reason": "x"});
        let status: kube::core::Status = serde_json::from_value(status).expect("a status");
        Error::doing("applying Service \"a-broker\"")(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_stays_until_a_person_acts_is_said_with_a_way_out() {
        let verdict = refused(422, "spec.ports[0].nodePort: Invalid value: 5").verdict();
        let verdict = verdict.expect("a verdict");
        assert!(verdict.stalled && verdict.reason == "KubernetesRefused");
        assert!(
            verdict.message.contains("nodePort") && verdict.message.contains("correct the field")
        );
        let quota = refused(403, "services \"a\" is forbidden: exceeded quota: small");
        assert_eq!(
            quota.verdict().map(|verdict| verdict.reason),
            Some("QuotaExceeded")
        );
        assert_eq!(refused(500, "etcd is away").verdict(), None);
        assert_eq!(refused(409, "changed").verdict(), None);
        assert_eq!(
            refused(403, "the namespace is being terminated").verdict(),
            None
        );
    }
}
