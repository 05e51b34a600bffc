//! How the life of the store before this one ended, and what is in doubt since. Text, in the file `life`:
//!
//! ```text
//! rmq-life 1
//! boot <the system's boot id, "unknown" where the system tells none>
//! follower                  only while the log is another master's
//! doubt <log position>      only while a power cut may have taken what lay behind it, and nobody has decided about that
//! crc <CRC-32 of everything before, 8 hexadecimal digits>
//! ```
//!
//! A store that was closed in order has a sealed watermark. One that was not, and finds the boot id of its last life, was killed: the system
//! went on and has everything that was written. With another boot id what was written and not flushed may be gone, whatever this store
//! has told others about it. That stays in doubt over later starts until [`Store::settle_doubt`](crate::Store::settle_doubt). A file that is
//! missing or damaged knows no boot id.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;

use crate::commit_log::Role;
use crate::fs::Fs;
use crate::layout;
use crate::open_error::OpenError;
use crate::text_file;

const FIRST_LINE: &str = "rmq-life 1\n";
const UNKNOWN: &str = "unknown";
/// Longer ids are cut.
const BOOT_ID_MAX: usize = 64;

/// How the life of a store before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastEnd {
    /// There was none.
    New,
    /// It was closed: everything is flushed.
    Closed,
    /// The process ended and the system went on: everything written is there.
    Killed,
    /// The system ended, or it is not known that it went on: what was not flushed may be gone.
    PowerCut,
}

impl LastEnd {
    /// Everything that the life before had written is there for sure, and flushed.
    #[must_use]
    pub fn is_clean(self) -> bool {
        matches!(self, Self::New | Self::Closed)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Content {
    boot: Option<String>,
    is_follower: bool,
    doubt: Option<u64>,
}

impl Content {
    fn encode(&self) -> String {
        let boot = self.boot.as_deref().unwrap_or(UNKNOWN);
        let doubt = self
            .doubt
            .map(|position| format!("doubt {position}\n"))
            .unwrap_or_default();
        let follower = if self.is_follower { "follower\n" } else { "" };
        format!("{FIRST_LINE}boot {boot}\n{follower}{doubt}")
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut content = Self::default();
        for line in text_file::content(bytes)?.strip_prefix(FIRST_LINE)?.lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("follower", "") => content.is_follower = true,
                ("boot", boot) => content.boot = (boot != UNKNOWN).then(|| boot.to_owned()),
                ("doubt", position) => content.doubt = Some(position.parse().ok()?),
                _ => return None,
            }
        }
        Some(content)
    }
}

/// The file and what it says.
pub(crate) struct Life {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    last_end: LastEnd,
    has_followed: bool,
    state: Mutex<State>,
}

struct State {
    content: Content,
    /// The file says the same.
    is_written: bool,
}

impl Life {
    /// Finds how the life before ended, and notes that this one has begun, before it writes anything: `end` is where the log ends now.
    pub(crate) fn begin(
        fs: Arc<dyn Fs>,
        dir: &Path,
        is_new: bool,
        is_sealed: bool,
        end: u64,
        role: Role,
    ) -> Result<Self, OpenError> {
        let path = layout::life(dir);
        let bytes = text_file::read(&*fs, &path).map_err(OpenError::io("read", &path))?;
        let before = bytes.as_deref().and_then(Content::parse);
        let boot = boot_id(&*fs);
        let last_end = match &before {
            _ if is_new => LastEnd::New,
            _ if is_sealed => LastEnd::Closed,
            Some(before) if before.boot.is_some() && before.boot == boot => LastEnd::Killed,
            _ => LastEnd::PowerCut,
        };
        let known = before.as_ref().and_then(|before| before.doubt);
        let doubt = match last_end {
            LastEnd::PowerCut => Some(known.map_or(end, |known| known.min(end))),
            LastEnd::New => None,
            LastEnd::Closed | LastEnd::Killed => known,
        };
        if last_end == LastEnd::PowerCut {
            tracing::warn!(
                end,
                "the life of the store before this one ended with the system, or by a file that tells of its start being lost: what was not flushed may be missing at the end of the log"
            );
        }
        let content = Content {
            boot,
            is_follower: role == Role::Follower,
            doubt,
        };
        let life = Self {
            fs,
            path,
            last_end,
            has_followed: before.as_ref().is_some_and(|before| before.is_follower),
            state: Mutex::new(State {
                is_written: before.as_ref() == Some(&content),
                content,
            }),
        };
        // On a full disk the store still reads. The file of an older life makes the next start doubt, which is right.
        if let Err(error) = life.write() {
            tracing::warn!(path = %life.path.display(), %error, "it is not noted that the store is open; it is tried again when the store is closed");
        }
        life.fs.crash_point("life.begun");
        Ok(life)
    }

