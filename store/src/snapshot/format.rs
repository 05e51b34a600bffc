//! The bytes of a snapshot.

use rmq_protocol::message::LogPosition;

use crate::epochs::Epoch;
use crate::tables::{KeyValue, RowsOf};

const MARK: &[u8; 4] = b"RMQS";
/// The version that this program writes and reads.
pub(super) const VERSION: u16 = 1;
const HEAD_BYTES: usize = 24;
/// What follows the head of a chunk, at most.
pub(super) const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Items are smaller: each row was one change of a settings record.
const ITEM_BYTES_MAX: usize = 128 << 20;

const HEADER: u8 = 1;
const TABLE: u8 = 2;
const ROW: u8 = 3;
const END: u8 = 4;

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The tables have everything below, and nothing else. It is confirmed, and a record ends there.
    pub position: LogPosition,
    /// The oldest segment from which on the log can be copied up to `position`.
    pub begins: LogPosition,
    /// Where the segment that `position` lies in begins.
    pub segment: LogPosition,
    /// Size of new segments, bytes.
    pub segment_bytes: u64,
    /// The epochs of the log, oldest first.
    pub epochs: Vec<Epoch>,
    pub(super) tables: Vec<RowsOf>,
}

/// A part of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Header(SnapshotHeader),
    /// The rows that follow are of this table.
    Table(RowsOf),
    Row(KeyValue),
    /// So many rows there were.
    End(u64),
}

impl Item {
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        match self {
            Self::Header(header) => {
                into.push(HEADER);
                for word in [
                    header.position.0,
                    header.begins.0,
                    header.segment.0,
                    header.segment_bytes,
                ] {
                    into.extend_from_slice(&word.to_le_bytes());
                }
                into.extend_from_slice(&(header.epochs.len() as u32).to_le_bytes());
                for epoch in &header.epochs {
                    into.extend_from_slice(&epoch.number.to_le_bytes());
                    into.extend_from_slice(&epoch.first.0.to_le_bytes());
                }
                into.extend_from_slice(&(header.tables.len() as u16).to_le_bytes());
                for table in &header.tables {
                    write_table(table, into);
                }
            }
            Self::Table(table) => {
                into.push(TABLE);
                write_table(table, into);
            }
            Self::Row((key, value)) => {
                into.push(ROW);
                for part in [key, value] {
                    into.extend_from_slice(&(part.len() as u32).to_le_bytes());
                    into.extend_from_slice(part);
                }
            }
            Self::End(rows) => {
                into.push(END);
                into.extend_from_slice(&rows.to_le_bytes());
            }
        }
    }
}

fn write_table(table: &RowsOf, into: &mut Vec<u8>) {
    let (kind, name) = match table {
        RowsOf::Heads => (0, ""),
        RowsOf::InMemory(name) => (1, &**name),
        RowsOf::OnDisk(name) => (2, &**name),
    };
    into.push(kind);
    into.extend_from_slice(&(name.len() as u16).to_le_bytes());
    into.extend_from_slice(name.as_bytes());
}

/// The chunk of a number.
pub(super) fn chunk(number: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + content.len());
    bytes.extend_from_slice(MARK);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&0_u16.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes);
    crc.update(content);
    bytes.extend_from_slice(&crc.finalize().to_le_bytes());
    bytes.extend_from_slice(content);
    bytes
}

/// Why bytes are not the next ones of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    Version(u16),
    Chunk(&'static str),
}

/// Bytes that are read from their beginning.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (found, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*found)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(found)
    }

    /// `Some(Err)`: it is no table.
    fn table(&mut self) -> Option<Result<RowsOf, Broken>> {
        let kind = self.u8()?;
        let name = usize::from(self.u16()?);
        let name = self.bytes(name)?;
        let Ok(name) = std::str::from_utf8(name) else {
            return Some(Err(Broken::Chunk("the name of a table is no text")));
        };
        Some(match kind {
            0 if name.is_empty() => Ok(RowsOf::Heads),
            1 => Ok(RowsOf::InMemory(name.to_owned())),
            2 => Ok(RowsOf::OnDisk(name.to_owned())),
            _ => Err(Broken::Chunk("a table is of an unknown kind")),
        })
    }

    /// The next item; `None`: not all of it is there yet.
    fn item(&mut self) -> Option<Result<Item, Broken>> {
        Some(match self.u8()? {
            HEADER => {
                let mut word = || self.u64().map(LogPosition);
                let (position, begins, segment) = (word()?, word()?, word()?);
                let segment_bytes = self.u64()?;
                let mut epochs = Vec::new();
                for _ in 0..self.u32()? {
                    let (number, first) = (self.u64()?, LogPosition(self.u64()?));
                    epochs.push(Epoch { number, first });
                }
                let mut tables = Vec::new();
                for _ in 0..self.u16()? {
                    match self.table()? {
                        Ok(table) => tables.push(table),
                        Err(broken) => return Some(Err(broken)),
                    }
                }
                Ok(Item::Header(SnapshotHeader {
                    position,
                    begins,
                    segment,
                    segment_bytes,
                    epochs,
                    tables,
                }))
            }
            TABLE => self.table()?.map(Item::Table),
            ROW => {
                let key = self.u32()? as usize;
                let key = self.bytes(key)?.to_vec();
                let value = self.u32()? as usize;
                Ok(Item::Row((key, self.bytes(value)?.to_vec())))
            }
            END => Ok(Item::End(self.u64()?)),
            _ => Err(Broken::Chunk("it has an item of an unknown kind")),
        })
    }
}

