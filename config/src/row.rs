//! One row of a configuration, and the macro that makes a configuration of its rows.

use crate::setting::Setting;
use crate::value::Value;

/// A setting and its field in `C`.
#[derive(Debug)]
pub struct Row<C> {
    /// What is known of it.
    pub setting: Setting,
    pub(crate) get: fn(&C) -> Value,
    /// False when the field's type does not hold the value.
    pub(crate) set: fn(&mut C, &Value) -> bool,
}

impl<C> Row<C> {
    /// Puts a value into its field. The setting takes the value.
    pub(crate) fn put(&self, config: &mut C, value: &Value) {
        // A test puts the ends of each range into the field.
        let holds = (self.set)(config, value);
        debug_assert!(
            holds,
            "the type of {} is too small for its range",
            self.setting.key
        );
    }
}

/// Makes a configuration of one row for each setting: the struct with its fields, `Default`, and the table.
///
/// A row: `/// what it does`, then `"key" field: type = default => what it takes;`.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $config:ident of $program:literal, variables $variables:literal, together $together:path;
        $(
            $(#[doc = $doc:literal])+
            $key:literal $field:ident: $type:ty = $default:expr => $setting:expr;
        )+
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $config {$(
            $(#[doc = $doc])+
            #[doc = concat!("\n\n`", $key, "`: `", stringify!($setting), "`.")]
            pub $field: $type,
        )+}

        impl Default for $config {
            fn default() -> Self {
                Self {$( $field: $default, )+}
            }
        }

        impl $crate::Configuration for $config {
            const PROGRAM: &'static str = $program;
            const VARIABLES: &'static str = $variables;
            fn rows() -> &'static [$crate::Row<Self>] {
                // A constant would be in the program once for each place that looks at it.
                static ROWS: &[$crate::Row<$config>] = &[$(
                    $crate::Row {
                        setting: $crate::Setting {
                            key: $key,
                            doc: concat!($($doc),+),
                            ..$setting
                        },
                        get: |config| $crate::value::Field::value(&config.$field),
                        set: |config, value| match $crate::value::Field::of(value) {
                            Some(value) => {
                                config.$field = value;
                                true
                            }
                            None => false,
                        },
                    },
                )+];
                ROWS
            }

            fn together(&self) -> Vec<$crate::Problem> {
                $together(self)
            }
        }
    };
}

pub(crate) use settings;
