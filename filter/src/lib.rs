//! SQL92 filters: an expression over the properties of a message is parsed once and asked for each message.
//!
//! ```
//! use rmq_filter::{Limits, Program};
//!
//! let program = Program::new("amount > 100 AND region IN ('eu', 'us')", Limits::default())?;
//! assert!(program.matches([("amount", "250"), ("region", "eu")].into_iter()));
//! assert!(!program.matches([("amount", "2.5"), ("region", "eu")].into_iter()));
//!
//! let error = Program::new("amount > ", Limits::default()).unwrap_err();
//! assert_eq!(error.to_string(), "at character 10, the end: expected a value");
//! # Ok::<(), rmq_filter::ParseError>(())
//! ```
//!
//! | file | has |
//! | --- | --- |
//! | `lexer.rs` | words, names, numbers, texts and signs |
//! | `tree.rs` | an expression as it was read, and as text again |
//! | `parser.rs` | the grammar, and what it refuses |
//! | `problems.rs` | how large an expression may be, and why a text is none |
//! | `program.rs` | an expression made ready, and what it says of properties |
//! | `values.rs` | what comparisons mean |
//!
//! Grammar and meaning are those of Apache RocketMQ 5.5.0 (`apache/rocketmq` `filter/`): `tests/meaning.rs` has a table of what its own
//! parser and evaluation say, and `e2e/tests/compat_java.rs` asks them about random expressions. Two things differ: text after the end
//! of the expression is refused, which the original passes over; and texts with other digits than 0 to 9, or with hexadecimal digits,
//! are no numbers.

mod lexer;
mod parser;
mod problems;
mod program;
mod tree;
mod values;

pub use problems::{Limits, ParseError, Problem};
pub use program::{Incomparable, Program};
pub use tree::{Comparison, Expression, Search};
