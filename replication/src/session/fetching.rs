//! What the two ends of a connection ask each other for: see [`fetch`](crate::fetch). Each asks for one stretch at a time.

use rmq_protocol::message::LogPosition;
use rmq_store::LogPiece;

use super::Want;
use crate::config::PIECE_BYTES_MAX;
use crate::fetch::Wanted;
use crate::greeting::Greeting;
use crate::reason::{Reason, ReasonKind};
use crate::wire::{Frame, Outgoing, encode, encode_fetched};

/// What is asked over one connection, and by whom.
#[derive(Default)]
pub(super) struct Fetching {
    /// This side has asked, with this number.
    asked: Option<(u64, Wanted)>,
    /// How many times it has.
    count: u64,
    /// The other side has asked.
    asks: Option<Asks>,
}

struct Asks {
    number: u64,
    want: Want,
    /// Somebody reads it.
    is_taken: bool,
}

fn refused(text: &str) -> Reason {
    Reason::new(
        ReasonKind::Position,
        format!("{text}: nothing of it is done; if it happens again, report it"),
    )
}

impl Fetching {
    /// Whether this side may ask for the next stretch.
    pub(super) fn is_free(&self) -> bool {
        self.asked.is_none()
    }

    /// Asks for a stretch. `master` is what the master of the two said of its log, `other` what the other side said.
    pub(super) fn ask(
        &mut self,
        wanted: Wanted,
        master: &Greeting,
        other_fetches: bool,
        out: &mut Vec<Outgoing>,
    ) {
        if !other_fetches {
            return wanted.answer(Err(Reason::new(
                ReasonKind::Version,
                "the other member is of a release that gives no single stretches of its log: upgrade it",
            )));
        }
        self.count += 1;
        let (epoch, _) = master.epoch_at(wanted.from);
        out.push(encode(&Frame::Fetch {
            number: self.count,
            position: wanted.from,
            end: wanted.to,
            epoch,
        }));
        self.asked = Some((self.count, wanted));
    }

    /// Takes a frame of the other side. Both logs are the same up to `common`.
    ///
    /// # Errors
    /// It cannot be: the connection ends.
    pub(super) fn receive(
        &mut self,
        frame: Frame<'_>,
        master: &Greeting,
        common: LogPosition,
    ) -> Result<(), Reason> {
        match frame {
            Frame::Fetch {
                number,
                position,
                end,
                epoch,
            } => self.asks(number, (position, end), epoch, master, common),
            Frame::Fetched {
                number,
                position,
                end,
                bytes,
            } => {
                let bytes = bytes.to_vec();
                self.fetched(
                    number,
                    LogPiece {
                        position,
                        end,
                        bytes,
                    },
                )
            }
            Frame::Missing { number, text } => {
                let reason = Reason::new(ReasonKind::Store, text);
                self.take(number)?.answer(Err(reason));
                Ok(())
            }
            _ => Err(Reason::new(
                ReasonKind::Protocol,
                "a frame came that asks for nothing and answers nothing",
            )),
        }
    }

    fn asks(
        &mut self,
        number: u64,
        (position, end): (LogPosition, LogPosition),
        epoch: u64,
        master: &Greeting,
        common: LogPosition,
    ) -> Result<(), Reason> {
        if self.asks.is_some() {
            return Err(Reason::new(
                ReasonKind::Protocol,
                "the other member asks for another stretch of the log before it has the first one",
            ));
        }
        if position >= end || end > common {
            return Err(refused(&format!(
                "the other member asks for the log from {position} to {end}, and the two logs are known to be the same up to {common}"
            )));
        }
        let (ours, _) = master.epoch_at(position);
        if epoch != ours {
            return Err(refused(&format!(
                "the other member says that the log at {position} is of epoch {epoch}, and it is of {ours}"
            )));
        }
        let bytes = usize::try_from(end.0 - position.0).unwrap_or(usize::MAX);
        self.asks = Some(Asks {
            number,
            want: Want {
                from: position,
                bytes_max: bytes.min(PIECE_BYTES_MAX),
            },
            is_taken: false,
        });
        Ok(())
    }

    /// What is to be read for the other side, once.
    pub(super) fn wants(&mut self) -> Option<Want> {
        let asks = self.asks.as_mut().filter(|asks| !asks.is_taken)?;
        asks.is_taken = true;
        Some(asks.want)
    }

    /// Answers with what was read.
    pub(super) fn answer(&mut self, read: Result<LogPiece, Reason>, out: &mut Vec<Outgoing>) {
        let Some(Asks { number, .. }) = self.asks.take() else {
            return;
        };
        out.push(match read {
            Ok(piece) => encode_fetched(number, piece.position, piece.end, piece.bytes),
            Err(Reason { text, .. }) => encode(&Frame::Missing { number, text }),
        });
    }

    fn fetched(&mut self, number: u64, piece: LogPiece) -> Result<(), Reason> {
        let wanted = self.take(number)?;
        let bytes_end = piece.position.0.saturating_add(piece.bytes.len() as u64);
        if piece.position != wanted.from || piece.bytes.is_empty() || piece.end.0 < bytes_end {
            return Err(refused(&format!(
                "the other member gives {} bytes of the log from {} to {}, and was asked for what begins at {}",
                piece.bytes.len(),
                piece.position,
                piece.end,
                wanted.from
            )));
        }
        wanted.answer(Ok(piece));
        Ok(())
    }

    /// What this side has asked with a number.
    fn take(&mut self, number: u64) -> Result<Wanted, Reason> {
        let asked = self.asked.take_if(|(asked, _)| *asked == number);
        asked.map(|(_, wanted)| wanted).ok_or_else(|| {
            Reason::new(
                ReasonKind::Protocol,
                "the other member answers what it was not asked",
            )
        })
    }
}
