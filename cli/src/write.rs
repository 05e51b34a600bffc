//! What every command that changes something has: a dry run, a preview, a question.

use clap::{Args, ValueEnum};

use crate::codes;
use crate::error::Failure;
use crate::output::Output;

/// Options of commands that change something.
#[derive(Debug, Clone, Args)]
pub(crate) struct WriteOptions {
    /// Go on without a question.
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Only say what would be done; with `client` without asking a server.
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "server")]
    pub(crate) dry_run: Option<DryRun>,
}

/// Where a dry run looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Nowhere: the arguments are checked.
    Client,
    /// At the cluster: what would really change.
    Server,
}

impl WriteOptions {
    /// Whether the command ends before it asks any server.
    pub(crate) fn is_client_run(&self) -> bool {
        self.dry_run == Some(DryRun::Client)
    }

    /// For commands whose default is the preview: whether to do it.
    pub(crate) fn goes_on(&self) -> bool {
        self.yes && self.dry_run.is_none()
    }

    /// Whether to go on with `what` ("Delete topic …"); false after a dry run. `typed` is the name that has to be typed for what
    /// cannot be undone.
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

/// A change that nobody agreed to.
pub(crate) fn unconfirmed(what: &str) -> Failure {
    Failure::coded(&codes::UNCONFIRMED, format!("not confirmed: {what}"))
        .because("nobody could be asked, or the answer was no")
        .try_this("add --yes to go on without a question")
}
