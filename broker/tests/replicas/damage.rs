//! Damage on the disk of a member.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A byte of a message changes on the disk of a member whose process has ended.
pub(crate) fn damage(data_dir: &Path, body: &str) {
    let mut found = 0;
    for entry in fs::read_dir(data_dir.join("log")).expect("the log") {
        let path = entry.expect("a file").path();
        let content = fs::read(&path).expect("a segment");
        let at = content
            .windows(body.len())
            .position(|bytes| bytes == body.as_bytes());
        if let Some(at) = at {
            let file = fs::OpenOptions::new().write(true).open(&path);
            let file = file.expect("a segment");
            file.write_all_at(b"#", at as u64).expect("written");
            found += 1;
        }
    }
    assert_eq!(found, 1, "{body}");
}
