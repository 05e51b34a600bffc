//! How much memory this process may use.

use std::path::{Path, PathBuf};

use crate::budget::MEMORY_BYTES_MIN;

/// The bound of what connections hold, bytes: what is configured, or a quarter of [`memory_limit`] when that is 0.
#[must_use]
pub fn memory_bytes(configured: u64) -> usize {
    let bytes = match configured {
        0 => (memory_limit() / 4).max(MEMORY_BYTES_MIN as u64),
        configured => configured,
    };
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Bytes that this process may use: the smallest limit of its control groups (version 1 and 2), or the machine's memory.
#[must_use]
pub fn memory_limit() -> u64 {
    limit_under(Path::new("/"))
}

fn limit_under(root: &Path) -> u64 {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let machine = read(root.join("proc/meminfo"))
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(u64::MAX, |kib| kib.saturating_mul(1_024));
    let groups = read(root.join("proc/self/cgroup"));
    let limits = groups.lines().flat_map(|line| {
        // `hierarchy:controllers:path`; version 2 has neither number nor controllers.
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let path = Path::new(path.trim_start_matches('/'));
        // Every group above limits too. Inside a container its own group is the root, whatever the path says.
        let above = path.ancestors().map(Path::to_path_buf);
        above
            .map(|group| root.join(mount).join(group).join(file))
            .collect()
    });
    limits
        .filter_map(|file| read(file).trim().parse::<u64>().ok())
        .filter(|limit| *limit > 0)
        .fold(machine, u64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        limit_under(root.path())
    }

    #[test]
    fn the_smallest_limit_counts() {
        let machine = ("proc/meminfo", "MemFree: 1 kB\nMemTotal:       24000 kB\n");
        assert_eq!(limit(&[machine]), 24_576_000);
        assert_eq!(limit(&[]), u64::MAX);
        // Version 2: a group, and one above it.
        let own = ("proc/self/cgroup", "0::/pods/one\n");
        let group = "sys/fs/cgroup/pods/one/memory.max";
        let above = "sys/fs/cgroup/pods/memory.max";
        assert_eq!(limit(&[machine, own, (group, "1000000\n")]), 1_000_000);
        assert_eq!(
            limit(&[machine, own, (group, "max\n"), (above, "2000000")]),
            2_000_000
        );
        assert_eq!(limit(&[machine, own, (group, "max\n")]), 24_576_000);
        // Version 2 inside of a container: its group is the root.
        let inside = ("proc/self/cgroup", "0::/\n");
        assert_eq!(
            limit(&[machine, inside, ("sys/fs/cgroup/memory.max", "3000000")]),
            3_000_000
        );
        // Version 1, whose unlimited groups have a huge number.
        let old = ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a/b\n");
        let group = "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes";
        assert_eq!(limit(&[machine, old, (group, "4000000\n")]), 4_000_000);
        assert_eq!(
            limit(&[machine, old, (group, "9223372036854771712\n")]),
            24_576_000
        );
    }
}
