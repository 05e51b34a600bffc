//! Small files of text that say all or nothing: the last line is a checksum, and the file is replaced as a whole.
//!
//! ```text
//! <lines>
//! crc <CRC-32 of everything before, 8 hexadecimal digits>
//! ```

use std::io;
use std::path::Path;

use crate::fs::Fs;

/// Larger files are not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the lines of an intact file are; `None`: it is damaged.
pub(crate) fn content(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (content, crc) = text.strip_suffix('\n')?.rsplit_once("crc ")?;
    let is_intact =
        crc.len() == 8 && u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(content.as_bytes());
    is_intact.then_some(content)
}

/// The text with its checksum.
pub(crate) fn sealed(mut text: String) -> String {
    let crc = crc32fast::hash(text.as_bytes());
    text.push_str(&format!("crc {crc:08x}\n"));
    text
}

/// The bytes of a file; `None` when there is none.
pub(crate) fn read(fs: &dyn Fs, path: &Path) -> io::Result<Option<Vec<u8>>> {
    if fs.exists(path)? {
        fs.read(path, FILE_BYTES_MAX).map(Some)
    } else {
        Ok(None)
    }
}

/// Replaces a file, durably. `text` is without its checksum.
pub(crate) fn replace(fs: &dyn Fs, path: &Path, text: String) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let file = fs.create(&temporary)?;
    file.write_at(0, sealed(text).as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs.rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_intact_or_nothing() {
        let text = sealed("one\ntwo\n".to_owned());
        assert_eq!(content(text.as_bytes()), Some("one\ntwo\n"));
        for at in 0..text.len() {
            assert_eq!(content(&text.as_bytes()[..at]), None, "cut at {at}");
            let mut broken = text.clone().into_bytes();
            broken[at] ^= 1;
            assert_eq!(content(&broken), None, "byte {at}");
        }
    }
}
