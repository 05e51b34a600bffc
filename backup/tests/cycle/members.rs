//! What a broker does for a copy: it keeps the log, it ends copies that nobody asks for, it bounds them; and replicas are copied as masters are.

use std::time::Duration;

use rmq_client::ErrorKind;
use rmq_protocol::requests::DeleteExpiredCommitLog;
use rmq_testing::TestCluster;

use crate::rig::{Copied, Kept, SEGMENT_BYTES, SourceError, fill, said, small, source};

fn refusal(error: &SourceError) -> &rmq_client::Error {
    match error {
        SourceError::Client(error) => error,
        SourceError::Ended => panic!("no answer of a broker"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_while_it_is_copied_and_goes_then() {
    use rmq_backup::Source;
    let cluster = TestCluster::builder()
        .brokers_with(|config| {
            config.segment_bytes = SEGMENT_BYTES;
            config.clock_settle_minutes = 0;
            config.backups_max = 1;
        })
        .start()
        .await;
    fill(&cluster, 0, 300).await;
    let client = cluster.client().await;
    let broker = client.remote(&cluster.broker(0).address());
    let begins = async || {
        let mut copied = source(&cluster).await;
        let begun = copied.begin().await.expect("it begins");
        copied.end().await.expect("it ends");
        begun.begins
    };
    assert_eq!(begins().await, 0);
    let mut copied = source(&cluster).await;
    let begun = copied.begin().await.expect("it begins");
    cluster.advance(Duration::from_secs(100 * 3_600));
    fill(&cluster, 1, 1).await;
    let expire = async || {
        let expired = broker.call(&DeleteExpiredCommitLog {}, b"").await;
        expired.expect("tried");
    };
    expire().await;
    let (bytes, next) = copied.log(0, 0, 4_096).await.expect("still there");
    assert!(!bytes.is_empty() && next > 0);
    // One at a time, as it is configured.
    let error = source(&cluster)
        .await
        .begin()
        .await
        .expect_err("one too many");
    assert_eq!(refusal(&error).kind(), ErrorKind::Busy, "{error}");
    // Nothing below is needed any more.
    let position = begun.position;
    copied
        .log(position, position, 4_096)
        .await
        .expect("the end");
    expire().await;
    copied.end().await.expect("it ends");
    assert!(begins().await > 0, "the oldest segments are gone");
    // A copy that has ended gives nothing.
    let error = copied
        .log(position, position, 1)
        .await
        .expect_err("it has ended");
    assert!(error.to_string().contains("begin another one"), "{error}");
    // Nor what it never had.
    copied.begin().await.expect("it begins");
    let error = copied.log(0, 0, 1).await.expect_err("it is gone");
    assert!(error.to_string().contains("outside of the copy"), "{error}");
    let error = copied.tables(7).await.expect_err("not the next");
    assert!(error.to_string().contains("not the next one"), "{error}");
    let (first, again) = (copied.tables(0).await, copied.tables(0).await);
    assert_eq!(first.expect("a chunk"), again.expect("the answer was lost"));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_to_be_copied_says_so() {
    use rmq_backup::Source;
    let cluster = TestCluster::builder()
        .brokers_with(|config| config.backups_max = 0)
        .start()
        .await;
    let error = source(&cluster).await.begin().await.expect_err("refused");
    assert_eq!(refusal(&error).kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("backupsMax"), "{error}");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_and_masters_continue_each_others_backups() {
    let cluster = small().replicas(1).fixed_roles().start().await;
    fill(&cluster, 0, 100).await;
    cluster.replicas_caught_up(0).await;
    let kept = Kept::new();
    let client = cluster.client().await;
    let of = |slot| Copied::new(&client, &cluster.member(0, slot).address());
    let first = kept.take(&mut of(1)).await.expect("of the replica");
    // With fixed roles replicas are numbered from 1, and the testing crate leaves one out.
    assert!(!first.manifest.from_master && first.manifest.member == 2);
    fill(&cluster, 1, 100).await;
    cluster.replicas_caught_up(0).await;
    let second = kept.take(&mut of(0)).await.expect("of the master");
    assert!(second.manifest.from_master && second.manifest.member == 0);
    assert_eq!(second.reused_bytes, first.manifest.position);
    let third = kept.take(&mut of(1)).await.expect("of the replica");
    assert!(
        third.reused_bytes >= second.manifest.position.min(third.manifest.position) - (20 << 10)
    );
    let backups = [first.manifest, second.manifest, third.manifest];
    kept.is_intact(&backups).await;
    let restored = kept.said_after_restore(&backups[1], "restored").await;
    let all = said(&cluster).await.below(backups[1].position);
    assert_eq!(restored.messages, all.messages);
    cluster.shutdown().await;
}
