//! Who is master: state × event × time → state × actions.
//!
//! ```text
//!            the record was read                    has all that is confirmed, and the
//!            (and no claim is open)                 master put it into the set
//!  Joining ───────────────────────► Replica(out of sync) ──────────► Replica(in sync)
//!                                       ▲          ▲ left the set         │ lease ran out or was released,
//!                                       │          └──────────────────────┤ or a person's request
//!                              the store│                                 ▼
//!                              is open  │         lost the swap        Claiming: stop following, write the
//!                              again    │◄─────────────────────────── marker, take the lease, swap the record
//!                                       │                                 │ won the swap
//!                                    Fenced                               ▼
//!                                       ▲                          Master(recovering): save the epoch, promote the
//!                                       │ a higher epoch, time is  store, wait for the set
//!                                       │ up, handed over                 │
//!                                       └──────────────────────────── Master(active)
//! ```

mod action;
mod alive;
mod candidate;
mod claim;
mod config;
mod durable;
mod event;
mod facts;
mod finding;
mod handover;
mod join;
mod lease;
mod link;
mod master;
mod reason;
mod replica;
mod rules;
mod set;
mod state;
mod step;
mod times;
mod write;

pub use action::Action;
pub use config::{Config, ConfigError, NewGroup, Timings};
pub use durable::{Durable, Master, NotDurable};
pub use event::{
    BootMs, Event, LeaseSwapped, MemberProgress, Position, Progress, Question, Standing, Swapped,
};
pub use facts::{Facts, MemberFacts, State};
pub use finding::{Finding, Severity};
pub use reason::{FenceReason, NotEligible, WritesClosed};
#[doc(hidden)]
pub use rules::Rules;
pub use state::Machine;
