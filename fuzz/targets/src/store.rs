//! What a store reads: its own files, whatever became of them, and the snapshot of another member.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rmq_protocol::message::{LogPosition, QueueOffset};
use rmq_store::fs::{Crash, Fs, SimulatedDisk};
use rmq_store::{
    AllMessages, Change, FlushMode, Follower, History, Installer, Master, NewMessage, ReadLimits,
    SnapshotCheck, StoreConfig, Table, TableId, Temperature,
};

const VALUES: TableId = TableId::new(1);
const ROWS: TableId = TableId::new(200);
const FOLDER: &str = "store";
/// When the store was written, and when it is opened again, Unix milliseconds.
const NOW_MS: i64 = 1_795_357_384_001;
/// Bytes of a snapshot's chunk before its content.
const CHUNK_HEAD_BYTES: usize = 24;
/// Changes of one input.
const CHANGES_MAX: usize = 64;

fn config() -> StoreConfig {
    StoreConfig {
        segment_bytes: 64 << 10,
        index_run_bytes: 4 << 10,
        flush: FlushMode::Sync,
        background: false,
        cold_threads: 1,
        now_ms: Arc::new(|| NOW_MS),
        tables: vec![
            Table::values(VALUES, "values"),
            Table::on_disk(ROWS, "rows"),
        ],
        ..StoreConfig::new(FOLDER)
    }
}

/// Waits until everything below `end` is on the disk and in the tables.
fn settle(store: &Master, end: LogPosition) {
    let (done, settled) = std::sync::mpsc::channel();
    let done = Box::new(move |outcome| {
        let _ = done.send(outcome);
    });
    store.settle(end, done);
    store.write_out().expect("written");
    settled.recv().expect("it is told").expect("settled");
}

/// A store with messages, values, rows and keys, that was closed, or whose power is gone.
fn disk(is_closed: bool) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let (store, _) = Master::open(config(), Arc::new(disk.clone())).expect("a new store");
    for number in 0..24_u8 {
        let queue = store
            .queue("orders", i32::from(number % 2))
            .expect("a queue");
        let body = [number; 700];
        let message = NewMessage {
            queue: &queue,
            topic: queue.topic(),
            flag: 0,
            sys_flag: 0,
            born_ms: NOW_MS,
            born_host: ([127, 0, 0, 1], 1).into(),
            reconsume_times: 0,
            prepared_position: 0,
            body: &body,
            properties: b"KEYS\x01k\x02TAGS\x01t\x02",
            tag_hash: 116,
            keys: "k",
            unique_key: "",
            further: &[],
        };
        store.append(&message).expect("appended");
        if number == 12 {
            let changes = [
                Change::set(VALUES, "name", "value"),
                Change::set(ROWS, "row", "value"),
            ];
            let end = store.settings().put(&changes).expect("put");
            settle(&store, end);
            store.checkpoint().expect("written");
        }
    }
    if is_closed {
        store.close().expect("closed");
    } else {
        store.write_out().expect("written");
        store.abandon();
    }
    disk.after_crash(disk.steps(), Crash::PowerLoss)
}

/// The two disks, and their files.
fn disks() -> &'static [(SimulatedDisk, Vec<PathBuf>); 2] {
    static DISKS: OnceLock<[(SimulatedDisk, Vec<PathBuf>); 2]> = OnceLock::new();
    DISKS.get_or_init(|| {
        [true, false].map(|is_closed| {
            let disk = disk(is_closed);
            let folders = ["", "log", "index"].map(|name| Path::new(FOLDER).join(name));
            let files = folders.iter().flat_map(|folder| {
                let names = disk.list(folder).unwrap_or_default();
                names.into_iter().map(|name| folder.join(name))
            });
            let files = files.collect();
            (disk, files)
        })
    })
}

/// A store whose files are others than they were: one byte says which store, and six bytes each say in which file, what, where, and with
/// which value. Where the last change of a file asks for that, a checksum is right again.
pub(crate) fn files(data: &[u8]) {
    let Some((first, changes)) = data.split_first() else {
        return;
    };
    let (disk, files) = &disks()[usize::from(first & 1)];
    let disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
    for change in changes.as_chunks::<6>().0.iter().take(CHANGES_MAX) {
        let [file, what, at0, at1, at2, value] = *change;
        let path = &files[usize::from(file) % files.len()];
        let Ok(mut bytes) = disk.read(path, 1 << 20) else {
            continue;
        };
        let length = bytes.len().max(1);
        let at = u32::from_be_bytes([0, at0, at1, at2]) as usize % length;
        match what & 7 {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            2 => bytes.truncate(at),
            3 => bytes.extend(vec![value; 1 + at % 600]),
            4 => bytes
                .iter_mut()
                .skip(at)
                .take(64)
                .for_each(|byte| *byte = value),
            5 => bytes
                .iter_mut()
                .skip(at)
                .take(8)
                .for_each(|byte| *byte = value),
            6 => bytes = bytes.split_off(at),
            _ => {
                disk.lose(path);
                continue;
            }
        }
        if what & 8 != 0 {
            seal(path, &mut bytes);
        }
        write(&disk, path, &bytes);
    }
    let Ok((store, _)) = Master::open(config(), Arc::new(disk)) else {
        return;
    };
    use_store(&store);
    let _ = store.checkpoint();
    let _ = store.run_retention(NOW_MS + 100 * 86_400_000);
    let _ = store.close();
}

