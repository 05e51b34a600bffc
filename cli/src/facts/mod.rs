//! Facts about a cluster: their types, how they are read, and how they become rows. Verbs choose facts and print them.
//!
//! A noun of `get` is one file here with its `NOUN`, and one line in [`NOUNS`].

pub(crate) mod about;
pub(crate) mod broker_group;
pub(crate) mod broker_state;
mod brokers;
pub(crate) mod check;
pub(crate) mod checks;
pub(crate) mod clients;
mod clusters;
mod config_keys;
mod groups;
pub(crate) mod lag;
pub(crate) mod limits;
pub(crate) mod lookup;
pub(crate) mod messages;
pub(crate) mod name_servers;
mod noun;
mod producers;
pub(crate) mod queues;
mod quotas;
mod timers;
pub(crate) mod topics;
pub(crate) mod tracks;
mod transactions;
pub(crate) mod users;
pub(crate) mod versions;

pub(crate) use noun::{Asked, Names, Noun};

/// What `get` can list, in the order of its help.
pub(crate) const NOUNS: &[&Noun] = &[
    &topics::NOUN,
    &groups::NOUN,
    &brokers::NOUN,
    &clusters::NOUN,
    &name_servers::NOUN,
    &queues::NOUN,
    &clients::NOUN,
    &config_keys::NOUN,
    &timers::NOUN,
    &quotas::NOUN,
    &messages::NOUN,
    &transactions::NOUN,
    &users::NOUN,
    &users::ACLS,
];
