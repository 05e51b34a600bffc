//! What every command that changes something has: a dry run, a preview, a question.

use clap::{Args, ValueEnum};

use crate::codes;
use crate::error::Failure;
use crate::output::Output;

/// Options of commands that change something.
#[derive(Debug, Clone, Args)]
pub(crate) struct WriteOptions {
    /// Continue without a question.
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Only print what would be done; with `client`, no server is asked.
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "server")]
    pub(crate) dry_run: Option<DryRun>,
}

/// Where a dry run looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Check the arguments only.
    Client,
    /// Ask the cluster what would change.
    Server,
}

impl WriteOptions {
    /// Whether the command ends before it asks any server.
    pub(crate) fn is_client_run(&self) -> bool {
        self.dry_run == Some(DryRun::Client)
    }

    /// For commands whose default is the preview: whether to carry the change out.
    pub(crate) fn goes_on(&self) -> bool {
        self.yes && self.dry_run.is_none()
    }

    /// Whether to continue with `what` ("Delete topic …"); false after a dry run. `typed` is the name to type for a change that cannot be
    /// undone.
    pub(crate) fn agreed(
        &self,
        what: &str,
        typed: Option<&str>,
        output: &Output,
    ) -> Result<bool, Failure> {
        if self.dry_run.is_some() {
            output.data(&format!("dry run: {what}"));
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        let agreed = match typed {
            Some(name) => output.ask_name(&format!("{what}?"), name),
            None => output.ask(&format!("{what}?")),
        };
        if agreed {
            return Ok(true);
        }
        Err(unconfirmed(what))
    }
}

/// A change without an agreement.
pub(crate) fn unconfirmed(what: &str) -> Failure {
    Failure::coded(&codes::UNCONFIRMED, format!("not confirmed: {what}"))
        .because("there is no terminal to ask on, or the answer was no")
        .try_this("add --yes to continue without a question")
}
