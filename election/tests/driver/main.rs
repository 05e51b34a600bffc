//! Drivers of whole groups over a place in memory, on tokio's paused clock.

mod group;

use std::time::Duration;

use group::{Group, LAST};
use rmq_election::driver::{Handle, RequestError, Wish, begin_again, outcome, request};
use rmq_election::machine::{FenceReason, Finding, State};
use rmq_election::place::{AckMode, MemberId, Phase, Reason};

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_starts_with_one_master_and_all_in_the_set() {
    let group = Group::new(3, AckMode::InSync);
    let master = group.start_all().await;
    assert_eq!(master, 0, "all logs are empty, so the lowest slot");
    assert!(group.send(0, 1));
    for id in 0..3 {
        assert_eq!(group.with(id, |node| node.log.clone()), [1], "member {id}");
    }
    let states = [1, 2].map(|id| group.state(id));
    assert_eq!(states, [Some(State::InSync); 2]);
}

#[tokio::test(start_paused = true)]
async fn the_first_master_is_the_member_that_has_messages() {
    let group = Group::new(2, AckMode::InSync);
    group.with(1, |node| node.log = vec![7, 8]);
    assert_eq!(group.start_all().await, 1);
    assert_eq!(group.with(0, |node| node.log.clone()), [7, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_killed_master_is_replaced_in_seconds_and_nothing_is_lost() {
    for is_told in [false, true] {
        let group = Group::new(3, AckMode::InSync);
        let old = group.start_all().await;
        assert!(group.send(old, 1));
        let epoch = group.record(old).expect("a record").epoch;
        group.kill(old);
        if is_told {
            for id in 1..3 {
                let handle = group.with(id, |node| node.handle.clone()).expect("it runs");
                handle.master_gone(epoch).await;
            }
        }
        let limit = if is_told { 2_000 } else { 8_000 };
        let took = group
            .until(limit, "another master", |group| group.master().is_some())
            .await;
        assert!(
            is_told || took > 3_000,
            "the lease was not waited for: {took} ms"
        );
        let new = group.master().expect("a master");
        assert!(group.send(new, 2));
        assert_eq!(group.with(new, |node| node.log.clone()), [1, 2]);
        // The old one comes back as a replica and enters the set.
        group.start(old, false);
        group
            .until(3_000, "the old one in sync", |group| {
                group.state(old) == Some(State::InSync)
            })
            .await;
        assert_eq!(group.with(old, |node| node.log.clone()), [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_master_that_stops_hands_its_lease_over() {
    let group = Group::new(2, AckMode::InSync);
    let old = group.start_all().await;
    assert!(group.send(old, 1));
    let handle = group
        .with(old, |node| node.handle.clone())
        .expect("it runs");
    handle.stop().await;
    group.kill(old);
    let took = group
        .until(3_000, "another master", |group| group.master().is_some())
        .await;
    assert!(took < 2_000, "{took} ms");
    assert_eq!(
        group.with(old, |node| node.fenced.clone()),
        [FenceReason::Stopping]
    );
}

#[tokio::test(start_paused = true)]
async fn a_switchover_closes_the_writes_for_less_than_a_second() {
    let group = Group::new(3, AckMode::InSync);
    let old = group.start_all().await;
    assert!(group.send(old, 1));
    let place = &*group.ways[0];
    let wish = Wish::Switchover { to: MemberId(2) };
    request(place, wish, "r1").await.expect("written");
    group
        .until(2_000, "writes closed", |group| group.master() != Some(old))
        .await;
    let gap = group
        .until(1_000, "the target is master", |group| {
            group.master() == Some(2)
        })
        .await;
    assert!(gap < 500, "{gap} ms");
    let outcome = outcome(place, "r1").await.expect("read").expect("answered");
    assert_eq!(outcome.refused, None);
    assert_eq!(group.with(2, |node| node.log.clone()), [1, LAST]);
    assert!(group.send(2, 2));
    group
        .until(3_000, "the old one in sync", |group| {
            group.state(old) == Some(State::InSync)
        })
        .await;
    let record = group.record(2).expect("a record");
    let reasons: Vec<Reason> = record.history.iter().map(|term| term.reason).collect();
    assert_eq!(reasons, [Reason::First, Reason::Switchover]);
}

#[tokio::test(start_paused = true)]
async fn a_switchover_is_taken_back_when_the_target_does_not_come() {
    let group = Group::new(2, AckMode::InSync);
    let master = group.start_all().await;
    let epoch = group.record(master).expect("a record").epoch;
    // The target copies all, and does not see the place.
    group.ways[1].hold(true);
    let place = &*group.ways[0];
    let wish = Wish::Switchover { to: MemberId(1) };
    request(place, wish, "r2").await.expect("written");
    group
        .until(2_000, "writes closed", |group| group.master().is_none())
        .await;
    group
        .until(6_000, "writes open again", |group| {
            group.master() == Some(0)
        })
        .await;
    assert!(group.send(0, 1));
    let outcome = outcome(place, "r2").await.expect("read").expect("answered");
    assert!(outcome.refused.is_some(), "{outcome:?}");
    let record = group.record(0).expect("a record");
    assert_eq!((record.epoch, record.phase), (epoch, Phase::Stable));
}

#[tokio::test(start_paused = true)]
async fn without_the_place_a_master_serves_while_all_promise_to_wait() {
    let group = Group::new(3, AckMode::InSync);
    let master = group.start_all().await;
    for way in &group.ways {
        way.cut_off(true);
    }
    for value in 0..60 {
        pass(1_000).await;
        assert!(group.send(master, value), "second {value}");
    }
    let is_failsafe = |finding: &Finding| matches!(finding, Finding::Failsafe { .. });
    assert!(group.with(master, |node| node.told.iter().any(is_failsafe)));
    // One of them is not reached any more.
    group.with(2, |node| node.is_cut = true);
    group
        .until(6_000, "fenced", |group| group.master().is_none())
        .await;
    assert_eq!(
        group.with(master, |node| node.fenced.clone()),
        [FenceReason::TimeIsUp]
    );
    for way in &group.ways {
        way.cut_off(false);
    }
    group.with(2, |node| node.is_cut = false);
    group
        .until(10_000, "a master again", |group| group.master().is_some())
        .await;
    let again = group.master().expect("a master");
    let log = group.with(again, |node| node.log.clone());
    assert_eq!(log, (0..60).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_acknowledges_nothing_when_it_continues() {
    let group = Group::new(2, AckMode::Memory);
    let master = group.start_all().await;
    assert!(group.send(master, 1));
    group.freeze(master, 60_000);
    assert!(
        !group.send(master, 2),
        "before the driver has looked at the clock"
    );
    group
        .until(3_000, "fenced", |group| {
            group.with(master, |node| !node.fenced.is_empty())
        })
        .await;
    assert_eq!(
        group.with(master, |node| node.fenced.clone()),
        [FenceReason::TimeIsUp]
    );
}

/// How long it takes until the set has so many members, milliseconds.
async fn until_in_set(group: &Group, master: u64, members: usize) -> u64 {
    let is_so = |group: &Group| {
        let record = group.record(master);
        record.is_some_and(|record| record.in_sync.len() == members)
    };
    group.until(5_000, "the set changes", is_so).await
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_process_has_ended_leaves_the_set_soon() {
    let group = Group::with_minimum(3, AckMode::InSync, 2);
    let timings = group.timings;
    let master = group.start_all().await;
    let (gone, other) = ((master + 1) % 3, (master + 2) % 3);
    group.kill(gone);
    assert!(!group.send(master, 1), "it is in the set");
    pass(timings.reconnect_limit_ms / 2).await;
    let in_sync = group.record(master).map(|record| record.in_sync.len());
    assert_eq!(in_sync, Some(3), "it may connect again");
    // Nobody tells this master: it sees it with its next look.
    let took = until_in_set(&group, master, 2).await;
    let limit = timings.retry_ms + timings.reconnect_limit_ms;
    assert!(took <= limit, "{took} ms");
    assert!(group.send(master, 2));
    // Without the other one writes end, so it has the longer time.
    group.kill(other);
    let took = until_in_set(&group, master, 1).await;
    assert!(took >= timings.silent_limit_ms, "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_connects_again_in_time_stays_in_the_set() {
    let group = Group::new(2, AckMode::InSync);
    let master = group.start_all().await;
    let replica = 1 - master;
    let before = group.record(master).map(|record| record.in_sync);
    // A blip: the connection is closed, and the process lives.
    let follows = group.with(replica, |node| {
        node.is_closed = true;
        node.follows.take()
    });
    group
        .until(2_000, "the master sees it", |group| {
            let facts = group.with(master, |node| node.handle.as_ref().map(Handle::facts));
            facts.is_some_and(|facts| facts.members.iter().all(|member| !member.connected))
        })
        .await;
    pass(group.timings.reconnect_limit_ms / 2).await;
    group.with(replica, |node| {
        node.is_closed = false;
        node.follows = follows;
    });
    pass(5_000).await;
    assert_eq!(group.record(master).map(|record| record.in_sync), before);
    assert!(group.send(master, 1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_replica_leaves_the_set_and_comes_back() {
    let group = Group::new(2, AckMode::InSync);
    let master = group.start_all().await;
    group.with(1, |node| node.is_cut = true);
    assert!(!group.send(master, 1), "it is in the set");
    let took = until_in_set(&group, master, 1).await;
    assert!(took >= group.timings.silent_limit_ms, "{took} ms");
    assert!(group.send(master, 2));
    group.with(1, |node| node.is_cut = false);
    group
        .until(3_000, "in the set", |group| {
            group.state(1) == Some(State::InSync)
        })
        .await;
    assert_eq!(group.with(1, |node| node.log.clone()), [1, 2]);
}

/// What was stored with enough members in the set is acknowledged when enough have it, and not by the master alone.
#[tokio::test(start_paused = true)]
async fn below_the_minimum_the_master_alone_confirms_nothing() {
    let group = Group::with_minimum(3, AckMode::InSync, 2);
    let master = group.start_all().await;
    let others = [(master + 1) % 3, (master + 2) % 3];
    for other in others {
        group.with(other, |node| node.is_cut = true);
    }
    assert!(!group.send(master, 1), "they are in the set");
    until_in_set(&group, master, 1).await;
    pass(5_000).await;
    assert_eq!(group.master(), None, "writes are closed");
    assert!(!group.has_confirmed_all(master));
    group.with(others[1], |node| node.is_cut = false);
    until_in_set(&group, master, 2).await;
    group
        .until(1_000, "writes are open", |group| {
            group.master() == Some(master)
        })
        .await;
    assert!(group.has_confirmed_all(master));
    assert!(group.send(master, 2));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_lost_its_end_is_no_master_unless_all_have() {
    let group = Group::new(2, AckMode::InSync);
    let old = group.start_all().await;
    assert!(group.send(old, 1) && group.send(old, 2));
    group.kill(0);
    group.kill(1);
    // The power was away: member 1 has less than member 0, and member 0 is not back.
    group.with(1, |node| node.log = vec![1]);
    group.start(1, true);
    pass(20_000).await;
    assert_eq!(group.master(), None);
    group.start(0, true);
    group
        .until(12_000, "a master", |group| group.master().is_some())
        .await;
    assert_eq!(group.master(), Some(0), "the longest log");
    let told = group.with(0, |node| node.told.clone());
    let is_loss = |finding: &Finding| matches!(finding, Finding::DataLossPossible { .. });
    assert!(told.iter().any(is_loss), "{told:?}");
    group
        .until(3_000, "in the set", |group| {
            group.state(1) == Some(State::InSync)
        })
        .await;
    assert_eq!(group.with(1, |node| node.log.clone()), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_person_may_promote_a_member_that_lacks_messages() {
    let group = Group::new(2, AckMode::InSync);
    let old = group.start_all().await;
    group.kill(1);
    group
        .until(5_000, "out of the set", |group| group.send(old, 1))
        .await;
    group.kill(0);
    group.start(1, false);
    pass(20_000).await;
    assert_eq!(group.master(), None, "it is not in the set");
    let place = &*group.ways[1];
    let refuses = Wish::Promote {
        to: MemberId(1),
        accept_loss: false,
    };
    request(place, refuses, "r3")
        .await
        .expect_err("the loss was not accepted");
    let accepts = Wish::Promote {
        to: MemberId(1),
        accept_loss: true,
    };
    request(place, accepts, "r3").await.expect("written");
    group
        .until(8_000, "a master", |group| group.master() == Some(1))
        .await;
    let outcome = outcome(place, "r3").await.expect("read").expect("answered");
    assert_eq!(outcome.refused, None);
    let record = group.record(1).expect("a record");
    assert_eq!(
        record.history.last().map(|term| term.reason),
        Some(Reason::Unclean)
    );
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_late_swaps_change_nothing() {
    let group = Group::new(2, AckMode::InSync);
    let master = group.start_all().await;
    group.kill(1);
    group.ways[0].lose_answers(3);
    group
        .until(8_000, "out of the set", |group| group.send(master, 1))
        .await;
    group.ways[0].delay_requests(2);
    group.start(1, false);
    pass(4_000).await;
    let _ = group.ways[0].deliver();
    group
        .until(6_000, "in the set", |group| {
            group.state(1) == Some(State::InSync)
        })
        .await;
    assert!(group.master() == Some(master) && group.send(master, 2));
    assert_eq!(group.with(1, |node| node.log.last().copied()), Some(2));
}

/// With the record the in-sync set is lost: only a person makes a new one.
#[tokio::test(start_paused = true)]
async fn a_record_that_was_deleted_is_begun_again_by_a_person_alone() {
    for starts_again in [false, true] {
        let group = Group::new(3, AckMode::InSync);
        let old = group.start_all().await;
        assert!(group.send(old, 1));
        let before = group.record(old).expect("a record").epoch;
        // The member that is chosen lacks what the others have.
        group.with(2, |node| node.is_stuck = true);
        let limit = group.timings.lag_limit_ms + 5_000;
        assert!(!group.send(old, 2));
        group
            .until(limit, "it is out of the set", |group| {
                group
                    .record(old)
                    .is_some_and(|record| record.in_sync.len() == 2)
            })
            .await;
        group.memory.delete_record();
        group
            .until(2_000, "the master stops", |group| group.master().is_none())
            .await;
        group.with(2, |node| node.is_stuck = false);
        if starts_again {
            for id in 0..3 {
                group.kill(id);
                group.start(id, false);
            }
        }
        pass(20_000).await;
        assert_eq!(group.master(), None, "nobody knows who has everything");
        let place = &*group.ways[2];
        let wish = Wish::Promote {
            to: MemberId(2),
            accept_loss: true,
        };
        let refused = request(place, wish, "r1").await.expect_err("no record");
        assert_eq!(refused, RequestError::NoRecord);
        begin_again(place, &group.configured(), MemberId(2), "r1")
            .await
            .expect("written");
        group
            .until(10_000, "the member is master", |group| {
                group.master() == Some(2)
            })
            .await;
        group
            .until(10_000, "the others follow it", |group| {
                [0, 1]
                    .iter()
                    .all(|id| group.state(*id) == Some(State::InSync))
            })
            .await;
        let record = group.record(2).expect("a record");
        // Far from any epoch that somebody may have claimed meanwhile.
        assert!(record.epoch > before + 100, "{record:?}");
        assert_eq!(record.history.len(), 1);
        assert_eq!(record.history[0].reason, Reason::Unclean);
        let outcome = outcome(place, "r1").await.expect("read").expect("answered");
        assert_eq!(outcome.refused, None);
        assert!(group.send(2, 3));
        for id in 0..3 {
            assert_eq!(
                group.with(id, |node| node.log.clone()),
                [1, 3],
                "member {id}"
            );
        }
        let told = group.with(2, |node| node.told.clone());
        let has_told = |finding: &Finding| matches!(finding, Finding::DataLossPossible { .. });
        assert!(told.iter().any(has_told), "{told:?}");
    }
}

/// The member that a person chooses has lost its disk with the record: it knows no epoch, and yet uses none again.
#[tokio::test(start_paused = true)]
async fn a_member_without_data_begins_a_deleted_record_again_far_from_the_old_epochs() {
    let group = Group::new(3, AckMode::InSync);
    let old = group.start_all().await;
    assert!(group.send(old, 1));
    let before = group.record(old).expect("a record").epoch;
    let empty = (old + 1) % 3;
    group.kill(empty);
    group.memory.delete_record();
    group
        .until(2_000, "the master stops", |group| group.master().is_none())
        .await;
    group.with(empty, |node| {
        node.disk = None;
        node.log.clear();
    });
    group.start(empty, false);
    // It takes the group for a new one and makes a record, but the others have messages and know a master.
    pass(20_000).await;
    assert_eq!(group.master(), None);
    let place = &*group.ways[0];
    let wish = Wish::Promote {
        to: MemberId(empty),
        accept_loss: true,
    };
    request(place, wish, "r1").await.expect("written");
    group
        .until(20_000, "the member is master", |group| {
            group.master() == Some(empty)
        })
        .await;
    let record = group.record(empty).expect("a record");
    assert!(record.epoch > before + 100, "{record:?}");
    assert_eq!(record.history[0].reason, Reason::Unclean);
    let outcome = outcome(place, "r1").await.expect("read").expect("answered");
    assert_eq!(outcome.refused, None);
    group
        .until(10_000, "the others follow it", |group| {
            (0..3).all(|id| id == empty || group.state(id) == Some(State::InSync))
        })
        .await;
    assert!(group.send(empty, 2));
}

/// It copies all that is new, and neither enters the set nor leads before it has what the group keeps.
#[tokio::test(start_paused = true)]
async fn a_partial_member_never_leads() {
    let group = Group::new(3, AckMode::InSync);
    group.with(2, |node| node.is_partial = true);
    for id in 0..3 {
        group.start(id, false);
    }
    let in_sync = |group: &Group| {
        let record = group.record(0)?;
        Some(record.in_sync.iter().map(|seat| seat.member.0).collect())
    };
    let others = || Some(vec![0_u64, 1]);
    group
        .until(10_000, "the others are in the set", |group| {
            in_sync(group) == others()
        })
        .await;
    let master = group.master().expect("a master");
    assert!(group.send(master, 1));
    pass(20_000).await;
    assert_eq!(group.with(2, |node| node.log.clone()), [1]);
    assert_eq!(in_sync(&group), others());
    for id in [0, 1] {
        group.kill(id);
    }
    pass(60_000).await;
    assert_eq!(group.master(), None, "the others are waited for");
    for id in [0, 1] {
        group.start(id, false);
    }
    group
        .until(10_000, "one of the others leads", |group| {
            group.master().is_some_and(|master| master != 2)
        })
        .await;
    group.with(2, |node| node.is_partial = false);
    group
        .until(10_000, "it is whole and enters", |group| {
            in_sync(group) == Some(vec![0, 1, 2])
        })
        .await;
}
