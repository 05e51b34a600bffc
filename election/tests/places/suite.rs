//! What every back end must do, with whatever it is made of.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use rmq_election::place::{
    AckMode, Change, Incarnation, Lease, MemberId, Place, PlaceError, Policy, Record, Seat, Swap,
    Version, Versioned,
};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: u64 = 8;

/// A back end to be tested; each test gets one of its own, which is empty.
pub(crate) trait BackEnd: Sync {
    /// A member's way to the place.
    fn way(&self) -> Arc<dyn Place>;

    /// A way that can be made bad.
    fn bad_way(&self) -> impl Future<Output = impl BadWay> + Send;

    /// Deletes the record, as a person could.
    fn delete_record(&self) -> impl Future<Output = ()> + Send;

    /// Deletes the lease.
    fn delete_lease(&self) -> impl Future<Output = ()> + Send;
}

/// How a way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    Good,
    /// Nothing gets through.
    Cut,
    /// Requests arrive, and their answers do not.
    WithoutAnswers,
}

/// A way that can be made bad.
pub(crate) trait BadWay {
    fn place(&self) -> Arc<dyn Place>;
    fn is_now(&self, is: Is);
}

pub(crate) fn seat(member: u64) -> Seat {
    Seat {
        member: MemberId(member),
        incarnation: Incarnation(u128::from(member) << 64 | 7),
    }
}

pub(crate) fn record(epoch: u64, master: u64) -> Record {
    let policy = Policy {
        ack_mode: AckMode::InSync,
        min_in_sync: 2,
    };
    Record {
        epoch,
        master: Some(seat(master)),
        in_sync: vec![seat(0), seat(1)],
        ..Record::vacant(Vec::new(), policy)
    }
}

pub(crate) fn lease(holder: Option<u64>, renewals: u64) -> Lease {
    Lease {
        holder: holder.map(seat),
        renewals,
        duration_ms: 5_000,
    }
}

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come in {PATIENCE:?}"))
}

pub(crate) async fn read(place: &Arc<dyn Place>) -> Option<Versioned<Record>> {
    soon("the record", place.read())
        .await
        .expect("the place answers")
}

async fn swap(place: &Arc<dyn Place>, expected: Option<Version>, next: Record) -> Swap<Record> {
    soon("a swap", place.compare_and_swap(expected, next))
        .await
        .expect("the place answers")
}

async fn swap_lease(place: &Arc<dyn Place>, expected: Option<Version>, next: Lease) -> Swap<Lease> {
    soon("a swap of the lease", place.swap_lease(expected, next))
        .await
        .expect("the place answers")
}

fn won<T: std::fmt::Debug>(swap: &Swap<T>) -> Option<Version> {
    match swap {
        Swap::Won(version) => Some(*version),
        Swap::Lost(_) => None,
    }
}

/// The record is made once, whoever tries; the others see who was first.
pub(crate) async fn of_many_that_begin_one_wins(back_end: &impl BackEnd) {
    assert_eq!(read(&back_end.way()).await, None);
    let tries = (0..WRITERS).map(|writer| async move {
        let place = back_end.way();
        swap(&place, None, record(1, writer)).await
    });
    let swaps = join_all(tries).await;
    let now = read(&back_end.way()).await.expect("a record");
    let winners: Vec<usize> = (0..swaps.len())
        .filter(|at| won(&swaps[*at]).is_some())
        .collect();
    let [winner] = winners[..] else {
        panic!("{swaps:?}");
    };
    assert_eq!(won(&swaps[winner]), Some(now.version));
    assert_eq!(now.value, record(1, winner as u64));
    // Where the record is made in two steps, as in Kubernetes, who loses may see the vacant one between them.
    let vacant = Record::vacant(Vec::new(), now.value.policy);
    for lost in swaps.iter().filter(|swap| won(swap).is_none()) {
        let Swap::Lost(Some(seen)) = lost else {
            panic!("{lost:?}");
        };
        let is_first_step = seen.version < now.version && seen.value == vacant;
        assert!(is_first_step || *seen == now, "{seen:?}, and then {now:?}");
    }
}

