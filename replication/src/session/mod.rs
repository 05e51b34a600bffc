//! The two ends of a connection as state machines: frames and the time go in, frames and calls of the store come out. There is no socket,
//! thread or clock in here, so a simulation runs the same code as the sockets do.
//!
//! ```text
//!  replica                                 master
//!     │ greeting ─────────────────────────► │ checked: cluster, group, segments, epoch, member, data
//!     │ ◄───────────────────────── greeting │
//!     │ checked; epochs compared; cut       │
//!     │ begin(position) ──────────────────► │ checked: is there, is common; the member counts from here on
//!     │ ◄──────────── pieces, marks ─────── │ as far as bytes in flight allow
//!     │ report(received, flushed) ────────► │ checked: was sent, is where a piece ends, goes not back
//!     │ ◄─── fetch, fetched or missing ───► │ checked: both have it; by whoever has damage
//! ```

mod fetching;
mod master;
mod replica;

pub use master::{MasterSession, Want};
pub use replica::{Ended, ReplicaSession, Unwritten};
