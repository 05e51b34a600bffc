//! When a delayed message was parked, and for how long: its property
//! [`property::DELAY_STAMP`](rmq_protocol::message::property::DELAY_STAMP) while it waits.

/// The clock of a message that waits for a time of the wall clock, and not for a while to pass.
pub(crate) const WALL: i64 = i64::MAX;
/// The last field of the text. Texts of earlier versions have three fields: rows of their messages do not follow from their records.
const FORMAT: &str = "2";

/// When a delayed message was parked and for how long: `parked,delay,clock,2` in milliseconds. The store time does not do: store times
/// never run backwards, so they stand still after a clock that was ahead, and later messages would inherit them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Wall time.
    pub(crate) parked_ms: i64,
    pub(crate) delay_ms: i64,
    /// Sum of the clock's jumps until then, or [`WALL`].
    pub(crate) clock: i64,
}

impl Stamp {
    pub(crate) fn text(self) -> String {
        let Self {
            parked_ms,
            delay_ms,
            clock,
        } = self;
        format!("{parked_ms},{delay_ms},{clock},{FORMAT}")
    }

    /// When it is over, wall time.
    pub(crate) fn due_ms(self) -> i64 {
        self.parked_ms.saturating_add(self.delay_ms)
    }

    /// The stamp of a message whose row follows from its record.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (fields, format) = text.rsplit_once(',')?;
        (format == FORMAT)
            .then(|| Self::read_first(fields))
            .flatten()
    }

    /// As [`read`](Self::read), of a message that an earlier version has parked.
    pub(crate) fn read_first(text: &str) -> Option<Self> {
        let mut numbers = text.split(',').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        let stamp = Self {
            parked_ms: next()?,
            delay_ms: next()?,
            clock: next()?,
        };
        numbers.next().is_none().then_some(stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_what_it_was() {
        for clock in [0, -7, WALL] {
            let stamp = Stamp {
                parked_ms: 1_000_000,
                delay_ms: 60_000,
                clock,
            };
            assert_eq!(Stamp::read(&stamp.text()), Some(stamp));
        }
        let first = Stamp {
            parked_ms: 1,
            delay_ms: 2,
            clock: -3,
        };
        assert_eq!(Stamp::read_first("1,2,-3"), Some(first));
        for text in ["", "1,2", "1,2,3", "1,2,3,4", "1,x,3,2"] {
            assert_eq!(Stamp::read(text), None, "{text}");
        }
        for text in ["1,2", "1,2,3,2", "a,b,c"] {
            assert_eq!(Stamp::read_first(text), None, "{text}");
        }
    }
}
