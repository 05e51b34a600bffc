//! With what the operator signs its requests to each cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rmq_access::Secret;
use rmq_client::Credentials;

/// How long a Secret that was read is not read again. No watch tells of its changes.
pub(crate) const READ_LASTS: Duration = Duration::from_secs(30);

/// With what requests to a cluster are signed.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) user: String,
    password: Secret,
}

impl Signer {
    pub(crate) fn new(user: &str, password: &Secret) -> Self {
        Self {
            user: user.to_owned(),
            password: password.clone(),
        }
    }

    /// As clients take it.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::new(&self.user, self.password.reveal())
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.user == other.user && self.password.reveal() == other.password.reveal()
    }
}

/// What the Secret of a cluster has.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) operator: Signer,
    /// The user that brokers sign as.
    pub(crate) broker: String,
}

/// The keys of a Secret, and when it was read.
pub(crate) type Read = (Instant, Arc<Keys>);

/// The Secrets that were read, by namespace and name.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) read: Mutex<HashMap<(String, String), Read>>,
}
