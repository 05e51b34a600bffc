//! JSON as fastjson writes and reads it. Its maps may have integer keys without quotes (`{0:"a"}`) and whole objects as keys
//! (`{{"brokerName":"b","queueId":0,"topic":"t"}:1}`); its reader also takes names without quotes, single quotes and commas at the end.
//! [`to_strict`] turns such text into JSON proper: an object key becomes a string that holds the object's text.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 64;
/// Longest text that is read into a tree, which takes many times its size.
const TREE_BYTES_MAX: usize = 1024 * 1024;
/// Longest reason of an error, bytes.
const REASON_BYTES_MAX: usize = 512;

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Not JSON of the expected shape.
    #[error("{what} is not valid: {reason}")]
    Json {
        /// Which body.
        what: &'static str,
        /// What the reader says, with line and column.
        reason: String,
    },
    /// Compressed data that is damaged, too large or cut.
    #[error("{what} cannot be read: {reason}")]
    Binary {
        /// Which body.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Reads a body that is an object. (A list would pass for one: its items would be taken for the fields.)
///
/// # Errors
/// When it is no object, or has another shape.
pub fn object_from_slice<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, BodyError> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(BodyError::Json {
            what,
            reason: "it does not begin with '{'".to_owned(),
        });
    }
    from_slice(what, bytes)
}

/// Reads a body: as strict JSON first, and when that fails as fastjson text.
///
/// # Errors
/// When it is neither, or has another shape.
pub fn from_slice<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, BodyError> {
    let strict = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let invalid = |reason: &dyn std::fmt::Display| BodyError::Json {
        what,
        reason: cut(reason.to_string()),
    };
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(&error))?;
    // What the lenient reader cannot make sense of is reported as the strict one saw it.
    let text = to_strict(text).ok_or_else(|| invalid(&strict))?;
    let mut reader = serde_json::Deserializer::from_str(&text);
    let error = match serde_path_to_error::deserialize(&mut reader) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if text.len() > TREE_BYTES_MAX {
        return Err(invalid(&error));
    }
    // fastjson takes null for any field; here it counts as absent.
    let mut tree: serde_json::Value = serde_json::from_str(&text).map_err(|_| invalid(&error))?;
    drop_nulls(&mut tree);
    serde_path_to_error::deserialize(tree).map_err(|error| invalid(&error))
}

/// A reason quotes what it is about, which may be all of the body.
fn cut(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        reason.push('…');
    }
    reason
}

fn drop_nulls(tree: &mut serde_json::Value) {
    match tree {
        serde_json::Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        serde_json::Value::Array(array) => array.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Rewrites fastjson text as strict JSON; `None` when it is not even that.
#[must_use]
pub fn to_strict(text: &str) -> Option<String> {
    let mut rewriter = Rewriter {
        text,
        at: 0,
        out: String::with_capacity(text.len() + 64),
    };
    rewriter.value(0)?;
    rewriter.space();
    (rewriter.at == text.len()).then_some(rewriter.out)
}

struct Rewriter<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

impl Rewriter<'_> {
    /// The bytes that are not read yet.
    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            quote @ (b'"' | b'\'') => self.string(quote),
            _ => self.bare(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push('{');
        let mut first = true;
        loop {
            match self.peek()? {
                b'}' => {
                    self.at += 1;
                    self.out.push('}');
                    return Some(());
                }
                b',' if !first => self.at += 1,
                _ if first => {}
                _ => return None,
            }
            if self.peek()? == b'}' {
                continue;
            }
            if !first {
                self.out.push(',');
            }
            first = false;
            self.key(depth)?;
            if self.peek()? != b':' {
                return None;
            }
            self.at += 1;
            self.out.push(':');
            self.value(depth + 1)?;
        }
    }

    fn key(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            quote @ (b'"' | b'\'') => self.string(quote),
            b'{' => {
                // The object goes through the same rewriting, then into a string.
                let outer = std::mem::take(&mut self.out);
                self.value(depth + 1)?;
                let object = std::mem::replace(&mut self.out, outer);
                push_string(&mut self.out, &object);
                Some(())
            }
            _ => {
                let start = self.at;
                let length = self
                    .rest()
                    .iter()
                    .take_while(|byte| !matches!(byte, b':' | b',' | b'{' | b'}' | b'"'))
                    .count();
                let name = self.text.get(start..start + length)?.trim_end();
                if name.is_empty() {
                    return None;
                }
                self.at += length;
                push_string(&mut self.out, name);
                Some(())
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push('[');
        let mut first = true;
        loop {
            match self.peek()? {
                b']' => {
                    self.at += 1;
                    self.out.push(']');
                    return Some(());
                }
                b',' if !first => self.at += 1,
                _ if first => {}
                _ => return None,
            }
            if self.peek()? == b']' {
                continue;
            }
            if !first {
                self.out.push(',');
            }
            first = false;
            self.value(depth + 1)?;
        }
    }

    fn string(&mut self, quote: u8) -> Option<()> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        loop {
            match *bytes.get(at)? {
                byte if byte == quote => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        let inside = self.text.get(start..at)?;
        self.at = at + 1;
        self.out.push('"');
        if quote == b'"' {
            self.out.push_str(inside);
        } else {
            self.out
                .push_str(&inside.replace("\\'", "'").replace('"', "\\\""));
        }
        self.out.push('"');
        Some(())
    }

    /// A number or one of the words; other bare words are refused.
    fn bare(&mut self) -> Option<()> {
        let start = self.at;
        let length = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'))
            .count();
        let word = self
            .text
            .get(start..start + length)
            .filter(|word| !word.is_empty())?;
        self.at += length;
        match word {
            // fastjson marks longs, floats and doubles with a letter when told to.
            _ if word.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
                self.out
                    .push_str(word.trim_end_matches(['L', 'F', 'D', 'S', 'B']));
            }
            "true" | "false" | "null" => self.out.push_str(word),
            "NaN" | "undefined" => self.out.push_str("null"),
            _ => return None,
        }
        Some(())
    }
}

/// Appends a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fastjson_text_becomes_strict() {
        for (text, strict) in [
            (r#"{0:"a",1:"b"}"#, r#"{"0":"a","1":"b"}"#),
            (r#"{{"q":0,"t":"x"}:5}"#, r#"{"{\"q\":0,\"t\":\"x\"}":5}"#),
            (r#"{a:'it"s', b : [1,2,],}"#, r#"{"a":"it\"s","b":[1,2]}"#),
            (r#"{"a":{"b":12L},"c":null}"#, r#"{"a":{"b":12},"c":null}"#),
            (r#" [ ] "#, "[]"),
        ] {
            assert_eq!(to_strict(text).as_deref(), Some(strict));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "{",
            "{a}",
            "{:1}",
            "[1 2]",
            "{\"a\":}",
            "hello",
            "{\"a\":1}x",
            "'",
            "\"\\",
            "{,a:1}",
        ] {
            assert_eq!(to_strict(text), None, "{text}");
        }
        assert_eq!(to_strict(&"[".repeat(100_000)), None);
        assert_eq!(to_strict(&"{{".repeat(50_000)), None);
    }
}
