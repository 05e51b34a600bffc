//! What the thread that works ahead of the appends is asked for, and what it has made.

use std::sync::Arc;

use crate::segment::Segment;

/// How much is written at once.
#[derive(Default)]
pub(super) struct Pace {
    pub(super) written: u64,
    /// Sliding mean, bytes.
    pub(super) mean: u64,
}

/// The next segment.
#[derive(Default)]
pub(super) struct Spare {
    pub(super) segment: Option<Arc<Segment>>,
    /// Base of the segment to prepare.
    pub(super) wanted: Option<u64>,
    /// The records come close to where zeros were written.
    pub(super) zeros_wanted: bool,
    /// Base of the segment that could not be prepared: left to the append that needs it.
    pub(super) failed: Option<u64>,
    pub(super) stop: bool,
}
