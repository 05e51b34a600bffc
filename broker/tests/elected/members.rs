//! Members that come to a group and leave it, while it serves.

use rmq_config::Election;
use rmq_election::driver::{Wish, outcome, request};
use rmq_election::place::{self as places, Policy, Record, Swap};
use rmq_protocol::MemberId;

use crate::rig::{Group, eventually};

/// The slots that the record has: those that may take part, and those in sync.
async fn slots(group: &Group) -> (Vec<u64>, Vec<u64>) {
    let record = group.record().await.expect("a record");
    let of = |ids: &mut dyn Iterator<Item = MemberId>| ids.map(|id| id.0).collect();
    (
        of(&mut record.members.iter().map(|member| member.id)),
        of(&mut record.in_sync.iter().map(|seat| seat.member)),
    )
}

async fn switch_over(group: &Group, to: usize, number: &str) {
    let wish = Wish::Switchover { to: group.id(to) };
    eventually("it is asked for", async || {
        request(group.place(), wish, number).await.is_ok()
    })
    .await;
    eventually("it has taken over", async || {
        let outcome = outcome(group.place(), number).await.expect("a place");
        outcome.is_some_and(|outcome| outcome.refused.is_none())
    })
    .await;
}

/// Starts a member again, in sync.
async fn restart(group: &mut Group, member: usize, in_sync: usize) {
    group.members[member].stop().await;
    group.members[member].start().await;
    group.in_sync(in_sync).await;
}

/// As with etcd: every member has the list in its configuration.
#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_by_a_restart_of_each_with_the_new_list() {
    let mut group = Group::new(3, |_| {}).await;
    for member in 0..2 {
        group.knows(member, &[0, 1]);
        group.members[member].start().await;
    }
    group.in_sync(2).await;
    group.send("two members").await;

    // The new one has the new list, and waits until the master has it too.
    group.members[2].start().await;
    let (master, replica) = (group.master().await, group.replica().await);
    for member in [master, replica] {
        group.knows(member, &[0, 1, 2]);
    }
    group.members[replica].stop().await;
    group.members[replica].start().await;
    eventually("the replica is back in the set", async || {
        slots(&group).await.1.len() == 2
    })
    .await;
    assert_eq!(slots(&group).await.0, [0, 1], "the master has the old list");
    switch_over(&group, replica, "r1").await;
    eventually("the new master has written its list", async || {
        slots(&group).await.0 == [0, 1, 2]
    })
    .await;
    restart(&mut group, master, 3).await;
    group.send("three members").await;
    assert_eq!(slots(&group).await, (vec![0, 1, 2], vec![0, 1, 2]));

    // One leaves: it is stopped first. The others get the new list, the master last.
    let master = group.master().await;
    let leaves = (master + 1) % 3;
    let stays = (master + 2) % 3;
    let mut left = vec![master, stays];
    left.sort_unstable();
    group.members[leaves].stop().await;
    group.in_sync(2).await;
    for member in [master, stays] {
        group.knows(member, &left);
    }
    group.members[stays].stop().await;
    group.members[stays].start().await;
    let set: Vec<u64> = left.iter().map(|id| group.id(*id).0).collect();
    eventually("the replica is back in the set", async || {
        slots(&group).await.1 == set
    })
    .await;
    switch_over(&group, stays, "r2").await;
    eventually("the new master has written its list", async || {
        slots(&group).await.0 == set
    })
    .await;
    restart(&mut group, master, 2).await;
    // Who left and is started again by mistake gets nothing, and never leads.
    group.members[leaves].start().await;
    group.send("two again").await;
    let now = group.master().await;
    assert!(left.contains(&now));
    group.members[now].kill().await;
    let survivor = if now == master { stays } else { master };
    eventually("the other one leads", async || {
        group.master().await == survivor
    })
    .await;
    assert_eq!(
        group.messages(survivor).await,
        ["two members", "three members", "two again"]
    );
    assert_eq!(slots(&group).await.0, set);
    group.stop().await;
}

/// Changes the members in the record, as the operator does in the object.
async fn write_members(group: &Group, members: &[usize]) {
    eventually("the members are written", async || {
        let seen = group.place().read().await.expect("a place");
        let mut next = match &seen {
            Some(seen) => seen.value.clone(),
            None => {
                let policy = Policy {
                    ack_mode: places::AckMode::InSync,
                    min_in_sync: 2,
                };
                Record::vacant(Vec::new(), policy)
            }
        };
        next.members = members.iter().map(|id| group.member(*id)).collect();
        let expected = seen.map(|seen| seen.version);
        let swapped = group.place().compare_and_swap(expected, next).await;
        matches!(swapped, Ok(Swap::Won(_)))
    })
    .await;
}

/// As in Kubernetes: the record has the members, and no process starts again.
#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_with_the_record_and_nobody_starts_again() {
    let mut group = Group::new(3, |config| {
        config.election = Election::Kubernetes;
        config.election_namespace = "default".to_owned();
        config.election_name = "broker-a".to_owned();
    })
    .await;
    write_members(&group, &[0, 1]).await;
    for member in &mut group.members {
        member.start().await;
    }
    group.in_sync(2).await;
    group.send("two members").await;
    let epoch = group.record().await.expect("a record").epoch;
    assert_eq!(slots(&group).await, (vec![0, 1], vec![0, 1]));

    write_members(&group, &[0, 1, 2]).await;
    group.in_sync(3).await;
    group.send("three members").await;

    // A replica leaves: it is out of the set with the next change of the record, and copies no more.
    let leaves = group.replica().await;
    let left: Vec<usize> = (0..3).filter(|id| *id != leaves).collect();
    write_members(&group, &left).await;
    let set: Vec<u64> = left.iter().map(|id| group.id(*id).0).collect();
    eventually("it is out of the set", async || {
        slots(&group).await.1 == set
    })
    .await;
    group.send("two again").await;
    assert_eq!(group.record().await.expect("a record").epoch, epoch);
    let (master, third) = (group.master().await, group.replica().await);
    let other = if third == leaves {
        *left.iter().find(|id| **id != master).expect("another one")
    } else {
        third
    };
    group.members[master].kill().await;
    eventually("the other one leads", async || {
        group.master().await == other
    })
    .await;
    assert_eq!(
        group.messages(other).await,
        ["two members", "three members", "two again"]
    );
    group.stop().await;
}
