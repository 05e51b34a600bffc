//! A member of a group that elects its master: what the machine of [`rmq_election`] decides is carried out here.
//!
//! ```text
//!  place (etcd, …) ◄──► driver, with the machine ──► hands ──► lives: the store and the broker of now
//!                            ▲     ▲                   ├─────► port: the log for replicas, answers to questions
//!   questions, events ───────┘     └── facts           └─────► copying: the log of the master
//! ```
//! | file | has |
//! | --- | --- |
//! | `state.rs` | what the member has for as long as its process runs, for everybody who asks |
//! | `file.rs` | what must not be forgotten, in the data folder |
//! | `place.rs` | the place that the configuration names |
//! | `port.rs` | the replication port, for as long as the process runs |
//! | `copying.rs` | a replica copies |
//! | `hands.rs` | what the machine wants done |
//! | `run.rs` | starts and stops all of it |

mod copying;
mod file;
mod hands;
mod place;
mod port;
pub(crate) mod run;
pub(crate) mod state;
