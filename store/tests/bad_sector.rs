//! A real disk that cannot read a part of a segment: ext4 on a loop device whose backing file ends there. Needs root and loop devices.
#![allow(clippy::print_stderr, reason = "it says why it is skipped")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::{Clock, config, message};
use rmq_protocol::message::QueueOffset;
use rmq_store::fs::RealFs;
use rmq_store::{AllMessages, FlushMode, Master, ReadStatus, StoreConfig, Temperature};

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("{program}: {said}"))
    }
}

/// A mounted file system in a file; unmounted at the end.
struct Disk {
    device: String,
    mounted: String,
}

impl Disk {
    fn make(image: &Path, mounted: &Path) -> Result<Self, String> {
        let (image, mounted) = (text(image), text(mounted));
        run("truncate", &["-s", "64M", &image])?;
        run("mkfs.ext4", &["-q", "-O", "^has_journal", &image])?;
        let device = run("losetup", &["-f", "--show", &image])?;
        let disk = Self { device, mounted };
        run("mount", &[&disk.device, &disk.mounted])?;
        Ok(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for (program, argument) in [("umount", &self.mounted), ("losetup", &self.device)] {
            let flags: &[&str] = if program == "losetup" { &["-d"] } else { &[] };
            if let Err(problem) = run(program, &[flags, &[argument]].concat()) {
                eprintln!("{problem}");
            }
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_bad_sector_costs_its_messages_and_raises_no_signal() {
    let dir = tempfile::tempdir().expect("a folder");
    let (image, mounted) = (dir.path().join("image"), dir.path().join("mounted"));
    std::fs::create_dir(&mounted).expect("made");
    let disk = match Disk::make(&image, &mounted) {
        Ok(disk) => disk,
        Err(problem) => {
            eprintln!("skipped: {problem}");
            return;
        }
    };
    let clock = Clock::at(1_000);
    let settings = || StoreConfig {
        segment_bytes: 1 << 20,
        index_run_bytes: 256 << 10,
        hot_bytes: 0,
        ..config(mounted.join("store"), FlushMode::Sync, &clock)
    };
    let (store, _) = Master::open(settings(), Arc::new(RealFs)).expect("opens");
    let queue = store.queue("t", 0).expect("a queue");
    for _ in 0..120 {
        store
            .append(&message(&queue, &[b'x'; 4_000], b"", ""))
            .expect("appended");
    }
    store.close().expect("closed");
    drop((queue, store));
    // The sectors from page 90 of the segment on, and all behind them on the device, are gone.
    let segment = mounted.join("store/log/00000000000000000000");
    let extents = match run("filefrag", &["-v", "-b4096", &text(&segment)]) {
        Ok(extents) => extents,
        Err(problem) => {
            eprintln!("skipped: {problem}");
            return;
        }
    };
    let first = extents
        .lines()
        .find_map(|line| line.trim().strip_prefix("0:"))
        .and_then(|line| {
            line.split(':')
                .nth(1)?
                .split("..")
                .next()?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .unwrap_or_else(|| panic!("no extents in {extents}"));
    let cut = first * 4096 + 90 * 4096;
    run("sync", &[]).expect("synced");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&image)
        .and_then(|file| file.set_len(cut))
        .expect("cut");
    // Nothing of it stays in memory.
    run("umount", &[&disk.mounted]).expect("unmounted");
    run("mount", &[&disk.device, &disk.mounted]).expect("mounted again");
    let opened = Master::open(settings(), Arc::new(RealFs));
    let (store, _) = match opened {
        Ok(opened) => opened,
        // Which other files lie behind the cut is the file system's choice; an error is no signal.
        Err(error) => {
            eprintln!("refused: {error}");
            drop(disk);
            return;
        }
    };
    let queue = store.queue("t", 0).expect("a queue");
    let (mut from, mut found) = (0, 0);
    while from < queue.max_offset() {
        let outcome = store.read(
            &queue,
            QueueOffset(from),
            common::LIMITS,
            &AllMessages,
            Temperature::MayWait,
        );
        found += outcome.records.len();
        assert!(
            outcome.next_offset > from || outcome.status == ReadStatus::Unavailable,
            "{outcome:?}"
        );
        if outcome.status == ReadStatus::Unavailable {
            break;
        }
        from = outcome.next_offset;
    }
    // 89 records lie before the cut. The device reads in units of its own, so a few before it may be lost, and not the neighbours.
    assert!((80..=89).contains(&found), "{found}");
    assert!(!store.damage().is_empty());
    eprintln!("{found} of 120 served, damage {:?}", store.damage());
    store.abandon();
    drop((queue, store, disk));
}
