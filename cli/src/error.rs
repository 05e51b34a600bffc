//! What goes wrong, as a person needs it: what failed, the facts, why, and what to do.

use rmq_client::{Error, ErrorKind};

use crate::causes::chain;
use crate::codes::{self, Code};
use crate::exit_code::Exit;
use crate::kubernetes::problem::Problem;

/// Whether a refusal is about the user of a request, and not about the permissions of a topic. Its text is that of `rmq_access`.
fn is_of_users(text: &str) -> bool {
    [
        "username cannot be null",
        "check signature failed",
        "has no permission to access",
        "User:",
    ]
    .iter()
    .any(|part| text.contains(part))
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    code: Option<&'static Code>,
    what: String,
    facts: Vec<(&'static str, String)>,
    cause: Option<String>,
    tries: Vec<String>,
    is_silent: bool,
}

impl Failure {
    /// `what` failed, in one sentence without a full stop.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            code: None,
            what: what.into(),
            facts: Vec::new(),
            cause: None,
            tries: Vec::new(),
            is_silent: false,
        }
    }

    /// As [`Failure::new`], of a kind that `explain` and the docs know.
    pub(crate) fn coded(code: &'static Code, what: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            ..Self::new(code.exit, what)
        }
    }

    /// A failed request to a cluster.
    pub(crate) fn of(what: impl Into<String>, cluster: &str, error: Error) -> Self {
        // A connection through Kubernetes that failed for a right that is missing.
        if let Some(problem @ Problem::NotAllowed { .. }) = Problem::in_chain(&error) {
            return Self::of_kubernetes(what, problem, ("asked", cluster));
        }
        let code = match error.kind() {
            ErrorKind::InvalidInput => &codes::INVALID,
            ErrorKind::NoRoute => &codes::NO_ROUTE,
            ErrorKind::Unreachable | ErrorKind::Closed => &codes::UNREACHABLE,
            ErrorKind::Timeout | ErrorKind::Indeterminate => &codes::TIMEOUT,
            ErrorKind::Busy => &codes::BUSY,
            ErrorKind::Denied => &codes::DENIED,
            ErrorKind::NotFound => &codes::NOT_FOUND,
            ErrorKind::Protocol => &codes::PROTOCOL,
            _ => &codes::SERVER,
        };
        let failure = Self::coded(code, what).fact("asked", cluster).cause(&error);
        match error.kind() == ErrorKind::Denied && is_of_users(&error.to_string()) {
            true => failure.try_this("rmq-ctl doctor"),
            false => failure,
        }
    }

    /// A request that Kubernetes did not carry out; `asked` says who was asked.
    pub(crate) fn of_kubernetes(
        what: impl Into<String>,
        problem: &Problem,
        (label, asked): (&'static str, &str),
    ) -> Self {
        let failure = Self::coded(problem.code(), what).fact(label, asked);
        let advice = problem.advice().into_iter();
        advice.fold(failure.cause(problem), Self::try_this)
    }

    /// Only the exit code: the command has printed the rest.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self {
            is_silent: true,
            ..Self::new(exit, "")
        }
    }

    /// Whether nothing is printed.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Whether trying again may help.
    pub(crate) fn is_passing(&self) -> bool {
        self.exit == Exit::Unreachable
    }

    /// Whether a check found something: the command itself worked.
    pub(crate) fn is_finding(&self) -> bool {
        self.exit == Exit::CheckFailed
    }

    /// With another exit code where this one is lower.
    pub(crate) fn exit_at_least(mut self, exit: Exit) -> Self {
        if (self.exit as u8) < exit as u8 {
            self.exit = exit;
        }
        self
    }

    /// The code, when it has one.
    pub(crate) fn code(&self) -> Option<&'static Code> {
        self.code
    }

    /// Adds a line `name: value` (an address, a path, a process).
    pub(crate) fn fact(mut self, name: &'static str, value: impl ToString) -> Self {
        self.facts.push((name, value.to_string()));
        self
    }

    /// Says why, with every source of `error`.
    pub(crate) fn cause(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        self.cause = Some(chain(error));
        self
    }

    /// Says why, in own words.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds something to do about it.
    pub(crate) fn try_this(mut self, advice: impl Into<String>) -> Self {
        self.tries.push(advice.into());
        self
    }

    pub(crate) fn exit_code(&self) -> Exit {
        self.exit
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The lines below the first: label and text, aligned by the printer.
    pub(crate) fn details(&self) -> Vec<(&str, &str)> {
        let mut lines: Vec<(&str, &str)> = self
            .facts
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        if let Some(cause) = &self.cause {
            lines.push(("cause", cause));
        }
        for (n, advice) in self.tries.iter().enumerate() {
            lines.push((if n == 0 { "try" } else { "" }, advice));
        }
        if let Some(code) = self.code {
            lines.push(("more", code.explain));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the store")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_cause_has_all_its_sources() {
        let error = Outer(std::io::Error::other("no such device"));
        let failure = Failure::new(Exit::Failed, "the broker did not start")
            .cause(&error)
            .try_this("a")
            .try_this("b");
        assert_eq!(
            failure.details(),
            [
                ("cause", "cannot open the store: no such device"),
                ("try", "a"),
                ("", "b")
            ]
        );
        assert_eq!(failure.exit_code(), Exit::Failed);
    }
}
