//! The frames between two members, version 1. All numbers are big endian.
//!
//! ```text
//! frame     length u32 │ kind u8 │ 0 u8 │ 0 u16 │ CRC-32 u32 of all other bytes, but for those of the log │ body of that length
//!
//! 1 greeting   both      "RMQR" │ version u16 │ cluster │ group │ member u64 │ incarnation u128 │ segment size u64
//!                        │ epoch u64 │ 1 for the master of this epoch, else 0 u8 │ log begin u64 │ log end u64 │ confirmed u64 │ n u16 × (epoch u64, first u64) │ more
//! 2 close      both      kind of reason u16 │ text
//! 3 begin      replica   position u64 │ received u64 │ flushed u64             send from here
//! 4 piece      master    position u64 │ epoch u64 │ confirmed u64 │ log begin u64 │ bytes of the log to the end
//! 5 progress   master    confirmed u64 │ log begin u64 │ log end u64            also the heartbeat
//! 6 report     replica   received u64 │ flushed u64                             also the heartbeat
//! 7 question   who asks  number u64 │ bytes of the election                     to any member, after the greetings
//! 8 answer     any       number u64 │ bytes of the election
//! 9 snapshot   replica   nothing                                               instead of begin
//! 10 chunk     master    a chunk of the store's snapshot; empty: there is no other
//! 11 fetch     both      number u64 │ position u64 │ end u64 │ epoch u64            the sender's log is damaged there; after begin
//! 12 fetched   both      number u64 │ position u64 │ end u64 │ bytes of the log to the end
//! 13 missing   both      number u64 │ text                                     why there are no such bytes
//!
//! text, cluster, group: length u16 │ UTF-8
//! more: features u32 (bit 0: answers a fetch; nothing: none) │ to the end of the body; a version 1 that knows more puts it there, and
//! others skip it
//! ```
//! Each record of the log has a checksum of all its bytes, and says where it lies: whoever takes it checks that, so the checksum of a piece
//! leaves the log out. Magic, version and the head of a frame stay as they are in every version, so that two releases can tell each other what differs. The
//! first frame of each side is a greeting. Memory follows the bytes that have come, never a length that was announced.

use bytes::{Buf, BytesMut};
use rmq_protocol::message::LogPosition;
use rmq_protocol::{Incarnation, MemberId, Seat};
use rmq_store::Epoch;

use crate::greeting::{EPOCHS_MAX, Greeting, Identity, NAME_BYTES_MAX, VERSION};
use crate::members::Report;
use crate::reason::{Reason, ReasonKind};

const HEAD_BYTES: usize = 12;
const MAGIC: [u8; 4] = *b"RMQR";
/// Largest body of a greeting: names, all epochs, and some room.
const GREETING_BYTES_MAX: usize = 2 * NAME_BYTES_MAX + 16 * EPOCHS_MAX + 4_096;
/// Largest body of every other frame without bytes of the log.
const SMALL_BYTES_MAX: usize = 2_048;
/// Head of a piece.
const PIECE_HEAD_BYTES: usize = 32;
/// Head of what was fetched.
const FETCHED_HEAD_BYTES: usize = 24;
/// Largest piece: a record with the largest body that a store takes, and its properties.
const PIECE_BYTES_MAX: usize = PIECE_HEAD_BYTES + (66 << 20);
/// Longest question and answer of the election, bytes.
pub const QUESTION_BYTES_MAX: usize = 16 << 10;
/// Longest chunk of a snapshot, bytes.
const CHUNK_BYTES_MAX: usize = 260 << 10;
/// Longest text of a reason, bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// Room that is made ahead of bytes that were announced.
const AHEAD_BYTES: usize = 256 << 10;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Who the sender is and what it has.
    Greeting(Greeting),
    /// The connection ends.
    Close(Reason),
    /// The replica wants what follows.
    Begin {
        /// From here on.
        position: LogPosition,
        /// What it has written and flushed of what lies below.
        report: Report,
    },
    /// Some of the log.
    Piece {
        /// Where it begins.
        position: LogPosition,
        /// The epoch that all of it is of.
        epoch: u64,
        /// Where the master is.
        marks: Marks,
        /// Whole records, and the filler where they end a segment.
        bytes: &'a [u8],
    },
    /// Where the master is.
    Progress {
        /// Confirmed position and begin of the log.
        marks: Marks,
        /// Where its log ends.
        end: LogPosition,
    },
    /// Where the replica is.
    Report(Report),
    /// The election asks something.
    Question {
        /// Which question.
        number: u64,
        /// At most [`QUESTION_BYTES_MAX`] bytes.
        content: &'a [u8],
    },
    /// The answer.
    Answer {
        /// To which question.
        number: u64,
        /// At most [`QUESTION_BYTES_MAX`] bytes.
        content: &'a [u8],
    },
    /// The replica wants a snapshot.
    Snapshot,
    /// A chunk of it; empty: there is no other.
    Chunk(&'a [u8]),
    /// The sender wants a stretch of the log that it has and cannot read.
    Fetch {
        /// Which question.
        number: u64,
        /// Where the stretch begins.
        position: LogPosition,
        /// Where it ends.
        end: LogPosition,
        /// The epoch that the position is of.
        epoch: u64,
    },
    /// The beginning of that stretch.
    Fetched {
        /// To which question.
        number: u64,
        /// Where the bytes begin.
        position: LogPosition,
        /// Where the log goes on behind them.
        end: LogPosition,
        /// Whole records, and the filler where they end a segment.
        bytes: &'a [u8],
    },
    /// There is nothing to fetch.
    Missing {
        /// To which question.
        number: u64,
        /// Why.
        text: String,
    },
}

