//! Which data a store has: a random number made together with them, in the file `incarnation`:
//!
//! ```text
//! rmq-incarnation 1
//! id <32 hexadecimal digits>
//! crc <CRC-32 of everything before, 8 hexadecimal digits>
//! ```
//!
//! A member of a group that comes back with an empty disk has another incarnation, so nobody takes it for the member that had a log. A
//! store that has lost the file does not open: what it would call itself instead would be a member that nobody knows.

use std::path::Path;

use rmq_protocol::Incarnation;

use crate::fs::Fs;
use crate::layout;
use crate::open_error::OpenError;
use crate::text_file;

const FIRST_LINE: &str = "rmq-incarnation 1\n";

/// Makes the number of data that begin now.
pub(crate) fn create(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    let path = layout::incarnation(dir);
    let random = fs
        .random()
        .map_err(OpenError::io("make a random number for", &path))?;
    let text = format!("{FIRST_LINE}id {}\n", Incarnation(random));
    text_file::replace(fs, &path, text).map_err(OpenError::io("write", &path))
}

/// Reads the number.
pub(crate) fn open(fs: &dyn Fs, dir: &Path) -> Result<Incarnation, OpenError> {
    let path = layout::incarnation(dir);
    let lost = |problem: &'static str| OpenError::Incarnation {
        path: path.clone(),
        problem,
        format: layout::format(dir),
    };
    let bytes = text_file::read(fs, &path)
        .map_err(OpenError::io("read", &path))?
        .ok_or_else(|| lost("missing"))?;
    parse(&bytes).ok_or_else(|| lost("damaged"))
}

/// Whether the file is there and can be read.
pub(crate) fn is_intact(fs: &dyn Fs, dir: &Path) -> Result<bool, OpenError> {
    match open(fs, dir) {
        Ok(_) => Ok(true),
        Err(OpenError::Incarnation { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn parse(bytes: &[u8]) -> Option<Incarnation> {
    let id = text_file::content(bytes)?
        .strip_prefix(FIRST_LINE)?
        .strip_prefix("id ")?
        .strip_suffix('\n')?;
    id.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::SimulatedDisk;

    #[test]
    fn it_stays_and_another_store_has_another() {
        let disk = SimulatedDisk::new();
        let (one, other) = (Path::new("one"), Path::new("other"));
        for dir in [one, other] {
            create(&disk, dir).expect("written");
        }
        let open = |dir| super::open(&disk, dir).expect("reads");
        assert_eq!(open(one), open(one));
        assert_ne!(open(one), open(other));
    }
}
