//! What is known of one setting, and what it takes.

use crate::kubernetes::Kubernetes;
use crate::problem::Problem;
use crate::value::Value;

/// What is shown in the place of a secret.
const HIDDEN: &str = "(hidden)";

/// One setting of a server: everything but its default and its field, which are in its [`Row`](crate::Row).
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name in the file, in variables and in arguments.
    pub key: &'static str,
    /// Its comment as it stands in the source; [`Setting::about`] has the text.
    pub(crate) doc: &'static str,
    /// Which values it takes.
    pub takes: Takes,
    /// What its number counts; empty for a count without a unit, and for what is no number.
    pub unit: &'static str,
    /// What to do instead, for the message about a wrong value; may be empty.
    pub advice: &'static str,
    /// What Apache RocketMQ calls it.
    pub upstream: Upstream,
    /// Whether it changes while the server runs. The others need a restart.
    pub is_live: bool,
    /// Whether its value is a secret: nobody is shown it.
    pub is_secret: bool,
    /// Where it is set in Kubernetes.
    pub kubernetes: Kubernetes,
}

/// What Apache RocketMQ calls a setting.
#[derive(Debug, Clone, Copy)]
pub enum Upstream {
    /// There is no such setting.
    Unknown,
    /// It has our name.
    Same,
    /// It has this name, and the same values.
    Named(&'static str),
    /// It has this name, and its value is written in another form.
    Written(&'static str, fn(&Value) -> String),
}

/// Which values a setting takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// True or false.
    Flag,
    /// A whole number in one of these ranges, first and last included.
    Number {
        /// The ranges, from the lowest to the highest.
        ranges: &'static [(i64, i64)],
        /// What it must be a multiple of; 1 for any number.
        multiple_of: i64,
    },
    /// A number with a fraction, from 0 to 1.
    Ratio,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text of this form.
    Text(Form),
}

/// A form of texts.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// What the text must be, as in "must be …".
    pub expected: &'static str,
    /// Whether a text has the form, or why it has not.
    pub check: fn(&str) -> Result<(), String>,
}

impl Setting {
    const fn new(takes: Takes) -> Self {
        Self {
            key: "",
            doc: "",
            takes,
            unit: "",
            advice: "",
            upstream: Upstream::Unknown,
            is_live: false,
            is_secret: false,
            kubernetes: Kubernetes::Open,
        }
    }

    /// With the unit of its number.
    pub(crate) const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// Its number is a multiple of this.
    pub(crate) const fn multiple_of(mut self, number: i64) -> Self {
        if let Takes::Number { ranges, .. } = self.takes {
            self.takes = Takes::Number {
                ranges,
                multiple_of: number,
            };
        }
        self
    }

    /// With something to do instead of what is refused.
    pub(crate) const fn advice(mut self, advice: &'static str) -> Self {
        self.advice = advice;
        self
    }

    /// Apache RocketMQ calls it so too.
    pub(crate) const fn upstream_too(mut self) -> Self {
        self.upstream = Upstream::Same;
        self
    }

    /// Apache RocketMQ calls it so.
    pub(crate) const fn upstream(mut self, name: &'static str) -> Self {
        self.upstream = Upstream::Named(name);
        self
    }

    /// Apache RocketMQ calls it so, and writes its value in this form.
    pub(crate) const fn upstream_as(
        mut self,
        name: &'static str,
        write: fn(&Value) -> String,
    ) -> Self {
        self.upstream = Upstream::Written(name, write);
        self
    }

    /// It changes while the server runs.
    pub(crate) const fn live(mut self) -> Self {
        self.is_live = true;
        self
    }

    /// Nobody is shown its value.
    pub(crate) const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// The operator sets it, from this field of the resource.
    pub(crate) const fn field(mut self, field: &'static str) -> Self {
        self.kubernetes = Kubernetes::Field(field);
        self
    }

    /// The operator sets it, and no user does, for this reason.
    pub(crate) const fn operator(mut self, why: &'static str) -> Self {
        self.kubernetes = Kubernetes::Operator(why);
        self
    }

