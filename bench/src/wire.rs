//! One connection of the load generator. It decodes no more of an answer than the load needs: time spent here is taken
//! from the server under test, which shares the machine.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use bytes::BytesMut;
use memchr::memmem;
use rmq_protocol::frame::{self, HeaderEncoding, RawFrame, Split};
use rmq_protocol::header::{CommandHead, FieldSource, Header};
use rmq_protocol::limits::FrameLimits;

/// Opaques of the load start here: always ten digits, and never mistaken for those of a server's own requests.
pub const OPAQUE_BASE: i32 = 1_000_000_000;

/// An answer as the load sees it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Response code.
    pub code: i32,
    /// The request's opaque less [`OPAQUE_BASE`].
    pub slot: usize,
    /// The whole frame.
    pub frame: RawFrame<'a>,
}

impl Answer<'_> {
    /// A numeric field of the header.
    #[must_use]
    pub fn int_field(&self, name: &str) -> Option<i64> {
        let header = Header::decode(
            self.frame.encoding,
            self.frame.header,
            &FrameLimits::default(),
        )
        .ok()?;
        header.fields.get(name)?.parse()
    }
}

/// A connection with its buffers.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    /// Bytes to send; appended to by the load.
    pub output: Vec<u8>,
    sent: usize,
}

impl Wire {
    /// Connects without blocking mode.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(addr: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            input: vec![0; 64 * 1024],
            filled: 0,
            output: Vec::with_capacity(64 * 1024),
            sent: 0,
        })
    }

    /// Sends what is there; what does not fit waits for the next call.
    ///
    /// # Errors
    /// What the system says.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads once and hands every complete answer to `on_answer`. Whether there may be more to read.
    ///
    /// # Errors
    /// When the connection ended or sent what is not a frame.
    pub fn receive(&mut self, mut on_answer: impl FnMut(Answer<'_>)) -> io::Result<bool> {
        let room = self.input.len() - self.filled;
        let received = match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed the connection",
                ));
            }
            Ok(received) => received,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.filled += received;
        let limits = FrameLimits::default();
        let mut used = 0;
        loop {
            match frame::split(&self.input[used..self.filled], &limits).map_err(io::Error::other)? {
                Split::Frame { frame, consumed } => {
                    used += consumed;
                    if let Some(answer) = scan(frame) {
                        on_answer(answer);
                    }
                }
                Split::Need { frame_bytes } => {
                    self.input.copy_within(used..self.filled, 0);
                    self.filled -= used;
                    if let Some(frame_bytes) = frame_bytes
                        && frame_bytes > self.input.len()
                    {
                        self.input.resize(frame_bytes.next_power_of_two(), 0);
                    }
                    return Ok(received == room);
                }
            }
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Code and opaque of an answer to the load; `None` for anything else, such as a server's own requests.
fn scan(frame: RawFrame<'_>) -> Option<Answer<'_>> {
    let (code, opaque) = match frame.encoding {
        HeaderEncoding::Binary => {
            let header = frame.header.first_chunk::<9>()?;
            (
                i32::from(i16::from_be_bytes([header[0], header[1]])),
                i32::from_be_bytes([header[5], header[6], header[7], header[8]]),
            )
        }
        HeaderEncoding::Json => (
            number_after(frame.header, b"\"code\":")?,
            number_after(frame.header, b"\"opaque\":")?,
        ),
    };
    let slot = usize::try_from(opaque.checked_sub(OPAQUE_BASE)?).ok()?;
    Some(Answer { code, slot, frame })
}

fn number_after(header: &[u8], key: &[u8]) -> Option<i32> {
    let at = memmem::find(header, key)? + key.len();
    let digits = &header[at..];
    let (negative, digits) = match digits.first()? {
        b'-' => (true, &digits[1..]),
        _ => (false, digits),
    };
    let mut number = 0i32;
    for digit in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        number = number
            .checked_mul(10)?
            .checked_add(i32::from(digit - b'0'))?;
    }
    Some(if negative { -number } else { number })
}

/// A blocking connection for what is asked once: topics, heartbeats, offsets.
#[derive(Debug)]
pub struct Desk {
    stream: TcpStream,
}

/// What the server said.
#[derive(Debug, Clone)]
pub struct Said {
    /// Response code.
    pub code: i32,
    /// The remark, empty when there is none.
    pub remark: String,
    /// Header fields.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Said {
    /// A numeric field.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        self.fields
            .iter()
            .find(|(key, _)| key == name)
            .and_then(|(_, value)| value.parse().ok())
    }
}

impl Desk {
    /// Connects; an answer may take 10 seconds.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(addr: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream })
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// When the connection fails or the answer is not a frame.
    pub fn ask(&mut self, code: i32, fields: &dyn FieldSource, body: &[u8]) -> io::Result<Said> {
        let mut out = BytesMut::new();
        let head = CommandHead::request(code, OPAQUE_BASE);
        frame::encode_frame(&mut out, HeaderEncoding::Json, &head, fields, body);
        self.stream.write_all(&out)?;
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length)?;
            let frame_bytes = u32::from_be_bytes(length) as usize;
            if frame_bytes > FrameLimits::default().frame_bytes_max {
                return Err(io::Error::other(format!("answer of {frame_bytes} bytes")));
            }
            let mut bytes = length.to_vec();
            bytes.resize(4 + frame_bytes, 0);
            self.stream.read_exact(&mut bytes[4..])?;
            let limits = FrameLimits::default();
            let Split::Frame { frame, .. } =
                frame::split(&bytes, &limits).map_err(io::Error::other)?
            else {
                return Err(io::Error::other("frame shorter than its length"));
            };
            let header =
                Header::decode(frame.encoding, frame.header, &limits).map_err(io::Error::other)?;
            if !header.is_response() || header.opaque != OPAQUE_BASE {
                continue;
            }
            return Ok(Said {
                code: header.code,
                remark: header
                    .remark
                    .as_ref()
                    .map(|remark| remark.to_cow().into_owned())
                    .unwrap_or_default(),
                fields: header
                    .fields
                    .iter()
                    .map(|(key, value)| (key.to_owned(), value.to_cow().into_owned()))
                    .collect(),
                body: frame.body.to_vec(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_opaque_are_found_in_both_encodings() {
        for encoding in [HeaderEncoding::Json, HeaderEncoding::Binary] {
            let mut out = BytesMut::new();
            let head = CommandHead::response(21, OPAQUE_BASE + 7);
            frame::encode_frame(&mut out, encoding, &head, &[("codeName", "x")], b"body");
            let Split::Frame { frame, .. } = frame::split(&out, &FrameLimits::default()).unwrap()
            else {
                panic!("a whole frame");
            };
            let answer = scan(frame).unwrap();
            assert_eq!((answer.code, answer.slot), (21, 7));
        }
    }
}
