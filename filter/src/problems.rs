//! How large an expression may be, and why a text is none.

use thiserror::Error;

/// How large an expression may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Properties and constants, those of `IN` lists aside.
    pub terms_max: usize,
    /// Levels of parentheses, and of operators inside of operators. A chain of `AND` or of `OR` is one level.
    pub depth_max: usize,
}

impl Default for Limits {
    /// 512 terms, 64 levels.
    fn default() -> Self {
        Self {
            terms_max: 512,
            depth_max: 64,
        }
    }
}

/// Why a text is no filter, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at character {position}, {}: {problem}", self.found())]
pub struct ParseError {
    /// The first character is 1.
    pub position: usize,
    /// What stands there, in part; empty at the end.
    pub before: String,
    /// What is wrong.
    pub problem: Problem,
}

impl ParseError {
    fn found(&self) -> String {
        match self.before.is_empty() {
            true => "the end".to_owned(),
            false => format!("\"{}\"", self.before),
        }
    }
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// Something else belongs here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// No word, number, text or sign begins so.
    #[error("no part of an expression begins with this character")]
    Character,
    /// The quote of a text is never closed.
    #[error(
        "the text has no end; a text stands in single quotes, and a quote in it is written twice"
    )]
    OpenText,
    /// The comment is never closed.
    #[error("the comment has no end")]
    OpenComment,
    /// A whole number of more than 64 bits.
    #[error("the number is larger than 9223372036854775807")]
    WholeNumber,
    /// A number that no double stands for.
    #[error(
        "a number with a fraction must lie between 4.9E-324 and 1.7976931348623157E308; 0 is written without a fraction"
    )]
    Fraction,
    /// A value that is no condition.
    #[error("a number or a text is no condition; compare it with something")]
    NoCondition,
    /// `<`, `<=`, `>`, `>=` and `BETWEEN` of something that is no number.
    #[error("only numbers and properties can be larger or smaller")]
    NotOrdered,
    /// `= NULL`.
    #[error("nothing is equal to NULL; use IS NULL or IS NOT NULL")]
    EqualsNull,
    /// `TRUE = 5`.
    #[error("TRUE and FALSE cannot be compared with a number or a text")]
    BooleanWithValue,
    /// `5 IN ('x')`.
    #[error("IN needs a property at its left")]
    InOfNoProperty,
    /// `BETWEEN 3 AND 2`.
    #[error("the first number of BETWEEN is larger than the second one")]
    BetweenNothing,
    /// More than [`Limits::terms_max`].
    #[error("the expression has more than {0} properties and constants (expressionTermsMax)")]
    Terms(usize),
    /// More than [`Limits::depth_max`].
    #[error("the expression has more than {0} levels (expressionDepthMax)")]
    Depth(usize),
}