/// Chunks become items again.
#[derive(Default)]
pub(super) struct Decoder {
    next: u64,
    /// What is not a whole item yet.
    rest: Vec<u8>,
}

impl Decoder {
    /// The number of the chunk that is expected.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Takes the next chunk. Nothing is taken of one that is broken.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Result<Vec<Item>, Broken> {
        let cut = || Broken::Chunk("it is cut off");
        let (head, content) = chunk.split_at_checked(HEAD_BYTES).ok_or_else(cut)?;
        let (checked, crc) = head.split_last_chunk::<4>().ok_or_else(cut)?;
        let mut fields = Bytes(checked);
        if fields.bytes(4) != Some(MARK) {
            return Err(Broken::Chunk("it is no part of a snapshot"));
        }
        let version = fields.u16().ok_or_else(cut)?;
        if version != VERSION {
            return Err(Broken::Version(version));
        }
        let _reserved = fields.u16();
        let (number, bytes) = (fields.u64().ok_or_else(cut)?, fields.u32().ok_or_else(cut)?);
        let mut found = crc32fast::Hasher::new();
        found.update(checked);
        found.update(content);
        if found.finalize() != u32::from_le_bytes(*crc) {
            return Err(Broken::Chunk("its checksum is wrong"));
        }
        if number != self.next || bytes as usize != content.len() || content.len() > CHUNK_BYTES_MAX
        {
            return Err(Broken::Chunk("it is not the next one"));
        }
        if self.rest.len() + content.len() > ITEM_BYTES_MAX {
            return Err(Broken::Chunk("an item is too large"));
        }
        self.rest.extend_from_slice(content);
        self.next += 1;
        let mut items = Vec::new();
        let mut bytes = Bytes(&self.rest);
        let mut left = bytes.0.len();
        while let Some(item) = bytes.item() {
            items.push(item?);
            left = bytes.0.len();
        }
        self.rest.drain(..self.rest.len() - left);
        Ok(items)
    }

    /// Whether something is left that is not a whole item.
    pub(super) fn is_in_the_middle(&self) -> bool {
        !self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<Item> {
        vec![
            Item::Header(SnapshotHeader {
                position: LogPosition(1_000),
                begins: LogPosition(0),
                segment: LogPosition(512),
                segment_bytes: 512,
                epochs: vec![Epoch {
                    number: 3,
                    first: LogPosition(7),
                }],
                tables: vec![RowsOf::Heads, RowsOf::InMemory("topics".to_owned())],
            }),
            Item::Table(RowsOf::OnDisk("timers".to_owned())),
            Item::Row((b"key".to_vec(), vec![7; 300])),
            Item::Row((Vec::new(), Vec::new())),
            Item::End(2),
        ]
    }

    #[test]
    fn items_survive_every_cut_into_chunks() {
        let mut bytes = Vec::new();
        items().iter().for_each(|item| item.write(&mut bytes));
        for size in [1, 2, 3, 10, 100, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for (number, part) in bytes.chunks(size).enumerate() {
                let chunk = chunk(number as u64, part);
                found.extend(decoder.take(&chunk).expect("the next"));
            }
            assert_eq!(found, items(), "chunks of {size} bytes");
            assert!(!decoder.is_in_the_middle());
        }
    }

    #[test]
    fn what_is_not_the_next_chunk_is_refused() {
        let mut bytes = Vec::new();
        items().iter().for_each(|item| item.write(&mut bytes));
        let good = chunk(0, &bytes);
        let take = |chunk: &[u8]| Decoder::default().take(chunk);
        assert!(take(&good).is_ok());
        for at in 0..good.len() {
            assert!(take(&good[..at]).is_err(), "cut at {at}");
            let mut broken = good.clone();
            broken[at] ^= 1;
            assert!(take(&broken).is_err(), "byte {at}");
        }
        assert_eq!(
            take(&chunk(1, &bytes)),
            Err(Broken::Chunk("it is not the next one"))
        );
        let mut later = good.clone();
        later[4] = 9;
        assert_eq!(take(&later), Err(Broken::Version(9)));
        assert!(take(&chunk(0, &[200])).is_err());
    }
}
