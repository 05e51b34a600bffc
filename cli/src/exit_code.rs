//! What the process exits with. Part of the interface: scripts rely on it.

use std::process::ExitCode;

/// Exit codes of `rmq-ctl`. 2 (usage) is also what the argument parser uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It failed, and no other code says more.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// What was asked for does not exist.
    NotFound = 3,
    /// The server does not allow it.
    Refused = 4,
    /// A server could not be reached, or did not answer in time. Worth another try.
    Unreachable = 5,
    /// Something is in the way: a port is taken, another process holds the data.
    Conflict = 6,
    /// Some of it was done; the output lists what was not.
    Partly = 7,
    /// A check found a problem.
    CheckFailed = 10,
    /// Ctrl-C (SIGINT) came before the command had done what it was told to, or came a second time.
    Interrupted = 130,
    /// The same with SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
