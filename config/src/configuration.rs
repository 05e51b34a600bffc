//! What every configuration can do, from its rows alone.

use std::fmt::Write as _;
use std::path::Path;

use crate::layers;
use crate::nearest::nearest;
use crate::problem::{ConfigError, Problem};
use crate::row::Row;
use crate::setting::Setting;

/// The configuration of a server: a struct with a field for each setting.
pub trait Configuration: Clone + Default + 'static {
    /// The program that takes it.
    const PROGRAM: &'static str;
    /// What the names of its variables begin with.
    const VARIABLES: &'static str;

    /// Its settings, in the order in which people read them.
    fn rows() -> &'static [Row<Self>];

    /// What is wrong with settings that are fine alone.
    fn together(&self) -> Vec<Problem>;

    /// What is known of each setting.
    fn settings() -> impl Iterator<Item = &'static Setting> {
        Self::rows().iter().map(|row| &row.setting)
    }

    /// The settings of a file, then those of variables, then those of arguments (each a key and a value); what comes later counts. The rest
    /// have their defaults.
    ///
    /// # Errors
    /// Every problem of every layer, each with its setting and where it stands.
    fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        arguments: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        layers::load(file, environment, arguments)
    }

    /// Checks every value, and those that have to go together. For a configuration that was not made by [`Configuration::load`].
    ///
    /// # Errors
    /// All problems at once.
    fn validate(&self) -> Result<(), ConfigError> {
        let alone = Self::rows()
            .iter()
            .filter_map(|row| row.setting.check("", &(row.get)(self)).err());
        let problems: Vec<Problem> = alone.chain(self.together()).collect();
        ConfigError::of(problems)
    }

    /// This configuration with changes, each a name (ours, or that of Apache RocketMQ) and a value: all of them or none. `origin` says who
    /// asks, for the problems.
    ///
    /// # Errors
    /// All problems at once: names that no setting has, settings that need a restart, values that a setting does not take.
    fn update(&self, origin: &str, changes: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut changed = self.clone();
        let mut problems = Vec::new();
        for (name, text) in changes {
            let asked = Self::rows().iter().find_map(|row| {
                let setting = &row.setting;
                let mut names = [Some(setting.key), setting.upstream_name()].into_iter();
                let asked = names.find(|known| *known == Some(name))?;
                Some((row, asked?))
            });
            let done = match asked {
                None => Err(Self::unknown(origin, name)),
                Some((row, asked)) if !row.setting.is_live => Err(Problem::NeedsRestart {
                    asked,
                    key: row.setting.key,
                    program: Self::PROGRAM,
                }),
                Some((row, asked)) => {
                    // Problems have the name that was asked for.
                    let setting = Setting {
                        key: asked,
                        ..row.setting
                    };
                    let value = setting.read(origin, text, true);
                    value.map(|value| row.put(&mut changed, &value))
                }
            };
            problems.extend(done.err());
        }
        if problems.is_empty() {
            problems = changed.together();
        }
        ConfigError::of(problems)?;
        Ok(changed)
    }

    /// Every key with its value; secrets are left empty.
    #[must_use]
    fn pairs(&self) -> Vec<(&'static str, String)> {
        Self::rows()
            .iter()
            .map(|row| {
                let shown = row.setting.shown((row.get)(self));
                (row.setting.key, shown.to_string())
            })
            .collect()
    }

    /// The settings that Apache RocketMQ has too, with its names and in its forms; secrets are left empty.
    #[must_use]
    fn upstream_pairs(&self) -> Vec<(&'static str, String)> {
        let pair = |row: &Row<Self>| {
            let name = row.setting.upstream_name()?;
            let shown = row.setting.shown((row.get)(self));
            Some((name, row.setting.upstream_text(&shown)))
        };
        Self::rows().iter().filter_map(pair).collect()
    }

    /// All settings as YAML, each below what it does; [`Configuration::load`] reads it. Secrets are left empty.
    #[must_use]
    fn to_yaml(&self) -> String {
        let mut out = String::new();
        for row in Self::rows() {
            let setting = &row.setting;
            let mut facts = match (setting.unit, setting.range()) {
                ("", range) => range,
                (unit, range) => format!("{unit}, {range}"),
            };
            if setting.is_secret {
                facts.push_str("; not printed");
            }
            if setting.is_live {
                facts.push_str("; changes while it runs");
            }
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "# {} [{facts}]\n{}: {}",
                setting.about(),
                setting.key,
                setting.shown((row.get)(self)).to_yaml()
            );
        }
        out
    }

    /// The variables that override settings, for the help: each with its key and the default.
    #[must_use]
    fn environment_help() -> String {
        let mut out =
            String::from("Settings, each with its default (--print-config explains them):");
        let config = Self::default();
        for row in Self::rows() {
            // Writing to a string cannot fail.
            let _ = write!(
                out,
                "\n  {}  {}: {}",
                layers::variable::<Self>(row.setting.key),
                row.setting.key,
                (row.get)(&config).to_yaml()
            );
        }
        out
    }

    /// The problem of a name that no setting has.
    #[doc(hidden)]
    fn unknown(origin: &str, name: &str) -> Problem {
        Problem::Unknown {
            origin: origin.to_owned(),
            key: name.to_owned(),
            nearest: nearest(Self::settings(), name).map(|setting| setting.key),
            program: Self::PROGRAM,
        }
    }
}
