//! What is wrong with a configuration.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// There is no such setting.
    Unknown {
        /// Where it stands; may be empty.
        origin: String,
        /// As written.
        key: String,
        /// The nearest setting.
        nearest: Option<&'static str>,
        /// The program whose `--print-config` lists all settings.
        program: &'static str,
    },
    /// A value that the setting does not take.
    Invalid {
        /// Where it stands; may be empty.
        origin: String,
        /// The setting.
        key: &'static str,
        /// What it must be.
        expected: String,
        /// As written.
        value: String,
        /// More about why, and what to do; may be empty.
        why: String,
    },
    /// A setting that does not change while the server runs.
    NeedsRestart {
        /// The name that was asked for.
        asked: &'static str,
        /// The setting.
        key: &'static str,
        /// The program.
        program: &'static str,
    },
    /// A file that cannot be read, or that is no file of settings.
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// Settings that do not go together: the text names them and says what to do.
    Together(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Unknown { origin, .. } | Self::Invalid { origin, .. } = self
            && !origin.is_empty()
        {
            write!(f, "{origin}: ")?;
        }
        match self {
            Self::Unknown {
                key,
                nearest: Some(nearest),
                ..
            } => write!(
                f,
                "there is no setting {key:?}; did you mean \"{nearest}\"?"
            ),
            Self::Unknown { key, program, .. } => write!(
                f,
                "there is no setting {key:?}; {program} --print-config lists all"
            ),
            Self::Invalid {
                key,
                expected,
                value,
                why,
                ..
            } => {
                write!(f, "{key} must be {expected}, not {value:?}")?;
                if why.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {why}")
                }
            }
            Self::NeedsRestart {
                asked,
                key,
                program,
            } => {
                f.write_str(asked)?;
                if asked != key {
                    write!(f, " ({key})")?;
                }
                write!(
                    f,
                    " can only be set at the start: change the configuration of {program} and restart it"
                )
            }
            Self::File { path, reason } => write!(f, "{path}: {reason}"),
            Self::Together(text) => text.fmt(f),
        }
    }
}

/// Everything that is wrong with a configuration, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// Nothing, when nothing is wrong.
    pub(crate) fn of(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }

    /// Whether a setting is among them that does not change while the server runs.
    #[must_use]
    pub fn needs_restart(&self) -> bool {
        let needs = |problem: &Problem| matches!(problem, Problem::NeedsRestart { .. });
        self.problems.iter().any(needs)
    }

    /// Whether a name is among them that no setting has.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        let is_unknown = |problem: &Problem| matches!(problem, Problem::Unknown { .. });
        self.problems.iter().any(is_unknown)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
