//! Why an object could not be brought to what it shall be.

/// What failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("{doing}: {source}")]
    Kubernetes {
        /// What was tried.
        doing: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// A broker or name server refused or did not answer.
    #[error("{0}")]
    Cluster(#[from] rmq_client::Error),
    /// There is an object of this name that belongs to somebody else.
    #[error("{0}")]
    NameTaken(String),
    /// Something has to be there first.
    #[error("{0}")]
    NotYet(String),
    /// A value cannot be written as JSON.
    #[error("cannot write {0}")]
    Json(#[from] serde_json::Error),
    /// The process cannot go on.
    #[error("{0}")]
    Fatal(String),
}

impl Error {
    /// For `map_err`.
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
            Self::Kubernetes { .. } => "KubernetesRefused",
            Self::Cluster(_) => "ClusterUnreachable",
            Self::NameTaken(_) => "NameTaken",
            Self::NotYet(_) => "NotYet",
            Self::Json(_) => "NotJson",
            Self::Fatal(_) => "Fatal",
        }
    }

    /// Somebody else has changed the object meanwhile: look again.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Kubernetes { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 409))
    }
}
