//! A place in an etcd: two keys for each group, `PREFIX/CLUSTER/GROUP/election` and `PREFIX/CLUSTER/GROUP/lease`.
//!
//! Each key holds JSON with the version of its format. A swap is one transaction on the key's `mod_revision`, which etcd never uses twice.
//! The lease is a key that its holder renews, and no lease of etcd: whoever looks counts on its own clock, so a slow or stopped etcd lets
//! nothing run out. Reads are linearizable: they ask the majority of the etcd.

mod config;
mod endpoints;
mod keys;
mod place;
mod watching;

pub use config::{EtcdConfig, EtcdTls, WrongEtcdConfig};
pub use place::EtcdPlace;
