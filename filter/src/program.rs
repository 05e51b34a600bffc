//! An expression made ready: nodes in one list that name each other by their places, and properties by slots that one pass over the
//! message's properties fills. Evaluation allocates nothing, and goes as deep as the expression's levels.

use std::cmp::Ordering;

use crate::problems::{Limits, ParseError};
use crate::tree::{Comparison, Expression, Search};
pub use crate::values::Incomparable;
use crate::values::{Value, equal, order};

/// Properties that one pass finds; more are looked up one by one.
const SLOTS: usize = 16;

/// A condition's value: true, false, or NULL.
type Truth = Result<Option<bool>, Incomparable>;

/// An expression that is ready to be asked.
#[derive(Debug, Clone)]
pub struct Program {
    /// Names of properties.
    names: Vec<Box<str>>,
    nodes: Vec<Node>,
    root: usize,
}

#[derive(Debug, Clone)]
enum Node {
    Constant(Option<bool>),
    /// A property as a condition: NULL when it is missing. A text is never true.
    Property(usize),
    Not(usize),
    And(Box<[usize]>),
    Or(Box<[usize]>),
    Equal {
        left: Operand,
        right: Operand,
        not: bool,
    },
    Order {
        left: Operand,
        right: Operand,
        how: Comparison,
    },
    IsNull {
        of: Operand,
        not: bool,
    },
    Between {
        of: Operand,
        low: Operand,
        high: Operand,
        not: bool,
    },
    In {
        slot: usize,
        /// Sorted.
        list: Box<[Box<str>]>,
        not: bool,
    },
    Search {
        search: Search,
        of: Operand,
        text: Box<str>,
        not: bool,
    },
}

#[derive(Debug, Clone)]
enum Operand {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
    Slot(usize),
    /// A condition's value.
    Condition(usize),
    /// NULL, after the condition was evaluated.
    Nothing(usize),
}

