//! An expression as it was read, and as text again.

use std::fmt::{self, Display, Formatter};

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
}

impl Comparison {
    const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::LessEqual => "<=",
        }
    }
}

/// Where a text is looked for in another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Anywhere.
    Contains,
    /// At the beginning.
    StartsWith,
    /// At the end.
    EndsWith,
}

impl Search {
    const fn word(self) -> &'static str {
        match self {
            Self::Contains => "CONTAINS",
            Self::StartsWith => "STARTSWITH",
            Self::EndsWith => "ENDSWITH",
        }
    }
}

/// An expression. Its text, read again, is the same expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// `'text'`
    Text(String),
    /// A whole number from 0 on; one of more than 31 bits is compared as a number of 64 bits.
    Whole(i64),
    /// A number with a fraction or an exponent, above 0.
    Fraction(f64),
    /// `TRUE` or `FALSE`.
    Boolean(bool),
    /// `NULL`
    Null,
    /// A property by its name.
    Property(String),
    /// `-`
    Negative(Box<Expression>),
    /// `NOT`
    Not(Box<Expression>),
    /// All of them; at least two.
    And(Vec<Expression>),
    /// One of them; at least two.
    Or(Vec<Expression>),
    /// Two values and how they are compared.
    Compare(Comparison, Box<Expression>, Box<Expression>),
    /// `IS NULL`, or `IS NOT NULL`.
    IsNull {
        /// Of what.
        of: Box<Expression>,
        /// `IS NOT NULL`.
        not: bool,
    },
    /// `BETWEEN`, or `NOT BETWEEN`.
    Between {
        /// What is compared.
        of: Box<Expression>,
        /// The first number.
        low: Box<Expression>,
        /// The last number.
        high: Box<Expression>,
        /// `NOT BETWEEN`.
        not: bool,
    },
    /// `IN`, or `NOT IN`.
    In {
        /// The name of the property.
        property: String,
        /// Texts; at least one.
        list: Vec<String>,
        /// `NOT IN`.
        not: bool,
    },
    /// `CONTAINS`, `STARTSWITH`, `ENDSWITH`, or with `NOT`.
    Search {
        /// Where.
        search: Search,
        /// In what.
        of: Box<Expression>,
        /// For what.
        text: String,
        /// With `NOT`.
        not: bool,
    },
}

impl Expression {
    /// Whether it is a condition by itself, other than a property, which is made one.
    pub(crate) const fn is_condition(&self) -> bool {
        !matches!(
            self,
            Self::Text(_)
                | Self::Whole(_)
                | Self::Fraction(_)
                | Self::Property(_)
                | Self::Negative(_)
        )
    }

    /// As the operand of an operator.
    fn operand<'a>(&'a self) -> impl Display + 'a {
        Operand(self)
    }
}

struct Operand<'a>(&'a Expression);

impl Display for Operand<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Expression::Text(_)
            | Expression::Whole(_)
            | Expression::Fraction(_)
            | Expression::Boolean(_)
            | Expression::Null
            | Expression::Property(_) => self.0.fmt(f),
            other => write!(f, "({other})"),
        }
    }
}

struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\'', "''"))
    }
}

fn not_or_nothing(not: bool) -> &'static str {
    if not { "NOT " } else { "" }
}

fn chain(f: &mut Formatter<'_>, word: &str, parts: &[Expression]) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            write!(f, " {word} ")?;
        }
        write!(f, "{}", part.operand())?;
    }
    Ok(())
}

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => Quoted(text).fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Fraction(number) => write!(f, "{number:?}"),
            Self::Boolean(true) => f.write_str("TRUE"),
            Self::Boolean(false) => f.write_str("FALSE"),
            Self::Null => f.write_str("NULL"),
            Self::Property(name) => f.write_str(name),
            Self::Negative(of) => write!(f, "-{}", of.operand()),
            Self::Not(of) => write!(f, "NOT {}", of.operand()),
            Self::And(parts) => chain(f, "AND", parts),
            Self::Or(parts) => chain(f, "OR", parts),
            Self::Compare(how, left, right) => {
                write!(f, "{} {} {}", left.operand(), how.sign(), right.operand())
            }
            Self::IsNull { of, not } => {
                write!(f, "{} IS {}NULL", of.operand(), not_or_nothing(*not))
            }
            Self::Between { of, low, high, not } => write!(
                f,
                "{} {}BETWEEN {} AND {}",
                of.operand(),
                not_or_nothing(*not),
                low.operand(),
                high.operand()
            ),
            Self::In {
                property,
                list,
                not,
            } => {
                write!(f, "{property} {}IN (", not_or_nothing(*not))?;
                for (index, text) in list.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{}", Quoted(text))?;
                }
                f.write_str(")")
            }
            Self::Search {
                search,
                of,
                text,
                not,
            } => write!(
                f,
                "{} {}{} {}",
                of.operand(),
                not_or_nothing(*not),
                search.word(),
                Quoted(text)
            ),
        }
    }
}
