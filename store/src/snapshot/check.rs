//! Looking whether chunks are a whole snapshot, without making a store of them.

use super::format::{Broken, Decoder, Item, SnapshotHeader};
use super::install::InstallError;

/// Takes the chunks of a [`Snapshot`](super::Snapshot) and says whether they are one.
#[derive(Default)]
pub struct SnapshotCheck {
    decoder: Decoder,
    header: Option<SnapshotHeader>,
    /// Whether a table was named that the rows are of.
    has_table: bool,
    rows: u64,
    is_whole: bool,
}

impl SnapshotCheck {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`InstallError::Version`], [`InstallError::Chunk`].
    pub fn take(&mut self, chunk: &[u8]) -> Result<(), InstallError> {
        let number = self.decoder.next();
        let broken = |reason| InstallError::Chunk { number, reason };
        let items = self.decoder.take(chunk).map_err(|problem| match problem {
            Broken::Version(found) => InstallError::Version { found },
            Broken::Chunk(reason) => broken(reason),
        })?;
        for item in items {
            match (item, &self.header) {
                (Item::Header(header), None) => self.header = Some(header),
                (Item::Table(table), Some(header)) if !self.is_whole => {
                    if !header.tables.contains(&table) {
                        return Err(broken("it has a table that its header does not name"));
                    }
                    self.has_table = true;
                }
                (Item::Row(_), Some(_)) if self.has_table && !self.is_whole => self.rows += 1,
                (Item::End(rows), Some(_)) if !self.is_whole => {
                    if rows != self.rows {
                        return Err(broken("it does not have as many rows as it says"));
                    }
                    self.is_whole = true;
                }
                _ => return Err(broken("its items are out of order")),
            }
        }
        Ok(())
    }

    /// What it is of, once the first chunk was taken.
    #[must_use]
    pub fn header(&self) -> Option<&SnapshotHeader> {
        self.header.as_ref()
    }

    /// All chunks were taken. Returns what they are of and the number of rows.
    ///
    /// # Errors
    /// [`InstallError::NotWhole`].
    pub fn finish(self) -> Result<(SnapshotHeader, u64), InstallError> {
        let next = self.decoder.next();
        let is_whole = self.is_whole && !self.decoder.is_in_the_middle();
        match self.header.filter(|_| is_whole) {
            Some(header) => Ok((header, self.rows)),
            None => Err(InstallError::NotWhole { next }),
        }
    }
}

impl std::fmt::Debug for SnapshotCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotCheck")
            .field("header", &self.header)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}
