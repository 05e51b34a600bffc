//! The audit: one line in the log for each change that somebody asked a server for.

use std::net::SocketAddr;

/// The target of these lines: `RMQ_LOG=warn,rmq_audit=info` logs them beside warnings.
pub const AUDIT_TARGET: &str = "rmq_audit";

/// Who asks for a change.
#[derive(Debug, Clone)]
pub struct Asker {
    client: SocketAddr,
    claimed_user: Option<String>,
}

impl Asker {
    /// `client` is the address of the connection; `claimed_user` is the user that the request names, whom nobody has verified.
    #[must_use]
    pub fn new(client: SocketAddr, claimed_user: Option<String>) -> Self {
        Self {
            client,
            claimed_user,
        }
    }

    /// Writes the line of one change: who (`client`, `claimed_user`), what in words (`topic created`), its `subject` (the name of a topic,
    /// a group, a key), and how the subject was before and is after; `None` where there is nothing.
    pub fn changed(
        &self,
        what: &'static str,
        subject: &str,
        before: Option<String>,
        after: Option<String>,
    ) {
        tracing::info!(
            target: AUDIT_TARGET,
            client = %self.client,
            claimed_user = self.claimed_user,
            subject,
            before,
            after,
            "{what}"
        );
    }
}