/// Writers that race lose no change of each other: each epoch has one master, and versions rise.
pub(crate) async fn swaps_that_race_lose_nothing(back_end: &impl BackEnd) {
    const CHANGES: u64 = 8;
    let place = back_end.way();
    swap(&place, None, record(0, 0)).await;
    let writers = (0..WRITERS).map(|writer| async move {
        let place = back_end.way();
        let mut won = Vec::new();
        let mut seen = read(&place).await.expect("a record");
        while won.len() < CHANGES as usize {
            let next = record(seen.value.epoch + 1, writer);
            let epoch = next.epoch;
            match swap(&place, Some(seen.version), next.clone()).await {
                Swap::Won(version) => {
                    assert!(version > seen.version, "{version} after {}", seen.version);
                    won.push((epoch, version));
                    seen = Versioned {
                        version,
                        value: next,
                    };
                }
                Swap::Lost(now) => {
                    let now = now.expect("nobody deletes it");
                    assert!(now.version > seen.version, "it lost to a newer one");
                    seen = now;
                }
            }
        }
        won
    });
    let won = join_all(writers).await.concat();
    let all: BTreeSet<(u64, Version)> = won.iter().copied().collect();
    let epochs: Vec<u64> = all.iter().map(|(epoch, _)| *epoch).collect();
    let expected: Vec<u64> = (1..=WRITERS * CHANGES).collect();
    assert_eq!(epochs, expected, "each epoch was won once");
    let versions: Vec<Version> = all.iter().map(|(_, version)| *version).collect();
    assert!(versions.is_sorted(), "{versions:?}");
    let now = read(&place).await.expect("a record");
    assert_eq!(Some(&now.version), versions.last());
    // A version that has passed never wins again.
    let (_, old) = won[0];
    assert_eq!(
        swap(&place, Some(old), record(99, 9)).await,
        Swap::Lost(Some(now.clone()))
    );
    assert_eq!(
        swap(&place, None, record(99, 9)).await,
        Swap::Lost(Some(now))
    );
}

/// The lease goes from one holder to the next, and does not disturb the record.
pub(crate) async fn the_lease_is_taken_renewed_and_released(back_end: &impl BackEnd) {
    let place = back_end.way();
    let made = won(&swap(&place, None, record(1, 0)).await).expect("the record is new");
    assert_eq!(soon("the lease", place.read_lease()).await, Ok(None));
    let takes = (0..WRITERS).map(|writer| async move {
        let place = back_end.way();
        won(&swap_lease(&place, None, lease(Some(writer), 0)).await)
    });
    let taken: Vec<Option<Version>> = join_all(takes).await;
    let holders: Vec<u64> = (0..WRITERS)
        .filter(|writer| taken[*writer as usize].is_some())
        .collect();
    let [holder] = holders[..] else {
        panic!("{taken:?}");
    };
    let mut version = taken[holder as usize].expect("it won");
    for renewals in 1..=3 {
        let renewed = swap_lease(&place, Some(version), lease(Some(holder), renewals)).await;
        let next = won(&renewed).expect("nobody else wants it");
        assert!(next > version);
        version = next;
    }
    let now = soon("the lease", place.read_lease())
        .await
        .expect("an answer");
    let held = Versioned {
        version,
        value: lease(Some(holder), 3),
    };
    assert_eq!(now, Some(held.clone()));
    // Released, and taken by another, of whom the old holder learns when it renews.
    let released = won(&swap_lease(&place, Some(version), lease(None, 4)).await).expect("its own");
    let other = holder + 1;
    let taken = swap_lease(&place, Some(released), lease(Some(other), 5)).await;
    let taken = won(&taken).expect("it is free");
    let late = swap_lease(&place, Some(released), lease(Some(holder), 5)).await;
    let held = Versioned {
        version: taken,
        value: lease(Some(other), 5),
    };
    assert_eq!(late, Swap::Lost(Some(held)));
    assert!(won(&swap(&place, Some(made), record(2, 0)).await).is_some());

    back_end.delete_lease().await;
    assert_eq!(soon("the lease", place.read_lease()).await, Ok(None));
    assert_eq!(
        swap_lease(&place, Some(taken), lease(Some(1), 0)).await,
        Swap::Lost(None)
    );
    let again = won(&swap_lease(&place, None, lease(Some(1), 0)).await).expect("it is new");
    assert!(again > taken, "versions rise over a deletion");
}

/// A watch begins with what is there, and ends up with the last state of both, with versions that rise.
pub(crate) async fn a_watch_sees_the_last_state(back_end: &impl BackEnd) {
    const CHANGES: u64 = 20;
    let place = back_end.way();
    swap(&place, None, record(0, 0)).await;
    let watcher = back_end.way();
    let mut changes = watcher.watch();
    let mut first = Vec::new();
    for _ in 0..2 {
        first.push(next(&mut changes).await);
    }
    assert!(first.contains(&Change::Lease(None)), "{first:?}");
    let began = read(&place).await;
    assert!(first.contains(&Change::Record(began)), "{first:?}");

    let records = async {
        for epoch in 1..=CHANGES {
            let seen = read(&place).await.expect("a record");
            assert!(won(&swap(&place, Some(seen.version), record(epoch, 0)).await).is_some());
        }
    };
    let leases = async {
        let mut version = None;
        for renewals in 0..=CHANGES {
            let renewed = swap_lease(&place, version, lease(Some(0), renewals)).await;
            version = Some(won(&renewed).expect("nobody else wants it"));
        }
    };
    let watched = async {
        let (mut record, mut lease) = (None, None);
        let is_last = |record: &Option<Versioned<Record>>, lease: &Option<Versioned<Lease>>| {
            record
                .as_ref()
                .is_some_and(|record| record.value.epoch == CHANGES)
                && lease
                    .as_ref()
                    .is_some_and(|lease| lease.value.renewals == CHANGES)
        };
        while !is_last(&record, &lease) {
            match next(&mut changes).await {
                Change::Record(now) => {
                    assert!(
                        version_of(&now) > version_of(&record),
                        "{now:?} after {record:?}"
                    );
                    record = now;
                }
                Change::Lease(now) => {
                    assert!(
                        version_of(&now) > version_of(&lease),
                        "{now:?} after {lease:?}"
                    );
                    lease = now;
                }
            }
        }
    };
    tokio::join!(records, leases, watched);

    back_end.delete_record().await;
    assert_eq!(next(&mut changes).await, Change::Record(None));
    back_end.delete_lease().await;
    assert_eq!(next(&mut changes).await, Change::Lease(None));
}

