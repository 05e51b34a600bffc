//! A run that somebody stops: its servers end, and its directories go.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rmq_process::StopSignal;
use rustix::process::{Pid, kill_process};

/// Between two looks at the servers that are still there.
const LOOK: Duration = Duration::from_millis(50);

/// Whether a signal came: held while a server is started, so a signal comes before a start or finds its server.
static STOPPING: Mutex<bool> = Mutex::new(false);
/// Held for ever by the one thread that ends the process.
static ENDING: Mutex<()> = Mutex::new(());

/// Starts a server with `begin`, unless a signal came before.
///
/// # Errors
/// Those of `begin`; `Interrupted` after a signal.
pub(crate) fn unless_stopping<T>(begin: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let stopping = STOPPING.lock().unwrap_or_else(PoisonError::into_inner);
    if *stopping {
        return Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "stopped by a signal before the server was started",
        ));
    }
    begin()
}

/// Ends at the first signal what this process started: a load on a server that is gone fails, and so the run ends. Without a server of its
/// own the process ends at once. A second signal ends the process at once in any case.
///
/// # Errors
/// When the system refuses to listen for signals.
pub fn listen(work_dir: Option<PathBuf>) -> io::Result<StopSignal> {
    let stop = StopSignal::listen()?;
    let mut first = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    std::thread::Builder::new()
        .name("stop".to_owned())
        .spawn(move || {
            let signal = runtime.block_on(first.wait());
            *STOPPING.lock().unwrap_or_else(PoisonError::into_inner) = true;
            let mut servers = children();
            if servers.is_empty() {
                end(work_dir.as_deref());
                std::process::exit(signal.exit_code().into());
            }
            // Until the run notices that its servers are gone.
            loop {
                for server in servers {
                    // It may be gone by now.
                    let _ = kill_process(server, rustix::process::Signal::TERM);
                }
                std::thread::sleep(LOOK);
                servers = children();
            }
        })?;
    Ok(stop)
}

/// Says that a signal ended the run, and removes what the run left in `work_dir`. The caller ends the process: a second caller waits for
/// that end.
pub fn end(work_dir: Option<&Path>) {
    std::mem::forget(ENDING.lock());
    if let Some(work_dir) = work_dir {
        tidy(work_dir);
    }
    let _ = writeln!(io::stderr(), "rmq-bench: stopped by a signal");
}

/// Removes what a run of this process left in `work_dir`.
fn tidy(work_dir: &Path) {
    let own = format!("rmq-bench-{}", std::process::id());
    let fill = format!("rmq-bench-fill-{}", std::process::id());
    for entry in std::fs::read_dir(work_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let rest = name.strip_prefix(&own);
        // Not those of a process whose id only begins like this one's.
        let is_own =
            rest.is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_ascii_digit()));
        if is_own || name == fill {
            let path = entry.path();
            // What cannot be removed stays: the run has ended anyway.
            let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
        }
    }
}

/// Processes that this one started, as the system lists them (`proc_pid_children(5)`).
fn children() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = tasks.flatten().map(|task| task.path().join("children"));
    let texts = lists.filter_map(|list| std::fs::read_to_string(list).ok());
    let numbers: Vec<i32> = texts
        .flat_map(|text| {
            let words = text.split_whitespace();
            words
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    numbers.into_iter().filter_map(Pid::from_raw).collect()
}