/// What a master says with each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Up to where nothing can be cut any more.
    pub confirmed: LogPosition,
    /// Where its log begins: a replica removes nothing above.
    pub begin: LogPosition,
}

/// A frame on its way: what was encoded, and the bytes of the log behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Head and body, but for the bytes of the log.
    pub head: Vec<u8>,
    /// The bytes of the log, if any.
    pub bytes: Vec<u8>,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It does not begin as a frame does.
    #[error("what came is no frame of the replication protocol")]
    NoFrame,
    /// Another frame, or a greeting, was due.
    #[error("a frame of kind {kind} came where it does not belong")]
    Kind {
        /// Its number.
        kind: u8,
    },
    /// It is too long for its kind.
    #[error("a frame of kind {kind} announces {bytes} bytes, and may have {max}")]
    TooLong {
        /// Its number.
        kind: u8,
        /// What it announces.
        bytes: usize,
        /// What it may have.
        max: usize,
    },
    /// Bytes were changed on the way.
    #[error("a frame of kind {kind} has a wrong checksum")]
    Checksum {
        /// Its number.
        kind: u8,
    },
    /// It is intact and says nothing.
    #[error("a frame of kind {kind} cannot be read: {what}")]
    Content {
        /// Its number.
        kind: u8,
        /// What is wrong.
        what: &'static str,
    },
}

impl From<WireError> for Reason {
    fn from(error: WireError) -> Self {
        Self::new(
            ReasonKind::Protocol,
            format!(
                "{error}: only members of the group may connect to this port, and with the same release of rmq"
            ),
        )
    }
}

const GREETING: u8 = 1;
const CLOSE: u8 = 2;
const BEGIN: u8 = 3;
const PIECE: u8 = 4;
const PROGRESS: u8 = 5;
const REPORT: u8 = 6;
const QUESTION: u8 = 7;
const ANSWER: u8 = 8;
const SNAPSHOT: u8 = 9;
const CHUNK: u8 = 10;
const FETCH: u8 = 11;
const FETCHED: u8 = 12;
const MISSING: u8 = 13;

/// The feature of a member that answers a fetch.
const FETCHES: u32 = 1;

fn body_bytes_max(kind: u8) -> Option<usize> {
    match kind {
        GREETING => Some(GREETING_BYTES_MAX),
        PIECE => Some(PIECE_BYTES_MAX),
        QUESTION | ANSWER => Some(8 + QUESTION_BYTES_MAX),
        CHUNK => Some(CHUNK_BYTES_MAX),
        FETCHED => Some(FETCHED_HEAD_BYTES + PIECE_BYTES_MAX),
        CLOSE | BEGIN | PROGRESS | REPORT | SNAPSHOT | FETCH | MISSING => Some(SMALL_BYTES_MAX),
        _ => None,
    }
}

