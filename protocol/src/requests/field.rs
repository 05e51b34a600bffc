//! How one header field is read and written, and the macro that makes a typed request or reply from a list of fields.

use std::borrow::Cow;

use crate::code::RequestCode;
use crate::header::{FieldSink, FieldSource, Fields, Text};

/// A request with typed fields, borrowing from its header.
pub trait Request<'a>: Sized + FieldSource {
    /// The code that it is sent with.
    const CODE: RequestCode;

    /// Reads the fields of a received header. Unknown fields are ignored, as every reader must.
    ///
    /// # Errors
    /// When a required field is missing or one has the wrong form.
    fn decode(fields: &'a Fields<'a>) -> Result<Self, FieldError>;
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

impl FieldProblem {
    fn invalid(expected: &'static str, text: &Text<'_>) -> Self {
        Self::Invalid {
            expected,
            value: text.to_cow().chars().take(64).collect(),
        }
    }
}

/// The type of a field.
pub trait FieldValue<'a>: Sized {
    /// Reads the field's text.
    ///
    /// # Errors
    /// When the text has another form.
    fn read(text: Text<'a>) -> Result<Self, FieldProblem>;

    /// The value of an absent field; `None` when the field is required.
    fn absent() -> Option<Self> {
        None
    }

    /// Writes the field, or nothing when it has no value.
    fn write(&self, key: &'static str, sink: &mut dyn FieldSink);
}

impl<'a> FieldValue<'a> for Text<'a> {
    #[inline]
    fn read(text: Text<'a>) -> Result<Self, FieldProblem> {
        Ok(text)
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.str(key, &self.to_cow());
    }
}

impl<'a> FieldValue<'a> for Cow<'a, str> {
    #[inline]
    fn read(text: Text<'a>) -> Result<Self, FieldProblem> {
        Ok(text.into_cow())
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.str(key, self);
    }
}

impl<'a> FieldValue<'a> for String {
    fn read(text: Text<'a>) -> Result<Self, FieldProblem> {
        Ok(text.into_cow().into_owned())
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.str(key, self);
    }
}

impl<'a> FieldValue<'a> for i32 {
    #[inline]
    fn read(text: Text<'a>) -> Result<Self, FieldProblem> {
        text.parse()
            .ok_or_else(|| FieldProblem::invalid("a 32-bit integer", &text))
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.int(key, i64::from(*self));
    }
}

impl<'a> FieldValue<'a> for i64 {
    #[inline]
    fn read(text: Text<'a>) -> Result<Self, FieldProblem> {
        text.parse()
            .ok_or_else(|| FieldProblem::invalid("a 64-bit integer", &text))
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.int(key, *self);
    }
}

impl<'a> FieldValue<'a> for bool {
    #[inline]
    fn read(text: Text<'a>) -> Result<Self, FieldProblem> {
        text.parse()
            .ok_or_else(|| FieldProblem::invalid("true or false", &text))
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.bool(key, *self);
    }
}

impl<'a, T: FieldValue<'a>> FieldValue<'a> for Option<T> {
    #[inline]
    fn read(text: Text<'a>) -> Result<Self, FieldProblem> {
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
        $fields.for_each(|key, _text| {
            match key {
                $($wire => {
                    $field = Some(<$type as $crate::requests::field::FieldValue<'_>>::read(_text).map_err(|problem| {
                        $crate::requests::FieldError { of: stringify!($name), field: $wire, problem }
                    })?);
                })*
                _ => {}
            }
            Ok::<(), $crate::requests::FieldError>(())
        })?;
        Ok(Self {
            $($field: match $field {
                Some(value) => value,
                None => $crate::requests::field::header_fields!(@absent $name $wire $type $(, $default)?),
            },)*
        })
    }};
    (@absent $name:ident $wire:literal $type:ty) => {
        match <$type as $crate::requests::field::FieldValue<'_>>::absent() {
            Some(value) => value,
            None => {
                return Err($crate::requests::FieldError {
                    of: stringify!($name),
                    field: $wire,
                    problem: $crate::requests::FieldProblem::Missing,
                });
            }
        }
    };
    (@absent $name:ident $wire:literal $type:ty, $default:expr) => { $default };
}
pub(crate) use header_fields;
