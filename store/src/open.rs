//! Opening a store, in whatever role: the steps of [`recovery`], and the threads.

use std::sync::Arc;

use crate::commit_log::{CommitLog, Files, Flush, Role};
use crate::config::{FlushMode, StoreConfig};
use crate::derived::{DispatchConfig, Dispatcher};
use crate::epochs::Epochs;
use crate::fs::Fs;
use crate::incarnation;
use crate::index::manifest::Manifest;
use crate::install_mark::InstallMark;
use crate::layout;
use crate::life::Life;
use crate::log_reader::LogReader;
use crate::open_error::OpenError;
use crate::recovery::{self, RecoveryReport};
use crate::store::{Identity, Store};
use crate::watermark::Watermark;

/// Opens the store in `config.dir`, or makes a new one. Blocks while the end of the log is read.
pub(crate) fn open(
    config: StoreConfig,
    fs: Arc<dyn Fs>,
    role: Role,
) -> Result<(Store, RecoveryReport), OpenError> {
    config.validate()?;
    let dir = config.dir.clone();
    fs.create_dir_all(&dir)
        .map_err(OpenError::io("create the folder", &dir))?;
    let lock = recovery::lock(&*fs, &dir)?;
    // Ready before anything is removed or changed that rests on a name; the tables are opened meanwhile, which syncs their file often.
    let mut names = recovery::Names::begin(&*fs, &dir);
    if recovery::is_changed_by_start(&*fs, &dir)? {
        names.settle()?;
    }
    let tables_at = recovery::installed(&*fs, &dir, role)?;
    recovery::check_format(&*fs, &dir)?;
    let epochs = Epochs::open(Arc::clone(&fs), &dir)?;
    let incarnation = incarnation::open(&*fs, &dir)?;
    let log_dir = layout::log(&dir);
    let new = fs
        .list(&log_dir)
        .map_err(OpenError::io("list", &log_dir))?
        .is_empty();
    let segments = recovery::open_segments(&*fs, &config)?;
    let mark_path = layout::watermark(&dir);
    let mut watermark =
        Watermark::open(&*fs, &mark_path).map_err(OpenError::io("open", &mark_path))?;
    let files = Arc::new(Files::new(Arc::clone(&fs), config.clone(), segments));
    files.load_damage();
    if epochs.unfinished_cut().is_some() {
        names.settle()?;
    }
    files.complete_cut(&mut watermark, &epochs)?;
    let durable = watermark.position();
    let closed_at = if new {
        Some(0)
    } else {
        watermark.is_sealed().then_some(durable)
    };
    let start = LogReader::start(&*files);
    if let Some(began) = Manifest::began_before(&*fs, &layout::index(&dir), start) {
        files.report_damage(began, start, "the index knows segments that are missing");
    }
    // Before the index forgets them. Where it cannot be written, the next start finds them as this one does.
    let _ = files.store_damage();
    let reader: Arc<dyn LogReader> = Arc::clone(&files) as Arc<dyn LogReader>;
    let derived = DispatchConfig {
        run_bytes: config.index_run_bytes,
        tables_ahead: tables_at.is_some(),
        accept_lost_tables: config.accept_lost_tables,
        background: config.background,
        tables: config.tables.clone(),
    };
    let dispatcher = Dispatcher::open(
        &layout::index(&dir),
        Arc::clone(&fs),
        reader,
        derived,
        Arc::clone(&files.health),
        || names.settle(),
    )?;
    // The derived files follow the durable log, and may know of more than the watermark, which is raised now and then.
    let durable = durable.max(dispatcher.durable_log());
    let report = recovery::replay(
        &dir,
        &files,
        &dispatcher,
        durable,
        closed_at,
        role,
        tables_at,
    )?;
    let life = Life::begin(
        Arc::clone(&fs),
        &dir,
        new,
        watermark.is_sealed(),
        report.end,
        role,
    )?;
    files.settle_damage();
    // What follows damage must not be taken for a torn end at the next start, should the disk then give what it does not give now.
    let end_behind_damage = report.damaged.iter().any(|range| range.to > durable);
    let is_writable = files.health.check_writable().is_ok();
    if is_writable && (config.flush == FlushMode::Sync || end_behind_damage) {
        // Readers see it from now on, so it must not be lost any more.
        files
            .make_durable(report.end)
            .map_err(OpenError::io("sync the log in", &dir))?;
    }
    if is_writable && end_behind_damage {
        watermark
            .raise_durably(report.end)
            .map_err(OpenError::io("write", &mark_path))?;
    }
    let incomplete_below = tables_at.filter(|position| report.end < *position);
    if let Some(position) = tables_at.filter(|_| is_writable && incomplete_below.is_none()) {
        files
            .make_durable(position)
            .map_err(OpenError::io("sync the log in", &dir))?;
        InstallMark::remove(&*fs, &dir).map_err(OpenError::io("remove", &layout::install(&dir)))?;
    }
    watermark
        .unseal()
        .map_err(OpenError::io("write", &mark_path))?;
    if report.cut_bytes > 0 {
        tracing::warn!(
            end = report.end,
            bytes = report.cut_bytes,
            "the end of the log was not intact and never acknowledged as durable; it was cut"
        );
    }

    if !report.read_again.is_empty() || files.has_unseen() {
        // What can be read again is in the derived files from now on. Behind what nobody has seen, queues begin with a gap, which
        // takes no memory when their earlier entries are in runs.
        match dispatcher.seal_all() {
            Ok(()) => files.taken_again(),
            Err(error) => tracing::warn!(
                "the index could not be completed: {error}; the next start does it again"
            ),
        }
    }
    dispatcher.start()?;

    let flush = Flush::new(config.flush, watermark);
    let log = Arc::new(CommitLog::new(
        config,
        files,
        dispatcher,
        flush,
        role,
        incomplete_below,
    ));
    log.start_flusher()
        .map_err(OpenError::io("start the flusher of", &dir))?;
    log.files
        .start_preparer()
        .map_err(OpenError::io("start the preparer of", &dir))?;
    let identity = Identity {
        epochs,
        incarnation,
        life,
    };
    Ok((Store::new(log, identity, lock, report.clone()), report))
}
