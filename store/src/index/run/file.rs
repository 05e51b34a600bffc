//! The file of a run: what its header says, and reads of its bytes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::format::{RunDamaged, Span};
use crate::fs::File;

/// An open file whose header was checked.
pub(super) struct RunFile {
    pub(super) file: Box<dyn File>,
    /// The stretch of the log that it covers.
    pub(super) span: Span,
    /// Smallest store time, ms since 1970.
    pub(super) base_ms: i64,
    pub(super) layout: Layout,
    damaged: AtomicBool,
}

/// Where the parts of the directory lie in the file.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) topics: usize,
    pub(super) queues: usize,
    pub(super) checks_at: usize,
    pub(super) queues_at: usize,
    pub(super) topics_at: usize,
    pub(super) names_at: usize,
    pub(super) end: usize,
    pub(super) crc: u32,
}

impl RunFile {
    pub(super) fn new(file: Box<dyn File>, span: Span, base_ms: i64, layout: Layout) -> Self {
        Self {
            file,
            span,
            base_ms,
            layout,
            damaged: AtomicBool::new(false),
        }
    }

    /// A look-up has found it damaged.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// Notes that it is damaged.
    pub(super) fn damage(&self, what: &'static str) -> RunDamaged {
        self.damaged.store(true, Ordering::Release);
        RunDamaged {
            log: self.span,
            what,
        }
    }

    /// Fills `into` from a place of the file.
    pub(super) fn read(&self, at: usize, into: &mut [u8]) -> Result<(), RunDamaged> {
        self.file.read_at(at as u64, into).map_err(|error| {
            tracing::warn!(log = %self.span, at, %error, "an index run cannot be read");
            self.damage(if error.kind() == io::ErrorKind::UnexpectedEof {
                "it is shorter than it says"
            } else {
                "it cannot be read"
            })
        })
    }
}
