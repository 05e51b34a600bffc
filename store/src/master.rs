//! The store of a master: it appends.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use rmq_protocol::message::LogPosition;
use smallvec::SmallVec;

use crate::commit_log::{Appended, Appender, CommitLog, Done, NewMessage, Role};
use crate::config::StoreConfig;
use crate::error::{AppendError, EpochError, ReadError};
use crate::fs::Fs;
use crate::open::open;
use crate::open_error::OpenError;
use crate::purpose::Purpose;
use crate::queue::QueueRef;
use crate::recovery::RecoveryReport;
use crate::settings::{Change, SETTINGS_TOPIC, Settings, SettingsError, SettingsLog};
use crate::store::Store;

/// A store that appends: the only one of its group. Everything else it has from [`Store`]. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Master {
    store: Store,
    appender: Appender,
    settings: Settings,
}

impl Deref for Master {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Master").field(&self.store).finish()
    }
}

impl Master {
    /// Opens the store in `config.dir`, or makes a new one. Blocks while the end of the log is read. What is there is confirmed.
    ///
    /// After a life that was not closed another epoch begins: a replica may have copied what a power cut took here, and what is written
    /// now at the same positions must not be taken for the same. After a follower's life too: the master of that epoch may have written
    /// more than the follower copied.
    ///
    /// # Errors
    /// See [`OpenError`]: nothing is repaired silently.
    pub fn open(config: StoreConfig, fs: Arc<dyn Fs>) -> Result<(Self, RecoveryReport), OpenError> {
        let (store, report) = open(config, fs, Role::Master)?;
        let epoch = store.epoch().saturating_add(1);
        let begins =
            !store.last_end().is_clean() || store.doubt().is_some() || store.has_followed();
        Self::lead(store, begins.then_some(epoch), report)
    }

    /// As [`open`](Self::open), for a caller that knows the epoch of its group: it begins here, durably, where the log ends.
    ///
    /// # Errors
    /// See [`OpenError`], [`EpochError`].
    pub fn open_in_epoch(
        config: StoreConfig,
        fs: Arc<dyn Fs>,
        number: u64,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let (store, report) = open(config, fs, Role::Master)?;
        Self::lead(store, Some(number), report)
    }

