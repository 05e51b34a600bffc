//! JSON bodies of requests and answers, read as leniently as fastjson does and written compact with alphabetical keys.

mod access;
mod assignment;
mod backup;
mod config;
mod connection;
mod consume_queue;
mod fastjson;
mod group;
mod group_status;
mod heartbeat;
pub(crate) mod lenient;
mod locks;
mod offsets;
mod queue_map;
mod registration;
mod replication;
mod running;
mod stats;
mod timers;
mod topic;
mod transactions;

pub use access::*;
pub use assignment::*;
pub use backup::*;
pub use config::*;
pub use connection::*;
pub use consume_queue::*;
pub use fastjson::{BodyError, from_slice, object_from_slice, to_strict};
pub use group::*;
pub use group_status::*;
pub use heartbeat::*;
pub use locks::*;
pub use offsets::*;
pub use queue_map::{MessageQueue, QueueMap};
pub use registration::*;
pub use replication::*;
pub use running::*;
pub use stats::*;
pub use timers::*;
pub use topic::*;
pub use transactions::*;

/// Gives bodies their two functions. `maps` writes object keys raw, as bodies with a [`QueueMap`] need it.
macro_rules! bodies {
    (@write $body:expr, plain) => { serde_json::to_vec($body).expect("plain data always serialises") };
    (@write $body:expr, maps) => { $crate::bodies::queue_map::write_raw_keys($body) };
    ($($name:ident: $kind:tt;)*) => {$(
        impl $name {
            /// Compact JSON with alphabetical keys, as fastjson writes it.
            #[must_use]
            pub fn to_json(&self) -> Vec<u8> {
                $crate::bodies::bodies!(@write self, $kind)
            }

            /// Reads the JSON that clients and tools send, fastjson's own spellings included.
            ///
            /// # Errors
            /// When it is not JSON of this shape.
            pub fn from_json(bytes: &[u8]) -> Result<Self, $crate::bodies::BodyError> {
                $crate::bodies::object_from_slice(stringify!($name), bytes)
            }
        }
    )*};
}
pub(crate) use bodies;
