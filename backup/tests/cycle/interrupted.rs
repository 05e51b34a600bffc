//! Backups and restores that end in the middle, wherever that is.

use rmq_backup::{RestoreError, TakeError};

use crate::rig::{Kept, fill, said, saved, small, source};

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backup_continues_where_it_was() {
    let cluster = small().start().await;
    fill(&cluster, 0, 200).await;
    saved(&cluster).await;
    let whole = Kept::new();
    let expected = whole.taken(&cluster).await.manifest;
    let all = whole.counted.put_into("/log/");

    // The place is away from its first, second … call on.
    let kept = Kept::new();
    let mut failures = 0;
    let taken = loop {
        kept.counted.fail_after(Some(failures));
        let taken = kept.take(&mut source(&cluster).await).await;
        kept.counted.fail_after(None);
        match taken {
            Ok(taken) => break taken.manifest,
            Err(TakeError::Place(_)) => {}
            Err(error) => panic!("{error}"),
        }
        let listed = rmq_backup::list(&kept.place, "broker-0").await;
        assert_eq!(listed.expect("readable"), [], "nothing is half a backup");
        failures += 1;
        assert!(failures < 200, "it never ends");
    };
    assert!(failures > 8, "{failures}");
    assert_eq!(taken.log, expected.log, "as if nothing had happened");
    assert_eq!(
        kept.counted.put_into("/log/"),
        all,
        "each part was written once"
    );
    kept.is_intact(&[taken]).await;

    // The broker is away after one answer, two, …
    let kept = Kept::new();
    let mut failures = 0;
    let taken = loop {
        let mut copied = source(&cluster).await;
        copied.answers = Some(failures);
        match kept.take(&mut copied).await {
            Ok(taken) => break taken.manifest,
            Err(TakeError::Source { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        failures += 1;
        assert!(failures < 200, "it never ends");
    };
    assert!(failures > 4, "{failures}");
    assert_eq!(
        kept.counted.put_into("/log/"),
        all,
        "each part was written once"
    );
    let restored = kept.said_after_restore(&taken, "restored").await;
    assert_eq!(restored, said(&cluster).await);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_leaves_an_empty_folder() {
    let cluster = small().start().await;
    fill(&cluster, 0, 80).await;
    saved(&cluster).await;
    let kept = Kept::new();
    let backup = kept.taken(&cluster).await.manifest;
    let store = kept.new_store("store");
    for calls in 0.. {
        kept.counted.fail_after(Some(calls));
        let restored = kept.restore(&backup, &store).await;
        kept.counted.fail_after(None);
        match restored {
            Ok(_) => {
                assert!(calls > 3, "{calls}");
                break;
            }
            Err(RestoreError::Place(_)) => {}
            Err(error) => panic!("{error}"),
        }
        let left: Vec<_> = std::fs::read_dir(&store).expect("there").collect();
        assert!(left.is_empty(), "{left:?} after {calls} calls");
    }
    // Something is there now.
    let refused = kept.restore(&backup, &store).await;
    assert!(
        matches!(refused, Err(RestoreError::NotEmpty { .. })),
        "{refused:?}"
    );
    // A restore that was killed in the middle has left a note.
    let killed = kept.new_store("killed");
    std::fs::create_dir_all(killed.join("log")).expect("made");
    std::fs::write(killed.join("log/0"), "half").expect("written");
    std::fs::write(killed.join("restoring"), "backup").expect("written");
    kept.restore(&backup, &killed)
        .await
        .expect("it begins again");
    assert!(!killed.join("restoring").exists());
    cluster.shutdown().await;
}