    fn lead(
        store: Store,
        epoch: Option<u64>,
        report: RecoveryReport,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let appender = Appender::new(Arc::clone(store.log()));
        let health = &store.log().files.health;
        // Where nothing can be written, nothing is appended.
        if let Some(number) = epoch.filter(|_| health.check_writable().is_ok()) {
            match appender.begin_epoch(number, store.epochs_file()) {
                Ok(()) => {
                    if let Err(error) = store.settle_doubt() {
                        tracing::warn!(%error, "what was in doubt at this start is in doubt at the next");
                    }
                }
                // Reads go on, as on any full disk.
                Err(error @ EpochError::Io { .. }) => {
                    health.poison(format!("epoch {number} does not begin: {error}"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((Self::new(store, appender)?, report))
    }

    pub(crate) fn new(store: Store, appender: Appender) -> Result<Self, ReadError> {
        let log = store.log();
        let writer = SettingsWriter {
            queue: log.dispatcher.queue(SETTINGS_TOPIC, 0)?,
            log: Arc::clone(log),
            appender: appender.clone(),
        };
        let settings = Settings::new(Arc::clone(log.dispatcher.declared()), Arc::new(writer));
        Ok(Self {
            store,
            appender,
            settings,
        })
    }

    /// Appends a message: it has its place in log and queue, and is neither written nor visible yet.
    /// [`Store::try_settle`] or [`Store::settle`] must follow, once for any number of appends.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&self, message: &NewMessage<'_>) -> Result<Appended, AppendError> {
        self.append_at(message, self.log().now_ms())
    }

    /// [`Master::append`] for a caller that knows the time, Unix milliseconds of [`StoreConfig::now_ms`]: many messages that come together
    /// need one look at the clock.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append_at(
        &self,
        message: &NewMessage<'_>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let body_bytes_max = self.body_bytes_max();
        self.appender
            .append(Purpose::Message, message, body_bytes_max, now_ms)
    }

    /// [`Master::append`] for a body that was taken before and moves to another queue: the limit may have become lower since.
    ///
    /// # Errors
    /// See [`AppendError`]; never [`AppendError::BodyTooLarge`].
    pub fn append_again(&self, message: &NewMessage<'_>) -> Result<Appended, AppendError> {
        let now_ms = self.log().now_ms();
        self.appender
            .append(Purpose::Message, message, usize::MAX, now_ms)
    }

    /// Appends messages with consecutive offsets and positions, or none of them.
    ///
    /// # Errors
    /// See [`AppendError`]; the whole batch must fit one segment.
    pub fn append_batch(
        &self,
        messages: &[NewMessage<'_>],
    ) -> Result<SmallVec<[Appended; 8]>, AppendError> {
        self.appender.append_batch(messages)
    }

    /// Appends a message and waits until it is settled.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_and_wait(&self, message: &NewMessage<'_>) -> Result<Appended, AppendError> {
        let appended = self.append(message)?;
        self.settled(appended.end).await?;
        Ok(appended)
    }

    /// Settings and progress.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes all messages of a topic unreachable and waits until that is as durable as a message. Offsets continue where they are.
    ///
    /// # Errors
    /// When the store takes no writes, or the queues cannot be looked up.
    pub async fn delete_queues(&self, topic: &str) -> Result<(), SettingsError> {
        let deletion = Change::delete_queues(topic);
        self.settings.put_and_wait(&[deletion]).await.map(drop)
    }

    /// The clock can be trusted at `now_ms`. Store times never run backwards, so after a clock that was ahead they stand still until it
    /// has caught up; when they are more than a minute ahead, they start at the clock again.
    pub fn trust_clock(&self, now_ms: i64) {
        self.appender.trust_clock(now_ms);
    }

    /// From now on this master writes another epoch: it begins, durably, where the log ends. Nothing is appended meanwhile.
    ///
    /// # Errors
    /// See [`EpochError`]: the log continues in its epoch.
    pub fn begin_epoch(&self, number: u64) -> Result<(), EpochError> {
        self.appender.begin_epoch(number, self.epochs_file())
    }

    /// This master is deposed: from now on no append succeeds, nothing more is confirmed or becomes visible, and nobody gets an
    /// acknowledgement, also not for what was reached before or is reached later. Who waits is told `reason`: who is the master now, or
    /// why that is not known. An acknowledgement that another thread is giving at this moment may still go out. What was appended and not
    /// acknowledged stays in the log; the store is to be closed and opened as a [`Follower`](crate::Follower).
    pub fn fence(&self, reason: impl Into<Arc<str>>) {
        self.appender.fence(reason.into());
    }

    /// From now on no append succeeds, until [`resume`](Self::resume): who tries is told `reason`. When this returns, nothing is on its way into the
    /// log. What was appended before is written, confirmed and acknowledged as ever.
    pub fn pause(&self, reason: impl Into<Arc<str>>) {
        self.appender.pause(Some(reason.into()));
    }

    /// Undoes [`pause`](Self::pause).
    pub fn resume(&self) {
        self.appender.pause(None);
    }

    /// Every replica that must have it holds the log below `position`: nothing above it is confirmed. `None`, with which a store is opened:
    /// there is no such replica.
    pub fn replicated(&self, position: Option<LogPosition>) {
        self.appender
            .replicated(position.map(|position| position.0));
    }
}

/// Appends settings records.
struct SettingsWriter {
    log: Arc<CommitLog>,
    appender: Appender,
    queue: QueueRef,
}

impl SettingsLog for SettingsWriter {
    fn check_progress(&self, bytes: usize) -> Result<(), AppendError> {
        self.appender.check_progress(bytes)
    }

    fn append_settings(&self, body: &[u8], purpose: Purpose) -> Result<u64, AppendError> {
        let now = self.log.now_ms();
        let message = NewMessage {
            queue: &self.queue,
            topic: SETTINGS_TOPIC,
            flag: 0,
            sys_flag: 0,
            born_ms: now,
            born_host: self.log.config.store_host,
            reconsume_times: 0,
            prepared_position: 0,
            body,
            properties: b"",
            tag_hash: 0,
            keys: "",
            unique_key: "",
            further: &[],
        };
        let appended = self.appender.append(purpose, &message, usize::MAX, now)?;
        Ok(appended.end.0)
    }

    fn load_queues(&self, topic: &str) -> Result<(), ReadError> {
        self.log.dispatcher.load_deleted(topic)
    }
    fn settle(&self, up_to: u64, done: Done) {
        self.log.settle(up_to, done);
    }
}
