//! A run that somebody stops: its servers end, and its directories go.

use std::io;
use std::path::Path;
use std::time::Duration;

use rmq_process::StopSignal;
use rustix::process::{Pid, kill_process};

/// Between two looks at the servers that are still there.
const LOOK: Duration = Duration::from_millis(50);

/// Ends at the first signal what this process started: a load on a server that is gone fails, and so the run ends. Without a server of its
/// own the process ends at once. A second signal ends the process at once in any case.
///
/// # Errors
/// When the system refuses to listen for signals.
pub fn listen() -> io::Result<StopSignal> {
    let stop = StopSignal::listen()?;
    let mut first = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    std::thread::Builder::new()
        .name("stop".to_owned())
        .spawn(move || {
            let signal = runtime.block_on(first.wait());
            let mut servers = children();
            if servers.is_empty() {
                std::process::exit(signal.exit_code().into());
            }
            // Also one that was being started: until the run has ended.
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

/// Removes what a run of this process left in `work_dir`.
pub fn tidy(work_dir: &Path) {
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
