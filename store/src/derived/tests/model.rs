//! Random work against the naive model.

use proptest::prelude::*;

use super::rig::{Rig, Send, TABLES};
use crate::index::keys::KeyKind;
use crate::settings::Change;

#[derive(Clone, Debug)]
enum Step {
    Send {
        topic: usize,
        queue: i32,
        tag: usize,
        key: usize,
        body: usize,
        times: usize,
    },
    Put {
        key: usize,
        value: Option<u8>,
    },
    Flush,
    Seal,
    Maintain,
    Reopen {
        clean: bool,
    },
    Expire {
        kept: u64,
    },
    Delete {
        topic: usize,
    },
}

const TOPICS: [&str; 4] = ["alpha", "beta", "beta2", "%RETRY%g"];
const TAGS: [&str; 3] = ["", "TagA", "TagB"];
const KEYS: [&str; 4] = ["", "k1", "k2 k1", "k3"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..TOPICS.len(), 0..3i32, 0..TAGS.len(), 0..KEYS.len(), 0..300usize, 1..40usize)
            .prop_map(|(topic, queue, tag, key, body, times)| Step::Send { topic, queue, tag, key, body, times }),
        4 => (0..18usize, proptest::option::of(any::<u8>())).prop_map(|(key, value)| Step::Put { key, value }),
        3 => Just(Step::Flush),
        2 => Just(Step::Seal),
        3 => Just(Step::Maintain),
        2 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
        1 => (0..3u64).prop_map(|kept| Step::Expire { kept }),
        1 => (0..TOPICS.len()).prop_map(|topic| Step::Delete { topic }),
    ]
}

fn run(steps: &[Step]) {
    let mut rig = Rig::new(8 << 10, 2 << 10);
    for step in steps {
        match step {
            Step::Send {
                topic,
                queue,
                tag,
                key,
                body,
                times,
            } => {
                for i in 0..*times {
                    rig.now += (i % 3) as i64;
                    let unique_key = format!("U{}", rig.now % 17);
                    rig.send(&Send {
                        topic: TOPICS[*topic],
                        queue_id: *queue,
                        tag: TAGS[*tag],
                        keys: KEYS[*key],
                        unique_key: &unique_key,
                        body: *body,
                    });
                }
            }
            Step::Put { key, value } => rig.put(&[Change {
                table: TABLES[key % 3],
                key: format!("key{key}").into_bytes(),
                value: value.map(|value| vec![value].into()),
            }]),
            Step::Flush => rig.flush(),
            Step::Seal => drop(rig.dispatcher.seal().unwrap()),
            Step::Maintain => {
                rig.flush();
                rig.dispatcher.maybe_seal().unwrap();
            }
            Step::Reopen { clean } => rig.reopen(*clean, |_| {}).unwrap(),
            Step::Expire { kept } => rig.expire(*kept),
            Step::Delete { topic } => {
                rig.delete_topic(TOPICS[*topic]);
                rig.flush();
            }
        }
    }
    rig.flush();
    check(&rig);
    for clean in [false, true] {
        rig.reopen(clean, |_| {}).unwrap();
        check(&rig);
    }
}

fn check(rig: &Rig) {
    rig.check();
    for topic in TOPICS {
        for key in ["k1", "k2", "k3", "none"] {
            rig.check_key(topic, key, KeyKind::Key);
        }
        for unique in ["U0", "U5"] {
            rig.check_key(topic, unique, KeyKind::UniqueKey);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn index_and_tables_equal_the_log(steps in proptest::collection::vec(step(), 1..60)) {
        run(&steps);
    }
}
