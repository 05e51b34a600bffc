//! Frames of the remoting protocol and their headers.

use bytes::BytesMut;
use rmq_protocol::header::{HeaderReader, KnownHeader};
use rmq_protocol::signature::{is_signed_with, sign};
use rmq_protocol::{
    CommandHead, FrameLimits, Header, HeaderEncoding, Language, Split, encode_frame, split,
};

use crate::recorded;

/// What is written again may be longer than what came, as escapes are: of more than this it may be longer than a header.
const AGAIN_BYTES_MAX: usize = 16 << 10;
/// Headers of one row.
const ROW_MAX: usize = 24;

fn limits() -> FrameLimits {
    FrameLimits::default()
}

/// The encoding that a byte stands for.
pub(crate) fn encoding(byte: u8) -> HeaderEncoding {
    match byte & 1 {
        0 => HeaderEncoding::Json,
        _ => HeaderEncoding::Binary,
    }
}

pub(crate) fn frame(data: &[u8]) {
    match split(data, &limits()) {
        Ok(Split::Frame { frame, consumed }) => {
            assert!(consumed <= data.len());
            assert_eq!(8 + frame.header.len() + frame.body.len(), consumed);
            for cut in [0, 3, 4, 7, 8, consumed / 2, consumed - 1] {
                let cut = split(&data[..cut.min(consumed - 1)], &limits());
                assert!(matches!(cut, Ok(Split::Need { .. })), "{cut:?}");
            }
            decoded(frame.encoding, frame.header);
        }
        Ok(Split::Need { frame_bytes }) => {
            assert!(frame_bytes.is_none_or(|bytes| bytes > data.len()));
        }
        Err(_) => {}
    }
}

pub(crate) fn header(data: &[u8]) {
    if let Some((first, bytes)) = data.split_first() {
        decoded(encoding(*first), bytes);
    }
}

/// What a header says, to compare it.
#[derive(Debug, PartialEq)]
struct Shown {
    numbers: [i32; 4],
    language: Language,
    /// An empty remark is none in a binary header.
    remark: Option<String>,
    fields: Vec<(String, String)>,
}

impl Shown {
    fn of(header: &Header<'_>) -> Self {
        let fields = header.fields.iter();
        let remark = header.remark.as_ref().map(ToString::to_string);
        Self {
            numbers: [header.code, header.version, header.opaque, header.flag],
            language: header.language,
            remark: remark.filter(|remark| !remark.is_empty()),
            fields: fields
                .map(|(name, text)| (name.to_owned(), text.to_cow().into_owned()))
                .collect(),
        }
    }
}

/// A header that can be decoded says the same when it is written again.
fn decoded(encoding: HeaderEncoding, bytes: &[u8]) {
    let Ok(header) = Header::decode(encoding, bytes, &limits()) else {
        return;
    };
    assert!(header.fields.len() <= limits().fields_max);
    for (name, text) in header.fields.iter() {
        let _: (Option<i32>, Option<i64>, Option<bool>) =
            (text.parse(), text.parse(), text.parse());
        let mut appended = String::new();
        text.append_to(&mut appended);
        assert!(text.eq_str(&appended), "{name}");
    }
    if bytes.len() > AGAIN_BYTES_MAX {
        return;
    }
    let head = CommandHead {
        code: header.code,
        opaque: header.opaque,
        flag: header.flag,
        language: header.language,
        version: header.version,
        remark: header
            .remark
            .as_ref()
            .map(|remark| remark.to_string().into()),
    };
    let mut out = BytesMut::new();
    encode_frame(&mut out, encoding, &head, &header.fields, b"body");
    let Ok(Split::Frame { frame, consumed }) = split(&out, &limits()) else {
        panic!("what was written is no frame");
    };
    assert_eq!((frame.body, consumed), (&b"body"[..], out.len()));
    let again = Header::decode(frame.encoding, frame.header, &limits());
    let again = again.unwrap_or_else(|error| panic!("what was written is not read: {error}"));
    assert_eq!(Shown::of(&again), Shown::of(&header));
}

/// An encoding, a header with its length, and changes to it: each makes the next header of a row, two bytes that say where and one that
/// is there then.
pub(crate) fn alike(data: &[u8]) {
    let [first, high, low, rest @ ..] = data else {
        return;
    };
    let encoding = encoding(*first);
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (header, changes) = rest.split_at(length);
    let mut row = vec![header.to_vec()];
    for change in changes.as_chunks::<3>().0.iter().take(ROW_MAX) {
        let mut next = row.last().cloned().unwrap_or_default();
        let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
        let length = next.len();
        if let Some(byte) = next.get_mut(at % length.max(1)) {
            *byte = change[2];
        }
        row.push(next);
    }
    let limits = limits();
    let mut known = KnownHeader::default();
    // Once as one read of a connection, and once with a read for each header.
    let mut reader = HeaderReader::new();
    for bytes in &row {
        let fresh = Header::decode(encoding, bytes, &limits).map(|header| Shown::of(&header));
        let read = reader.read(encoding, bytes, &limits).map(Shown::of);
        assert_eq!(read, fresh, "{}", bytes.escape_ascii());
        let mut first = HeaderReader::new();
        let read = first.read_after(&mut known, encoding, bytes, &limits);
        assert_eq!(read.map(Shown::of), fresh, "{}", bytes.escape_ascii());
    }
}

/// Signatures over whatever fields there are.
pub(crate) fn signature(data: &[u8]) {
    const KEY: &str = "a secret";
    let Ok(Split::Frame { frame, .. }) = split(data, &limits()) else {
        return;
    };
    let Ok(header) = Header::decode(frame.encoding, frame.header, &limits()) else {
        return;
    };
    assert!(
        !is_signed_with(KEY, &header.fields, frame.body),
        "nobody has signed"
    );
    let signed = (
        &header.fields,
        sign("user", KEY, &header.fields, frame.body),
    );
    assert!(is_signed_with(KEY, &signed, frame.body));
    assert!(!is_signed_with("another", &signed, frame.body));
    let longer = [frame.body, b"x"].concat();
    assert!(!is_signed_with(KEY, &signed, &longer));
}

/// Recorded headers behind their encoding.
pub(crate) fn all() -> Vec<Vec<u8>> {
    let headers = recorded::frames().into_iter();
    headers
        .map(|frame| [vec![u8::from(frame.is_binary)], frame.header].concat())
        .collect()
}

/// Recorded frames.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let frames = recorded::frames().into_iter();
    frames
        .map(|frame| {
            let body = frame.text.unwrap_or_default();
            let length = 4 + frame.header.len() + body.len();
            let mark = u32::from(frame.is_binary) << 24 | frame.header.len() as u32;
            let head = [(length as u32).to_be_bytes(), mark.to_be_bytes()].concat();
            [head, frame.header, body.into_bytes()].concat()
        })
        .collect()
}

/// Recorded headers, with changes of some bytes.
pub(crate) fn rows_of_alike() -> Vec<Vec<u8>> {
    let rows = recorded::frames().into_iter().enumerate();
    rows.map(|(number, frame)| {
        let length = (frame.header.len() as u16).to_be_bytes();
        let first = vec![u8::from(frame.is_binary), length[0], length[1]];
        let changes = (0..8_u16).flat_map(|change| {
            let at = (change * 37 + number as u16).to_be_bytes();
            [at[0], at[1], b'0' + change as u8]
        });
        [first, frame.header, changes.collect()].concat()
    })
    .collect()
}
