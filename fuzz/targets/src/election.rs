//! Questions and answers of an election, and what its place holds: JSON of other members and of etcd or Kubernetes.

use std::fmt::Debug;

use rmq_election::machine::{Position, Question, Standing};
use rmq_election::place::{AckMode, Lease, Member, Policy, Record};
use rmq_protocol::{Incarnation, MemberId, Seat};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn documents(data: &[u8]) {
    is_read::<Question>(data);
    is_read::<Standing>(data);
    is_read::<Record>(data);
    is_read::<Lease>(data);
}

fn is_read<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(data) else {
        return false;
    };
    let json = serde_json::to_vec(&value).expect("plain data");
    let read = serde_json::from_slice::<T>(&json);
    let read = read.unwrap_or_else(|error| panic!("{value:?} is not read back: {error}"));
    assert_eq!(read, value);
    true
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let seat = Seat {
        member: MemberId(1),
        incarnation: Incarnation(7),
    };
    let member = Member {
        id: MemberId(1),
        replication: "h:10913".to_owned(),
        client: "h:10911".to_owned(),
    };
    let policy = Policy {
        ack_mode: AckMode::InSyncFlushed,
        min_in_sync: 2,
    };
    let mut record = Record::vacant(vec![member], policy);
    record.epoch = 5;
    record.master = Some(seat);
    record.in_sync = vec![seat];
    let standing = Standing {
        seat,
        epoch: 5,
        log: Position::default(),
        former: vec![Incarnation(3)],
        partial: false,
        promised: Some(5),
    };
    let lease = Lease {
        holder: None,
        renewals: 3,
        duration_ms: 5_000,
    };
    fn json(value: &impl Serialize) -> Vec<u8> {
        serde_json::to_vec(value).expect("plain data")
    }
    vec![
        json(&Question::Standing { from: seat }),
        json(&Question::Promise {
            from: seat,
            epoch: 5,
        }),
        json(&standing),
        json(&record),
        json(&lease),
    ]
}
