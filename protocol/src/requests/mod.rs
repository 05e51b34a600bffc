//! Typed requests and replies, by family. The fields of a request are the header's; bodies are in [`crate::bodies`].

mod access;
mod brokers;
mod by_code;
mod clients;
pub(crate) mod field;
mod group_master;
mod groups;
mod lookup;
mod offsets;
mod pop;
mod pull;
mod registration;
mod reply;
mod route;
mod send;
mod send_back;
mod topics;
mod transactions;

pub use access::*;
pub use brokers::*;
pub use by_code::fields_of;
pub use clients::*;
pub use field::{FieldError, FieldKind, FieldProblem, FieldShape, FieldValue, Reply, Request};
pub use group_master::*;
pub use groups::*;
pub use lookup::*;
pub use offsets::*;
pub use pop::*;
pub use pull::*;
pub use registration::*;
pub use reply::*;
pub use route::*;
pub use send::{MAY_BE_STORED, SendMessage, SendMessageReply, SendMessageV1};
pub use send_back::*;
pub use topics::*;
pub use transactions::*;
