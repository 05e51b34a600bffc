//! Copying a master's log to the replicas of its group: an own protocol on an own port.
//!
//! ```text
//!      master                                                        replica
//!  Master ── progress ──► MasterSession ── pieces, marks ──►  ReplicaSession ──► Follower: copy, store, confirm
//!    ▲                         │        ◄── received, flushed ──        │
//!    └─ replicated ── Members ◄┘                                        └──► events: connected, cut, caught up
//! ```
//! | file | has |
//! | --- | --- |
//! | `wire.rs` | the frames |
//! | `greeting.rs`, `reason.rs` | what both sides check of each other, and why a connection ends |
//! | `members.rs` | which members a message waits for, and where each is |
//! | `session/` | the two ends of a connection, without sockets, threads or a clock |
//! | `serve.rs`, `follow.rs` | the same over any stream, on tokio |
//! | `lane.rs` | the master's sending side, which the thread that writes the log uses too |
//! | `fetch.rs`, `reading.rs` | a stretch of the log that is damaged at one end of a connection, read at the other |
//! | `pace.rs` | how fast the log goes to a replica that is far behind |
//! | `guard.rs` | what may stand between a socket and its first frame, as TLS |
//! | `ask.rs` | a question of the election to another member |
//! | `snapshot.rs` | a snapshot of the master for a replica whose log ends before the master's begins |
//! | `event.rs`, `config.rs` | what the driver is told; limits and times |

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

mod ask;
mod config;
mod event;
mod fetch;
mod follow;
mod greeting;
mod guard;
mod lane;
mod members;
mod outbox;
mod pace;
mod reading;
mod reason;
mod serve;
pub mod session;
mod snapshot;
pub mod wire;

pub use ask::{ask, ask_stream};
pub use config::{PIECE_BYTES_MAX, ReplicationConfig};
pub use event::{Asked, End, MasterEvent, Parting, ReplicaEvent};
pub use fetch::Fetched;
pub use follow::{Followed, Following, ReplicaEvents, Target, follow, follow_apart, follow_stream};
pub use greeting::{EPOCHS_MAX, Greeting, Identity, NAME_BYTES_MAX, VERSION};
pub use guard::{Guard, GuardFuture, Guarded, MaybeGuard, Stream};
pub use members::{Clock, Connection, Counts, MemberProgress, Members, Replicated, Report};
pub use reason::{Reason, ReasonKind};
pub use serve::{MasterEvents, Questions, Source, refuse, serve, serve_stream};
pub use snapshot::install;
