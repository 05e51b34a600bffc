//! The audit: one line in the log for each change that somebody asked a server for, and for each request that a server refused for who asked.

use std::net::SocketAddr;

/// The target of these lines: `RMQ_LOG=warn,rmq_audit=info` logs them beside warnings.
pub const AUDIT_TARGET: &str = "rmq_audit";

/// Who asks for something.
#[derive(Debug, Clone)]
pub struct Asker {
    client: SocketAddr,
    user: Option<String>,
    is_verified: bool,
}

impl Asker {
    /// `client` is the address of the connection; `claimed_user` is the user that the request names, whom nobody has verified.
    #[must_use]
    pub fn new(client: SocketAddr, claimed_user: Option<String>) -> Self {
        Self {
            client,
            user: claimed_user,
            is_verified: false,
        }
    }

    /// The same with a user who was verified.
    #[must_use]
    pub fn verified(self) -> Self {
        Self {
            is_verified: true,
            ..self
        }
    }

    /// The user, and the one whom nobody has verified.
    fn users(&self) -> (Option<&str>, Option<&str>) {
        let user = self.user.as_deref();
        match self.is_verified {
            true => (user, None),
            false => (None, user),
        }
    }

    /// Writes the line of one change: who (`client`, and `user` or, where nobody has verified the user, `claimed_user`), what in words
    /// (`topic created`), its `subject` (the name of a topic, a group, a key), and how the subject was before and is after; `None` where
    /// there is nothing.
    pub fn changed(
        &self,
        what: &'static str,
        subject: &str,
        before: Option<String>,
        after: Option<String>,
    ) {
        let (user, claimed_user) = self.users();
        tracing::info!(
            target: AUDIT_TARGET,
            client = %self.client,
            user,
            claimed_user,
            subject,
            before,
            after,
            "{what}"
        );
    }

    /// Writes the line of a request that was refused because nobody knows who sent it, or because they may not: who, the name of the
    /// request, and why.
    pub fn refused(&self, request: &str, why: &str) {
        let (user, claimed_user) = self.users();
        tracing::info!(
            target: AUDIT_TARGET,
            client = %self.client,
            user,
            claimed_user,
            request,
            why,
            "refused"
        );
    }
}
