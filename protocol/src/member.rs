//! Who is who in a broker group.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The slot that a member has for life in its group. It is no broker id: broker id 0 is the role *master*, which moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub u64);

/// Which data a member has: a random number that is made with the folder of its store. A member that comes back with an empty disk has
/// another one, so it is not taken for the member that held the messages. As text, 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub u128);

/// A member with the data that it has: what an in-sync set is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seat {
    /// The slot.
    pub member: MemberId,
    /// The data.
    pub incarnation: Incarnation,
}

/// A text is no incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an incarnation has 32 hexadecimal digits")]
pub struct NoIncarnation;

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            member,
            incarnation,
        } = self;
        write!(f, "{member} with data {incarnation}")
    }
}

impl FromStr for Incarnation {
    type Err = NoIncarnation;

    fn from_str(text: &str) -> Result<Self, NoIncarnation> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoIncarnation);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| NoIncarnation)
    }
}

impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_32_digits_in_text_and_json() {
        let incarnation = Incarnation(0xabc);
        let text = incarnation.to_string();
        assert_eq!(text, "00000000000000000000000000000abc");
        assert_eq!(text.parse(), Ok(incarnation));
        for wrong in ["", "abc", &text[1..], "+0000000000000000000000000000abc"] {
            assert_eq!(wrong.parse::<Incarnation>(), Err(NoIncarnation), "{wrong}");
        }
        let seat = Seat {
            member: MemberId(1),
            incarnation,
        };
        let json = serde_json::to_string(&seat).expect("JSON");
        assert_eq!(json, format!(r#"{{"member":1,"incarnation":"{text}"}}"#));
        assert_eq!(serde_json::from_str::<Seat>(&json).expect("a seat"), seat);
    }
}
