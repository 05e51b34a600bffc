//! A check: one rule, its subject, and the finding.

use schemars::JsonSchema;
use serde::Serialize;

use crate::codes;
use crate::error::Failure;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of};

/// The finding of one rule about one subject.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Check {
    /// The rule, such as `name-server-answers`.
    pub(crate) id: &'static str,
    /// The subject, such as `broker/broker-a`.
    pub(crate) subject: String,
    pub(crate) is_fine: bool,
    /// Whether the finding is no problem, but worth knowing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_note: bool,
    /// The permission of a broker: `rw`, `r`, `w` or `-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) perm: Option<String>,
    pub(crate) says: String,
}

impl Check {
    pub(crate) fn new(
        id: &'static str,
        subject: impl Into<String>,
        is_fine: bool,
        says: impl Into<String>,
    ) -> Self {
        Self {
            id,
            subject: subject.into(),
            is_fine,
            is_note: false,
            perm: None,
            says: says.into(),
        }
    }

    /// A finding that is no problem, but worth knowing.
    pub(crate) fn note(
        id: &'static str,
        subject: impl Into<String>,
        says: impl Into<String>,
    ) -> Self {
        Self {
            is_note: true,
            ..Self::new(id, subject, true, says)
        }
    }

    /// Adds the permission of a broker.
    pub(crate) fn of_perm(self, perm: String) -> Self {
        Self {
            perm: Some(perm),
            ..self
        }
    }

    pub(crate) fn state(&self) -> &'static str {
        match (self.is_fine, self.is_note) {
            (false, _) => "PROBLEM",
            (true, true) => "note",
            (true, false) => "ok",
        }
    }
}

/// Prints checks, and fails when one is not fine.
pub(crate) fn show(
    checks: &[Check],
    kind: &'static str,
    render: &RenderOptions,
    cluster: &str,
    output: &Output,
) -> Result<(), Failure> {
    let has_perm = checks.iter().any(|check| check.perm.is_some());
    let rows = checks.iter().map(|check| {
        let mut cells = vec![
            check.state().to_owned(),
            check.subject.clone(),
            check.id.to_owned(),
        ];
        if has_perm {
            cells.push(check.perm.clone().unwrap_or_default());
        }
        cells.push(check.says.clone());
        Row::new(check.subject.clone(), cells, check)
    });
    let listing = Listing {
        kind,
        schema: schema_of::<Check>,
        noun: "check",
        columns: match has_perm {
            true => &["STATE", "SUBJECT", "CHECK", "PERM", "SAYS"],
            false => &["STATE", "SUBJECT", "CHECK", "SAYS"],
        },
        wide_columns: &[],
        rows: rows.collect(),
        empty: "nothing was looked at".to_owned(),
    };
    render.list(&listing, output)?;
    let bad = checks.iter().filter(|check| !check.is_fine).count();
    if bad == 0 {
        return Ok(());
    }
    let first = checks.iter().find(|check| !check.is_fine);
    let mut failure = Failure::coded(
        &codes::CHECK,
        format!("{bad} of {} checks found a problem", checks.len()),
    )
    .fact("asked", cluster);
    if let Some(first) = first {
        failure = failure.because(format!("{}: {}", first.subject, first.says));
    }
    Err(failure)
}
