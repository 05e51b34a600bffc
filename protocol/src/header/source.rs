//! What becomes header fields: typed requests and replies visit a sink, one per encoding.

/// Something that has header fields.
pub trait FieldSource {
    /// Hands every field to `sink`, in the order in which they are to be written.
    fn visit(&self, sink: &mut dyn FieldSink);

    /// Whether the header has a field object at all; an empty object is written when this is true.
    fn is_present(&self) -> bool {
        true
    }
}

/// Receives header fields.
pub trait FieldSink {
    /// A text.
    fn str(&mut self, key: &'static str, value: &str);
    /// A number, written as decimal text.
    fn int(&mut self, key: &'static str, value: i64);
    /// A text of ASCII letters, digits and commas: no encoding escapes any of them.
    fn plain(&mut self, key: &'static str, text: &[u8]) {
        if let Ok(text) = std::str::from_utf8(text) {
            self.str(key, text);
        }
    }
    /// A boolean, written as `true` or `false`.
    fn bool(&mut self, key: &'static str, value: bool);
    /// A text whose name is not known to the program.
    fn pair(&mut self, key: &str, value: &str);
}

/// No field object.
impl FieldSource for () {
    fn visit(&self, _sink: &mut dyn FieldSink) {}

    fn is_present(&self) -> bool {
        false
    }
}

/// Plain pairs; an empty slice is an empty field object.
impl FieldSource for [(&str, &str)] {
    fn visit(&self, sink: &mut dyn FieldSink) {
        for (key, value) in self {
            sink.pair(key, value);
        }
    }
}

/// Plain pairs.
impl<const N: usize> FieldSource for [(&str, &str); N] {
    fn visit(&self, sink: &mut dyn FieldSink) {
        self.as_slice().visit(sink);
    }
}

/// Owned pairs.
impl FieldSource for Vec<(String, String)> {
    fn visit(&self, sink: &mut dyn FieldSink) {
        for (key, value) in self {
            sink.pair(key, value);
        }
    }
}

impl<T: FieldSource + ?Sized> FieldSource for &T {
    fn visit(&self, sink: &mut dyn FieldSink) {
        (**self).visit(sink);
    }

    fn is_present(&self) -> bool {
        (**self).is_present()
    }
}

/// One after the other: a typed request and, for example, its signature.
impl<A: FieldSource, B: FieldSource> FieldSource for (A, B) {
    fn visit(&self, sink: &mut dyn FieldSink) {
        self.0.visit(sink);
        self.1.visit(sink);
    }

    fn is_present(&self) -> bool {
        self.0.is_present() || self.1.is_present()
    }
}

/// An empty field object (`"extFields":{}`), as some answers of the original carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoFields;

impl FieldSource for NoFields {
    fn visit(&self, _sink: &mut dyn FieldSink) {}
}
