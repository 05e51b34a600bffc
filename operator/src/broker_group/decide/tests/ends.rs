//! Situations of a group whose object is deleted.

use jiff::SignedDuration;

use super::*;
use crate::broker_group::backlog::Backlog;
use crate::broker_group::observed::{Closing, End};

/// What the broker of a deleted group said.
fn closing(observed: &mut Observed<'_>, closing: Closing) {
    observed.end = Some(End {
        closing: Some(Ok(closing)),
        ..End::default()
    });
}

fn backlog(messages: i64) -> Backlog {
    Backlog {
        messages,
        groups: vec![format!("billing ({messages})")],
    }
}

#[test]
fn how_a_group_ends() {
    let first = |object: &mut BrokerGroup| deleted(object, None);
    let drains = |object: &mut BrokerGroup| deleted(object, Some(10));
    let long = |object: &mut BrokerGroup| deleted(object, Some(60));
    let over = |object: &mut BrokerGroup| deleted(object, Some(3_600));
    check([
        row(
            "another finalizer holds the object",
            |object| {
                deleted(object, None);
                object.metadata.finalizers = None;
            },
            nothing_else,
        ),
        Row {
            step: Step::Release,
            events: &["DrainSkipped"],
            ..row("its NameServer object is gone", first, |observed| {
                observed.name_server = None;
            })
        },
        Row {
            step: Step::Release,
            events: &["DrainSkipped"],
            ..row(
                "a person says so",
                |object| {
                    deleted(object, Some(10));
                    let skip = (annotations::SKIP_DRAIN.to_owned(), "true".to_owned());
                    object.metadata.annotations = Some([skip].into());
                },
                nothing_else,
            )
        },
        Row {
            step: Step::Release,
            events: &["DrainSkipped"],
            ..row("its namespace goes", first, |observed| {
                observed.end = Some(End {
                    namespace_ends: true,
                    ..End::default()
                });
            })
        },
        Row {
            step: Step::Release,
            events: &["DrainSkipped"],
            ..row(
                "it never served",
                |object| {
                    deleted(object, None);
                    status(object).ever_served = Some(false);
                },
                |observed| {
                    observed.members[0].was_ready = false;
                    observed.end = Some(End::default());
                },
            )
        },
        Row {
            step: Step::Close { refuse: false },
            reason: "Draining",
            events: &["DrainStarted"],
            ..row(
                "it never was ready, but a name server shows it",
                |object| {
                    deleted(object, None);
                    status(object).ever_served = Some(false);
                },
                |observed| {
                    observed.members[0].was_ready = false;
                    closing(observed, Closing::default());
                    let end = observed.end.as_mut().expect("an end");
                    end.is_shown = true;
                },
            )
        },
        Row {
            step: Step::Close { refuse: false },
            reason: "Draining",
            events: &["DrainStarted"],
            ..row(
                "the drain begins, in the middle of a restart",
                |object| {
                    restarts(object, RolloutStep::Quiescing);
                    deleted(object, None);
                },
                |observed| closing(observed, Closing::default()),
            )
        },
        Row {
            step: Step::Close { refuse: true },
            reason: "Draining",
            ..row("producers have left", drains, |observed| {
                closing(
                    observed,
                    Closing {
                        quiet: Some(SignedDuration::from_secs(5)),
                        ..Closing::default()
                    },
                );
            })
        },
        Row {
            step: Step::Close { refuse: true },
            reason: "Draining",
            ..row("producers had time to leave", long, |observed| {
                closing(observed, Closing::default());
            })
        },
        Row {
            step: Step::Close { refuse: false },
            reason: "Draining",
            ..row(
                "a name server still lets producers write",
                drains,
                |observed| {
                    closing(
                        observed,
                        Closing {
                            refuses: true,
                            open: Some("name server ns-1:9876 does not answer".to_owned()),
                            ..Closing::default()
                        },
                    );
                },
            )
        },
        Row {
            step: Step::Close { refuse: false },
            reason: "Draining",
            ..row("messages are left", drains, |observed| {
                closing(
                    observed,
                    Closing {
                        refuses: true,
                        quiet: Some(SignedDuration::from_secs(9)),
                        left: backlog(7),
                        ..Closing::default()
                    },
                );
            })
        },
        Row {
            step: Step::Release,
            events: &["Drained"],
            ..row("it is closed and empty", drains, |observed| {
                closing(
                    observed,
                    Closing {
                        refuses: true,
                        quiet: Some(SignedDuration::from_secs(5)),
                        ..Closing::default()
                    },
                );
            })
        },
        Row {
            step: Step::Close { refuse: false },
            reason: "Draining",
            ..row("it is empty, and may store one more", drains, |observed| {
                closing(
                    observed,
                    Closing {
                        refuses: true,
                        quiet: Some(SignedDuration::from_secs(4)),
                        ..Closing::default()
                    },
                );
            })
        },
        Row {
            step: Step::Close { refuse: false },
            reason: "Draining",
            ..row("it does not answer", drains, |observed| {
                let closing = Some(Err("no answer".to_owned()));
                observed.end = Some(End {
                    closing,
                    ..End::default()
                });
            })
        },
        Row {
            step: Step::Release,
            events: &["DrainTimedOut"],
            ..row("the time is up", over, |observed| {
                closing(
                    observed,
                    Closing {
                        left: backlog(7),
                        ..Closing::default()
                    },
                );
            })
        },
    ]);
}

#[test]
fn a_drain_says_what_is_left_until_when_and_how_a_person_ends_it() {
    let mut object = group();
    deleted(&mut object, Some(10));
    let mut observed = serving(&object);
    let answer = Closing {
        refuses: true,
        left: backlog(7),
        ..Closing::default()
    };
    closing(&mut observed, answer);
    let mut decision = decide(&observed);
    let (status, verdict) = decision.status.clone().expect("a status");
    let drain = status.drain.expect("a drain");
    assert_eq!((drain.since.0, drain.messages), (at(SECOND - 10), 7));
    assert_eq!(drain.groups, ["billing (7)"]);
    assert_eq!(
        verdict.message,
        "7 messages are not consumed yet, by billing (7); the wait ends at 1970-01-12T14:46:30Z, or at once with annotation rmq.rs/skip-drain=\"true\""
    );
    decision.cannot_close("no answer");
    let (_, verdict) = decision.status.expect("a status");
    assert!(
        verdict
            .message
            .ends_with("; cannot close the broker: no answer")
    );
}