/// Encodes a frame without bytes of the log. See [`encode_piece`] for those.
#[must_use]
pub fn encode(frame: &Frame<'_>) -> Outgoing {
    if let Frame::Piece {
        position,
        epoch,
        marks,
        bytes,
    } = frame
    {
        return encode_piece(*position, *epoch, *marks, bytes.to_vec());
    }
    if let Frame::Fetched {
        number,
        position,
        end,
        bytes,
    } = frame
    {
        return encode_fetched(*number, *position, *end, bytes.to_vec());
    }
    let mut out = Writer::new();
    let kind = match frame {
        Frame::Greeting(greeting) => {
            out.greeting(greeting);
            GREETING
        }
        Frame::Close(reason) => {
            out.u16(reason.kind.number());
            out.text(&reason.text, TEXT_BYTES_MAX);
            CLOSE
        }
        Frame::Begin { position, report } => {
            out.u64(position.0);
            out.u64(report.received.0);
            out.u64(report.flushed.0);
            BEGIN
        }
        Frame::Progress { marks, end } => {
            out.marks(*marks);
            out.u64(end.0);
            PROGRESS
        }
        Frame::Report(report) => {
            out.u64(report.received.0);
            out.u64(report.flushed.0);
            REPORT
        }
        Frame::Question { number, content } => {
            out.u64(*number);
            out.0.extend_from_slice(content);
            QUESTION
        }
        Frame::Answer { number, content } => {
            out.u64(*number);
            out.0.extend_from_slice(content);
            ANSWER
        }
        Frame::Snapshot => SNAPSHOT,
        Frame::Chunk(bytes) => {
            out.0.extend_from_slice(bytes);
            CHUNK
        }
        Frame::Fetch {
            number,
            position,
            end,
            epoch,
        } => {
            out.u64(*number);
            out.u64(position.0);
            out.u64(end.0);
            out.u64(*epoch);
            FETCH
        }
        Frame::Missing { number, text } => {
            out.u64(*number);
            out.text(text, TEXT_BYTES_MAX);
            MISSING
        }
        Frame::Piece { .. } => PIECE,
        Frame::Fetched { .. } => FETCHED,
    };
    out.finish(kind, Vec::new())
}

/// Encodes what another member has asked for. The bytes are not copied.
#[must_use]
pub fn encode_fetched(
    number: u64,
    position: LogPosition,
    end: LogPosition,
    bytes: Vec<u8>,
) -> Outgoing {
    let mut out = Writer::new();
    out.u64(number);
    out.u64(position.0);
    out.u64(end.0);
    out.finish(FETCHED, bytes)
}

/// Encodes some of the log. The bytes are not copied.
#[must_use]
pub fn encode_piece(position: LogPosition, epoch: u64, marks: Marks, bytes: Vec<u8>) -> Outgoing {
    let mut out = Writer::new();
    out.u64(position.0);
    out.u64(epoch);
    out.marks(marks);
    out.finish(PIECE, bytes)
}

/// Writes a frame; its head is filled in last.
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.resize(HEAD_BYTES, 0);
        Self(bytes)
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn marks(&mut self, marks: Marks) {
        self.u64(marks.confirmed.0);
        self.u64(marks.begin.0);
    }

    /// At most `bytes_max` bytes of a text, cut between letters.
    fn text(&mut self, text: &str, bytes_max: usize) {
        let text = text.get(..text.floor_char_boundary(bytes_max));
        let text = text.unwrap_or_default();
        self.u16(u16::try_from(text.len()).unwrap_or_default());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn greeting(&mut self, greeting: &Greeting) {
        self.0.extend_from_slice(&MAGIC);
        self.u16(greeting.version);
        let identity = &greeting.identity;
        self.text(&identity.cluster, NAME_BYTES_MAX);
        self.text(&identity.group, NAME_BYTES_MAX);
        self.u64(identity.seat.member.0);
        self.0
            .extend_from_slice(&identity.seat.incarnation.0.to_be_bytes());
        self.u64(identity.segment_bytes);
        self.u64(greeting.epoch);
        self.0.push(u8::from(greeting.leads));
        self.u64(greeting.begin.0);
        self.u64(greeting.end.0);
        self.u64(greeting.confirmed.0);
        // The newest ones; nobody makes a greeting with more.
        let surplus = greeting.epochs.len().saturating_sub(EPOCHS_MAX);
        let epochs = greeting.epochs.iter().skip(surplus);
        self.u16(u16::try_from(epochs.len()).unwrap_or_default());
        for epoch in epochs {
            self.u64(epoch.number);
            self.u64(epoch.first.0);
        }
        let features = if greeting.fetches { FETCHES } else { 0 };
        self.0.extend_from_slice(&features.to_be_bytes());
    }

    fn finish(self, kind: u8, bytes: Vec<u8>) -> Outgoing {
        let mut head = self.0;
        let length = head.len() - HEAD_BYTES + bytes.len();
        let mut front = [0; HEAD_BYTES];
        front[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        front[4] = kind;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&front[..8]);
        crc.update(head.get(HEAD_BYTES..).unwrap_or_default());
        // Those of the log check themselves.
        if kind != PIECE {
            crc.update(&bytes);
        }
        front[8..].copy_from_slice(&crc.finalize().to_be_bytes());
        if let Some(place) = head.first_chunk_mut::<HEAD_BYTES>() {
            *place = front;
        }
        Outgoing { head, bytes }
    }
}

