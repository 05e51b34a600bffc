//! A place in Kubernetes: an object `BrokerGroupElection` and a `Lease` of the same name.
//!
//! The record is the status of the object, changed through the status subresource in the version that was read; members, policy and
//! people's requests are its spec, which belongs to the operator. A broker needs rights for these two objects by name and no others: `get`,
//! `list` and `watch` of both, `patch` of `brokergroupelections/status` and of the Lease. Whoever gives these rights makes the objects:
//! a right to create cannot be limited to a name. Where the right is there, the place makes the objects itself.

mod account;
mod errors;
mod objects;
mod place;
mod watching;

pub use place::KubernetesPlace;
