//! Logs that are not the one that the place has parts of.

use crate::rig::{Kept, fill, on_store, said, saved, small, source};

#[tokio::test(flavor = "multi_thread")]
async fn the_data_of_another_group_of_the_same_name_do_not_mix() {
    let kept = Kept::new();
    let cluster = small().start().await;
    fill(&cluster, 0, 100).await;
    let first = kept.taken(&cluster).await.manifest;
    cluster.shutdown().await;

    let other = small().start().await;
    fill(&other, 7, 100).await;
    saved(&other).await;
    let taken = kept.taken(&other).await;
    assert_eq!(taken.reused_bytes, 0);
    let second = taken.manifest;
    assert_ne!(first.lineage, second.lineage);
    kept.is_intact(&[first, second.clone()]).await;
    let restored = kept.said_after_restore(&second, "restored").await;
    assert_eq!(restored, said(&other).await);
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_group_goes_on_and_shares_what_it_began_with() {
    let kept = Kept::new();
    let cluster = small().start().await;
    fill(&cluster, 0, 100).await;
    let first = kept.taken(&cluster).await.manifest;
    // What the old group writes now, the new one never has.
    fill(&cluster, 1, 100).await;
    let later = kept.taken(&cluster).await.manifest;
    cluster.shutdown().await;

    let store = kept.new_store("store");
    let restored = kept.restore(&first, &store).await.expect("restored");
    let new = on_store(store).await;
    fill(&new, 2, 100).await;
    saved(&new).await;
    let taken = kept.taken(&new).await;
    let epochs: Vec<u64> = taken
        .manifest
        .epochs
        .iter()
        .map(|epoch| epoch.number)
        .collect();
    assert!(epochs.contains(&restored.epoch), "{epochs:?}");
    assert!(
        taken.reused_bytes > 0 && taken.reused_bytes <= first.position,
        "{taken:?}"
    );
    assert_ne!(taken.manifest.incarnation, first.incarnation);
    let backups = [first, later, taken.manifest];
    kept.is_intact(&backups).await;
    let again = kept.said_after_restore(&backups[2], "again").await;
    assert_eq!(again, said(&new).await);
    new.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_killed_is_copied_with_what_it_kept() {
    let kept = Kept::new();
    let cluster = small().start().await;
    fill(&cluster, 0, 100).await;
    kept.taken(&cluster).await;
    cluster.broker(0).kill().await;
    cluster.broker(0).start().await;
    fill(&cluster, 1, 50).await;
    saved(&cluster).await;
    let mut copied = source(&cluster).await;
    let taken = kept.take(&mut copied).await.expect("a backup");
    assert!(taken.manifest.epochs.len() > 1, "another epoch began");
    assert!(taken.reused_bytes > 0, "{taken:?}");
    let restored = kept.said_after_restore(&taken.manifest, "restored").await;
    assert_eq!(restored, said(&cluster).await);
    cluster.shutdown().await;
}
