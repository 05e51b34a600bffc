//! Faults planted in a history: each must be found, wherever it lies, and a history without any must be clean.

use super::*;

const QUEUES: i32 = 3;
const PRODUCERS: u32 = 4;
const MESSAGES: u64 = 40;

/// Where everything lies: queue to (offset, key, body).
type Stored = BTreeMap<Place, Vec<(i64, Key, Vec<u8>)>>;

fn place(queue: i32) -> Place {
    Place::queue("a", queue)
}

fn body(key: Key) -> Vec<u8> {
    format!("body of {key}").into_bytes()
}

/// Producers take turns; every seventh message gets no answer (and every other of these was stored), every eleventh is refused.
fn run() -> (History, Stored) {
    let history = History::default();
    let mut stored = Stored::new();
    for number in 0..MESSAGES {
        for producer in 0..PRODUCERS {
            let key = Key { producer, number };
            let turn = number * u64::from(PRODUCERS) + u64::from(producer);
            let at = place(i32::try_from(turn % 3).unwrap());
            history.sending(key, &at, &body(key));
            let queue = stored.entry(at.clone()).or_default();
            let offset = i64::try_from(queue.len()).unwrap();
            match turn {
                _ if turn % 11 == 0 => history.refused(key),
                _ if turn % 7 == 0 && turn % 2 == 0 => {}
                _ => {
                    queue.push((offset, key, body(key)));
                    if turn % 7 != 0 {
                        history.acked(key, &at, offset);
                    }
                }
            }
        }
    }
    (history, stored)
}

fn note_reads(history: &History, stored: &Stored) {
    for (at, messages) in stored {
        for (offset, key, body) in messages {
            history.read(at, *offset, *key, body);
        }
    }
}

/// Reads `stored` and says that the queues have what `whole` has.
fn checked(history: &History, stored: &Stored, whole: &Stored) -> Vec<Violation> {
    history.forget_reads();
    note_reads(history, stored);
    for (at, messages) in whole {
        history.read_all_of(at, 0, i64::try_from(messages.len()).unwrap());
    }
    history.check().violations
}

fn is_acked(history: &History, key: Key) -> bool {
    history.notes(|notes| matches!(notes.sent[&key].outcome, Outcome::Acked { .. }))
}

fn every_message(stored: &Stored) -> Vec<(Place, usize)> {
    let all = stored
        .iter()
        .flat_map(|(at, messages)| (0..messages.len()).map(move |i| (at.clone(), i)));
    all.collect()
}

#[test]
fn without_a_fault_it_is_clean_and_counts() {
    let (history, stored) = run();
    note_reads(&history, &stored);
    let report = history.check();
    report.expect_clean();
    assert_eq!(
        u64::try_from(report.sent).unwrap(),
        MESSAGES * u64::from(PRODUCERS)
    );
    assert_eq!(report.acked, history.acked_count());
    assert_eq!(
        report.sent,
        report.acked + report.refused + report.unknown_stored + report.unknown_gone
    );
    assert_eq!(report.read, report.acked + report.unknown_stored);
    assert!(
        report.refused > 5 && report.unknown_stored > 5 && report.unknown_gone > 5,
        "{report}"
    );
    assert_eq!(stored.len(), QUEUES as usize);
    assert_eq!(checked(&history, &stored, &stored), []);
}

#[test]
fn a_lost_message_is_found_wherever_it_was() {
    let (history, stored) = run();
    for (at, i) in every_message(&stored) {
        // Gone with its offset: what follows moved up.
        let mut holed = stored.clone();
        let (_, key, _) = holed.get_mut(&at).unwrap().remove(i);
        let violations = checked(&history, &holed, &stored);
        let offset = i64::try_from(i).unwrap();
        assert!(violations.contains(&gap(&at, offset)), "{violations:?}");
        let lost = violations
            .iter()
            .any(|one| matches!(one, Violation::Lost { key: of, .. } if *of == key));
        assert_eq!(lost, is_acked(&history, key));

        // Gone, and the offsets closed up behind it.
        for (offset, message) in holed.get_mut(&at).unwrap().iter_mut().enumerate() {
            message.0 = i64::try_from(offset).unwrap();
        }
        let violations = checked(&history, &holed, &holed);
        let expected = |one: &Violation| match one {
            Violation::Lost { key: of, .. } => *of == key,
            Violation::Misplaced { found, .. } => found.0 == at && found.1 >= offset,
            _ => false,
        };
        let acked_behind = stored[&at][i..]
            .iter()
            .any(|(_, key, _)| is_acked(&history, *key));
        assert_eq!(!violations.is_empty(), acked_behind);
        assert!(violations.iter().all(expected), "{violations:?}");
    }
}

