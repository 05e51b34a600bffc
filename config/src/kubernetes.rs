//! Where settings are set in Kubernetes, and the check of those that users pass through a custom resource.

use crate::configuration::Configuration;
use crate::nearest::nearest;
use crate::setting::Setting;

/// Where a setting is set in Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kubernetes {
    /// Users may pass it through.
    Open,
    /// The operator sets it, from this field of the resource.
    Field(&'static str),
    /// The operator sets it, and users do not, for this reason.
    Operator(&'static str),
}

/// A value that a user has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Its text.
    pub text: String,
    /// False for a bare number, `true` and `false`.
    pub is_text: bool,
}

/// What is wrong with settings that users pass through; `field` is where they stand in the resource.
#[must_use]
pub fn passed_problems<'a, C: Configuration>(
    field: &str,
    given: impl IntoIterator<Item = (&'a str, Given)>,
) -> Vec<String> {
    let problem = |(key, given): (&str, Given)| {
        let Some(setting) = C::settings().find(|setting| setting.key == key) else {
            let is_open = |setting: &&Setting| setting.kubernetes == Kubernetes::Open;
            let near = nearest(C::settings().filter(is_open), key);
            let hint = near.map_or(String::new(), |near| {
                format!("; did you mean {}?", near.key)
            });
            return Some(format!(
                "{field}.{key} is no key of the configuration{hint}"
            ));
        };
        match setting.kubernetes {
            Kubernetes::Open => {
                let read = setting.read("", &given.text, given.is_text);
                read.err().map(|problem| format!("{field}.{problem}"))
            }
            Kubernetes::Field(instead) => Some(format!(
                "{field}.{key} is set by the operator; use {instead}"
            )),
            Kubernetes::Operator(why) => Some(format!(
                "{field}.{key} is set by the operator; leave it out: {why}"
            )),
        }
    };
    given.into_iter().filter_map(problem).collect()
}
