//! Where the reference server puts messages.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use parking_lot::{Condvar, Mutex};
use rmq_protocol::message::{RecordView, crc32_masked};
use tokio::sync::oneshot;

/// Bytes of a record before its body, with IPv4 hosts.
const HEAD: usize = 88;
const ENTRY: usize = 20;
/// Entries kept for each queue.
const ENTRIES: u64 = 1 << 18;
const MAGIC: i32 = 0xdaa3_20a7_u32 as i32;

/// What happens to a message before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Copied into warm memory: a mapped, prepared segment that stays in the page cache.
    Memory,
    /// Written with one `pwrite` for each socket read.
    Async,
    /// Written and synced by a thread, everything that waits at once.
    Sync,
}

/// The log and its queues.
#[derive(Debug)]
pub struct Log {
    flush: Flush,
    file: Option<File>,
    file_bytes: u64,
    inner: Mutex<Inner>,
    /// Held while writing, so that blocks are written in order; the position in the file.
    writing: Mutex<u64>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    memory: Vec<u8>,
    staged: Vec<u8>,
    spare: Vec<u8>,
    position: u64,
    topics: HashMap<String, Vec<Queue>>,
    waiters: Vec<oneshot::Sender<()>>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    entries: Vec<u8>,
}

/// One message to store.
pub(super) struct Message<'a> {
    pub topic: &'a str,
    pub queue: usize,
    pub flag: i32,
    pub sys_flag: i32,
    pub born_ms: i64,
    pub body: &'a [u8],
    pub properties: &'a [u8],
}

impl Log {
    pub(super) fn open(
        dir: &Path,
        flush: Flush,
        file_bytes: u64,
        hot_bytes: usize,
    ) -> io::Result<Arc<Self>> {
        let mut inner = Inner::default();
        let file = if flush == Flush::Memory {
            // Every page touched now, so that no append waits for one.
            inner.memory = vec![1; hot_bytes];
            None
        } else {
            std::fs::create_dir_all(dir)?;
            let file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(dir.join("reference.log"))?;
            // In small pieces: the page cache then keeps small pieces, and a sync of 4 KiB writes no more than that.
            let zeros = vec![0; 4_096];
            for at in (0..file_bytes).step_by(zeros.len()) {
                file.write_all_at(&zeros, at)?;
            }
            file.sync_all()?;
            Some(file)
        };
        let log = Arc::new(Self {
            flush,
            file,
            file_bytes,
            inner: Mutex::new(inner),
            writing: Mutex::new(0),
            work: Condvar::new(),
        });
        if flush == Flush::Sync {
            let flusher = Arc::clone(&log);
            std::thread::Builder::new()
                .name("flush".to_owned())
                .spawn(move || flusher.flush_loop())?;
        }
        Ok(log)
    }

    /// How messages are kept.
    #[must_use]
    pub fn flush(&self) -> Flush {
        self.flush
    }

