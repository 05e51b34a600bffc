//! The header's fields (`extFields`): name and text, in the order of the frame, without a map.
//! Sixteen fit without an allocation; the largest ordinary request has fourteen.

use arrayvec::ArrayVec;

use super::Text;

pub(super) const INLINE: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    key: &'a str,
    value: &'a str,
    escaped: bool,
}

/// Fields of one header. When a name occurs twice the later one counts.
#[derive(Clone)]
pub struct Fields<'a> {
    inline: ArrayVec<Entry<'a>, INLINE>,
    spill: Vec<Entry<'a>>,
    /// Fields of headers that only the general JSON reader understands.
    owned: Vec<(String, String)>,
}

impl<'a> Fields<'a> {
    /// No fields.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inline: ArrayVec::new_const(),
            spill: Vec::new(),
            owned: Vec::new(),
        }
    }

    /// Fields of plain pairs, for tests and tools.
    #[must_use]
    pub fn from_pairs(pairs: &[(&'a str, &'a str)]) -> Self {
        let mut fields = Self::new();
        for (key, value) in pairs {
            fields.push(key, value, false);
        }
        fields
    }

    #[inline]
    pub(crate) fn push(&mut self, key: &'a str, value: &'a str, escaped: bool) {
        let entry = Entry {
            key,
            value,
            escaped,
        };
        if let Err(full) = self.inline.try_push(entry) {
            self.spill.push(full.element());
        }
    }

    /// The values as they lie in the frame, and whether they are still escaped; none when there are others too.
    pub(super) fn in_frame(&self) -> Option<impl Iterator<Item = (&'a str, bool)>> {
        let values = self.inline.iter().map(|entry| (entry.value, entry.escaped));
        (self.spill.is_empty() && self.owned.is_empty()).then_some(values)
    }

    /// Gives a field of [`Fields::in_frame`] another value, escaped or not as the one before.
    #[inline]
    pub(super) fn replace(&mut self, index: usize, value: &'a str) -> Option<()> {
        self.inline.get_mut(index)?.value = value;
        Some(())
    }

    pub(crate) fn push_owned(&mut self, key: String, value: String) {
        self.owned.push((key, value));
    }

    /// Number of fields, repeated names counted each time.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inline.len() + self.spill.len() + self.owned.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name and text of each field, in the order of the frame.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&str, Text<'_>)> {
        self.inline
            .iter()
            .chain(&self.spill)
            .map(|entry| (entry.key, entry.text()))
            .chain(
                self.owned
                    .iter()
                    .map(|(key, value)| (key.as_str(), Text::Plain(value))),
            )
    }

    /// Calls `each` with name and text of each field, and whether the text is still escaped; quicker than [`Fields::iter`] on the
    /// message path: the parts come one by one, as to load at once what was just stored in pieces stalls.
    #[inline]
    pub(crate) fn for_each<'s, E>(
        &'s self,
        mut each: impl FnMut(&'s str, &'s str, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        for at in 0..self.len() {
            let entry = match self.inline.get(at) {
                Some(entry) => entry,
                None => &self.beyond(at),
            };
            each(entry.key, entry.value, entry.escaped)?;
        }
        Ok(())
    }

    /// A field that is not among the first; `at` is below the number of fields.
    #[cold]
    fn beyond(&self, at: usize) -> Entry<'_> {
        let at = at - self.inline.len();
        match self.spill.get(at) {
            Some(entry) => *entry,
            None => {
                let owned = self.owned.get(at - self.spill.len());
                let (key, value) =
                    owned.map_or(("", ""), |(key, value)| (key.as_str(), value.as_str()));
                Entry {
                    key,
                    value,
                    escaped: false,
                }
            }
        }
    }

    /// The text of the last field with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Text<'_>> {
        if let Some((_, value)) = self.owned.iter().rev().find(|(key, _)| key == name) {
            return Some(Text::Plain(value));
        }
        let found = self
            .spill
            .iter()
            .rev()
            .chain(self.inline.iter().rev())
            .find(|entry| entry.key == name);
        found.map(Entry::text)
    }
}

impl<'a> Entry<'a> {
    #[inline]
    fn text(&self) -> Text<'a> {
        Text::of(self.value, self.escaped)
    }
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl super::FieldSource for Fields<'_> {
    fn visit(&self, sink: &mut dyn super::FieldSink) {
        for (key, value) in self.iter() {
            sink.pair(key, &value.to_cow());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_names_counts() {
        let fields = Fields::from_pairs(&[("a", "1"), ("b", "2"), ("a", "3")]);
        assert!(fields.get("a").is_some_and(|text| text.eq_str("3")));
        assert!(fields.get("c").is_none());
        assert_eq!(fields.len(), 3);
    }

    #[test]
    fn more_than_sixteen_fields_keep_their_order() {
        let names: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
        let mut fields = Fields::new();
        for name in &names {
            fields.push(name, name, false);
        }
        assert_eq!(
            fields
                .iter()
                .map(|(key, _)| key.to_owned())
                .collect::<Vec<_>>(),
            names
        );
        assert!(fields.get("k39").is_some());
    }
}
