//! A noun of `get`: its name, and how it is listed.

use futures_util::future::LocalBoxFuture;

use crate::cluster::Cluster;
use crate::error::Failure;
use crate::output::Output;
use crate::render::Listing;

/// The options of `get` that nouns take.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) output: &'a Output,
    /// Only these; an empty list means all.
    pub(crate) names: &'a [String],
    /// Names of the system too.
    pub(crate) all: bool,
    pub(crate) topic: Option<&'a str>,
    pub(crate) group: Option<&'a str>,
    pub(crate) broker: Option<&'a str>,
    /// Clients that send, instead of members of a group.
    pub(crate) producers: bool,
}

/// What a list does with the names that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// The list has all rows; `get` drops the rows with other names.
    Chosen,
    /// The list has the rows of these names only.
    Looked,
}

/// A noun of `get`.
#[derive(Debug)]
pub(crate) struct Noun {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    /// One sentence for the help, without a full stop.
    pub(crate) about: &'static str,
    pub(crate) names: Names,
    pub(crate) list: for<'a> fn(Asked<'a>) -> LocalBoxFuture<'a, Result<Listing, Failure>>,
}

impl Noun {
    /// Whether this is the noun's name or one of its aliases.
    pub(crate) fn is_called(&self, text: &str) -> bool {
        self.name == text || self.aliases.contains(&text)
    }
}