/// Makes the checksum right, where one covers what is read first of a file.
fn seal(path: &Path, bytes: &mut Vec<u8>) {
    let name = path.to_string_lossy();
    if name.ends_with(".run") {
        if let Some(head) = bytes.first_chunk_mut::<128>() {
            let crc = crc32fast::hash(&head[..124]);
            head[124..].copy_from_slice(&crc.to_le_bytes());
        }
    } else if name.ends_with("manifest") {
        let length = bytes.len().saturating_sub(4);
        bytes.truncate(length);
        bytes.extend(crc32fast::hash(bytes).to_le_bytes());
    } else if let Some(at) = bytes.windows(4).rposition(|four| four == b"crc ") {
        bytes.truncate(at);
        let crc = crc32fast::hash(bytes);
        bytes.extend(format!("crc {crc:08x}\n").bytes());
    }
}

fn write(disk: &SimulatedDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path).expect("it was read");
    file.set_len(bytes.len() as u64).expect("a disk in memory");
    file.write_at(0, bytes).expect("a disk in memory");
    file.sync().expect("a disk in memory");
}

/// Reads all that there is.
fn use_store(store: &Master) {
    const LIMITS: ReadLimits = ReadLimits {
        messages_max: 100,
        bytes_max: 1 << 20,
        scan_entries_max: 1_000,
    };
    for queue_id in 0..2 {
        let Ok(queue) = store.queue("orders", queue_id) else {
            continue;
        };
        let mut from = queue.min_offset();
        for _ in 0..1_000 {
            if from >= queue.max_offset() {
                break;
            }
            let outcome = store.read(
                &queue,
                QueueOffset(from),
                LIMITS,
                &AllMessages,
                Temperature::MayWait,
            );
            for record in &outcome.records {
                let record = record.view().expect("what is served is a record");
                assert_eq!(
                    record.check_record_crc(),
                    Ok(true),
                    "what is served is intact"
                );
                let body = record.body();
                assert!(
                    body.iter().all(|byte| *byte == body[0]),
                    "and what was sent"
                );
            }
            assert!(outcome.next_offset > from, "a reader goes on: {outcome:?}");
            from = outcome.next_offset;
        }
    }
    let _ = store.value(VALUES, "name");
    let _ = store.rows(ROWS, b"", None, 10);
    let _ = (
        store.stats(),
        store.positions(),
        store.damage(),
        store.epochs(),
    );
}

/// Changes of files: of none, and of each file in each way.
pub(crate) fn changes() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0], vec![1]];
    for file in 0..disks()[0].1.len() as u8 {
        for what in 0..16_u8 {
            let at = file.wrapping_mul(31).wrapping_add(what);
            seeds.push(vec![what & 1, file, what, 0, at / 8, at, at]);
        }
    }
    seeds
}

/// Content of a snapshot as chunks: what the first byte says is the length of each.
fn chunks(data: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let (first, content) = data.split_first().unwrap_or((&0, &[]));
    let length = match usize::from(*first) {
        0 => 256 << 10,
        length => length,
    };
    content.chunks(length).enumerate().map(|(number, content)| {
        let mut chunk = b"RMQS\x01\0\0\0".to_vec();
        chunk.extend((number as u64).to_le_bytes());
        chunk.extend((content.len() as u32).to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&chunk);
        crc.update(content);
        chunk.extend(crc.finalize().to_le_bytes());
        chunk.extend_from_slice(content);
        chunk
    })
}

/// Looks whether chunks are a snapshot; also the bytes as they are, as one chunk.
pub(crate) fn snapshot(data: &[u8]) {
    let _ = SnapshotCheck::default().take(data);
    let mut check = SnapshotCheck::default();
    for chunk in chunks(data) {
        if check.take(&chunk).is_err() {
            return;
        }
    }
    let _ = check.finish();
}

/// Makes a store of chunks, and opens it.
pub(crate) fn install(data: &[u8]) {
    let disk = SimulatedDisk::new();
    let installer = Installer::new(config(), Arc::new(disk.clone()), History::All);
    let mut installer = installer.expect("an empty folder");
    for chunk in chunks(data) {
        if installer.take(&chunk).is_err() {
            return;
        }
    }
    let Ok(installed) = installer.finish() else {
        return;
    };
    assert!(installed.begins <= installed.position);
    if let Ok((store, _)) = Follower::open(config(), Arc::new(disk)) {
        let _ = (
            store.positions(),
            store.epochs(),
            store.value(VALUES, "name"),
        );
        let _ = store.rows(ROWS, b"", None, 10);
        store.abandon();
    }
}

/// The content of a snapshot of a store, in one chunk and in many.
pub(crate) fn snapshots() -> Vec<Vec<u8>> {
    let (disk, _) = &disks()[0];
    let disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
    let (store, _) = Master::open(config(), Arc::new(disk)).expect("it was closed");
    let mut snapshot = store.snapshot().expect("a snapshot");
    let mut content = Vec::new();
    while let Some(chunk) = snapshot.next_chunk().expect("a chunk") {
        content.extend_from_slice(&chunk[CHUNK_HEAD_BYTES..]);
    }
    drop(snapshot);
    store.abandon();
    [0, 200, 17]
        .map(|length| [vec![length], content.clone()].concat())
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_nothing_happened_to_has_everything() {
        for (disk, files) in disks() {
            assert!(files.len() > 5, "{files:?}");
            let disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
            let (store, _) = Master::open(config(), Arc::new(disk)).expect("it opens");
            use_store(&store);
            assert_eq!(store.value(VALUES, "name").as_deref(), Some(&b"value"[..]));
            store.abandon();
        }
    }

    #[test]
    fn a_snapshot_is_made_a_store() {
        for seed in snapshots() {
            let mut check = SnapshotCheck::default();
            for chunk in chunks(&seed) {
                check.take(&chunk).expect("a chunk");
            }
            let (_, rows) = check.finish().expect("a whole snapshot");
            assert!(rows >= 2, "{rows}");
            install(&seed);
        }
    }
}
