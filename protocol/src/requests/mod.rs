//! Typed requests and replies, by family. The fields of a request are the header's; bodies are in [`crate::bodies`].

mod clients;
pub(crate) mod field;
mod offsets;
mod pull;
mod registration;
mod route;
mod send;
mod send_back;

pub use clients::*;
pub use field::{FieldError, FieldProblem, FieldValue, Reply, Request};
pub use offsets::*;
pub use pull::*;
pub use registration::*;
pub use route::*;
pub use send::{SendMessage, SendMessageReply, SendMessageV1};
pub use send_back::*;
