//! The frames: each comes back as it was, in whatever pieces it arrives; nothing else is taken for a frame, and memory follows what came.

use proptest::collection::vec;
use proptest::prelude::*;
use rmq_protocol::message::LogPosition;
use rmq_protocol::{Incarnation, MemberId, Seat};
use rmq_replication::wire::{Decoder, Frame, Marks, Outgoing, WireError, encode};
use rmq_replication::{Greeting, Identity, Reason, ReasonKind, Report, VERSION};
use rmq_store::Epoch;

fn greeting() -> Greeting {
    Greeting {
        version: VERSION,
        identity: Identity {
            cluster: "DefaultCluster".to_owned(),
            group: "broker-ä".to_owned(),
            seat: Seat {
                member: MemberId(2),
                incarnation: Incarnation(u128::MAX - 5),
            },
            segment_bytes: 1 << 30,
        },
        epoch: 7,
        leads: true,
        epochs: vec![
            Epoch {
                number: 1,
                first: LogPosition(0),
            },
            Epoch {
                number: 7,
                first: LogPosition(900),
            },
        ],
        begin: LogPosition(0),
        end: LogPosition(1_000),
        confirmed: LogPosition(990),
        fetches: true,
    }
}

/// One of each kind.
fn frames(log: &[u8]) -> Vec<Frame<'_>> {
    let marks = Marks {
        confirmed: LogPosition(10),
        begin: LogPosition(3),
    };
    let report = Report {
        received: LogPosition(u64::MAX),
        flushed: LogPosition(7),
    };
    vec![
        Frame::Greeting(greeting()),
        Frame::Begin {
            position: LogPosition(1_000),
            report,
        },
        Frame::Piece {
            position: LogPosition(1_000),
            epoch: 7,
            marks,
            bytes: log,
        },
        Frame::Progress {
            marks,
            end: LogPosition(1 << 40),
        },
        Frame::Report(report),
        Frame::Question {
            number: 3,
            content: b"where are you?",
        },
        Frame::Answer {
            number: 3,
            content: b"",
        },
        Frame::Snapshot,
        Frame::Chunk(log),
        Frame::Fetch {
            number: 4,
            position: LogPosition(100),
            end: LogPosition(900),
            epoch: 1,
        },
        Frame::Fetched {
            number: 4,
            position: LogPosition(100),
            end: LogPosition(200),
            bytes: log,
        },
        Frame::Missing {
            number: 5,
            text: "it cannot be read here either".to_owned(),
        },
        Frame::Close(Reason::new(
            ReasonKind::Replaced,
            "member 2 has connected again",
        )),
    ]
}

fn bytes_of(frame: &Frame<'_>) -> Vec<u8> {
    let Outgoing { mut head, bytes } = encode(frame);
    head.extend(bytes);
    head
}

/// A decoder that has had a greeting.
fn greeted() -> Decoder {
    let mut decoder = Decoder::new();
    decoder.push(&bytes_of(&Frame::Greeting(greeting())));
    assert!(matches!(decoder.frame(), Ok(Some(Frame::Greeting(_)))));
    decoder
}

proptest! {
    #[test]
    fn frames_come_back_in_whatever_pieces_they_arrive(
        log in vec(any::<u8>(), 0..3_000),
        sizes in vec(1_usize..200, 1..20),
    ) {
        let frames = frames(&log);
        let all: Vec<u8> = frames.iter().flat_map(bytes_of).collect();
        let mut decoder = Decoder::new();
        let mut found = 0;
        let (mut rest, mut sizes) = (all.as_slice(), sizes.iter().cycle());
        while !rest.is_empty() {
            let size = *sizes.next().expect("a size");
            let (now, later) = rest.split_at(rest.len().min(size));
            rest = later;
            decoder.push(now);
            while let Some(frame) = decoder.frame().expect("a frame") {
                prop_assert_eq!(&frame, &frames[found]);
                found += 1;
            }
        }
        prop_assert_eq!(found, frames.len());
    }

    #[test]
    fn garbage_is_no_frame_and_takes_no_memory(garbage in vec(any::<u8>(), 12..4_000)) {
        for mut decoder in [Decoder::new(), greeted()] {
            decoder.push(&garbage);
            // Random bytes with three zeros and a right checksum: one in 2^56.
            let found = decoder.frame();
            prop_assert!(found.is_err(), "{:?}", found);
            prop_assert!(decoder.buffer().capacity() <= garbage.len() + (1 << 20));
        }
    }
}

/// A frame with any byte changed is none, whatever follows it. Bytes of the log have their own checksums.
#[test]
fn each_byte_counts() {
    let log = [9; 100];
    for frame in frames(&log) {
        let bytes = bytes_of(&frame);
        let checked = match frame {
            Frame::Piece { .. } => bytes.len() - log.len(),
            _ => bytes.len(),
        };
        for at in 0..checked {
            for bit in [1, 0x80] {
                let mut broken = bytes.clone();
                broken[at] ^= bit;
                let mut decoder = match frame {
                    Frame::Greeting(_) => Decoder::new(),
                    _ => greeted(),
                };
                decoder.push(&broken);
                // More comes, as from a sender that continues.
                for _ in 0..2_000 {
                    match decoder.frame() {
                        Ok(None) => decoder.push(&[0; 64]),
                        Ok(Some(found)) => panic!("{frame:?} with byte {at}: {found:?}"),
                        Err(_) => break,
                    }
                }
            }
        }
        for end in 0..bytes.len() {
            let mut decoder = match frame {
                Frame::Greeting(_) => Decoder::new(),
                _ => greeted(),
            };
            decoder.push(&bytes[..end]);
            assert_eq!(decoder.frame(), Ok(None), "{frame:?} cut at {end}");
        }
    }
}

