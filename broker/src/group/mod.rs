//! The broker as a member of its group: one master, and replicas that copy the master's log.
//!
//! | file | has |
//! | --- | --- |
//! | `member.rs` | what is known of the group, for everybody who asks |
//! | `acks.rs` | acknowledgements that wait for replicas, and when they have waited long enough |
//! | `term.rs` | until when an elected master may answer as one |
//! | `elected/` | an election decides who is master |
//! | `lead.rs` | a master: serves the replication port, knows who is in sync |
//! | `mend.rs` | what is damaged here comes from another member |
//! | `repairs.rs` | what was repaired in the log |
//! | `pass.rs`, `to_master.rs` | a replica: passes on to the master what clients tell it, and its connection for that |
//! | `follow.rs` | a replica: finds its master and copies |
//! | `fixed.rs` | the lives of such a replica: one before, and one after a snapshot |

pub(crate) mod acks;
pub(crate) mod elected;
pub(crate) mod fixed;
pub(crate) mod follow;
pub(crate) mod lead;
pub(crate) mod member;
pub(crate) mod mend;
pub(crate) mod pass;
pub(crate) mod proof;
pub(crate) mod repairs;
pub(crate) mod term;
pub(crate) mod to_master;

pub(crate) use member::Member;
