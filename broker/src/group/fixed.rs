//! The lives of a replica with fixed roles: one follows the other when the replica takes a snapshot of its master.
//!
//! The rule: a store is replaced by a snapshot only when its log ends before the master's log begins, or has nothing at all. The master of a
//! group with fixed roles has all that was ever acknowledged, as far as anybody can know; what lies before the beginning of its log, the group
//! has expired. So the replica loses nothing that the group still keeps. A log that reaches into the master's, and is another one, is never
//! replaced: a person decides which of the two is right.

use std::sync::Arc;

use super::member::NeedsSnapshot;
use crate::lives::{Ending, Lives, NO_STORE, OpenAs, TAKES_SNAPSHOT};

/// First and longest pause before the next attempt, milliseconds; it doubles in between.
const PAUSE_MS: (i64, i64) = (1_000, 60_000);

/// Takes a snapshot whenever the replica needs one, until the broker ends. An attempt that fails leaves the store as it was or an empty one;
/// the replica serves what it has, and follows, until the next.
pub(crate) async fn drive(lives: Arc<Lives>) {
    let mut pause_ms = PAUSE_MS.0;
    while let Some(needed) = unless_over(&lives, needs_snapshot(&lives)).await {
        tracing::warn!(
            master = needed.master,
            end = needed.greeting.end.0,
            "the log of this replica ends before the master's begins: this replica takes a snapshot of the master, and clients wait meanwhile"
        );
        if let Err(error) = lives.end(Ending::Change).await {
            tracing::warn!("the store was not closed in order before it is replaced: {error}");
        }
        let installing = lives.install(&needed.master, needed.greeting);
        let installing = lives.away(TAKES_SNAPSHOT, unless_over(&lives, installing));
        let Some(installed) = installing.await else {
            return;
        };
        while let Err(error) = lives.begin(OpenAs::Follower).await {
            tracing::error!(
                "the store does not open after an attempt to take a snapshot: {error}; it is tried again in {} ms",
                PAUSE_MS.1
            );
            let pause = unless_over(&lives, sleep(&lives, PAUSE_MS.1));
            if lives.away(NO_STORE, pause).await.is_none() {
                return;
            }
        }
        match installed {
            Ok(installed) => {
                pause_ms = PAUSE_MS.0;
                tracing::info!(
                    position = installed.position.0,
                    begins = installed.begins.0,
                    "this replica has a snapshot of its master, and copies the log from its beginning; nobody reads from this replica until the log has come up to the snapshot"
                );
            }
            Err(reason) => {
                tracing::error!(
                    "this replica has no snapshot of its master: {reason}; it is tried again in {pause_ms} ms"
                );
                if unless_over(&lives, sleep(&lives, pause_ms)).await.is_none() {
                    return;
                }
                pause_ms = (2 * pause_ms).min(PAUSE_MS.1);
            }
        }
    }
}

async fn sleep(lives: &Lives, ms: i64) {
    lives.deps.connection_clock.sleep_ms(ms).await;
}

async fn needs_snapshot(lives: &Lives) -> NeedsSnapshot {
    let needed = match lives.broker() {
        Some(broker) => broker.member.needs_snapshot().await,
        None => None,
    };
    match needed {
        Some(needed) => needed,
        None => std::future::pending().await,
    }
}

/// `None`: the broker ends.
async fn unless_over<T>(lives: &Lives, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = lives.ends() => None,
        done = work => Some(done),
    }
}
