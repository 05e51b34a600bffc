//! A byte that is not what it was.

use std::path::{Path, PathBuf};

use rmq_backup::{RestoreError, Silent};

use crate::rig::{Kept, fill, small};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("listed").path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_found_and_not_restored() {
    let cluster = small().start().await;
    fill(&cluster, 0, 80).await;
    let kept = Kept::new();
    let backup = kept.taken(&cluster).await.manifest;
    let root = PathBuf::from(kept.place.text());
    let mut all = Vec::new();
    files(&root, &mut all);
    all.sort();
    assert!(all.len() > 3, "{all:?}");
    for path in &all {
        let good = std::fs::read(path).expect("readable");
        for at in [0, 50, good.len() / 3, good.len() / 2, good.len() - 2] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(path, &bad).expect("written");
            let what = format!("{} byte {at}", path.display());
            if path.extension().is_some_and(|end| end == "json") {
                let listed = rmq_backup::list(&kept.place, "broker-0").await;
                assert!(listed.expect("readable")[0].is_err(), "{what}");
                continue;
            }
            let verified = rmq_backup::verify(&kept.place, std::slice::from_ref(&backup), &Silent);
            let faults = verified.await.expect("readable").faults;
            assert_eq!(faults.len(), 1, "{what}: {faults:?}");
            assert_eq!(Path::new(&faults[0].name), path, "{what}");
            let store = kept.new_store("store");
            let restored = kept.restore(&backup, &store).await;
            assert!(
                matches!(restored, Err(RestoreError::Damaged(_))),
                "{what}: {restored:?}"
            );
            let left: Vec<_> = std::fs::read_dir(&store).expect("there").collect();
            assert!(left.is_empty(), "{what}: {left:?}");
        }
        std::fs::write(path, &good).expect("written");
    }
    // Cut off, and gone.
    let part = all
        .iter()
        .find(|path| path.to_str().is_some_and(|path| path.contains("/log/")));
    let part = part.expect("a part");
    let good = std::fs::read(part).expect("readable");
    std::fs::write(part, &good[..good.len() - 1]).expect("written");
    let verified = rmq_backup::verify(&kept.place, std::slice::from_ref(&backup), &Silent).await;
    assert_eq!(verified.expect("readable").faults.len(), 1);
    // The next backup writes a part again that is not what it says, once it is gone.
    std::fs::remove_file(part).expect("removed");
    let verified = rmq_backup::verify(&kept.place, std::slice::from_ref(&backup), &Silent).await;
    assert!(
        verified.expect("readable").faults[0]
            .says
            .contains("missing")
    );
    let again = kept.taken(&cluster).await.manifest;
    kept.is_intact(&[backup, again]).await;
    cluster.shutdown().await;
}
