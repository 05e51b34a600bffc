//! How one header field is read and written, and the macro that makes a typed request or reply from a list of fields.

use std::borrow::Cow;

use crate::code::RequestCode;
use crate::header::{FieldSink, FieldSource, Fields, Text};

/// A request with typed fields, borrowing from its header.
pub trait Request<'a>: Sized + FieldSource {
    /// The code that it is sent with.
    const CODE: RequestCode;
    /// Its header fields, in the order of declaration.
    const FIELDS: &'static [FieldShape];

    /// Reads the fields of a received header. Unknown fields are ignored, as every reader must.
    ///
    /// # Errors
    /// When a required field is missing or one has the wrong form.
    fn decode(fields: &'a Fields<'a>) -> Result<Self, FieldError>;
}

/// What a request may say in one header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldShape {
    /// Its name on the wire.
    pub name: &'static str,
    /// What its text must be.
    pub kind: FieldKind,
    /// Whether a request without the field is refused.
    pub is_required: bool,
}

/// What the text of a header field must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Any text.
    Text,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// `true` or `false`.
    Truth,
}

/// The typed fields of an answer; owns its strings.
pub trait Reply: Sized + FieldSource {
    /// Reads the fields of a received header.
    ///
    /// # Errors
    /// When a required field is missing or one has the wrong form.
    fn decode(fields: &Fields<'_>) -> Result<Self, FieldError>;
}

/// A header field that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{of}: field {field} {problem}")]
pub struct FieldError {
    /// The request or reply.
    pub of: &'static str,
    /// The field's name on the wire.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// Required, but not there.
    #[error("is missing")]
    Missing,
    /// Not of its type.
    #[error("is not {expected}: {value:?}")]
    Invalid {
        /// The type, for people.
        expected: &'static str,
        /// The text, cut to 64 characters.
        value: String,
    },
}

impl FieldError {
    /// The field `field` of `of` has a text that it cannot have.
    #[cold]
    pub(super) fn invalid(
        of: &'static str,
        field: &'static str,
        expected: &'static str,
        fields: &Fields<'_>,
    ) -> Self {
        let value = fields
            .get(field)
            .map(|text| text.to_cow().chars().take(64).collect())
            .unwrap_or_default();
        Self {
            of,
            field,
            problem: FieldProblem::Invalid { expected, value },
        }
    }

    /// The field `field` of `of` is not there.
    #[cold]
    pub(super) fn missing(of: &'static str, field: &'static str) -> Self {
        Self {
            of,
            field,
            problem: FieldProblem::Missing,
        }
    }
}

/// The type of a field.
pub trait FieldValue<'a>: Sized {
    /// What the text must be, for people.
    const EXPECTED: &'static str;
    /// What the text must be.
    const KIND: FieldKind;
    /// Whether the field must be there.
    const IS_REQUIRED: bool = true;

    /// Reads the field's text; `None` when it has another form.
    fn read(text: Text<'a>) -> Option<Self>;

    /// The value of an absent field; `None` when the field is required.
    fn absent() -> Option<Self> {
        None
    }

    /// Writes the field, or nothing when it has no value.
    fn write(&self, key: &'static str, sink: &mut dyn FieldSink);
}

impl<'a> FieldValue<'a> for Text<'a> {
    const EXPECTED: &'static str = "a text";
    const KIND: FieldKind = FieldKind::Text;

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        Some(text)
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.str(key, &self.to_cow());
    }
}

impl<'a> FieldValue<'a> for Cow<'a, str> {
    const EXPECTED: &'static str = "a text";
    const KIND: FieldKind = FieldKind::Text;

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        Some(text.into_cow())
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.str(key, self);
    }
}

impl<'a> FieldValue<'a> for String {
    const EXPECTED: &'static str = "a text";
    const KIND: FieldKind = FieldKind::Text;

    fn read(text: Text<'a>) -> Option<Self> {
        Some(text.into_cow().into_owned())
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.str(key, self);
    }
}

impl<'a> FieldValue<'a> for i32 {
    const EXPECTED: &'static str = "a 32-bit integer";
    const KIND: FieldKind = FieldKind::Int32;

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        text.parse()
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.int(key, i64::from(*self));
    }
}

impl<'a> FieldValue<'a> for i64 {
    const EXPECTED: &'static str = "a 64-bit integer";
    const KIND: FieldKind = FieldKind::Int64;

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        text.parse()
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.int(key, *self);
    }
}

impl<'a> FieldValue<'a> for bool {
    const EXPECTED: &'static str = "true or false";
    const KIND: FieldKind = FieldKind::Truth;

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        text.parse()
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.bool(key, *self);
    }
}

impl<'a, T: FieldValue<'a>> FieldValue<'a> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const KIND: FieldKind = T::KIND;
    const IS_REQUIRED: bool = false;

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        T::read(text).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        if let Some(value) = self {
            value.write(key, sink);
        }
    }
}

