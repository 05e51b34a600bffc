//! Between the members of a broker group, and about them: codes 320001 to 320003, of this project.

use std::borrow::Cow;
use std::fmt;

use super::field::{FieldKind, FieldValue, header_fields};
use crate::header::{FieldSink, Text};

/// What a person asks of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupWish {
    /// The master hands over, and nothing is lost.
    Switchover,
    /// A member becomes the master, whatever it lacks.
    Promote,
}

impl GroupWish {
    /// The word on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::Promote => "promote",
        }
    }
}

impl fmt::Display for GroupWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'a> FieldValue<'a> for GroupWish {
    const EXPECTED: &'static str = "switchover or promote";
    const KIND: FieldKind = FieldKind::Text;

    fn read(text: Text<'a>) -> Option<Self> {
        let text = text.to_cow();
        [Self::Switchover, Self::Promote]
            .into_iter()
            .find(|wish| wish.name() == text)
    }

    fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
        sink.str(key, self.name());
    }
}

header_fields! {
    request GetGroupStatus;
    /// Asks a member for the state of its group; body of the answer [`crate::bodies::GroupStatus`].
    pub struct GetGroupStatus {}
}

header_fields! {
    request RequestGroupMaster;
    /// Asks for another master. The answer says that the request is written down; how it ended is in
    /// [`crate::bodies::GroupStatus::outcome`].
    pub struct RequestGroupMaster<'a> {
        /// What is asked for.
        pub kind: GroupWish = "kind",
        /// The slot of the member that shall be the master.
        pub member: i64 = "member",
        /// Whether a loss of acknowledged messages is accepted; only a promotion reads it.
        pub accept_loss: bool = "acceptLoss" or false,
        /// The number of the request, chosen by who asks: 1 to 128 bytes. The same number again is the same request.
        pub request: Cow<'a, str> = "request",
    }
}

header_fields! {
    request RaiseConsumerOffsets;
    /// A replica tells its master what consumers committed there; the body is a [`crate::bodies::ConsumerOffsetTable`]. An offset that is
    /// not beyond the master's changes nothing.
    pub struct RaiseConsumerOffsets {}
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::requests::Request;
    use crate::{CommandHead, FrameLimits, Header, HeaderEncoding, Split, encode_frame, split};

    #[test]
    fn requests_for_another_master_are_read_back() {
        for kind in [GroupWish::Switchover, GroupWish::Promote] {
            let request = RequestGroupMaster {
                kind,
                member: 2,
                accept_loss: kind == GroupWish::Promote,
                request: "a-7".into(),
            };
            let mut out = BytesMut::new();
            let head = CommandHead::request(RequestGroupMaster::CODE.as_i32(), 1);
            encode_frame(&mut out, HeaderEncoding::Json, &head, &request, b"");
            let limits = FrameLimits::default();
            let Ok(Split::Frame { frame, .. }) = split(&out, &limits) else {
                panic!("a frame");
            };
            let header = Header::decode(frame.encoding, frame.header, &limits).expect("a header");
            let read = RequestGroupMaster::decode(&header.fields).expect("the request");
            assert_eq!(read, request);
        }
    }
}
