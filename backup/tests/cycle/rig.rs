//! A broker that is copied, a place that counts and fails, and what a broker says of its data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rmq_backup::{
    Entry, Manifest, Place, PlaceError, PlaceOptions, RestoreError, Restored, Silent, Source,
    Storage, TakeError, TakeOptions, Taken,
};
use rmq_broker::BrokerConfig;
use rmq_client::{Client, Error, GroupSpec, Message, Queue, Remote};
use rmq_protocol::bodies::BackupBegun;
use rmq_protocol::requests::{
    BeginBackup, EndBackup, ReadBackupLog, ReadBackupLogReply, ReadBackupTables,
};
use rmq_testing::{ClusterBuilder, TestCluster};
use tempfile::TempDir;

/// Small, so that a test has several.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;
/// Parts are smaller than segments.
pub(crate) const PART_BYTES: usize = 20 << 10;
pub(crate) const QUEUES: i32 = 3;

/// One broker with small segments.
pub(crate) fn small() -> ClusterBuilder {
    TestCluster::builder().brokers_with(|config| config.segment_bytes = SEGMENT_BYTES)
}

/// A broker as a source.
pub(crate) struct Copied {
    remote: Remote,
    backup: String,
    /// Answers until the connection ends.
    pub(crate) answers: Option<usize>,
    /// Called for every answer with a part of the log.
    pub(crate) asked: Box<dyn FnMut(u64)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("the connection ended")]
    Ended,
}

impl Copied {
    pub(crate) fn new(client: &Client, address: &str) -> Self {
        Self {
            remote: client.remote(address),
            backup: String::new(),
            answers: None,
            asked: Box::new(|_| {}),
        }
    }

