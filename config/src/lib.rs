//! The settings of the servers. Each setting is one row: key, type, default, range, unit, Apache RocketMQ's name, whether it changes while
//! the server runs, where it is set in Kubernetes, and what it does.
//!
//! The rows are in [`broker`](BrokerConfig) and [`name_server`](NameServerConfig). From a row come
//!
//! - a typed field with its default: the servers read `config.max_message_bytes` and never look a key up;
//! - the layers and the check of all of them ([`Configuration::load`]), with all problems at once;
//! - the printed settings ([`Configuration::to_yaml`]) and the help about variables ([`Configuration::environment_help`]);
//! - reading and changing while the server runs ([`Configuration::pairs`], [`Configuration::upstream_pairs`], [`Configuration::update`]);
//! - the check of what users write into a custom resource ([`passed_problems`]);
//! - what a `broker.conf` of Apache RocketMQ is here ([`original`]);
//! - `docs/reference/configuration.md`.
//!
//! Rules about one setting are in its row. Rules about several settings are in `together` of the same file.

mod broker;
mod configuration;
mod delay_levels;
mod election;
mod forms;
mod kubernetes;
mod layers;
mod name_server;
mod nearest;
pub mod original;
#[cfg(test)]
mod page;
mod problem;
mod row;
mod setting;
#[cfg(test)]
mod tests;
mod tls;
mod value;

pub use broker::{AckMode, BrokerConfig, Flush};
pub use configuration::Configuration;
pub use delay_levels::LevelError;
pub use election::{Election, GroupMember};
pub use kubernetes::{Given, Kubernetes, passed_problems};
pub use name_server::NameServerConfig;
pub use problem::{ConfigError, Problem};
pub use row::Row;
pub use setting::{Form, Setting, Takes, Upstream};
pub use tls::{TlsClientAuth, TlsMode, TlsOutgoing, TlsPorts};
pub use value::{HiddenText, Value, secret_file};
