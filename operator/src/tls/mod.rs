//! TLS of servers: their certificates, and how far they are with it.
//!
//! | file | has |
//! | --- | --- |
//! | `certificates.rs` | certificates: what they say, and how they are made |
//! | `rotation.rs` | when a CA and certificates are made, and when others follow (pure) |
//! | `stage.rs` | how far servers go with TLS, so that a running cluster goes on (pure) |
//! | `secrets.rs` | Secrets are read and written |
//! | `seen.rs` | what a look sees of all that, and what is due |
//! | `told.rs` | what the status says of it |
//!
//! A CA belongs to a NameServer object: Secret `NAME-ca`. Servers have theirs in `WORKLOAD-tls`, which the pods mount, or in the Secret that
//! the object names.

mod certificates;
mod rotation;
mod secrets;
mod seen;
pub(crate) mod stage;
#[cfg(test)]
mod tests;
mod told;

pub(crate) use seen::{
    Due, Seen, Servers, Spans, carry_out, look, of_pod, of_template, secure, spans,
};
pub(crate) use stage::{OfBrokers, OfNameServers, Span, Stage, of_brokers, of_name_servers};
pub(crate) use told::{Told, metrics, tell};
