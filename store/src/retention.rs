//! Removal of whole segments: those whose newest message is older than the retention and, where that is configured, the oldest ones
//! while the disk is too full. The active segment stays. By default nothing that has not expired is removed for want of space: the
//! store refuses writes instead. Nothing that the owner of the store still needs is removed for any reason, and nothing of a follower that
//! its master has.

use std::path::Path;
use std::sync::atomic::Ordering;

use rmq_protocol::message::RecordView;

use crate::commit_log::{CommitLog, Files};
use crate::disk_error::{DiskError, Effect};

/// What a round of retention may remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionRound {
    /// Segments go whose newest message has expired at this time, Unix milliseconds; `None`: no segment goes by age.
    pub now_ms: Option<i64>,
    /// No segment goes that ends after this log position.
    pub needed_from: Option<u64>,
}

impl From<i64> for RetentionRound {
    fn from(now_ms: i64) -> Self {
        Self {
            now_ms: Some(now_ms),
            needed_from: None,
        }
    }
}

/// What a round of retention did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Segments removed.
    pub segments: u64,
    /// Bytes given back.
    pub bytes: u64,
    /// Bytes of segments that stay only because they are needed.
    pub held_bytes: u64,
}

/// Why expired segments could not be removed. They stay until the next round.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// What is derived from them could not be brought up first.
    #[error("expired messages stay for now: {0}")]
    Derived(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file could not be removed.
    #[error("cannot remove {path}: {source}")]
    Remove {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Up to where segments have expired at a time, Unix milliseconds; `None`: none has.
fn expired_below(log: &CommitLog, now_ms: Option<i64>) -> Option<u64> {
    let files = &log.files;
    let segments = files.segments();
    let confirmed = files.positions.confirmed.load(Ordering::Acquire);
    let retention_ms = log.retention_ms.load(Ordering::Relaxed);
    let mut keep_from = None;
    for pair in segments.windows(2) {
        let ([old, next], Some(now_ms)) = (pair, now_ms) else {
            break;
        };
        // The first record of the next segment is newer than everything in this one.
        let newest_ms = files.first_record(next, confirmed).and_then(|bytes| {
            RecordView::parse(&bytes)
                .ok()
                .map(|record| record.store_ms())
        });
        match newest_ms {
            Some(newest_ms) if newest_ms.saturating_add(retention_ms) < now_ms => {
                keep_from = Some(old.end())
            }
            _ => break,
        }
    }
    keep_from
}

/// Up to where segments would go if nothing of them were needed, because they have expired at a time, Unix milliseconds, or for space; `None`: nothing
/// would go.
pub(crate) fn wanted_below(log: &CommitLog, now_ms: Option<i64>) -> Option<u64> {
    let confirmed = log.files.positions.confirmed.load(Ordering::Acquire);
    let expired = expired_below(log, now_ms);
    expired.max(keep_for_space(log, expired.unwrap_or(0), confirmed))
}

/// Removes what has expired and is not needed.
pub(crate) fn run(log: &CommitLog, round: RetentionRound) -> Result<Removed, RetentionError> {
    let files = &log.files;
    let segments = files.segments();
    let confirmed = files.positions.confirmed.load(Ordering::Acquire);
    let keep_from = expired_below(log, round.now_ms);
    let expired = keep_from.unwrap_or(0);
    let keep_from = keep_from.max(keep_for_space(log, expired, confirmed));
    let Some(wanted) = keep_from else {
        return Ok(Removed::default());
    };
    let needed_from = round
        .needed_from
        .unwrap_or(u64::MAX)
        .min(log.expires_below());
    let mut held_bytes = 0;
    let mut keep_from = None;
    for segment in segments.iter().filter(|segment| segment.end() <= wanted) {
        if segment.end() <= needed_from {
            keep_from = Some(segment.end());
        } else {
            held_bytes += segment.end() - segment.base();
        }
    }
    let mut removed = Removed {
        held_bytes,
        ..Removed::default()
    };
    let Some(keep_from) = keep_from else {
        return Ok(removed);
    };
    if keep_from > expired {
        tracing::warn!(
            up_to = keep_from,
            "the disk is too full: the oldest messages go before they expire, as configured"
        );
    }
    log.dispatcher
        .drop_below(keep_from)
        .map_err(|error| RetentionError::Derived(Box::new(error)))?;
    files.crash_point("retention.derived");
    for segment in segments.iter().filter(|segment| segment.end() <= keep_from) {
        let path = files.segment_path(segment.base());
        let removed_file = files.fs.remove(&path).or_else(|error| {
            // Somebody else has removed it: it is gone, as wanted.
            match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }
        });
        // What could not be removed stays a part of the log, and the next round tries again.
        removed_file.map_err(|source| cannot_remove(files, "remove", &path, source))?;
        files.take_below(segment.end());
        // Oldest first on the disk as well: a gap would be taken for a loss.
        if let Some(folder) = path.parent() {
            files
                .fs
                .sync_dir(folder)
                .map_err(|source| cannot_remove(files, "sync the folder", folder, source))?;
        }
        files.crash_point("retention.removed");
        removed.segments += 1;
        removed.bytes += segment.end() - segment.base();
    }
    files.forget_damage_below(keep_from);
    tracing::info!(
        segments = removed.segments,
        up_to = keep_from,
        "expired messages removed"
    );
    Ok(removed)
}

/// A disk that fails here makes the store read-only, as anywhere.
fn cannot_remove(
    files: &Files,
    call: &'static str,
    path: &Path,
    source: std::io::Error,
) -> RetentionError {
    let error = DiskError::at(call, path)(source);
    if error.effect() == Effect::ReadOnly {
        files.health.poison(error.text());
    }
    RetentionError::Remove {
        path: path.display().to_string(),
        source: error.source,
    }
}

/// Up to where segments go that have not expired, so that the disk is no fuller than configured.
fn keep_for_space(log: &CommitLog, expired: u64, confirmed: u64) -> Option<u64> {
    let ratio = log.config.disk_evict_ratio;
    if ratio >= 1.0 {
        return None;
    }
    let space = log.files.fs.space(&log.config.dir).ok()?;
    let allowed = (space.total as f64 * ratio) as u64;
    let used = space.total.saturating_sub(space.free);
    let mut keep_from = None;
    let mut freed = 0;
    for segment in log.files.segments().iter() {
        if used.saturating_sub(freed) <= allowed || segment.end() > confirmed {
            break;
        }
        freed += segment.end() - segment.base();
        if segment.end() > expired {
            keep_from = Some(segment.end());
        }
    }
    keep_from
}
