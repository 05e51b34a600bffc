//! The record of the group is deleted from its place, as by accident.

use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{GroupWish, RequestGroupMaster};

use crate::rig::{Group, eventually};
use crate::support::{Client, Refused, remark};

async fn promote(client: &Client, member: usize) -> Result<(), Refused> {
    let request = RequestGroupMaster {
        kind: GroupWish::Promote,
        member: i64::try_from(member).expect("small"),
        accept_loss: true,
        request: "a person".into(),
    };
    let code = RequestCode::RequestGroupMaster;
    let answer = client.call(code, &request, &[]).await;
    match answer.code() {
        0 => Ok(()),
        code => Err(Refused {
            code,
            remark: remark(&answer),
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_begins_a_new_record_with_what_a_member_has() {
    let mut group = Group::start(3, |_| {}).await;
    group.send("before").await;
    let (master, to) = (group.master().await, group.replica().await);
    let epoch = group.record().await.expect("a record").epoch;
    group.memory.delete_record();
    let client = group.members[master].client();
    // Nobody serves without a record, and nobody makes one, also not after a start of all.
    eventually("the master has stopped", async || {
        let refused = crate::rig::try_send(&client, "without a record").await;
        refused.is_err()
    })
    .await;
    for member in &mut group.members {
        member.stop().await;
    }
    for member in &mut group.members {
        member.start().await;
    }
    assert_eq!(group.record().await, None);

    let other = promote(&group.members[master].client(), to).await;
    let other = other.expect_err("only the member itself");
    assert_eq!(other.code, ResponseCode::SystemError.as_i32());
    assert!(other.remark.contains("only member"), "{other:?}");
    assert_eq!(group.record().await, None);
    promote(&group.members[to].client(), to)
        .await
        .expect("written down");
    eventually("it leads", async || {
        let record = group.record().await;
        record.is_some_and(|record| record.master.map(|seat| seat.member) == Some(group.id(to)))
    })
    .await;
    group.in_sync(3).await;
    let record = group.record().await.expect("a record");
    assert!(record.epoch > epoch, "{record:?}");
    let outcome = record.outcome.expect("answered");
    assert_eq!(
        (outcome.request.as_str(), outcome.refused),
        ("a person", None)
    );
    group.send("after").await;
    assert_eq!(group.messages(to).await, ["before", "after"]);
    group.stop().await;
}
