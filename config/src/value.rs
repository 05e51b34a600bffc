//! The value of a setting, and the types that fields of a configuration have.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The value of a setting. Its text is what variables, arguments and requests have.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// True or false.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A share.
    Ratio(f64),
    /// A text.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            // With a point, so that it is read as what it is.
            Self::Ratio(value) => write!(f, "{value:?}"),
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl Value {
    /// As YAML: a text is in quotes.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            other => other.to_string(),
        }
    }
}

/// A text in double quotes as YAML has it. What YAML does not print, or what it would fold, is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            ' '..='~' => out.push(letter),
            letter if letter.is_alphanumeric() => out.push(letter),
            letter => out.push_str(&format!("\\U{:08x}", u32::from(letter))),
        }
    }
    out.push('"');
    out
}

/// A type that a field of a configuration can have.
pub(crate) trait Field: Sized {
    /// The value.
    fn value(&self) -> Value;

    /// The field with this value; `None` when the type does not hold it.
    fn of(value: &Value) -> Option<Self>;
}

impl Field for bool {
    fn value(&self) -> Value {
        Value::Flag(*self)
    }

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }
    }
}

impl Field for f64 {
    fn value(&self) -> Value {
        Value::Ratio(*self)
    }

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Ratio(ratio) => Some(*ratio),
            _ => None,
        }
    }
}

impl Field for String {
    fn value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl Field for PathBuf {
    fn value(&self) -> Value {
        Value::Text(self.display().to_string())
    }

    fn of(value: &Value) -> Option<Self> {
        String::of(value).map(Self::from)
    }
}

/// A text that is not shown: neither printed nor told to anybody who asks for the configuration, and cleared in memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HiddenText(Zeroizing<String>);

impl HiddenText {
    /// This text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This text or, when a file is named, what the file holds without white space around it; `None`: neither says anything.
    ///
    /// # Errors
    /// The file cannot be read, is larger than 64 KiB, or holds no text. The text says so, without what the file holds.
    pub fn or_file(&self, path: &Path) -> Result<Option<Self>, String> {
        if path.as_os_str().is_empty() {
            return Ok((!self.is_empty()).then(|| self.clone()));
        }
        let bytes = Zeroizing::new(secret_file(path)?);
        let text = std::str::from_utf8(&bytes);
        let text = text.map_err(|_| format!("{} does not hold UTF-8", path.display()))?;
        Ok(Some(Self::new(text.trim().to_owned())))
    }
}

/// Bytes of a file with a secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// What a file with a secret holds.
///
/// # Errors
/// The file cannot be read, or is larger than 64 KiB.
pub fn secret_file(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error| format!("{} cannot be read: {error}", path.display());
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > SECRET_BYTES_MAX {
        return Err(format!(
            "{} has {length} bytes, and {SECRET_BYTES_MAX} are allowed",
            path.display()
        ));
    }
    std::fs::read(path).map_err(failed)
}

impl fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "hidden" })
    }
}

impl Field for HiddenText {
    fn value(&self) -> Value {
        Value::Text(self.0.to_string())
    }

    fn of(value: &Value) -> Option<Self> {
        String::of(value).map(Self::new)
    }
}

macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn value(&self) -> Value {
                // No range of a setting reaches that far.
                Value::Number(i64::try_from(*self).unwrap_or(i64::MAX))
            }

            fn of(value: &Value) -> Option<Self> {
                match value {
                    Value::Number(number) => Self::try_from(*number).ok(),
                    _ => None,
                }
            }
        }
    )+};
}

numbers!(i32, i64, u16, u32, u64, usize);
