//! What comparisons mean (`apache/rocketmq` `filter/.../ComparisonExpression`). Properties are texts; the other side of a comparison says
//! what they are read as.

use std::cmp::Ordering;

/// A value while an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

/// A text that had to be a number is none, or values that nothing compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incomparable;

impl Value<'_> {
    /// A whole number as Java takes it: of 32 bits when it fits.
    pub(crate) fn whole(number: i64) -> Self {
        i32::try_from(number).map_or(Self::Long(number), Self::Int)
    }

    pub(crate) fn negative(self) -> Self {
        match self {
            Self::Int(number) => Self::Int(number.wrapping_neg()),
            Self::Long(number) => Self::Long(number.wrapping_neg()),
            Self::Double(number) => Self::Double(-number),
            Self::Null | Self::Boolean(_) | Self::Text(_) => Self::Null,
        }
    }
}

/// Whether `left` is equal to `right`; `None` is NULL.
pub(crate) fn equal(left: Value<'_>, right: Value<'_>) -> Result<Option<bool>, Incomparable> {
    Ok(Some(match (left, right) {
        // Two properties that are both missing are equal, one that is missing at the left is not comparable: so is the original.
        (Value::Null, Value::Null) => true,
        (Value::Null, _) => return Ok(None),
        (_, Value::Null) => false,
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::Boolean(left), Value::Boolean(right)) => left == right,
        (Value::Text(left), Value::Boolean(right)) => left.eq_ignore_ascii_case("true") == right,
        (Value::Boolean(_), Value::Text(_)) => return Err(Incomparable),
        (Value::Boolean(_), _) | (_, Value::Boolean(_)) => false,
        (left, right) => numbers(left, right)?.is_eq(),
    }))
}

/// How `left` lies to `right`; `None` is NULL.
pub(crate) fn order(left: Value<'_>, right: Value<'_>) -> Result<Option<Ordering>, Incomparable> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(None),
        (Value::Text(left), Value::Text(right)) => {
            let (left, right) = (double(left)?, double(right)?);
            Ok(Some(left.total_cmp(&right)))
        }
        (left, right) => numbers(left, right).map(Some),
    }
}

/// Two numbers, or a number and a text that is read as such a number.
fn numbers(left: Value<'_>, right: Value<'_>) -> Result<Ordering, Incomparable> {
    let (left, right) = match (left, right) {
        (Value::Text(text), number) => (read_as(text, number)?, number),
        (number, Value::Text(text)) => (number, read_as(text, number)?),
        both => both,
    };
    compare_numbers(left, right).ok_or(Incomparable)
}

fn read_as<'a>(text: &str, number: Value<'a>) -> Result<Value<'a>, Incomparable> {
    match number {
        Value::Int(_) => text.parse().map(Value::Int).map_err(|_| Incomparable),
        Value::Long(_) => text.parse().map(Value::Long).map_err(|_| Incomparable),
        Value::Double(_) => double(text).map(Value::Double),
        Value::Null | Value::Boolean(_) | Value::Text(_) => Err(Incomparable),
    }
}

/// `None` when one is no number.
pub(crate) fn compare_numbers(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
    let whole = |value| match value {
        Value::Int(number) => Some(i64::from(number)),
        Value::Long(number) => Some(number),
        _ => None,
    };
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => Some(left.total_cmp(&right)),
        (Value::Double(left), right) => Some(left.total_cmp(&(whole(right)? as f64))),
        (left, Value::Double(right)) => Some((whole(left)? as f64).total_cmp(&right)),
        (left, right) => Some(whole(left)?.cmp(&whole(right)?)),
    }
}

/// A text as Java's `Double.valueOf` reads it, but for hexadecimal digits: with blanks around it, and perhaps `d` or `f` at its end.
fn double(text: &str) -> Result<f64, Incomparable> {
    let text = text.trim_matches(|sign| sign <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(sign * f64::INFINITY),
        _ => {}
    }
    let digits = unsigned
        .strip_suffix(['d', 'D', 'f', 'F'])
        .unwrap_or(unsigned);
    let is_of_a_number = |byte: u8| byte.is_ascii_digit() || b".eE+-".contains(&byte);
    if !digits.bytes().all(is_of_a_number) || digits.starts_with(['+', '-']) {
        return Err(Incomparable);
    }
    let number: f64 = digits.parse().map_err(|_| Incomparable)?;
    Ok(sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_read_as_java_reads_them() {
        for (text, number) in [
            ("5", 5.0),
            (" +5.5\t", 5.5),
            (".5e1", 5.0),
            ("5.", 5.0),
            ("-5d", -5.0),
            ("1E3F", 1000.0),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e400", f64::INFINITY),
        ] {
            assert_eq!(double(text), Ok(number), "{text}");
        }
        assert!(double("NaN").is_ok_and(f64::is_nan));
        for text in [
            "", "d", "inf", "infinity", "nan", "1 2", "--5", "5dd", "e5", ".", "0x1p3",
        ] {
            assert_eq!(double(text), Err(Incomparable), "{text}");
        }
    }

    #[test]
    fn a_missing_side_and_errors_are_two_things() {
        let (text, null) = (Value::Text("5"), Value::Null);
        assert_eq!(equal(null, text), Ok(None));
        assert_eq!(equal(text, null), Ok(Some(false)));
        assert_eq!(equal(null, null), Ok(Some(true)));
        assert_eq!(order(text, null), Ok(None));
        assert_eq!(order(Value::Text("5.5"), Value::Int(5)), Err(Incomparable));
        assert_eq!(
            order(Value::Text("5.5"), Value::Double(5.0)),
            Ok(Some(Ordering::Greater))
        );
        assert_eq!(
            equal(Value::Boolean(true), Value::Text("true")),
            Err(Incomparable)
        );
        assert_eq!(
            equal(Value::Text("TRUE"), Value::Boolean(true)),
            Ok(Some(true))
        );
    }
}
