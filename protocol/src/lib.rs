//! The RocketMQ wire and message formats: frames, headers, codes, typed requests and replies, JSON bodies, stored records.
//!
//! Pure: no sockets, no clock, no runtime. What comes in is borrowed where the message path needs it and is never trusted: every
//! length is checked against [`limits`] before anything is allocated, and an error says what is wrong and where.

// Bytes of others must not end a process. Where an index is sound for a reason of its own, the item says the reason.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod bodies;
pub mod code;
pub mod frame;
pub mod header;
pub mod limits;
pub mod member;
pub mod message;
pub mod names;
pub mod requests;
pub mod route;
mod run;
#[cfg(feature = "signature")]
pub mod signature;

pub use code::{RequestCode, ResponseCode};
pub use frame::{
    FrameError, HeaderEncoding, RawFrame, Split, encode_frame, encode_frame_head, split,
};
pub use header::{
    CommandHead, FieldSink, FieldSource, Fields, Header, HeaderError, Language, NoFields,
    SERVER_LANGUAGE, SERVER_VERSION, Text,
};
pub use limits::FrameLimits;
pub use member::{Incarnation, MemberId, NoIncarnation, Seat};
