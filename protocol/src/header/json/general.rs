//! The general reader of JSON headers: everything that is JSON and has the shape of a header, by serde_json. It is slower and
//! allocates; the scanner hands over only what it does not know.

use std::fmt;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::frame::HeaderEncoding;
use crate::header::binary::check_field;
use crate::header::{Header, HeaderError, Language, Text};
use crate::limits::FrameLimits;

pub(super) fn decode(text: &str, limits: &FrameLimits) -> Result<Header<'static>, HeaderError> {
    check_depth(text, limits.json_depth_max)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json
        .deserialize_map(HeaderVisitor)
        .and_then(|read| json.end().map(|()| read))
        .map_err(|error| HeaderError::NotJson {
            reason: error.to_string(),
        })?;
    let mut header = Header::empty(HeaderEncoding::Json);
    header.code = read.code.ok_or(HeaderError::Missing { name: "code" })?;
    header.language = read.language;
    header.version = read.version;
    header.opaque = read.opaque;
    header.flag = read.flag;
    header.remark = read.remark.map(Text::Owned);
    for (key, value) in read.fields {
        check_field(key.len(), value.len(), header.fields.len(), limits)?;
        header.fields.push_owned(key, value);
    }
    Ok(header)
}

/// Counts open brackets outside strings before anything recursive looks at the text.
fn check_depth(text: &str, max: usize) -> Result<(), HeaderError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > max {
                    return Err(HeaderError::TooDeep { max });
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[derive(Default)]
struct Read {
    code: Option<i32>,
    language: Language,
    version: i32,
    opaque: i32,
    flag: i32,
    remark: Option<String>,
    fields: Vec<(String, String)>,
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let mut read = Read::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "code" => read.code = Some(int(&map.next_value()?, "code")?),
                "version" => read.version = int(&map.next_value()?, "version")?,
                "opaque" => read.opaque = int(&map.next_value()?, "opaque")?,
                "flag" => read.flag = int(&map.next_value()?, "flag")?,
                "language" => {
                    read.language = match map.next_value()? {
                        Value::String(name) => Language::from_name(&name),
                        Value::Number(code) => code
                            .as_u64()
                            .and_then(|code| code.try_into().ok())
                            .map_or(Language::Other, Language::from_u8),
                        _ => Language::Other,
                    }
                }
                "remark" => {
                    read.remark = match map.next_value()? {
                        Value::Null => None,
                        Value::String(text) => Some(text),
                        other => Some(other.to_string()),
                    }
                }
                "extFields" => match map.next_value()? {
                    Value::Null => {}
                    // Later occurrences of the object add to the earlier, as the scanner would.
                    Value::Object(object) => {
                        read.fields.extend(
                            object
                                .into_iter()
                                .filter_map(|(key, value)| Some((key, field_text(value)?))),
                        );
                    }
                    _ => return Err(A::Error::custom("extFields is not an object")),
                },
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(read)
    }
}

/// A field's value as text: what is not a string keeps its JSON spelling; null is absent.
fn field_text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// A whole number that is written with a fraction or an exponent, such as `0.0` or `1e3`: fastjson reads it as an integer.
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX) + 1.0).then_some(number as i64)
}

fn int<E: serde::de::Error>(value: &Value, name: &str) -> Result<i32, E> {
    let number = match value {
        Value::Number(number) => number
            .as_i64()
            .or_else(|| whole(number.as_f64()?))
            .and_then(|number| number.try_into().ok()),
        Value::String(text) => Text::Plain(text).parse(),
        _ => None,
    };
    number.ok_or_else(|| E::custom(format_args!("{name} is not a 32-bit integer")))
}
