//! YAML as `kubectl apply` takes it: a byte order mark, comments, several documents and JSON are fine, a field that is null is absent,
//! `<<` merges, and a field that is there twice is an error that names it.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde_json::{Map, Value};

/// The text of a file: UTF-8, or UTF-16 with its byte order mark, as some editors and shells write it.
///
/// # Errors
/// When the bytes are no text.
pub fn text(bytes: Vec<u8>) -> Result<String, NotText> {
    let wide = |order: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..]
            .chunks(2)
            .map(|unit| order([unit[0], unit.get(1).copied().unwrap_or(0)]))
            .collect();
        String::from_utf16(&units).map_err(|_| NotText)
    };
    match bytes.get(..2) {
        Some([0xff, 0xfe]) => wide(u16::from_le_bytes),
        Some([0xfe, 0xff]) => wide(u16::from_be_bytes),
        _ => String::from_utf8(bytes).map_err(|_| NotText),
    }
}

/// Bytes that are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not text: neither UTF-8 nor UTF-16")]
pub struct NotText;

/// All documents of a text; those without anything are null.
///
/// # Errors
/// When the text is no YAML, or a field is there twice.
pub fn documents(text: &str) -> Result<Vec<Value>, serde_yaml::Error> {
    // A mark stands at the beginning of each file of several that were put together.
    let clean = text
        .trim_start_matches('\u{feff}')
        .replace("\n\u{feff}", "\n");
    if clean.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_yaml::Deserializer::from_str(&clean)
        .map(|document| Node { path: "" }.deserialize(document))
        .collect()
}

/// The fields of a file of settings: one document with fields, or nothing.
///
/// # Errors
/// As [`documents`], and when there is something else.
pub fn settings(text: &str) -> Result<Map<String, Value>, serde_yaml::Error> {
    let mut all = documents(text)?;
    all.retain(|document| !document.is_null());
    match (all.pop(), all.is_empty()) {
        (None, _) => Ok(Map::new()),
        (Some(Value::Object(fields)), true) => Ok(fields),
        (Some(_), true) => Err(serde_yaml::Error::custom(
            "it has no settings: write KEY: VALUE",
        )),
        (Some(_), false) => Err(serde_yaml::Error::custom("it has several documents")),
    }
}

/// One value, and where it stands.
struct Node<'p> {
    path: &'p str,
}

impl Node<'_> {
    fn below(&self, key: &str) -> String {
        match self.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = serde_json::Number::from_f64(value);
        let wrong = || E::custom(format!("{}: {value} is no number of JSON", self.path));
        number.map(Value::Number).ok_or_else(wrong)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, all.len());
            match items.next_element_seed(Node { path: &path })? {
                Some(item) => all.push(item),
                None => return Ok(Value::Array(all)),
            }
        }
    }

    /// A tag, as enums are written in YAML: the shape that JSON has for them.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (tag, content) = data.variant::<String>()?;
        let path = self.below(&tag);
        Ok(match content.newtype_variant_seed(Node { path: &path })? {
            Value::Null => Value::String(tag),
            value => Value::Object(Map::from_iter([(tag, value)])),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut merged = Vec::new();
        while let Some(key) = fields.next_key_seed(Node { path: self.path })? {
            let key = match key {
                Value::String(key) => key,
                // As JSON has it.
                Value::Number(_) | Value::Bool(_) => key.to_string(),
                _ => return Err(A::Error::custom(format!("{}: a key is no text", self.path))),
            };
            let path = self.below(&key);
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("{path} is there twice")));
            }
            let value = fields.next_value_seed(Node { path: &path })?;
            match value {
                Value::Null => {}
                value if key == "<<" => merged.push(value),
                value => drop(all.insert(key, value)),
            }
        }
        // The fields of an anchor, below those that stand here themselves.
        for more in merged {
            let maps = match more {
                Value::Array(maps) => maps,
                one => vec![one],
            };
            for map in maps {
                let Value::Object(map) = map else {
                    let what = format!("{}: << has no fields", self.path);
                    return Err(A::Error::custom(what));
                };
                for (key, value) in map {
                    if !seen.contains(&key) {
                        all.entry(key).or_insert(value);
                    }
                }
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_kubectl_takes_is_taken() {
        for (text, documents) in [
            ("", json!([])),
            ("\u{feff}", json!([])),
            ("# nothing\n", json!([null])),
            ("\u{feff}a: 1\n", json!([{"a": 1}])),
            ("a: 1\r\nb: 2\r\n", json!([{"a": 1, "b": 2}])),
            (
                "a: 1\n---\n\u{feff}b: 2\n---\n",
                json!([{"a": 1}, {"b": 2}, null]),
            ),
            ("---\n---\na: 1\n...\n", json!([null, {"a": 1}])),
            (
                "{\n\t\"a\": {\"b\": [1, null]}\n}\n",
                json!([{"a": {"b": [1, null]}}]),
            ),
            ("a: null\nb: ~\nc:\nd: 1\n", json!([{"d": 1}])),
            ("a: {x: null, y: 1}\n", json!([{"a": {"y": 1}}])),
            (
                "a: \"8\"\nb: 8\nc: 'true'\n",
                json!([{"a": "8", "b": 8, "c": "true"}]),
            ),
            (
                "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\n",
                json!([{"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}}]),
            ),
            ("1: x\ntrue: y\n", json!([{"1": "x", "true": "y"}])),
            (
                "a: !file {path: b}\nc: !none\nd: [!env E]\n",
                json!([{"a": {"file": {"path": "b"}}, "c": "none", "d": [{"env": "E"}]}]),
            ),
        ] {
            let read = super::documents(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(Value::Array(read), documents, "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, why) in [
            ("a: 1\nb: 2\na: 1\n", "a is there twice"),
            (
                "spec: {queues: 4, queues: 8}\n",
                "spec.queues is there twice",
            ),
            ("a: [{x: 1, x: 1}]\n", "a[0].x is there twice"),
            ("a: null\na: 1\n", "a is there twice"),
            ("a:\n\t b: 1\n", "line 2"),
            ("a: .nan\n", "no number"),
            ("a: [", "did not find"),
        ] {
            let error = documents(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!(
            settings("- a\n")
                .unwrap_err()
                .to_string()
                .contains("KEY: VALUE")
        );
        assert!(
            settings("a: 1\n---\nb: 1\n")
                .unwrap_err()
                .to_string()
                .contains("several")
        );
        assert_eq!(settings("---\na: 1\n---\n").unwrap().len(), 1);
    }

    #[test]
    fn files_of_other_systems_are_text() {
        let wide = |order: fn(u16) -> [u8; 2]| {
            let units = "\u{feff}a: ä".encode_utf16();
            text(units.flat_map(order).collect()).map(|text| text.replace('\u{feff}', ""))
        };
        assert_eq!(wide(u16::to_le_bytes).as_deref(), Ok("a: ä"));
        assert_eq!(wide(u16::to_be_bytes).as_deref(), Ok("a: ä"));
        assert_eq!(text(b"a: \xc3\xa4".to_vec()).as_deref(), Ok("a: ä"));
        assert_eq!(text(vec![b'a', 0x80]), Err(NotText));
    }
}