/// A frame that is intact, with a body that is cut off or has more than it should.
#[test]
fn a_body_that_says_nothing_is_refused() {
    let log = [9; 100];
    for frame in frames(&log) {
        let has_content = matches!(
            frame,
            Frame::Piece { .. }
                | Frame::Question { .. }
                | Frame::Answer { .. }
                | Frame::Chunk(_)
                | Frame::Fetched { .. }
        );
        let bytes = bytes_of(&frame);
        let body = &bytes[12..];
        if matches!(frame, Frame::Chunk(_)) {
            continue;
        }
        let wrong = [0, body.len().saturating_sub(1), body.len() + 1];
        for length in wrong.into_iter().filter(|length| *length != body.len()) {
            let may_be_longer = matches!(frame, Frame::Greeting(_)) && length > body.len();
            if (has_content && length > 7) || may_be_longer {
                continue;
            }
            let mut body = body.to_vec();
            body.resize(length, 0);
            let mut decoder = match frame {
                Frame::Greeting(_) => Decoder::new(),
                _ => greeted(),
            };
            decoder.push(&frame_of(bytes[4], &body));
            let kind = bytes[4];
            assert!(
                matches!(decoder.frame(), Err(WireError::Content { kind: found, .. }) if found == kind),
                "{frame:?} with {length} bytes"
            );
        }
    }
}

fn frame_of(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len())
        .expect("short")
        .to_be_bytes()
        .to_vec();
    bytes.extend([kind, 0, 0, 0]);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes);
    // Of a piece, the bytes of the log are left out.
    let is_piece = kind == 4;
    crc.update(&body[..body.len().min(if is_piece { 32 } else { usize::MAX })]);
    bytes.extend(crc.finalize().to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn lengths_are_bounded_before_anything_is_kept() {
    for kind in 0..=255 {
        let mut head = u32::MAX.to_be_bytes().to_vec();
        head.extend([kind, 0, 0, 0, 1, 2, 3, 4]);
        let mut decoder = greeted();
        decoder.push(&head);
        assert!(decoder.frame().is_err(), "kind {kind}");
    }
}

#[test]
fn the_first_frame_is_a_greeting_or_a_refusal_and_no_later_one_is_a_greeting() {
    let log = [9; 100];
    for frame in frames(&log) {
        let mut decoder = Decoder::new();
        decoder.push(&bytes_of(&frame));
        let is_first = matches!(frame, Frame::Greeting(_) | Frame::Close(_));
        assert_eq!(decoder.frame().is_ok(), is_first, "{frame:?}");
    }
    let mut decoder = greeted();
    decoder.push(&bytes_of(&Frame::Greeting(greeting())));
    assert_eq!(decoder.frame(), Err(WireError::Kind { kind: 1 }));
}

/// A release that knows of no features says nothing behind its epochs, and a later one says more than this one knows.
#[test]
fn a_greeting_without_features_and_one_with_more_are_understood() {
    let bytes = bytes_of(&Frame::Greeting(greeting()));
    let body = &bytes[12..];
    let without = Greeting {
        fetches: false,
        ..greeting()
    };
    let mut more = body.to_vec();
    let features = more.len() - 4;
    more[features] |= 0x80;
    more.extend(b"a challenge");
    for (body, wanted) in [
        (&body[..body.len() - 4], without),
        (more.as_slice(), greeting()),
    ] {
        let mut decoder = Decoder::new();
        decoder.push(&frame_of(1, body));
        assert_eq!(decoder.frame(), Ok(Some(Frame::Greeting(wanted))));
    }
}

/// Another release says its version, whatever its greeting has behind that.
#[test]
fn a_greeting_of_another_version_says_its_version() {
    let mut body = b"RMQR".to_vec();
    body.extend(9_u16.to_be_bytes());
    body.extend([0xff; 3]);
    let mut decoder = Decoder::new();
    decoder.push(&frame_of(1, &body));
    match decoder.frame() {
        Ok(Some(Frame::Greeting(greeting))) => assert_eq!(greeting.version, 9),
        other => panic!("{other:?}"),
    }
    // The same of this version is cut off, and other bytes are no greeting.
    body[5] = 1;
    let mut decoder = Decoder::new();
    decoder.push(&frame_of(1, &body));
    assert!(matches!(decoder.frame(), Err(WireError::Content { .. })));
    body[0] = b'X';
    let mut decoder = Decoder::new();
    decoder.push(&frame_of(1, &body));
    assert!(matches!(decoder.frame(), Err(WireError::Content { .. })));
}