/// Takes frames out of a stream of bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    /// Of the frame that was given last.
    taken: usize,
    is_greeted: bool,
}

impl Decoder {
    /// A decoder that expects a greeting.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where bytes that come are put, at the end.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.forget();
        self.buffer.reserve(AHEAD_BYTES);
        &mut self.buffer
    }

    /// Takes bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.forget();
        self.buffer.extend_from_slice(bytes);
    }

    fn forget(&mut self) {
        self.buffer.advance(self.taken.min(self.buffer.len()));
        self.taken = 0;
    }

    /// The next frame, if all of it is there.
    ///
    /// # Errors
    /// See [`WireError`]: nothing that follows can be read.
    pub fn frame(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        self.forget();
        let Some(head) = self.buffer.first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, kind, zeros @ .., c0, c1, c2, c3] = *head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let crc = u32::from_be_bytes([c0, c1, c2, c3]);
        if zeros != [0; 3] {
            return Err(WireError::NoFrame);
        }
        let max = body_bytes_max(kind).ok_or(WireError::NoFrame)?;
        // A refusal may come first.
        if !self.is_greeted && !matches!(kind, GREETING | CLOSE) {
            return Err(WireError::Kind { kind });
        }
        if self.is_greeted && kind == GREETING {
            return Err(WireError::Kind { kind });
        }
        if length > max {
            return Err(WireError::TooLong {
                kind,
                bytes: length,
                max,
            });
        }
        let total = HEAD_BYTES + length;
        if self.buffer.len() < total {
            return Ok(None);
        }
        self.taken = total;
        let Some((head, body)) = self
            .buffer
            .get(..total)
            .and_then(|frame| frame.split_at_checked(HEAD_BYTES))
        else {
            return Ok(None);
        };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(head.get(..8).unwrap_or_default());
        let checked = match kind {
            PIECE => body.get(..PIECE_HEAD_BYTES).unwrap_or(body),
            _ => body,
        };
        hasher.update(checked);
        if hasher.finalize() != crc {
            return Err(WireError::Checksum { kind });
        }
        let frame = decode(kind, body)?;
        self.is_greeted |= kind == GREETING;
        Ok(Some(frame))
    }
}

