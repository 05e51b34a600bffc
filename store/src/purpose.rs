//! What an append is for: it decides which room of the log the append may use.

/// What is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A message, or a setting.
    Message,
    /// Progress of consumers or delays, which may use the reserve.
    Progress,
}
