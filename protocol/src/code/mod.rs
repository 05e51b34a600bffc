//! Request and response codes as closed enums: a number without a variant is an unknown code. Beside them, the rights that requests need.

mod request;
mod response;
mod right;

pub use request::RequestCode;
pub use response::ResponseCode;
pub use right::{Action, Resource, Right};

macro_rules! codes {
    ($(#[$meta:meta])* pub enum $name:ident; $($variant:ident = $code:literal, $text:literal;)*) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`, ", stringify!($code), ".")] $variant = $code,)*
        }

        impl $name {
            /// Every code, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code of a number on the wire; `None` when there is no such code.
            #[must_use]
            pub const fn from_i32(code: i32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn as_i32(self) -> i32 {
                self as i32
            }

            /// Upstream's name in upper case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} ({})", self.name(), self.as_i32())
            }
        }
    };
}
use codes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_variants_match_both_ways() {
        for code in RequestCode::ALL {
            assert_eq!(RequestCode::from_i32(code.as_i32()), Some(*code));
        }
        for code in ResponseCode::ALL {
            assert_eq!(ResponseCode::from_i32(code.as_i32()), Some(*code));
        }
        assert_eq!(RequestCode::from_i32(9999), None);
        assert_eq!(ResponseCode::from_i32(-1), None);
    }

    #[test]
    fn names_are_upstreams() {
        assert_eq!(
            RequestCode::SendMessageV2.to_string(),
            "SEND_MESSAGE_V2 (310)"
        );
        assert_eq!(ResponseCode::PullOffsetMoved.name(), "PULL_OFFSET_MOVED");
    }
}
