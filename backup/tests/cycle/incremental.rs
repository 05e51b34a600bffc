//! A second backup copies what is new; old backups go without what newer ones need.

use rmq_backup::{Silent, TakeError};

use crate::rig::{Kept, fill, said, saved, small, source};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_backup_copies_what_is_new() {
    let cluster = small().start().await;
    fill(&cluster, 0, 300).await;
    saved(&cluster).await;
    let kept = Kept::new();
    let first = kept.taken(&cluster).await;
    assert!(first.sent_parts > 4, "{first:?}");
    assert_eq!(first.reused_bytes, 0);
    let log = kept.counted.put_into("/log/");
    assert!(log >= first.manifest.position);

    kept.counted.look_again();
    let same = kept.taken(&cluster).await;
    assert_eq!(kept.counted.put_into("/log/"), same.manifest.sent_bytes);
    let grown = same.manifest.position - first.manifest.position;
    assert!(same.manifest.sent_bytes <= grown + 2 * 80, "{same:?}");

    fill(&cluster, 1, 40).await;
    saved(&cluster).await;
    kept.counted.look_again();
    let second = kept.taken(&cluster).await;
    let new = second.manifest.position - same.manifest.position;
    let sent = kept.counted.put_into("/log/");
    let heads = second.sent_parts as u64 * 80;
    assert!(
        sent > 20_000 && sent <= new + heads,
        "{sent} of {new} new bytes"
    );
    assert_eq!(second.manifest.sent_bytes, sent);
    assert_eq!(second.reused_bytes, same.manifest.position);

    let all = [first.manifest, same.manifest, second.manifest];
    kept.is_intact(&all).await;
    let listed = rmq_backup::list(&kept.place, "broker-0").await;
    let listed: Vec<_> = listed.expect("readable").into_iter().flatten().collect();
    let distinct: std::collections::BTreeSet<&str> =
        all.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(listed.len(), distinct.len());
    let now = said(&cluster).await;
    let restored = kept.said_after_restore(&all[2], "second").await;
    assert_eq!(restored, now);
    let restored = kept.said_after_restore(&all[0], "first").await;
    assert_eq!(restored.messages, now.below(all[0].position).messages);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_backups_go_and_newer_ones_stay_whole() {
    let cluster = small().start().await;
    let kept = Kept::new();
    let mut backups = Vec::new();
    for round in 0..4 {
        fill(&cluster, round, 60).await;
        backups.push(kept.taken(&cluster).await.manifest);
    }
    let remove = async |keep, dry_run| {
        let removed = rmq_backup::remove(&kept.place, "broker-0", keep, dry_run).await;
        removed.expect("removed")
    };
    let would = remove(2, true).await;
    assert_eq!(would.ids, [backups[0].id.clone(), backups[1].id.clone()]);
    assert_eq!(
        rmq_backup::list(&kept.place, "broker-0")
            .await
            .expect("readable")
            .len(),
        4,
        "a dry run"
    );
    let removed = remove(2, false).await;
    assert_eq!(removed, would);
    kept.is_intact(&backups[2..]).await;
    assert_eq!(remove(2, false).await, rmq_backup::Removed::default());

    // Somebody takes one at the moment.
    let note = "broker-0/running/backup-other";
    kept.put(note, b"x").await;
    let refused = rmq_backup::remove(&kept.place, "broker-0", 1, false).await;
    assert!(matches!(refused, Err(TakeError::Busy(_))), "{refused:?}");
    // He was killed.
    kept.is_older(note, 170);
    let refused = rmq_backup::remove(&kept.place, "broker-0", 2, false).await;
    assert!(matches!(refused, Err(TakeError::Busy(_))), "{refused:?}");
    kept.is_older(note, 181);
    assert_eq!(remove(2, false).await, rmq_backup::Removed::default());
    kept.gone(note).await;
    // Somebody removes at the moment.
    let note = "broker-0/running/remove-other";
    kept.put(note, b"x").await;
    let refused = kept.take(&mut source(&cluster).await).await;
    assert!(matches!(refused, Err(TakeError::Busy(_))), "{refused:?}");
    kept.gone(note).await;

    remove(1, false).await;
    let newest = &backups[3..];
    kept.is_intact(newest).await;
    let restored = kept.said_after_restore(&newest[0], "restored").await;
    assert_eq!(
        restored.messages,
        said(&cluster).await.below(newest[0].position).messages
    );
    let verified = rmq_backup::verify(&kept.place, newest, &Silent).await;
    assert_eq!(verified.expect("readable").backups, 1);
    cluster.shutdown().await;
}
