//! What a member must not forget. Text, in one file that is replaced as a whole, in the directory of the store:
//!
//! ```text
//! rmq-election 1
//! incarnation <32 hexadecimal digits>
//! epoch <the highest epoch that was accepted>
//! master <slot> <incarnation> <host:port>   who claimed that epoch, if another member did
//! claim <an epoch>                          only while it is not known whether the member has claimed it
//! former <32 hexadecimal digits>            one for each incarnation whose data has lost its end
//! crc <CRC-32 of everything before, 8 hexadecimal digits>
//! ```

use std::fmt::Write as _;

use crate::place::{Incarnation, MemberId, Seat};

const FIRST_LINE: &str = "rmq-election 1\n";
/// No file is longer.
const BYTES_MAX: usize = 4096;
/// How many former incarnations are kept, the newest ones. More need as many crashes of the computer without the group in between.
const FORMER_MAX: usize = 8;

/// What a member must not forget.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Durable {
    /// Which data this is.
    pub incarnation: Incarnation,
    /// The highest epoch that the member has accepted; it accepts and acknowledges nothing of a lower one.
    pub epoch: u64,
    /// Who claimed `epoch`, if it was another member: with it a member that starts while the place is away follows again.
    pub master: Option<Master>,
    /// The claim marker: the member may have claimed this epoch, so it follows and acknowledges nobody until it has read the record.
    pub claim: Option<u64>,
    /// Incarnations that this data was before crashes of the computer took the end of its log. The in-sync set may still name them, and
    /// this member is none of them any more. Empty again when it is in the set as what it is now.
    pub former: Vec<Incarnation>,
}

/// A master, and where members reach it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Master {
    /// Who.
    pub seat: Seat,
    /// Its replication address, `host:port`.
    pub replication: String,
}

/// A file is damaged or of another version. The member counts as one whose log has lost its end: [`Durable::begin`] without a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a file of `rmq-election 1`, or a damaged one")]
pub struct NotDurable;

impl Durable {
    /// What a member is from its start on.
    ///
    /// `saved` is what the file says; `None` for a new store or a damaged file. `lost_tail`: the computer, not only the process, has ended
    /// without a clean stop, and what was acknowledged may not have been on the disk; such data becomes another incarnation. `random` is a
    /// fresh random number. The result is written to the file before anything else happens when it differs.
    #[must_use]
    pub fn begin(saved: Option<Self>, lost_tail: bool, random: u128) -> Self {
        let fresh = Incarnation(random);
        match saved {
            Some(saved) if !lost_tail => saved,
            Some(mut saved) => {
                saved.former.push(saved.incarnation);
                let surplus = saved.former.len().saturating_sub(FORMER_MAX);
                saved.former.drain(..surplus);
                saved.incarnation = fresh;
                saved
            }
            None => Self {
                incarnation: fresh,
                epoch: 0,
                master: None,
                claim: None,
                former: Vec::new(),
            },
        }
    }

    /// What a member is from before its data is thrown away on, as for a snapshot of the master: nobody is any more what it was, and the set
    /// counts on nothing. `random` is a fresh random number.
    #[must_use]
    pub fn of_other_data(self, random: u128) -> Self {
        Self {
            incarnation: Incarnation(random),
            former: Vec::new(),
            ..self
        }
    }

    /// The content of the file.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = FIRST_LINE.to_owned();
        // Writing to a string does not fail.
        let _ = writeln!(text, "incarnation {}", self.incarnation);
        let _ = writeln!(text, "epoch {}", self.epoch);
        if let Some(Master { seat, replication }) = &self.master {
            let Seat {
                member,
                incarnation,
            } = seat;
            let _ = writeln!(text, "master {member} {incarnation} {replication}");
        }
        if let Some(claim) = self.claim {
            let _ = writeln!(text, "claim {claim}");
        }
        for former in &self.former {
            let _ = writeln!(text, "former {former}");
        }
        let crc = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "crc {crc:08x}");
        text
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// Anything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotDurable> {
        Self::parse(bytes).ok_or(NotDurable)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let (content, _) = text.strip_suffix('\n')?.rsplit_once("crc ")?;
        let mut lines = content.strip_prefix(FIRST_LINE)?.lines();
        let incarnation = lines.next()?.strip_prefix("incarnation ")?;
        let mut durable = Self::begin(None, false, incarnation.parse::<Incarnation>().ok()?.0);
        for line in lines {
            match line.split_once(' ')? {
                ("epoch", number) => durable.epoch = number.parse().ok()?,
                ("claim", number) => durable.claim = Some(number.parse().ok()?),
                ("former", former) => durable.former.push(former.parse().ok()?),
                ("master", row) => {
                    let (member, row) = row.split_once(' ')?;
                    let (incarnation, replication) = row.split_once(' ')?;
                    durable.master = Some(Master {
                        seat: Seat {
                            member: MemberId(member.parse().ok()?),
                            incarnation: incarnation.parse().ok()?,
                        },
                        replication: replication.to_owned(),
                    });
                }
                _ => return None,
            }
        }
        // One value has one text, so this compares the checksum too.
        (durable.encode() == text).then_some(durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Durable {
        Durable {
            epoch: u64::MAX,
            master: Some(Master {
                seat: Seat {
                    member: MemberId(2),
                    incarnation: Incarnation(9),
                },
                replication: "broker-2:10912".to_owned(),
            }),
            claim: Some(7),
            former: vec![Incarnation(3), Incarnation(4)],
            ..Durable::begin(None, false, 5)
        }
    }

    #[test]
    fn the_file_says_all_or_nothing() {
        for durable in [Durable::begin(None, false, 0), full()] {
            let text = durable.encode();
            assert_eq!(Durable::decode(text.as_bytes()), Ok(durable));
            for at in 0..text.len() {
                assert_eq!(Durable::decode(&text.as_bytes()[..at]), Err(NotDurable));
                let mut broken = text.clone().into_bytes();
                broken[at] ^= 1;
                assert_eq!(Durable::decode(&broken), Err(NotDurable), "byte {at}");
            }
        }
    }

    #[test]
    fn data_that_lost_its_end_is_another_incarnation() {
        let mut durable = full();
        assert_eq!(Durable::begin(Some(full()), false, 6), durable);
        for random in 10..30 {
            let before = durable.clone();
            durable = Durable::begin(Some(durable), true, random);
            assert_eq!(durable.incarnation, Incarnation(random));
            assert_eq!(durable.former.last(), Some(&before.incarnation));
            assert_eq!((durable.epoch, durable.claim), (before.epoch, before.claim));
        }
        assert_eq!(durable.former.len(), FORMER_MAX);
        assert!(Durable::decode(durable.encode().as_bytes()).is_ok());
    }
}