    /// Brings the file up to date.
    pub(crate) fn write(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.is_written {
            text_file::replace(&*self.fs, &self.path, state.content.encode())?;
            state.is_written = true;
        }
        Ok(())
    }

    pub(crate) fn last_end(&self) -> LastEnd {
        self.last_end
    }

    /// The life before was a follower's: what its log ends with, another master has written.
    pub(crate) fn has_followed(&self) -> bool {
        self.has_followed
    }

    pub(crate) fn doubt(&self) -> Option<LogPosition> {
        self.state.lock().content.doubt.map(LogPosition)
    }

    /// Nothing is in doubt any more.
    pub(crate) fn settle_doubt(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.content.doubt.is_some() {
            let next = Content {
                doubt: None,
                ..state.content.clone()
            };
            text_file::replace(&*self.fs, &self.path, next.encode())?;
            state.content = next;
            state.is_written = true;
        }
        Ok(())
    }
}

/// The system's boot id as one word.
fn boot_id(fs: &dyn Fs) -> Option<String> {
    let id = fs.boot_id().ok()?;
    let id: String = id
        .chars()
        .filter(char::is_ascii_graphic)
        .take(BOOT_ID_MAX)
        .collect();
    (!id.is_empty() && id != UNKNOWN).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Crash, SimulatedDisk};

    fn begin(disk: &SimulatedDisk, is_sealed: bool, end: u64) -> Life {
        let fs = Arc::new(disk.clone());
        Life::begin(fs, Path::new("store"), false, is_sealed, end, Role::Master).expect("begins")
    }

    #[test]
    fn a_life_knows_whether_the_one_before_was_a_followers() {
        let disk = SimulatedDisk::new();
        disk.create_dir_all(Path::new("store")).expect("made");
        let lives = [
            (Role::Master, false),
            (Role::Follower, false),
            (Role::Follower, true),
            (Role::Master, true),
            (Role::Master, false),
        ];
        for (role, has_followed) in lives {
            let fs = Arc::new(disk.clone());
            let life = Life::begin(fs, Path::new("store"), false, true, 0, role).expect("begins");
            assert_eq!(life.has_followed(), has_followed, "{role:?}");
        }
    }

    #[test]
    fn what_is_in_doubt_stays_so_until_it_is_settled() {
        let disk = SimulatedDisk::new();
        disk.create_dir_all(Path::new("store")).expect("made");
        let fs = Arc::new(disk.clone());
        let first = Life::begin(fs, Path::new("store"), true, false, 0, Role::Master);
        assert_eq!(first.expect("begins").last_end(), LastEnd::New);
        let life = begin(&disk, false, 100);
        assert_eq!((life.last_end(), life.doubt()), (LastEnd::Killed, None));
        let disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
        let life = begin(&disk, false, 100);
        assert_eq!(life.last_end(), LastEnd::PowerCut);
        for (is_sealed, end) in [(true, 200), (false, 200)] {
            let life = begin(&disk, is_sealed, end);
            assert!(life.last_end() != LastEnd::PowerCut);
            assert_eq!(life.doubt(), Some(LogPosition(100)));
        }
        let disk = disk.after_crash(disk.steps(), Crash::PowerLoss);
        let life = begin(&disk, false, 300);
        assert_eq!(life.doubt(), Some(LogPosition(100)), "the older doubt");
        life.settle_doubt().expect("written");
        let life = begin(&disk, false, 300);
        assert_eq!((life.last_end(), life.doubt()), (LastEnd::Killed, None));
        disk.lose(Path::new("store/life"));
        assert_eq!(begin(&disk, false, 400).last_end(), LastEnd::PowerCut);
        disk.lose(Path::new("store/life"));
        assert_eq!(begin(&disk, true, 400).last_end(), LastEnd::Closed);
    }
}