    fn count(&mut self) -> Result<(), SourceError> {
        match &mut self.answers {
            Some(0) => Err(SourceError::Ended),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Source for Copied {
    type Error = SourceError;

    fn is_refusal(error: &SourceError) -> bool {
        matches!(error, SourceError::Client(error) if error.broker_code().is_some())
    }

    async fn begin(&mut self) -> Result<BackupBegun, SourceError> {
        self.count()?;
        let answer = self.remote.call(&BeginBackup {}, b"").await?;
        let begun = BackupBegun::from_json(answer.body()).expect("what a broker says");
        self.backup.clone_from(&begun.backup);
        Ok(begun)
    }

    async fn tables(&mut self, chunk: u64) -> Result<Bytes, SourceError> {
        self.count()?;
        let request = ReadBackupTables {
            backup: self.backup.as_str().into(),
            chunk: chunk as i64,
        };
        Ok(self.remote.call(&request, b"").await?.body().clone())
    }

    async fn log(
        &mut self,
        from: u64,
        needed: u64,
        bytes: usize,
    ) -> Result<(Bytes, u64), SourceError> {
        self.count()?;
        let request = ReadBackupLog {
            backup: self.backup.as_str().into(),
            from: from as i64,
            needed: needed as i64,
            bytes: bytes as i32,
        };
        let answer = self.remote.call(&request, b"").await?;
        let reply: ReadBackupLogReply = answer.fields()?;
        (self.asked)(from);
        Ok((answer.body().clone(), reply.next as u64))
    }

    async fn end(&mut self) -> Result<(), SourceError> {
        let request = EndBackup {
            backup: self.backup.as_str().into(),
        };
        self.remote.call(&request, b"").await?;
        Ok(())
    }
}

/// A folder that counts what is put into it, and fails when it was told to.
#[derive(Debug)]
pub(crate) struct Counted {
    storage: Arc<dyn Storage>,
    state: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    put: Vec<(String, u64)>,
    /// Calls until every call fails.
    left: Option<usize>,
}

impl Counted {
    fn call(&self) -> Result<(), PlaceError> {
        let mut state = self.state.lock();
        match &mut state.left {
            Some(0) => Err(PlaceError::Failed {
                doing: "use",
                name: "the place".to_owned(),
                source: "it is away".into(),
            }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Bytes that were put below a folder since the last look.
    pub(crate) fn put_into(&self, folder: &str) -> u64 {
        let put = &self.state.lock().put;
        let below = put.iter().filter(|(name, _)| name.contains(folder));
        below.map(|(_, bytes)| bytes).sum()
    }

    pub(crate) fn look_again(&self) {
        self.state.lock().put.clear();
    }

    pub(crate) fn fail_after(&self, calls: Option<usize>) {
        self.state.lock().left = calls;
    }
}

impl Storage for Counted {
    fn put<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<(), PlaceError>> {
        async move {
            self.call()?;
            let length = bytes.len() as u64;
            self.storage.put(name, bytes).await?;
            self.state.lock().put.push((name.to_owned(), length));
            Ok(())
        }
        .boxed()
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Bytes, PlaceError>> {
        async move {
            self.call()?;
            self.storage.get(name).await
        }
        .boxed()
    }

    fn head<'a>(&'a self, name: &'a str, bytes: u64) -> BoxFuture<'a, Result<Bytes, PlaceError>> {
        async move {
            self.call()?;
            self.storage.head(name, bytes).await
        }
        .boxed()
    }

    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, PlaceError>> {
        async move {
            self.call()?;
            self.storage.list(folder).await
        }
        .boxed()
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), PlaceError>> {
        async move {
            self.call()?;
            self.storage.remove(name).await
        }
        .boxed()
    }
}

/// A place for backups in a folder.
pub(crate) struct Kept {
    pub(crate) place: Place,
    pub(crate) counted: Arc<Counted>,
    folder: TempDir,
}

impl Kept {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("backups");
        let text = path.to_str().expect("UTF-8");
        let inner = Place::open(text, &PlaceOptions::default()).expect("a folder");
        let counted = Arc::new(Counted {
            storage: inner.shared(),
            state: Mutex::default(),
        });
        let place = Place::of(text, Arc::clone(&counted) as Arc<dyn Storage>);
        Self {
            place,
            counted,
            folder,
        }
    }

    pub(crate) async fn take(&self, source: &mut Copied) -> Result<Taken, TakeError<SourceError>> {
        let options = TakeOptions {
            part_bytes: PART_BYTES,
            bytes_per_second: None,
        };
        rmq_backup::take(source, &self.place, &options, &Silent).await
    }

    /// Takes one of the only broker of a cluster.
    pub(crate) async fn taken(&self, cluster: &TestCluster) -> Taken {
        let mut source = source(cluster).await;
        self.take(&mut source).await.expect("a backup")
    }

    /// A new folder.
    pub(crate) fn new_store(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn restore(
        &self,
        backup: &Manifest,
        store: &Path,
    ) -> Result<Restored, RestoreError> {
        let config = BrokerConfig {
            broker_name: backup.group.clone(),
            data_dir: store.to_owned(),
            ..BrokerConfig::default()
        };
        let config = rmq_broker::store_config(&config, 0);
        rmq_backup::restore(&self.place, backup, config, &Silent).await
    }

    /// What a new broker says that has a restored store.
    pub(crate) async fn said_after_restore(&self, backup: &Manifest, name: &str) -> Said {
        let store = self.new_store(name);
        let restored = self.restore(backup, &store).await.expect("restored");
        assert_eq!(restored.end.0, backup.position);
        let cluster = on_store(store).await;
        let said = said(&cluster).await;
        cluster.shutdown().await;
        said
    }

    pub(crate) async fn put(&self, name: &str, bytes: &'static [u8]) {
        let put = self.counted.storage.put(name, Bytes::from_static(bytes));
        put.await.expect("written");
    }

    /// The file was written so many seconds ago.
    pub(crate) fn is_older(&self, name: &str, seconds: u64) {
        let path = self.folder.path().join("backups").join(name);
        let file = std::fs::File::options().write(true).open(path);
        let file = file.expect("a file");
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        file.set_modified(then).expect("another time");
    }

    pub(crate) async fn gone(&self, name: &str) {
        self.counted.storage.remove(name).await.expect("removed");
    }

    pub(crate) async fn is_intact(&self, backups: &[Manifest]) {
        let verified = rmq_backup::verify(&self.place, backups, &Silent).await;
        let verified = verified.expect("readable");
        assert_eq!(verified.faults, [], "{verified:?}");
        assert!(verified.records > 0 && verified.rows > 0, "{verified:?}");
    }
}

/// A broker with a store that is there.
pub(crate) async fn on_store(store: PathBuf) -> TestCluster {
    let builder = TestCluster::builder().brokers_with(move |config| {
        config.segment_bytes = SEGMENT_BYTES;
        config.data_dir.clone_from(&store);
    });
    builder.start().await
}

/// The only broker of a cluster.
pub(crate) async fn source(cluster: &TestCluster) -> Copied {
    let client = cluster.client().await;
    Copied::new(&client, &cluster.broker(0).address())
}

/// Makes topics and groups, sends some messages, and has some consumed.
pub(crate) async fn fill(cluster: &TestCluster, round: usize, messages: usize) {
    let client = cluster.client().await;
    for topic in ["orders", "payments"] {
        cluster.topic(topic).queues(QUEUES as u16).create().await;
        let producer = client.producer();
        for number in 0..messages {
            let body = format!("{topic} {round} {number} {}", "x".repeat(number % 700));
            let message = Message::new(topic, body)
                .key(format!("k{number}"))
                .tag("paid");
            producer.send(message).await.expect("stored");
        }
    }
    let admin = client.admin();
    for group in ["billing", "audit"] {
        let retries = 3 + round as u16;
        let spec = GroupSpec::new(group).retries(retries);
        admin.create_group(&spec).await.expect("a group");
    }
    for id in 0..QUEUES {
        let queue = Queue::new("orders", "broker-0", id);
        let offset = admin.max_offset(&queue).await.expect("known") / 2;
        let committed = admin.commit_offset("billing", &queue, offset).await;
        committed.expect("committed");
    }
}

/// A message of a queue: position in the log, offset, body.
type Stored = (u64, i64, Bytes);

/// What a broker says of its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// By topic and queue.
    pub(crate) messages: BTreeMap<(String, i32), Vec<Stored>>,
    pub(crate) topics: BTreeMap<String, String>,
    pub(crate) groups: BTreeMap<String, String>,
    pub(crate) offsets: BTreeMap<i32, Option<i64>>,
}

impl Said {
    pub(crate) fn count(&self) -> usize {
        self.messages.values().map(Vec::len).sum()
    }

    /// Without what lies in the log from a position on.
    pub(crate) fn below(mut self, position: u64) -> Self {
        for messages in self.messages.values_mut() {
            messages.retain(|(at, _, _)| *at < position);
        }
        self.messages.retain(|_, messages| !messages.is_empty());
        self
    }
}

pub(crate) async fn said(cluster: &TestCluster) -> Said {
    let client = cluster.client().await;
    let admin = client.admin();
    let (mut messages, mut topics) = (BTreeMap::new(), BTreeMap::new());
    for topic in ["orders", "payments"] {
        for message in cluster.topic(topic).messages().await {
            let queue = (topic.to_owned(), message.queue().id());
            let of: &mut Vec<_> = messages.entry(queue).or_default();
            let position = message.offset_id().position.0;
            of.push((position, message.queue_offset(), message.body().clone()));
        }
        let config = admin.topic_config(topic).await.expect("a topic");
        topics.insert(topic.to_owned(), format!("{config:?}"));
    }
    for of in messages.values_mut() {
        of.sort_by_key(|(position, _, _)| *position);
    }
    let mut groups = BTreeMap::new();
    for group in ["billing", "audit"] {
        let config = admin.group_config(group).await.expect("a group");
        groups.insert(group.to_owned(), format!("{config:?}"));
    }
    let mut offsets = BTreeMap::new();
    for id in 0..QUEUES {
        let queue = Queue::new("orders", "broker-0", id);
        let offset = admin.committed_offset("billing", &queue).await;
        offsets.insert(id, offset.expect("known"));
    }
    Said {
        messages,
        topics,
        groups,
        offsets,
    }
}

/// The offsets of consumers are in the log: a broker writes them every second of its clock.
pub(crate) async fn saved(cluster: &TestCluster) {
    cluster.broker(0).stop().await;
    cluster.broker(0).start().await;
    let ready = cluster.client().await;
    for topic in ["orders", "payments"] {
        let route = ready
            .wait_for_route(topic, std::time::Duration::from_secs(30))
            .await;
        route.expect("a route");
    }
}
