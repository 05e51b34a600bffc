//! Bytes of connections between the members of a broker group.

use rmq_protocol::message::LogPosition;
use rmq_protocol::{Incarnation, MemberId, Seat};
use rmq_replication::wire::{Decoder, Frame, Marks, encode};
use rmq_replication::{Greeting, Identity, Reason, ReasonKind, Report, VERSION};
use rmq_store::Epoch;

const HEAD_BYTES: usize = 12;
/// The kind of a piece of the log, whose checksum leaves the bytes of the log out.
const PIECE: u8 = 4;
const PIECE_HEAD_BYTES: usize = 32;

/// Bytes as they come: one byte says in which pieces.
pub(crate) fn stream(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let mut decoder = Decoder::new();
    for piece in bytes.chunks(usize::from(*first).max(1)) {
        decoder.push(piece);
        loop {
            match decoder.frame() {
                Ok(Some(frame)) => read_back(&frame),
                Ok(None) => break,
                Err(error) => {
                    assert!(Reason::from(error).text.len() < 1_024);
                    return;
                }
            }
        }
    }
}

/// Frames that get their lengths and checksums here: each is a kind, two bytes of its length, and its body.
pub(crate) fn frames(data: &[u8]) {
    let mut rest = data;
    let mut bytes = vec![255];
    while let [kind, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (body, next) = after.split_at(length);
        rest = next;
        let mut head = (body.len() as u32).to_be_bytes().to_vec();
        head.extend_from_slice(&[*kind, 0, 0, 0]);
        let checked = match *kind {
            PIECE => &body[..PIECE_HEAD_BYTES.min(body.len())],
            _ => body,
        };
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head);
        crc.update(checked);
        bytes.extend(head);
        bytes.extend(crc.finalize().to_be_bytes());
        bytes.extend_from_slice(body);
    }
    stream(&bytes);
}

/// What a frame says is read back from what is written of it.
fn read_back(frame: &Frame<'_>) {
    let outgoing = encode(frame);
    let mut decoder = Decoder::new();
    if !matches!(frame, Frame::Greeting(_) | Frame::Close(_)) {
        decoder.push(&whole(&Frame::Greeting(greeting())));
        assert!(matches!(decoder.frame(), Ok(Some(Frame::Greeting(_)))));
    }
    decoder.push(&outgoing.head);
    decoder.push(&outgoing.bytes);
    match decoder.frame() {
        Ok(Some(read)) => assert_eq!(read, *frame),
        other => panic!("{frame:?} is read back as {other:?}"),
    }
}

fn whole(frame: &Frame<'_>) -> Vec<u8> {
    let outgoing = encode(frame);
    [outgoing.head, outgoing.bytes].concat()
}

fn greeting() -> Greeting {
    Greeting {
        version: VERSION,
        identity: Identity {
            cluster: "c".to_owned(),
            group: "g".to_owned(),
            seat: Seat {
                member: MemberId(1),
                incarnation: Incarnation(7),
            },
            segment_bytes: 1 << 20,
        },
        epoch: 2,
        leads: true,
        epochs: [(1, 0), (2, 500)]
            .map(|(number, first)| Epoch {
                number,
                first: LogPosition(first),
            })
            .to_vec(),
        begin: LogPosition(0),
        end: LogPosition(1_000),
        confirmed: LogPosition(900),
        fetches: true,
    }
}

fn samples() -> Vec<Vec<u8>> {
    let (position, end) = (LogPosition(100), LogPosition(200));
    let marks = Marks {
        confirmed: end,
        begin: LogPosition(0),
    };
    let report = Report {
        received: end,
        flushed: position,
    };
    let content = b"{\"kind\":\"standing\"}";
    let text = "it is gone".to_owned();
    let frames = [
        Frame::Greeting(greeting()),
        Frame::Begin { position, report },
        Frame::Piece {
            position,
            epoch: 2,
            marks,
            bytes: b"records",
        },
        Frame::Progress { marks, end },
        Frame::Report(report),
        Frame::Question { number: 1, content },
        Frame::Answer { number: 1, content },
        Frame::Snapshot,
        Frame::Chunk(b"chunk"),
        Frame::Fetch {
            number: 1,
            position,
            end,
            epoch: 2,
        },
        Frame::Fetched {
            number: 1,
            position,
            end,
            bytes: b"records",
        },
        Frame::Missing { number: 1, text },
        Frame::Close(Reason::new(ReasonKind::Position, "no such position")),
    ];
    frames.iter().map(whole).collect()
}

/// A connection's bytes in large and in small pieces.
pub(crate) fn streams() -> Vec<Vec<u8>> {
    let bytes = samples().concat();
    [255, 7, 1]
        .map(|piece| [vec![piece], bytes.clone()].concat())
        .to_vec()
}

/// Kinds and bodies of frames behind a greeting.
pub(crate) fn contents() -> Vec<Vec<u8>> {
    let sealed = |frame: &Vec<u8>| {
        let length = ((frame.len() - HEAD_BYTES) as u16).to_be_bytes();
        [&[frame[4], length[0], length[1]], &frame[HEAD_BYTES..]].concat()
    };
    let all: Vec<Vec<u8>> = samples().iter().map(sealed).collect();
    let greeting = all[0].clone();
    let mut seeds: Vec<Vec<u8>> = all
        .iter()
        .skip(1)
        .map(|frame| [&greeting[..], frame].concat())
        .collect();
    seeds.push(all.concat());
    seeds.push(all[all.len() - 1].clone());
    seeds.push(greeting);
    seeds
}
