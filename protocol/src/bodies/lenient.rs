//! Values as clients really write them: C++ sends enums by their number and integers as texts, Go sends lists of numbers as texts.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

struct IntVisitor<T>(PhantomData<T>);

impl<T: TryFrom<i64> + Default> Visitor<'_> for IntVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, or its decimal text")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        T::try_from(value).map_err(|_| E::custom(format_args!("{value} is out of range")))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        i64::try_from(value)
            .map_err(|_| E::custom(format_args!("{value} is out of range")))
            .and_then(|value| self.visit_i64(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        if value.fract() == 0.0 && value.abs() < 9e15 {
            return self.visit_i64(value as i64);
        }
        Err(E::custom(format_args!("{value} is not an integer")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let value = text
            .parse()
            .map_err(|_| E::custom(format_args!("{text:?} is not an integer")))?;
        self.visit_i64(value)
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

/// An integer, also as text; null is 0.
pub(super) fn int<'de, T: TryFrom<i64> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(IntVisitor(PhantomData))
}

struct IntListVisitor;

impl<'de> Visitor<'de> for IntListVisitor {
    type Value = Vec<i32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of integers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<i32>, A::Error> {
        struct Item(i32);

        impl<'de> Deserialize<'de> for Item {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                int(deserializer).map(Self)
            }
        }

        let mut list = Vec::new();
        while let Some(Item(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(list)
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<i32>, E> {
        Ok(Vec::new())
    }
}

/// A list of integers, also as texts; null is empty.
pub(super) fn int_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i32>, D::Error> {
    deserializer.deserialize_any(IntListVisitor)
}

/// A struct that is written as an object. By itself serde takes a list of its fields' values as well, and an empty list for all defaults.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// An object; null is its default.
pub(super) fn object<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    optional_object(deserializer).map(Option::unwrap_or_default)
}

/// An object that may be absent or null.
pub(super) fn optional_object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let object = Option::<Object<T>>::deserialize(deserializer)?;
    Ok(object.map(|object| object.0))
}

/// A list of objects that may be absent or null.
pub(super) fn optional_objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let objects = Option::<Vec<Object<T>>>::deserialize(deserializer)?;
    Ok(objects.map(|objects| objects.into_iter().map(|object| object.0).collect()))
}

/// A list of objects; null is empty.
pub(crate) fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    optional_objects(deserializer).map(Option::unwrap_or_default)
}

/// A map of objects by name; null is empty.
pub(super) fn objects_by_name<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let objects = Option::<BTreeMap<String, Object<T>>>::deserialize(deserializer)?;
    let objects = objects.unwrap_or_default().into_iter();
    Ok(objects.map(|(name, object)| (name, object.0)).collect())
}

/// A value or null, which reads as the default.
pub(super) fn or_null<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// An enum of Java.
pub(super) trait JavaEnum: Copy + Default {
    /// The names that it is written with.
    const NAMES: &'static [&'static str];

    /// The value with this name, in capitals or not, as fastjson reads it.
    fn of_name(name: &str) -> Option<Self>;

    /// The value with this ordinal number.
    fn of_number(number: u64) -> Option<Self>;
}

struct KnownVisitor<T>(PhantomData<T>);

impl<T: JavaEnum> KnownVisitor<T> {
    fn unknown<E: Error>(value: impl fmt::Display) -> E {
        let known = T::NAMES.join(", ");
        E::custom(format_args!("{value} is not one of {known}"))
    }
}

impl<T: JavaEnum> Visitor<'_> for KnownVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", T::NAMES.join(", "))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<T, E> {
        if name.is_empty() {
            return Ok(T::default());
        }
        T::of_name(name).ok_or_else(|| Self::unknown(format_args!("{name:?}")))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::of_number(number).ok_or_else(|| Self::unknown(number))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

/// An enum of Java in what a client asks for: what is not known is an error. Null and an empty text are the default.
pub(super) fn known<'de, T: JavaEnum, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(KnownVisitor(PhantomData))
}

/// An enum of Java: written by name, read by name or by number. Unknown names and numbers read as the default, as in answers of later
/// versions; [`known`] refuses them.
macro_rules! java_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),* $(,)? } also { $($other:literal => $target:ident),* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),* }

        impl $name {
            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The value with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)*
                    $($other => Some(Self::$target),)*
                    _ => None,
                }
            }
        }

        impl $crate::bodies::lenient::JavaEnum for $name {
            const NAMES: &'static [&'static str] = &[$($text),*];

            fn of_name(name: &str) -> Option<Self> {
                Self::from_name(&name.to_ascii_uppercase())
            }

            fn of_number(number: u64) -> Option<Self> {
                usize::try_from(number).ok().and_then(Self::from_ordinal)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a ", stringify!($name), " by name or number"))
                    }

                    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<$name, E> {
                        Ok($name::from_name(name).unwrap_or_default())
                    }

                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$name, E> {
                        Ok(usize::try_from(number).ok().and_then($name::from_ordinal).unwrap_or_default())
                    }

                    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<$name, E> {
                        Ok($name::default())
                    }

                    fn visit_unit<E: serde::de::Error>(self) -> Result<$name, E> {
                        Ok($name::default())
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    };
}
pub(super) use java_enum;