    /// Ends the flush thread.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.work.notify_all();
    }

    pub(super) fn create(&self, topic: &str, queues: usize) {
        let mut inner = self.inner.lock();
        let existing = inner.topics.entry(topic.to_owned()).or_default();
        while existing.len() < queues {
            existing.push(Queue {
                next: 0,
                entries: vec![0; ENTRIES as usize * ENTRY],
            });
        }
    }

    /// Position and queue offset; `None` when there is no such queue.
    pub(super) fn append(&self, message: &Message<'_>) -> Option<(u64, u64)> {
        let tail = 1 + message.topic.len() + 2 + message.properties.len();
        let size = HEAD + message.body.len() + tail;
        let store_ms = now_ms();
        let mut head = [0u8; HEAD];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &(size as i32).to_be_bytes());
        put(4, &MAGIC.to_be_bytes());
        put(8, &crc32_masked(message.body).to_be_bytes());
        put(12, &(message.queue as i32).to_be_bytes());
        put(16, &message.flag.to_be_bytes());
        put(36, &message.sys_flag.to_be_bytes());
        put(40, &message.born_ms.to_be_bytes());
        put(48, &[127, 0, 0, 1, 0, 0, 0, 1]);
        put(56, &store_ms.to_be_bytes());
        put(64, &[127, 0, 0, 1, 0, 0, 0, 1]);
        put(84, &(message.body.len() as i32).to_be_bytes());
        let topic_len = [message.topic.len() as u8];
        let properties_len = (message.properties.len() as u16).to_be_bytes();

        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let queue = inner
            .topics
            .get_mut(message.topic)?
            .get_mut(message.queue)?;
        let offset = queue.next;
        let position = inner.position;
        head[20..28].copy_from_slice(&offset.to_be_bytes());
        head[28..36].copy_from_slice(&position.to_be_bytes());
        let parts: [&[u8]; 6] = [
            &head,
            message.body,
            &topic_len,
            message.topic.as_bytes(),
            &properties_len,
            message.properties,
        ];
        if self.flush == Flush::Memory {
            let mut at = (position % inner.memory.len() as u64) as usize;
            if at + size > inner.memory.len() {
                inner.position += (inner.memory.len() - at) as u64;
                at = 0;
            }
            for part in parts {
                inner.memory[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        } else {
            for part in parts {
                inner.staged.extend_from_slice(part);
            }
        }
        let position = inner.position;
        let at = (offset % ENTRIES) as usize * ENTRY;
        let entry = &mut queue.entries[at..at + ENTRY];
        entry[..8].copy_from_slice(&position.to_be_bytes());
        entry[8..12].copy_from_slice(&(size as u32).to_be_bytes());
        queue.next += 1;
        inner.position += size as u64;
        Some((position, offset))
    }

    /// Makes what was appended as safe as the mode says; what is returned must be awaited before answering.
    pub(super) fn settle(&self) -> io::Result<Option<oneshot::Receiver<()>>> {
        match self.flush {
            Flush::Memory => Ok(None),
            Flush::Async => {
                self.write_staged(false)?;
                Ok(None)
            }
            Flush::Sync => {
                let (sender, receiver) = oneshot::channel();
                self.inner.lock().waiters.push(sender);
                self.work.notify_one();
                Ok(Some(receiver))
            }
        }
    }

    fn flush_loop(&self) {
        loop {
            {
                let mut inner = self.inner.lock();
                while inner.waiters.is_empty() && !inner.closed {
                    self.work.wait(&mut inner);
                }
                if inner.closed {
                    return;
                }
            }
            if self.write_staged(true).is_err() {
                // The waiters are dropped, and their connections closed.
                self.inner.lock().waiters.clear();
            }
        }
    }

    fn write_staged(&self, sync: bool) -> io::Result<()> {
        let mut at = self.writing.lock();
        let (mut staged, waiters) = {
            let mut inner = self.inner.lock();
            let spare = std::mem::take(&mut inner.spare);
            let staged = std::mem::replace(&mut inner.staged, spare);
            (staged, std::mem::take(&mut inner.waiters))
        };
        if let (Some(file), false) = (&self.file, staged.is_empty()) {
            if *at + staged.len() as u64 > self.file_bytes {
                *at = 0;
            }
            file.write_all_at(&staged, *at)?;
            *at += staged.len() as u64;
            if sync {
                file.sync_data()?;
            }
        }
        staged.clear();
        self.inner.lock().spare = staged;
        for waiter in waiters {
            // A connection that is gone waits no more.
            let _ = waiter.send(());
        }
        Ok(())
    }

    pub(super) fn max_offset(&self, topic: &str, queue: usize) -> u64 {
        let inner = self.inner.lock();
        inner
            .topics
            .get(topic)
            .and_then(|queues| queues.get(queue))
            .map_or(0, |queue| queue.next)
    }

    /// Appends up to `count` records from `offset` on to `out`; returns how many. Only what is in memory is found.
    pub(super) fn read(
        &self,
        topic: &str,
        queue: usize,
        offset: u64,
        count: u64,
        out: &mut BytesMut,
    ) -> u64 {
        let inner = self.inner.lock();
        let Some(queue) = inner.topics.get(topic).and_then(|queues| queues.get(queue)) else {
            return 0;
        };
        let memory = inner.memory.len() as u64;
        let mut found = 0;
        while found < count
            && offset + found < queue.next
            && queue.next - (offset + found) <= ENTRIES
        {
            let at = ((offset + found) % ENTRIES) as usize * ENTRY;
            let entry = &queue.entries[at..at + ENTRY];
            let position = u64::from_be_bytes(entry[..8].try_into().unwrap_or_default());
            let size = u32::from_be_bytes(entry[8..12].try_into().unwrap_or_default()) as usize;
            if memory == 0 || inner.position - position > memory {
                break;
            }
            let at = (position % memory) as usize;
            let record = &inner.memory[at..at + size];
            debug_assert!(RecordView::parse(record).is_ok(), "a whole record");
            out.extend_from_slice(record);
            found += 1;
        }
        found
    }
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