fn decode(kind: u8, body: &[u8]) -> Result<Frame<'_>, WireError> {
    let content = |what| WireError::Content { kind, what };
    let mut body = Reader(body);
    let frame = match kind {
        GREETING => return body.greeting().map(Frame::Greeting).map_err(content),
        CLOSE => body.close().map(Frame::Close),
        BEGIN => body.begin(),
        REPORT => body.report().map(Frame::Report),
        PIECE => body.piece(),
        PROGRESS => body.progress(),
        QUESTION => body.question(),
        ANSWER => body.answer(),
        SNAPSHOT => Some(Frame::Snapshot),
        CHUNK => Some(Frame::Chunk(std::mem::take(&mut body.0))),
        FETCH => body.fetch(),
        FETCHED => body.fetched(),
        MISSING => body.missing(),
        _ => return Err(WireError::NoFrame),
    };
    match frame {
        Some(frame) if body.0.is_empty() => Ok(frame),
        Some(_) => Err(content("something follows its end")),
        None => Err(content("it is cut off")),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    fn position(&mut self) -> Option<LogPosition> {
        self.u64().map(LogPosition)
    }

    fn text(&mut self, bytes_max: usize) -> Option<String> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        if length > bytes_max {
            return None;
        }
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    fn report(&mut self) -> Option<Report> {
        Some(Report {
            received: self.position()?,
            flushed: self.position()?,
        })
    }

    fn begin(&mut self) -> Option<Frame<'a>> {
        Some(Frame::Begin {
            position: self.position()?,
            report: self.report()?,
        })
    }

    fn marks(&mut self) -> Option<Marks> {
        Some(Marks {
            confirmed: self.position()?,
            begin: self.position()?,
        })
    }

    fn close(&mut self) -> Option<Reason> {
        Some(Reason {
            kind: ReasonKind::of(self.u16()?),
            text: self.text(TEXT_BYTES_MAX)?,
        })
    }

    fn piece(&mut self) -> Option<Frame<'a>> {
        Some(Frame::Piece {
            position: self.position()?,
            epoch: self.u64()?,
            marks: self.marks()?,
            bytes: std::mem::take(&mut self.0),
        })
    }

    fn progress(&mut self) -> Option<Frame<'a>> {
        Some(Frame::Progress {
            marks: self.marks()?,
            end: self.position()?,
        })
    }

    fn question(&mut self) -> Option<Frame<'a>> {
        Some(Frame::Question {
            number: self.u64()?,
            content: std::mem::take(&mut self.0),
        })
    }

    fn answer(&mut self) -> Option<Frame<'a>> {
        Some(Frame::Answer {
            number: self.u64()?,
            content: std::mem::take(&mut self.0),
        })
    }

    fn fetch(&mut self) -> Option<Frame<'a>> {
        Some(Frame::Fetch {
            number: self.u64()?,
            position: self.position()?,
            end: self.position()?,
            epoch: self.u64()?,
        })
    }

    fn fetched(&mut self) -> Option<Frame<'a>> {
        Some(Frame::Fetched {
            number: self.u64()?,
            position: self.position()?,
            end: self.position()?,
            bytes: std::mem::take(&mut self.0),
        })
    }

    fn missing(&mut self) -> Option<Frame<'a>> {
        Some(Frame::Missing {
            number: self.u64()?,
            text: self.text(TEXT_BYTES_MAX)?,
        })
    }

    fn greeting(&mut self) -> Result<Greeting, &'static str> {
        const CUT: &str = "it is cut off";
        if self.bytes().ok_or(CUT)? != MAGIC {
            return Err("it does not begin with RMQR");
        }
        let version = self.u16().ok_or(CUT)?;
        match self.rest_of_greeting(version) {
            Some(greeting) => Ok(greeting),
            None if version == VERSION => Err(CUT),
            // Of another version nothing more may be where it is in this one.
            None => Ok(Greeting::of_version(version)),
        }
    }

    fn rest_of_greeting(&mut self, version: u16) -> Option<Greeting> {
        let identity = Identity {
            cluster: self.text(NAME_BYTES_MAX)?,
            group: self.text(NAME_BYTES_MAX)?,
            seat: Seat {
                member: MemberId(self.u64()?),
                incarnation: Incarnation(u128::from_be_bytes(self.bytes()?)),
            },
            segment_bytes: self.u64()?,
        };
        let epoch = self.u64()?;
        let leads = match self.bytes::<1>()? {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        let (begin, end, confirmed) = (self.position()?, self.position()?, self.position()?);
        let mut epochs = Vec::new();
        for _ in 0..usize::from(self.u16()?).min(EPOCHS_MAX) {
            epochs.push(Epoch {
                number: self.u64()?,
                first: self.position()?,
            });
        }
        // A release before this one says nothing here.
        let features = match self.0 {
            [] => 0,
            _ => self.bytes().map(u32::from_be_bytes)?,
        };
        Some(Greeting {
            version,
            identity,
            epoch,
            leads,
            epochs,
            begin,
            end,
            confirmed,
            fetches: features & FETCHES != 0,
        })
    }
}