fn version_of<T>(of: &Option<Versioned<T>>) -> Option<Version> {
    of.as_ref().map(|of| of.version)
}

pub(crate) async fn next(
    changes: &mut (impl Stream<Item = Result<Change, PlaceError>> + Unpin),
) -> Change {
    soon("a change", changes.next())
        .await
        .expect("the watch continues")
        .expect("a change and no error")
}

/// A record that was deleted is not changed by those who knew it, and a new one has a newer version.
pub(crate) async fn a_deleted_record_is_no_record(back_end: &impl BackEnd) {
    let place = back_end.way();
    let made = won(&swap(&place, None, record(5, 0)).await).expect("the record is new");
    back_end.delete_record().await;
    assert_eq!(read(&place).await, None);
    assert_eq!(
        swap(&place, Some(made), record(6, 0)).await,
        Swap::Lost(None)
    );
    let again = won(&swap(&place, None, record(1, 1)).await).expect("the record is new");
    assert!(again > made, "{again} after {made}");
    assert_eq!(swap(&place, Some(made), record(6, 0)).await, {
        let now = Versioned {
            version: again,
            value: record(1, 1),
        };
        Swap::Lost(Some(now))
    });
}

/// A swap whose answer is lost is said to be unknown, has taken place, and took place once.
pub(crate) async fn a_swap_without_its_answer_is_unknown(back_end: &impl BackEnd) {
    let good = back_end.way();
    let made = won(&swap(&good, None, record(1, 0)).await).expect("the record is new");
    let bad = back_end.bad_way().await;
    let place = bad.place();
    assert_eq!(read(&place).await, read(&good).await);

    let watcher = back_end.way();
    let mut changes = watcher.watch();
    while !matches!(next(&mut changes).await, Change::Record(Some(_))) {}
    bad.is_now(Is::WithoutAnswers);
    let swapped = soon(
        "an answer",
        place.compare_and_swap(Some(made), record(2, 1)),
    )
    .await;
    assert!(
        matches!(swapped, Err(PlaceError::Unknown { .. })),
        "{swapped:?}"
    );
    // The request is on its way when the answer is given up.
    let seen = loop {
        if let Change::Record(record) = next(&mut changes).await {
            break record.expect("nobody deletes it");
        }
    };
    assert_eq!(seen.value, record(2, 1));
    assert_eq!(read(&good).await, Some(seen.clone()));
    let taken = soon("an answer", place.swap_lease(None, lease(Some(1), 0))).await;
    assert!(
        matches!(taken, Err(PlaceError::Unknown { .. })),
        "{taken:?}"
    );

    bad.is_now(Is::Good);
    assert_eq!(
        read(&place).await,
        Some(seen.clone()),
        "once, and not again"
    );
    assert!(won(&swap(&place, Some(seen.version), record(3, 1)).await).is_some());
}

/// A member that is cut off learns so, changes nothing, and continues when the way is good again.
pub(crate) async fn a_member_that_is_cut_off_learns_so(back_end: &impl BackEnd) {
    let good = back_end.way();
    let made = won(&swap(&good, None, record(1, 0)).await).expect("the record is new");
    let bad = back_end.bad_way().await;
    let place = bad.place();
    let mut changes = place.watch();
    for _ in 0..2 {
        next(&mut changes).await;
    }

    bad.is_now(Is::Cut);
    let error = soon("an answer", place.read()).await.unwrap_err();
    assert!(matches!(error, PlaceError::Failed { .. }), "{error}");
    assert!(
        soon(
            "an answer",
            place.compare_and_swap(Some(made), record(2, 1))
        )
        .await
        .is_err()
    );
    assert!(
        soon("an answer", place.swap_lease(None, lease(Some(1), 0)))
            .await
            .is_err()
    );
    let ended = soon("the end of the watch", async {
        while let Some(Ok(_)) = changes.next().await {}
        changes.next().await.is_none()
    });
    assert!(ended.await, "a watch is over after its error");
    drop(changes);
    assert_eq!(read(&good).await.map(|read| read.version), Some(made));

    bad.is_now(Is::Good);
    let mut changes = place.watch();
    while next(&mut changes).await != Change::Record(read(&good).await) {}
    assert!(won(&swap(&place, Some(made), record(2, 1)).await).is_some());
    let is_last =
        |change: &Change| matches!(change, Change::Record(Some(record)) if record.value.epoch == 2);
    while !is_last(&next(&mut changes).await) {}
}
