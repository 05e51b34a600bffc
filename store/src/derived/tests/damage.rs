//! Every derived file deleted, cut and flipped: what comes out is what the log says.

use std::fs;
use std::path::Path;

use super::super::*;
use super::rig::{CONSUMER_OFFSETS, Rig, Send};
use crate::settings::Change;
use crate::tables::TablesError;

/// Three segments with several runs each, merged and unmerged, and tables.
fn rig() -> Rig {
    let mut rig = Rig::new(8 << 10, 2 << 10);
    for i in 0..120 {
        rig.now += 1;
        let key = format!("k{}", i % 5);
        rig.send(&Send {
            topic: ["a", "b"][i % 2],
            queue_id: (i % 3) as i32,
            tag: "T",
            keys: &key,
            unique_key: &format!("U{i}"),
            body: 60,
        });
        rig.put(&[Change::set(
            CONSUMER_OFFSETS,
            format!("g@t{}", i % 7),
            i.to_string(),
        )]);
        rig.flush();
        if i < 100 {
            rig.dispatcher.maybe_seal().unwrap();
        }
    }
    rig
}

fn check(rig: &Rig) {
    rig.check();
    for key in ["k0", "k4"] {
        rig.check_key("a", key, KeyKind::Key);
    }
    rig.check_key("b", "U101", KeyKind::UniqueKey);
    rig.check_key("b", "U1", KeyKind::UniqueKey);
}

fn names(rig: &Rig) -> Vec<String> {
    rig.files()
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect()
}

#[test]
fn a_missing_file_is_made_again() {
    let mut rig = rig();
    assert!(rig.run_count() > 3);
    for name in names(&rig) {
        rig.reopen(false, |dir| fs::remove_file(dir.join(&name)).unwrap())
            .unwrap();
        check(&rig);
    }
    rig.reopen(false, |dir| {
        for entry in fs::read_dir(dir).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    })
    .unwrap();
    check(&rig);
}

fn cut(path: &Path, len: u64) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(len)
        .unwrap();
}

#[test]
fn a_cut_file_is_made_again() {
    let mut rig = rig();
    for part in [0, 1, 3] {
        for name in names(&rig) {
            rig.reopen(false, |dir| {
                let path = dir.join(&name);
                // A file made again has another name.
                if let Ok(meta) = fs::metadata(&path) {
                    cut(&path, meta.len() * part / 4);
                }
            })
            .unwrap();
            check(&rig);
        }
    }
}

#[test]
fn a_flipped_bit_is_found_and_made_good() {
    let mut rig = rig();
    let mut seed = 12_345u64;
    for round in 0..4 {
        for name in names(&rig) {
            rig.reopen(round % 2 == 0, |dir| {
                let path = dir.join(&name);
                let Ok(mut bytes) = fs::read(&path) else {
                    return;
                };
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] ^= 1 << (seed & 7);
                fs::write(&path, bytes).unwrap();
            })
            .unwrap();
            check(&rig);
        }
    }
}

#[test]
fn every_part_of_a_run_is_covered_by_a_check() {
    let mut rig = rig();
    rig.reopen(true, |_| {}).unwrap();
    let bytes = fs::read(
        rig.files()
            .iter()
            .find(|path| path.extension().is_some_and(|e| e == "run"))
            .unwrap(),
    )
    .unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        rig.reopen(false, |dir| {
            let run = fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "run"))
                .min()
                .unwrap();
            let mut bytes = fs::read(&run).unwrap();
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 0x40;
            fs::write(&run, bytes).unwrap();
        })
        .unwrap();
        check(&rig);
    }
}

#[test]
fn lost_tables_are_refused_once_the_log_has_been_cut() {
    let mut rig = rig();
    rig.expire(1);
    check(&rig);
    rig.reopen(true, |_| {}).unwrap();
    check(&rig);
    let error = rig
        .reopen(true, |dir| {
            fs::rename(dir.join("tables"), dir.join("kept")).unwrap()
        })
        .unwrap_err();
    assert!(
        matches!(error, DispatchError::Tables(TablesError::Lost { .. })),
        "{error}"
    );
    let error = rig
        .reopen(false, |dir| {
            fs::write(dir.join("tables"), b"garbage").unwrap()
        })
        .unwrap_err();
    assert!(
        matches!(error, DispatchError::Tables(TablesError::Lost { .. })),
        "{error}"
    );
    rig.reopen(false, |dir| {
        fs::rename(dir.join("kept"), dir.join("tables")).unwrap()
    })
    .unwrap();
    check(&rig);
    // Accepted, it opens with what the log still has.
    rig.config.accept_lost_tables = true;
    rig.reopen(true, |dir| fs::remove_file(dir.join("tables")).unwrap())
        .unwrap();
    assert_eq!(
        rig.dispatcher
            .declared()
            .values(CONSUMER_OFFSETS)
            .expect("declared")
            .scan()
            .len(),
        7
    );
}

#[test]
fn a_log_shorter_than_its_tables_is_refused() {
    let mut rig = rig();
    let newest = rig
        .queues
        .values()
        .flat_map(|queue| &queue.messages)
        .map(|message| message.position)
        .max()
        .unwrap();
    let error = rig
        .reopen(true, |_| {})
        .and_then(|()| {
            rig.log.remove_record(newest);
            rig.log.end.store(newest, Ordering::Relaxed);
            rig.reopen(false, |_| {})
        })
        .unwrap_err();
    assert!(matches!(error, DispatchError::AheadOfLog { .. }), "{error}");
}