impl Program {
    /// Reads an expression and makes it ready.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn new(text: &str, limits: Limits) -> Result<Self, ParseError> {
        Expression::parse(text, limits).map(|expression| Self::of(&expression))
    }

    /// Makes an expression ready.
    #[must_use]
    pub fn of(expression: &Expression) -> Self {
        let mut program = Self {
            names: Vec::new(),
            nodes: Vec::new(),
            root: 0,
        };
        program.root = program.condition(expression);
        program.nodes.shrink_to_fit();
        program.names.shrink_to_fit();
        program
    }

    /// Whether a message with these properties is wanted: the expression is true. Of two properties with one name the later counts.
    pub fn matches<'p, I>(&self, properties: I) -> bool
    where
        I: Iterator<Item = (&'p str, &'p str)> + Clone,
    {
        self.evaluate(properties) == Ok(Some(true))
    }

    /// What the expression says of these properties: true, false, or NULL.
    ///
    /// # Errors
    /// Something had to be compared that nothing compares, as `amount > 5` where the amount is `5.5`.
    pub fn evaluate<'p, I>(&self, properties: I) -> Result<Option<bool>, Incomparable>
    where
        I: Iterator<Item = (&'p str, &'p str)> + Clone,
    {
        let mut found = [None; SLOTS];
        for (name, value) in properties.clone() {
            let slots = self.names.iter().zip(&mut found);
            for (wanted, slot) in slots {
                if **wanted == *name {
                    *slot = Some(value);
                    break;
                }
            }
        }
        let values = Values {
            names: &self.names,
            found,
            properties,
        };
        self.truth(self.root, &values)
    }

    fn node(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn slot(&mut self, name: &str) -> usize {
        let known = self.names.iter().position(|known| **known == *name);
        known.unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        })
    }

    fn conditions(&mut self, parts: &[Expression]) -> Box<[usize]> {
        parts.iter().map(|part| self.condition(part)).collect()
    }

    fn condition(&mut self, expression: &Expression) -> usize {
        let node = match expression {
            Expression::Boolean(value) => Node::Constant(Some(*value)),
            Expression::Property(name) => Node::Property(self.slot(name)),
            Expression::Not(of) => Node::Not(self.condition(of)),
            Expression::And(parts) => Node::And(self.conditions(parts)),
            Expression::Or(parts) => Node::Or(self.conditions(parts)),
            Expression::Compare(how, left, right) => {
                let (left, right) = (self.operand(left), self.operand(right));
                match how {
                    Comparison::Equal | Comparison::NotEqual => Node::Equal {
                        left,
                        right,
                        not: *how == Comparison::NotEqual,
                    },
                    _ => Node::Order {
                        left,
                        right,
                        how: *how,
                    },
                }
            }
            Expression::IsNull { of, not } => Node::IsNull {
                of: self.operand(of),
                not: *not,
            },
            Expression::Between { of, low, high, not } => Node::Between {
                of: self.operand(of),
                low: self.operand(low),
                high: self.operand(high),
                not: *not,
            },
            Expression::In {
                property,
                list,
                not,
            } => {
                let mut list: Vec<Box<str>> =
                    list.iter().map(|text| text.as_str().into()).collect();
                list.sort_unstable();
                Node::In {
                    slot: self.slot(property),
                    list: list.into(),
                    not: *not,
                }
            }
            Expression::Search {
                search,
                of,
                text,
                not,
            } => Node::Search {
                search: *search,
                of: self.operand(of),
                text: text.as_str().into(),
                not: *not,
            },
            // No value is true: the parser lets none stand where a condition must.
            Expression::Null
            | Expression::Text(_)
            | Expression::Whole(_)
            | Expression::Fraction(_)
            | Expression::Negative(_) => Node::Constant(None),
        };
        self.node(node)
    }

    fn operand(&mut self, expression: &Expression) -> Operand {
        match expression {
            Expression::Text(text) => Operand::Text(text.as_str().into()),
            Expression::Whole(number) => Operand::of(Value::whole(*number)),
            Expression::Fraction(number) => Operand::Double(*number),
            Expression::Boolean(value) => Operand::Boolean(*value),
            Expression::Null => Operand::Null,
            Expression::Property(name) => Operand::Slot(self.slot(name)),
            Expression::Negative(of) => match self.operand(of) {
                Operand::Int(number) => Operand::of(Value::Int(number).negative()),
                Operand::Long(number) => Operand::of(Value::Long(number).negative()),
                Operand::Double(number) => Operand::of(Value::Double(number).negative()),
                Operand::Condition(node) | Operand::Nothing(node) => Operand::Nothing(node),
                // The value of a property is a text, and no text has a negative.
                Operand::Null | Operand::Boolean(_) | Operand::Text(_) | Operand::Slot(_) => {
                    Operand::Null
                }
            },
            condition => Operand::Condition(self.condition(condition)),
        }
    }

    fn truth<'p, I>(&self, node: usize, values: &Values<'_, 'p, I>) -> Truth
    where
        I: Iterator<Item = (&'p str, &'p str)> + Clone,
    {
        let value = |operand| self.value(operand, values);
        Ok(match &self.nodes[node] {
            Node::Constant(truth) => *truth,
            Node::Property(slot) => values.get(*slot).map(|_| false),
            Node::Not(of) => self.truth(*of, values)?.map(|truth| !truth),
            Node::And(parts) => return self.chain(parts, false, values),
            Node::Or(parts) => return self.chain(parts, true, values),
            Node::Equal { left, right, not } => {
                let (left, right) = (value(left)?, value(right)?);
                equal(left, right)?.map(|truth| truth != *not)
            }
            Node::Order { left, right, how } => {
                let left = value(left)?;
                if left == Value::Null {
                    return Ok(None);
                }
                order(left, value(right)?)?.map(|order| holds(*how, order))
            }
            Node::IsNull { of, not } => Some((value(of)? == Value::Null) != *not),
            Node::Between { of, low, high, not } => {
                let of = value(of)?;
                let side = |bound, how| -> Truth {
                    if of == Value::Null {
                        return Ok(None);
                    }
                    Ok(order(of, value(bound)?)?.map(|order| holds(how, order)))
                };
                // One side that is false, of NOT BETWEEN one that is true, decides.
                let (first, last, decides) = match not {
                    false => (Comparison::GreaterEqual, Comparison::LessEqual, false),
                    true => (Comparison::Less, Comparison::Greater, true),
                };
                let low = side(low, first)?;
                if low == Some(decides) {
                    return Ok(low);
                }
                let high = side(high, last)?;
                if high == Some(decides) || low.is_some() {
                    return Ok(high);
                }
                None
            }
            Node::In { slot, list, not } => values.get(*slot).map(|text| {
                let found = list.binary_search_by(|known| (**known).cmp(text));
                found.is_ok() != *not
            }),
            // As in the original nobody asks for the left side then.
            Node::Search { text, .. } if text.is_empty() => Some(false),
            Node::Search {
                search,
                of,
                text,
                not,
            } => Some(match value(of)? {
                Value::Text(of) => {
                    let found = match search {
                        Search::Contains => of.contains(&**text),
                        Search::StartsWith => of.starts_with(&**text),
                        Search::EndsWith => of.ends_with(&**text),
                    };
                    found != *not
                }
                _ => false,
            }),
        })
    }

    /// AND and OR: the first part that `decides` is the value, else NULL when one part is.
    fn chain<'p, I>(&self, parts: &[usize], decides: bool, values: &Values<'_, 'p, I>) -> Truth
    where
        I: Iterator<Item = (&'p str, &'p str)> + Clone,
    {
        let mut is_null = false;
        for part in parts {
            match self.truth(*part, values)? {
                Some(truth) if truth == decides => return Ok(Some(decides)),
                Some(_) => {}
                None => is_null = true,
            }
        }
        Ok((!is_null).then_some(!decides))
    }

    fn value<'v, 'p: 'v, I>(
        &'v self,
        operand: &'v Operand,
        values: &Values<'_, 'p, I>,
    ) -> Result<Value<'v>, Incomparable>
    where
        I: Iterator<Item = (&'p str, &'p str)> + Clone,
    {
        Ok(match operand {
            Operand::Null => Value::Null,
            Operand::Boolean(value) => Value::Boolean(*value),
            Operand::Int(number) => Value::Int(*number),
            Operand::Long(number) => Value::Long(*number),
            Operand::Double(number) => Value::Double(*number),
            Operand::Text(text) => Value::Text(text),
            Operand::Slot(slot) => values.get(*slot).map_or(Value::Null, Value::Text),
            Operand::Condition(node) => self
                .truth(*node, values)?
                .map_or(Value::Null, Value::Boolean),
            Operand::Nothing(node) => {
                self.truth(*node, values)?;
                Value::Null
            }
        })
    }
}

impl Operand {
    fn of(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Boolean(value) => Self::Boolean(value),
            Value::Int(number) => Self::Int(number),
            Value::Long(number) => Self::Long(number),
            Value::Double(number) => Self::Double(number),
            Value::Text(text) => Self::Text(text.into()),
        }
    }
}

fn holds(how: Comparison, order: Ordering) -> bool {
    match how {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterEqual => order.is_ge(),
        Comparison::Less => order.is_lt(),
        Comparison::LessEqual => order.is_le(),
    }
}

/// The properties of one message.
struct Values<'n, 'p, I> {
    names: &'n [Box<str>],
    found: [Option<&'p str>; SLOTS],
    properties: I,
}

impl<'p, I> Values<'_, 'p, I>
where
    I: Iterator<Item = (&'p str, &'p str)> + Clone,
{
    fn get(&self, slot: usize) -> Option<&'p str> {
        if let Some(found) = self.found.get(slot) {
            return *found;
        }
        let wanted = &*self.names[slot];
        let all = self.properties.clone();
        all.filter(|(name, _)| *name == wanted)
            .last()
            .map(|(_, value)| value)
    }
}
