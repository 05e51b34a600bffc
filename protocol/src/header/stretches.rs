//! Texts in bytes that are not all text, looked through in long stretches and not text by text.

use std::ops::Range;

/// Gives texts that lie one behind the other. What lies between them is mostly ASCII, as small lengths are, so one look covers many texts.
pub(super) struct Stretches<'a> {
    bytes: &'a [u8],
    /// A stretch that is known to be UTF-8.
    known: &'a str,
    known_at: usize,
}

impl<'a> Stretches<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            known: "",
            known_at: 0,
        }
    }

    /// The text at `place`, which does not begin before those that were asked for earlier. `None` when it is not UTF-8, also when it starts
    /// or ends inside a character.
    #[inline]
    pub(super) fn get(&mut self, place: Range<usize>) -> Option<&'a str> {
        if place.end > self.known_at + self.known.len() {
            self.know_more(&place);
        }
        let start = place.start.checked_sub(self.known_at)?;
        self.known.get(start..place.end - self.known_at)
    }

    /// Moves the known stretch to `place`. Each byte is looked at at most twice, however many texts there are.
    #[inline(never)]
    fn know_more(&mut self, place: &Range<usize>) {
        let rest = self.bytes.get(place.start..).unwrap_or_default();
        self.known_at = place.start;
        self.known = match std::str::from_utf8(rest) {
            Ok(text) => text,
            Err(error) if place.start + error.valid_up_to() < place.end => "",
            Err(error) => {
                let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
                std::str::from_utf8(valid).unwrap_or_default()
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_as_if_it_were_looked_at_alone() {
        let bytes = "ab\u{e9}cd"
            .bytes()
            .chain([0xff, b'x', b'y', 0xc3])
            .collect::<Vec<_>>();
        for start in 0..=bytes.len() {
            for end in start + 1..=bytes.len() {
                let alone = std::str::from_utf8(&bytes[start..end]).ok();
                let mut fresh = Stretches::new(&bytes);
                assert_eq!(fresh.get(start..end), alone, "{start}..{end}");
                for before in 0..=start {
                    let mut used = Stretches::new(&bytes);
                    let _ = used.get(before..start);
                    assert_eq!(used.get(start..end), alone, "{before}..{start}..{end}");
                }
            }
        }
        assert_eq!(Stretches::new(&bytes).get(0..bytes.len() + 1), None);
    }
}
