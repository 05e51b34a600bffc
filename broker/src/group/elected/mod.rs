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
//! | `parted.rs` | a member that has confirmed what its group has given up |
//! | `hands.rs` | what the machine wants done |
//! | `run.rs` | starts and stops all of it |

mod copying;
mod file;
mod hands;
mod parted;
mod place;
mod port;
pub(crate) mod run;
pub(crate) mod state;

use std::time::Duration;

/// Pause before a store that did not open, a file that was not written, or a snapshot that did not come, is tried again.
const AGAIN: Duration = Duration::from_secs(5);