/// Declares a struct whose fields are header fields.
///
/// `pub name: Type = "wire name"` is required unless the type is an `Option`; `or <value>` gives what an absent field reads as.
/// Fields are written in the order of declaration. `request <Code>` makes it a [`Request`], `reply` a [`Reply`].
macro_rules! header_fields {
    (
        request $code:ident;
        $(#[$meta:meta])*
        pub struct $name:ident<'a> { $($(#[$fmeta:meta])* pub $field:ident: $type:ty = $wire:literal $(or $default:expr)?),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name<'a> { $($(#[$fmeta])* pub $field: $type,)* }

        $crate::requests::field::header_fields!(@source [<'a>] [$name<'a>] $($field $wire)*);

        impl<'a> $crate::requests::Request<'a> for $name<'a> {
            const CODE: $crate::code::RequestCode = $crate::code::RequestCode::$code;
            const FIELDS: &'static [$crate::requests::FieldShape] = &[$($crate::requests::FieldShape {
                name: $wire,
                kind: <$type as $crate::requests::field::FieldValue<'_>>::KIND,
                is_required: $crate::requests::field::header_fields!(@required $type $(, $default)?),
            }),*];

            fn decode(fields: &'a $crate::header::Fields<'a>) -> Result<Self, $crate::requests::FieldError> {
                $crate::requests::field::header_fields!(@decode fields $name $($field: $type = $wire $(or $default)?),*)
            }
        }
    };
    (
        request $code:ident;
        $(#[$meta:meta])*
        pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $type:ty = $wire:literal $(or $default:expr)?),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)* }

        $crate::requests::field::header_fields!(@source [] [$name] $($field $wire)*);

        impl<'a> $crate::requests::Request<'a> for $name {
            const CODE: $crate::code::RequestCode = $crate::code::RequestCode::$code;
            const FIELDS: &'static [$crate::requests::FieldShape] = &[$($crate::requests::FieldShape {
                name: $wire,
                kind: <$type as $crate::requests::field::FieldValue<'_>>::KIND,
                is_required: $crate::requests::field::header_fields!(@required $type $(, $default)?),
            }),*];

            fn decode(fields: &'a $crate::header::Fields<'a>) -> Result<Self, $crate::requests::FieldError> {
                $crate::requests::field::header_fields!(@decode fields $name $($field: $type = $wire $(or $default)?),*)
            }
        }
    };
    (
        reply;
        $(#[$meta:meta])*
        pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $type:ty = $wire:literal $(or $default:expr)?),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)* }

        $crate::requests::field::header_fields!(@source [] [$name] $($field $wire)*);

        impl $crate::requests::Reply for $name {
            fn decode(fields: &$crate::header::Fields<'_>) -> Result<Self, $crate::requests::FieldError> {
                $crate::requests::field::header_fields!(@decode fields $name $($field: $type = $wire $(or $default)?),*)
            }
        }
    };
    (@source [$($generics:tt)*] [$name:ty] $($field:ident $wire:literal)*) => {
        impl $($generics)* $crate::header::FieldSource for $name {
            fn visit(&self, _sink: &mut dyn $crate::header::FieldSink) {
                $($crate::requests::field::FieldValue::write(&self.$field, $wire, _sink);)*
            }
        }
    };
    (@decode $fields:ident $name:ident $($field:ident: $type:ty = $wire:literal $(or $default:expr)?),*) => {{
        $(let mut $field: Option<$type> = None;)*
        let invalid = $fields.for_each(|key, _value, _escaped| {
            let _text = $crate::header::Text::of(_value, _escaped);
            match key {
                $($wire => match <$type as $crate::requests::field::FieldValue<'_>>::read(_text) {
                    Some(value) => $field = Some(value),
                    None => return Err(($wire, <$type as $crate::requests::field::FieldValue<'_>>::EXPECTED)),
                },)*
                _ => {}
            }
            Ok::<(), (&'static str, &'static str)>(())
        });
        if let Err((field, expected)) = invalid {
            return Err($crate::requests::FieldError::invalid(stringify!($name), field, expected, $fields));
        }
        Ok(Self {
            $($field: match $field {
                Some(value) => value,
                None => $crate::requests::field::header_fields!(@absent $name $wire $type $(, $default)?),
            },)*
        })
    }};
    (@required $type:ty) => { <$type as $crate::requests::field::FieldValue<'_>>::IS_REQUIRED };
    (@required $type:ty, $default:expr) => { false };
    (@absent $name:ident $wire:literal $type:ty) => {
        match <$type as $crate::requests::field::FieldValue<'_>>::absent() {
            Some(value) => value,
            None => return Err($crate::requests::FieldError::missing(stringify!($name), $wire)),
        }
    };
    (@absent $name:ident $wire:literal $type:ty, $default:expr) => { $default };
}
pub(crate) use header_fields;
