//! Cutting off the end of a follower's log: what an old master wrote and the new one does not have.
//!
//! Nothing of it is confirmed, so no run and no table has it. The steps, each durable before the next:
//!
//! ```text
//! 0 what is cut is kept in the folder `quarantine`
//! 1 the file of epochs says `cut P`       from here on the log ends at P: a start that finds the line does the rest again
//! 2 the watermark is lowered to P
//! 3 everything behind P reads as zeros
//! 4 known damage behind P is forgotten
//! 5 the line is removed
//! ```
//! What is confirmed is never cut. Where another history has taken its place, the end of the log is kept in the same way (step 0), and the
//! store is made again from a snapshot: that removes what is derived from the end as well.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::files::Files;
use super::log::CommitLog;
use super::staging::Staging;
use crate::disk_error::{DiskError, Effect};
use crate::epochs::Epochs;
use crate::error::AppendError;
use crate::quarantine::{PutAside, Quarantine};
use crate::watermark::Watermark;

/// Why a log was not truncated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TruncateError {
    /// What lies there was confirmed, and may have been seen.
    #[error("the log cannot be cut at position {position}: it is confirmed up to {confirmed}")]
    Confirmed {
        /// Where it was to be cut.
        position: u64,
        /// Up to where nothing may be cut.
        confirmed: u64,
    },
    /// No record ends there.
    #[error("the log cannot be cut at position {position}: no record ends there")]
    NotAtRecord {
        /// Where it was to be cut.
        position: u64,
    },
    /// It was not begun.
    #[error("the log was not cut at position {position}: {reason}")]
    NotBegun {
        /// Where it was to be cut.
        position: u64,
        /// The call that failed.
        reason: String,
    },
    /// It was begun, and failed. The store is read-only; the next start completes the truncation.
    #[error(
        "cutting the log failed: {reason}; the store is read-only, and the next start completes the cut"
    )]
    Broken {
        /// The call that failed.
        reason: Arc<str>,
    },
    /// What the log has could not be written first; it was not cut.
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl CommitLog {
    pub(super) fn truncate_to(
        &self,
        position: u64,
        epochs: &Epochs,
    ) -> Result<Option<PutAside>, TruncateError> {
        // Nothing is left in the staging buffer.
        self.write_and_sync()?;
        let writer = self.write.lock();
        let at = self.following.hold();
        let positions = &self.files.positions;
        let confirmed = positions.confirmed.load(Ordering::Acquire).max(at.position);
        if position < confirmed {
            return Err(TruncateError::Confirmed {
                position,
                confirmed,
            });
        }
        let end = positions.written.load(Ordering::Acquire);
        if position > end {
            return Ok(None);
        }
        if position == end {
            return epochs
                .end_at(position)
                .map(|()| None)
                .map_err(DiskError::at("replace", epochs.path()))
                .map_err(|error| TruncateError::NotBegun {
                    position,
                    reason: error.text(),
                });
        }
        if !self.files.ends_record(at.position, position) {
            return Err(TruncateError::NotAtRecord { position });
        }
        let not_begun = |error: DiskError| {
            if error.effect() == Effect::ReadOnly {
                return self.broken(position, &error);
            }
            TruncateError::NotBegun {
                position,
                reason: error.text(),
            }
        };
        let kept = self
            .files
            .keep_aside(position, end, epochs)
            .map_err(|error| {
                if error.effect() == Effect::ReadOnly {
                    self.files.health.poison(error.text());
                }
                TruncateError::NotBegun {
                    position,
                    reason: error.text(),
                }
            })?;
        self.files.crash_point("truncate.kept");
        let mut staging = self.append.lock();
        epochs
            .begin_cut(position)
            .map_err(DiskError::at("replace", epochs.path()))
            .map_err(not_begun)?;
        self.files.crash_point("truncate.begun");
        self.flush
            .lower(&self.files, position)
            .map_err(|error| self.broken(position, &error))?;
        self.files
            .cut_off(position)
            .map_err(|error| self.broken(position, &error))?;
        *staging = Staging::new(&self.files);
        drop(staging);
        self.following.copied.clear();
        epochs
            .finish_cut()
            .map_err(DiskError::at("replace", epochs.path()))
            .map_err(|error| self.broken(position, &error))?;
        self.files.crash_point("truncate.finished");
        drop(at);
        drop(writer);
        self.acks.fail(&AppendError::Failed {
            reason: format!("the log was cut at position {position}").into(),
        });
        match &kept {
            Some(kept) => {
                tracing::warn!(position, end, messages = kept.messages, kept_in = %kept.path.display(), "the end of the log, which the master does not have, was cut off");
            }
            None => tracing::info!(
                position,
                end,
                "the end of the log was cut off; no message was in it"
            ),
        }
        Ok(kept)
    }

    /// See [`Follower::put_aside`](crate::Follower::put_aside).
    pub(super) fn put_aside(
        &self,
        position: u64,
        epochs: &Epochs,
    ) -> Result<Option<PutAside>, TruncateError> {
        let end = self.write_and_sync()?;
        // Nothing is copied meanwhile.
        let _writer = self.write.lock();
        if position >= end {
            return Ok(None);
        }
        let kept = self.files.keep_aside(position, end, epochs);
        let kept = kept.map_err(|error| TruncateError::NotBegun {
            position,
            reason: error.text(),
        })?;
        self.files.crash_point("aside.kept");
        Ok(kept)
    }

    /// It was begun and did not end.
    fn broken(&self, position: u64, error: &DiskError) -> TruncateError {
        let reason: Arc<str> = error.text().into();
        self.files.health.poison(format!(
            "cutting the log at position {position} failed: {reason}"
        ));
        TruncateError::Broken { reason }
    }
}

