//! Who sends a request, and whether they may: users, signatures, rules, and what requests name.
//!
//! ```text
//! request ─► access key ─► user ─► signature ─► rights of its code ─► what it names ─► rules of the user ─► served or refused
//! ```
//! Pure: no sockets, files or clocks. Servers hold [`Accounts`] and ask [`Gate::pass`]; facts are those of `apache/rocketmq auth/`.

mod account;
mod acl;
mod gate;
mod named;
mod network;
mod refusal;
mod refusals;
mod resource;
mod rules;
mod sealing;
mod secret;
mod user;

pub use account::{Account, Accounts, Recent};
pub use acl::{Acl, AclError, Decision, Entry, Policy, PolicyKind, subject_of, user_of};
pub use gate::{Gate, NotPassed, Passed, Request, RequestCodes};
pub use named::{Names, names_of};
pub use network::Network;
pub use refusal::{Denied, Unauthenticated};
pub use refusals::Refusals;
pub use resource::{Actions, Kind, Pattern, ResourceKey, ResourceKeyError};
pub use rules::Rules;
pub use sealing::{SealError, SealingKey};
pub use secret::Secret;
pub use user::{PASSWORD_BYTES_MAX, USER_NAME_BYTES_MAX, User, UserError, UserKind};
