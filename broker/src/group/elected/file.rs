//! What the election must not forget: the file `election` in the data folder.
//!
//! ```text
//! data <32 hexadecimal digits>     the incarnation of the store that the rest speaks of
//! ...                              what `rmq_election::machine::Durable` writes
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rmq_election::machine::Durable;
use rmq_protocol::Incarnation;
use rmq_store::fs::Fs;

const NAME: &str = "election";
const NEW_NAME: &str = "election.new";
const DAMAGED_NAME: &str = "election.damaged";
const BYTES: u64 = 8_192;

/// The file.
pub(super) struct DurableFile {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
}

impl DurableFile {
    /// What is saved of the data with this incarnation, if anything, and whether it speaks of these data. A damaged file counts as none and is put
    /// aside: nobody counts on this member then, and it enters the set as a new one.
    ///
    /// # Errors
    /// The file cannot be read, or a damaged one cannot be put aside.
    pub(super) fn load(&self, data: Incarnation) -> io::Result<Option<(Durable, bool)>> {
        let path = self.dir.join(NAME);
        if !self.fs.exists(&path)? {
            return Ok(None);
        }
        let content = self.fs.read(&path, BYTES)?;
        if let Some((of, durable)) = parse(&content) {
            return Ok(Some((durable, of == data)));
        }
        let aside = self.dir.join(DAMAGED_NAME);
        self.fs.rename(&path, &aside)?;
        self.fs.sync_dir(&self.dir)?;
        tracing::error!(
            file = %aside.display(),
            "what this member knew of the election is damaged and was put aside: it enters the group as a new member, and copies from the master before it can be one"
        );
        Ok(None)
    }

    /// Replaces the file, durably.
    ///
    /// # Errors
    /// What the system says; the file says what it said before, or this.
    pub(super) fn save(&self, data: Incarnation, durable: &Durable) -> io::Result<()> {
        let new = self.dir.join(NEW_NAME);
        let file = self.fs.create(&new)?;
        let text = format!("data {data}\n{}", durable.encode());
        file.write_at(0, text.as_bytes())?;
        file.sync_all()?;
        self.fs.rename(&new, &self.dir.join(NAME))?;
        self.fs.sync_dir(&self.dir)
    }
}

fn parse(content: &[u8]) -> Option<(Incarnation, Durable)> {
    let text = std::str::from_utf8(content).ok()?;
    let (first, rest) = text.split_once('\n')?;
    let data = first.strip_prefix("data ")?.parse().ok()?;
    Some((data, Durable::decode(rest.as_bytes()).ok()?))
}

#[cfg(test)]
mod tests {
    use rmq_store::fs::{Crash, SimulatedDisk};

    use super::*;

    #[test]
    fn what_was_saved_survives_a_power_cut_and_damage_is_put_aside() {
        let mut disk = SimulatedDisk::new();
        let file = |disk: &SimulatedDisk| DurableFile {
            fs: Arc::new(disk.clone()),
            dir: "data".into(),
        };
        disk.create_dir_all("data".as_ref()).expect("made");
        let (data, other) = (Incarnation(7), Incarnation(8));
        assert_eq!(file(&disk).load(data).expect("none"), None);
        let mut durable = Durable::begin(None, false, 5);
        for epoch in 1..4 {
            durable.epoch = epoch;
            file(&disk).save(data, &durable).expect("saved");
            disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
            let loaded = file(&disk).load(data).expect("read");
            assert_eq!(loaded, Some((durable.clone(), true)));
        }
        let file = file(&disk);
        assert_eq!(file.load(other).expect("read"), Some((durable, false)));
        let path = file.dir.join(NAME);
        let broken = disk.open(&path).expect("there");
        broken.write_at(60, b"x").expect("written");
        assert_eq!(file.load(data).expect("read"), None);
        assert!(!disk.exists(&path).expect("asked"));
        assert_eq!(file.load(data).expect("none"), None);
    }
}