impl Files {
    /// Whether the log can end at `position`: records follow each other from `from`, where one ends, to there.
    fn ends_record(&self, from: u64, position: u64) -> bool {
        let mut end = from;
        self.scan_records(from, position, &mut |at, bytes| {
            end = at + bytes.len() as u64;
        });
        let is_base = self
            .segment(position)
            .is_some_and(|segment| segment.base() == position);
        end == position || (is_base && end < position)
    }

    /// Copies the records from `position` to `end` into the quarantine.
    fn keep_aside(
        &self,
        position: u64,
        end: u64,
        epochs: &Epochs,
    ) -> Result<Option<PutAside>, DiskError> {
        let (fs, dir) = (&*self.fs, &self.config.dir);
        let epoch = epochs.at(position);
        let mut quarantine = Quarantine::begin(fs, dir, epoch, position, end - position)?;
        self.scan_records(position, end, &mut |at, record| {
            quarantine.keep(at, record);
        });
        quarantine.finish()
    }

    /// Removes what lies behind `position`, durably.
    fn cut_off(&self, position: u64) -> Result<(), DiskError> {
        for segment in self
            .segments()
            .iter()
            .filter(|segment| segment.end() > position)
        {
            let path = self.segment_path(segment.base());
            segment
                .clear_from(position.max(segment.base()))
                .map_err(DiskError::at("clear the end of", &path))?;
            segment.ends_at(position);
            self.crash_point("truncate.cleared");
        }
        self.forget_damage_from(position);
        Ok(())
    }

    /// Does again what a truncation did that the life before this one has begun. Nothing is open yet.
    pub(crate) fn complete_cut(
        &self,
        watermark: &mut Watermark,
        epochs: &Epochs,
    ) -> Result<(), DiskError> {
        let Some(position) = epochs.unfinished_cut() else {
            return Ok(());
        };
        tracing::info!(
            position,
            "the log is cut there, as the life before has begun"
        );
        let path = crate::layout::watermark(&self.config.dir);
        watermark
            .lower(position)
            .map_err(DiskError::at("lower", &path))?;
        self.cut_off(position)?;
        epochs
            .finish_cut()
            .map_err(DiskError::at("replace", epochs.path()))
    }
}
