//! Writes a JSON header straight into the buffer, keys in alphabetical order as fastjson does.

use bytes::{BufMut, BytesMut};

use super::special::ordinary;
use crate::header::{CommandHead, FieldSink, FieldSource};

pub(in crate::header) fn encode(out: &mut BytesMut, head: &CommandHead, fields: &dyn FieldSource) {
    out.reserve(320);
    let mut number = itoa::Buffer::new();
    out.put_slice(b"{\"code\":");
    out.put_slice(number.format(head.code).as_bytes());
    if fields.is_present() {
        out.put_slice(b",\"extFields\":{");
        fields.visit(&mut Sink { out, first: true });
        out.put_slice(b"}");
    }
    out.put_slice(b",\"flag\":");
    out.put_slice(number.format(head.flag).as_bytes());
    out.put_slice(b",\"language\":\"");
    out.put_slice(head.language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    out.put_slice(number.format(head.opaque).as_bytes());
    if let Some(remark) = &head.remark {
        out.put_slice(b",\"remark\":");
        put_string(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.put_slice(number.format(head.version).as_bytes());
    out.put_slice(b"}");
}

struct Sink<'a> {
    out: &'a mut BytesMut,
    first: bool,
}

impl Sink<'_> {
    #[inline]
    fn known_key(&mut self, key: &'static str) {
        self.out.reserve(key.len() + 32);
        self.out.put_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        // Names that the program knows have nothing to escape.
        self.out.put_slice(key.as_bytes());
        self.out.put_slice(b"\":\"");
    }
}

impl FieldSink for Sink<'_> {
    fn str(&mut self, key: &'static str, value: &str) {
        self.known_key(key);
        put_escaped(self.out, value);
        self.out.put_slice(b"\"");
    }

    fn int(&mut self, key: &'static str, value: i64) {
        self.known_key(key);
        self.out
            .put_slice(itoa::Buffer::new().format(value).as_bytes());
        self.out.put_slice(b"\"");
    }

    fn plain(&mut self, key: &'static str, text: &[u8]) {
        debug_assert!(is_plain(text), "{}", text.escape_ascii());
        self.known_key(key);
        self.out.put_slice(text);
        self.out.put_slice(b"\"");
    }

    fn bool(&mut self, key: &'static str, value: bool) {
        self.known_key(key);
        self.out
            .put_slice(if value { b"true\"" } else { b"false\"" });
    }

    fn pair(&mut self, key: &str, value: &str) {
        self.out.put_slice(if self.first { b"" } else { b"," });
        self.first = false;
        put_string(self.out, key);
        self.out.put_slice(b":");
        put_string(self.out, value);
    }
}

/// Whether a text is one for [`FieldSink::plain`].
fn is_plain(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || *byte == b',')
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_slice(b"\"");
    put_escaped(out, text);
    out.put_slice(b"\"");
}

/// The inside of a JSON string: runs are copied whole, the rest is escaped.
#[inline]
fn put_escaped(out: &mut BytesMut, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    loop {
        let (run, special) = rest.split_at(ordinary(rest));
        out.put_slice(run);
        let Some((byte, after)) = special.split_first() else {
            return;
        };
        rest = after;
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            _ => {
                #[allow(clippy::indexing_slicing, reason = "four bits each")]
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.put_slice(b"\\u00");
                out.put_slice(&digits);
            }
        }
    }
}