    /// What it does, in one line.
    #[must_use]
    pub fn about(&self) -> &'static str {
        self.doc.trim()
    }

    /// What Apache RocketMQ calls it.
    #[must_use]
    pub fn upstream_name(&self) -> Option<&'static str> {
        match self.upstream {
            Upstream::Unknown => None,
            Upstream::Same => Some(self.key),
            Upstream::Named(name) | Upstream::Written(name, _) => Some(name),
        }
    }

    /// Its value as Apache RocketMQ writes it.
    #[must_use]
    pub fn upstream_text(&self, value: &Value) -> String {
        match self.upstream {
            Upstream::Written(_, write) => write(value),
            _ => value.to_string(),
        }
    }

    /// The value as others may see it: nothing of a secret.
    pub(crate) fn shown(&self, value: Value) -> Value {
        match self.is_secret {
            true => Value::Text(String::new()),
            false => value,
        }
    }

    /// Which values it takes, without the unit: `0, or 67108864 to 1099511627776`; empty where every text is fine.
    #[must_use]
    pub fn range(&self) -> String {
        self.takes.range()
    }

    /// Reads its value; `origin` says where the text stands, for the problem. `is_text` is false when a file has a bare number, `true` or
    /// `false`: texts do not take those, because a number is not what its writer saw (`1.10` is 1.1).
    ///
    /// # Errors
    /// [`Problem::Invalid`] when it is none of the values that the setting takes.
    pub fn read(&self, origin: &str, text: &str, is_text: bool) -> Result<Value, Problem> {
        let value = match self.takes {
            Takes::Text(_) | Takes::Choice(_) if !is_text => {
                return Err(self.refused(origin, text, "write it in quotes".to_owned()));
            }
            takes => takes.read(text),
        };
        let value = value.ok_or_else(|| self.refused(origin, text, String::new()))?;
        self.check(origin, &value)?;
        Ok(value)
    }

    /// Whether the value is one that it takes.
    ///
    /// # Errors
    /// [`Problem::Invalid`] when it is none.
    pub fn check(&self, origin: &str, value: &Value) -> Result<(), Problem> {
        let why = self.takes.check(value);
        why.map_err(|why| self.refused(origin, &value.to_string(), why))
    }

    fn refused(&self, origin: &str, value: &str, why: String) -> Problem {
        let why: Vec<&str> = [why.as_str(), self.advice]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        Problem::Invalid {
            origin: origin.to_owned(),
            key: self.key,
            expected: self.takes.expected(self.unit),
            value: if self.is_secret { HIDDEN } else { value }.to_owned(),
            why: why.join("; "),
        }
    }
}

/// A setting that is true or false.
pub(crate) const fn flag() -> Setting {
    Setting::new(Takes::Flag)
}

/// A setting with a whole number in one of these ranges.
pub(crate) const fn number(ranges: &'static [(i64, i64)]) -> Setting {
    Setting::new(Takes::Number {
        ranges,
        multiple_of: 1,
    })
}

/// A setting from 0 to 1.
pub(crate) const fn ratio() -> Setting {
    Setting::new(Takes::Ratio)
}

/// A setting that is one of some words.
pub(crate) const fn choice(words: &'static [&'static str]) -> Setting {
    Setting::new(Takes::Choice(words))
}

/// A setting with a text of this form.
pub(crate) const fn text(form: Form) -> Setting {
    Setting::new(Takes::Text(form))
}

impl Takes {
    fn read(&self, text: &str) -> Option<Value> {
        match self {
            Self::Flag => text.parse().ok().map(Value::Flag),
            // As in Rust and YAML, underscores may part the digits.
            Self::Number { .. } => text.replace('_', "").parse().ok().map(Value::Number),
            Self::Ratio => text.parse().ok().map(Value::Ratio),
            Self::Choice(_) | Self::Text(_) => Some(Value::Text(text.to_owned())),
        }
    }

    /// Whether it takes this value, or why not; the reason may be empty.
    fn check(&self, value: &Value) -> Result<(), String> {
        let takes = match (self, value) {
            (Self::Flag, Value::Flag(_)) => true,
            (
                Self::Number {
                    ranges,
                    multiple_of,
                },
                Value::Number(number),
            ) => {
                let is_inside = |(min, max): &(i64, i64)| (*min..=*max).contains(number);
                ranges.iter().any(is_inside) && number % multiple_of == 0
            }
            (Self::Ratio, Value::Ratio(ratio)) => (0.0..=1.0).contains(ratio),
            (Self::Choice(words), Value::Text(text)) => words.contains(&text.as_str()),
            (Self::Text(form), Value::Text(text)) => return (form.check)(text),
            _ => false,
        };
        if takes { Ok(()) } else { Err(String::new()) }
    }

    fn range(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Number {
                ranges,
                multiple_of,
            } => {
                let parts: Vec<String> = ranges
                    .iter()
                    .map(|(min, max)| match min == max {
                        true => min.to_string(),
                        false => format!("{min} to {max}"),
                    })
                    .collect();
                match multiple_of {
                    1 => listed(&parts),
                    number => format!("{}, a multiple of {number}", listed(&parts)),
                }
            }
            Self::Ratio => "0 to 1".to_owned(),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
                listed(&words)
            }
            Self::Text(form) => form.expected.to_owned(),
        }
    }

    /// What a value must be, as in "must be …".
    fn expected(&self, unit: &str) -> String {
        let number = if unit.is_empty() {
            "a number".to_owned()
        } else {
            format!("a number of {unit}")
        };
        match self {
            Self::Number { ranges, .. } if ranges.iter().any(|(min, max)| min != max) => {
                // "0, or a number of bytes from 1 to 9".
                let range = self.range();
                match range.rsplit_once("or ") {
                    Some((exceptions, rest)) => format!("{exceptions}or {number} from {rest}"),
                    None => format!("{number} from {range}"),
                }
            }
            Self::Ratio => "a number from 0 to 1".to_owned(),
            _ => self.range(),
        }
    }
}

/// `a`, `a or b`, `a, b or c`; a range at the end is set off: `0, or 4 to 6`.
fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => {
            let comma = if last.contains(' ') { "," } else { "" };
            format!("{}{comma} or {last}", first.join(", "))
        }
    }
}
