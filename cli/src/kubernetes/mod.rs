//! Clusters in Kubernetes: which NameServer object is meant, the way to its pods, and which topics and groups objects own.

mod access;
mod connector;
mod desired;
mod owner;
pub(crate) mod problem;

pub(crate) use access::{Found, Kubernetes, KubernetesRef, contexts, is_there};
pub(crate) use desired::Wanted;
pub(crate) use owner::OwnerOptions;