#[test]
fn a_cut_tail_is_found_when_something_acked_was_in_it() {
    let (history, stored) = run();
    for (at, i) in every_message(&stored) {
        let mut cut = stored.clone();
        let gone = cut.get_mut(&at).unwrap().split_off(i);
        let acked = gone
            .iter()
            .filter(|(_, key, _)| is_acked(&history, *key))
            .count();
        // The broker knows nothing of the tail either.
        let violations = checked(&history, &cut, &cut);
        assert_eq!(violations.len(), acked);
        assert!(
            violations
                .iter()
                .all(|one| matches!(one, Violation::Lost { .. })),
            "{violations:?}"
        );
    }
}

#[test]
fn a_whole_queue_that_is_gone_is_found() {
    let (history, stored) = run();
    let mut holed = stored.clone();
    let gone = holed.remove(&place(1)).unwrap();
    let violations = checked(&history, &holed, &stored);
    assert_eq!(
        violations
            .iter()
            .filter(|one| matches!(one, Violation::Gap { .. }))
            .count(),
        gone.len()
    );
    let acked = gone
        .iter()
        .filter(|(_, key, _)| is_acked(&history, *key))
        .count();
    assert_eq!(
        violations
            .iter()
            .filter(|one| matches!(one, Violation::Lost { .. }))
            .count(),
        acked
    );
}

#[test]
fn what_a_reader_had_may_not_vanish_or_change() {
    let (history, stored) = run();
    for (at, messages) in &stored {
        for (offset, key, body) in messages {
            history.delivered(at, *offset, *key, body);
        }
    }
    assert_eq!(history.delivered_count(), every_message(&stored).len());
    assert_eq!(checked(&history, &stored, &stored), []);
    for (at, i) in every_message(&stored) {
        let (offset, key, _) = stored[&at][i];
        let vanished = Violation::Vanished {
            key,
            at: at.clone(),
            offset,
        };
        let mut holed = stored.clone();
        holed.get_mut(&at).unwrap().remove(i);
        assert!(checked(&history, &holed, &stored).contains(&vanished));
        let mut changed = stored.clone();
        changed.get_mut(&at).unwrap()[i].2.push(b'!');
        assert!(checked(&history, &changed, &stored).contains(&vanished));
        // A tail that was never acked may go, unless a reader had it.
        let mut cut = stored.clone();
        cut.get_mut(&at).unwrap().truncate(i);
        assert!(checked(&history, &cut, &cut).contains(&vanished));
    }
}

#[test]
fn a_duplicate_is_found_in_the_same_queue_and_in_another() {
    let (history, stored) = run();
    for (at, i) in every_message(&stored) {
        for to in [at.clone(), place(0), place(2)] {
            let mut twice = stored.clone();
            let (_, key, body) = stored[&at][i].clone();
            let queue = twice.get_mut(&to).unwrap();
            let offset = i64::try_from(queue.len()).unwrap();
            queue.push((offset, key, body));
            let violations = checked(&history, &twice, &twice);
            let mut places = vec![(at.clone(), i64::try_from(i).unwrap()), (to, offset)];
            places.sort();
            assert!(
                violations.contains(&Violation::Duplicate { key, places }),
                "{violations:?}"
            );
        }
    }
}

#[test]
fn a_phantom_is_found() {
    let (history, stored) = run();
    let refused = Key {
        producer: 0,
        number: 0,
    };
    for key in [
        Key {
            producer: 99,
            number: 0,
        },
        Key {
            producer: 0,
            number: 999_999,
        },
        refused,
    ] {
        let mut more = stored.clone();
        let queue = more.get_mut(&place(0)).unwrap();
        let offset = i64::try_from(queue.len()).unwrap();
        queue.push((offset, key, body(key)));
        let violations = checked(&history, &more, &more);
        let at = place(0);
        assert!(
            violations.contains(&Violation::Phantom { key, at, offset }),
            "{violations:?}"
        );
    }
}

#[test]
fn a_changed_byte_is_found_wherever_it_is() {
    let (history, stored) = run();
    for (at, i) in every_message(&stored) {
        let mut changed = stored.clone();
        let (offset, key, body) = &mut changed.get_mut(&at).unwrap()[i];
        let byte = i % body.len();
        body[byte] ^= 1 << (i % 8);
        let (offset, key) = (*offset, *key);
        assert_eq!(
            checked(&history, &changed, &stored),
            [Violation::Altered { key, at, offset }]
        );
    }
}

#[test]
fn two_neighbours_that_changed_places_are_found() {
    let (history, stored) = run();
    for (at, i) in every_message(&stored) {
        if i + 1 == stored[&at].len() {
            continue;
        }
        let mut swapped = stored.clone();
        let queue = swapped.get_mut(&at).unwrap();
        queue.swap(i, i + 1);
        let (first, second) = (queue[i].0, queue[i + 1].0);
        (queue[i].0, queue[i + 1].0) = (second, first);
        let keys = [queue[i].1, queue[i + 1].1];
        let violations = checked(&history, &swapped, &stored);
        let acked = keys.iter().filter(|key| is_acked(&history, **key)).count();
        let misplaced = violations
            .iter()
            .filter(|one| matches!(one, Violation::Misplaced { .. }));
        assert_eq!(misplaced.count(), acked);
        assert_eq!(
            violations.is_empty(),
            acked == 0 && keys[0].producer != keys[1].producer,
            "{violations:?}"
        );
    }
}

#[test]
fn order_is_checked_without_the_help_of_acked_offsets() {
    // Within one producer, outcomes unknown.
    let history = History::default();
    let (first, second) = (
        Key {
            producer: 0,
            number: 1,
        },
        Key {
            producer: 0,
            number: 2,
        },
    );
    for key in [first, second] {
        history.sending(key, &place(0), b"");
    }
    history.read(&place(0), 0, second, b"");
    history.read(&place(0), 1, first, b"");
    let order = |earlier, later| Violation::Order {
        at: place(0),
        earlier,
        later,
    };
    assert_eq!(history.check().violations, [order(first, second)]);

    // Between producers: one was acked, as being elsewhere, before the other was sent.
    let history = History::default();
    let (first, second) = (
        Key {
            producer: 0,
            number: 0,
        },
        Key {
            producer: 1,
            number: 0,
        },
    );
    history.sending(first, &place(0), b"");
    history.acked(first, &place(0), 1);
    history.sending(second, &place(0), b"");
    history.acked(second, &place(0), 0);
    history.read(&place(0), 0, second, b"");
    history.read(&place(0), 1, first, b"");
    assert_eq!(history.check().violations, [order(first, second)]);

    // Sent at the same time, either order is good.
    let history = History::default();
    history.sending(first, &place(0), b"");
    history.sending(second, &place(0), b"");
    history.acked(first, &place(0), 1);
    history.acked(second, &place(0), 0);
    history.read(&place(0), 0, second, b"");
    history.read(&place(0), 1, first, b"");
    history.check().expect_clean();
}

#[test]
fn a_message_in_another_queue_is_found() {
    let history = History::default();
    let key = Key {
        producer: 0,
        number: 0,
    };
    history.sending(key, &place(0), b"");
    history.read(&place(1), 0, key, b"");
    let misplaced = |offset| Violation::Misplaced {
        key,
        expected: (place(0), offset),
        found: (place(1), 0),
    };
    assert_eq!(history.check().violations, [misplaced(None)]);
    history.acked(key, &place(0), 0);
    assert_eq!(history.check().violations, [misplaced(Some(0))]);
    // Acked where it was not sent to.
    history.acked(key, &place(1), 0);
    assert_eq!(history.check().violations.len(), 1);
}

#[test]
fn an_offset_given_twice_is_found_even_before_reading() {
    let history = History::default();
    for number in 0..2 {
        let key = Key {
            producer: 0,
            number,
        };
        history.sending(key, &place(0), b"");
        history.acked(key, &place(0), 7);
    }
    assert!(history.check().violations.contains(&Violation::AckedTwice {
        at: place(0),
        offset: 7
    }));
    for number in 0..2 {
        history.read(
            &place(0),
            7,
            Key {
                producer: 0,
                number,
            },
            b"",
        );
    }
    assert!(
        history
            .check()
            .violations
            .contains(&Violation::TwoAtOneOffset {
                at: place(0),
                offset: 7
            })
    );
}

#[test]
fn what_lies_outside_the_queue_is_found() {
    let history = History::default();
    let key = Key {
        producer: 0,
        number: 0,
    };
    history.sending(key, &place(0), b"");
    history.acked(key, &place(0), 5);
    history.read(&place(0), 5, key, b"");
    history.read_all_of(&place(0), 5, 6);
    history.check().expect_clean();
    history.read_all_of(&place(0), 5, 5);
    assert_eq!(
        history.check().violations,
        [Violation::OutOfBounds {
            at: place(0),
            offset: 5
        }]
    );
    history.read_all_of(&place(0), 4, 7);
    assert_eq!(
        history.check().violations,
        [gap(&place(0), 4), gap(&place(0), 6)]
    );
}

#[test]
fn a_test_that_contradicts_itself_is_told() {
    let history = History::default();
    let key = Key {
        producer: 0,
        number: 0,
    };
    history.sending(key, &place(0), b"");
    history.sending(key, &place(0), b"");
    history.refused(Key {
        producer: 5,
        number: 5,
    });
    let faults = history.check().violations;
    assert_eq!(faults.len(), 2);
    assert!(
        faults
            .iter()
            .all(|fault| matches!(fault, Violation::TestFault { .. }))
    );
}

#[test]
#[should_panic(expected = "Lost")]
fn a_violation_fails_the_test() {
    let history = History::default();
    let key = Key {
        producer: 0,
        number: 0,
    };
    history.sending(key, &place(0), b"");
    history.acked(key, &place(0), 0);
    history.check().expect_clean();
}

#[test]
fn keys_are_read_back_and_other_texts_are_not() {
    let key = Key {
        producer: 3,
        number: 17,
    };
    assert_eq!(key.to_string().parse(), Ok(key));
    for text in ["", "3", "3-", "-17", "a-b", "3-17-1"] {
        assert!(text.parse::<Key>().is_err(), "{text}");
    }
}
