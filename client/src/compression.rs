//! Bodies that travel compressed: by which codec, from which size on, and how they are read.
//!
//! The flags are those of Java clients (`common/…/sysflag/MessageSysFlag.java`), so each side reads what the other one sends. A codec
//! is a feature of the crate, for sending and for reading.

#[cfg(any(feature = "zlib", feature = "lz4", feature = "zstd"))]
use std::io::Read;

use bytes::Bytes;
use rmq_protocol::message::flags;

use crate::error::Error;
use crate::received::damaged;

/// Most bytes that a compressed body may become.
#[cfg(any(feature = "zlib", feature = "lz4", feature = "zstd"))]
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bodies from this size on are compressed unless another one is set (`DefaultMQProducer.compressMsgBodyOverHowmuch`).
#[cfg(any(feature = "zlib", feature = "lz4", feature = "zstd"))]
const THRESHOLD: usize = 4 * 1024;
/// As Java clients have it (`rocketmq.message.compressLevel`).
#[cfg(feature = "zlib")]
const ZLIB_LEVEL: u32 = 5;

/// How a producer compresses bodies. All clients since RocketMQ 5.0 read the three codecs; older ones read zlib only.
///
/// A body that does not become smaller is sent as it is. Messages of [`Producer::send_all`](crate::Producer::send_all) are not
/// compressed, as with Java clients; [`Batching`](crate::Batching) lets what is compressed leave alone. The sending task compresses.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::{Compression, Message};
///
/// let producer = client.producer_builder().compression(Compression::zlib().threshold(16 * 1024)).build();
/// producer.send(Message::new("reports", "line\n".repeat(10_000))).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Compression {
    codec: Codec,
    threshold: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    #[cfg(feature = "zlib")]
    Zlib,
    #[cfg(feature = "lz4")]
    Lz4,
    #[cfg(feature = "zstd")]
    Zstd,
}

impl Compression {
    /// zlib, level 5: what Java clients do by themselves, and what clients of any age read.
    #[cfg(feature = "zlib")]
    pub fn zlib() -> Self {
        Self::of(Codec::Zlib)
    }

    /// LZ4 frames: the fastest, and the largest results.
    #[cfg(feature = "lz4")]
    pub fn lz4() -> Self {
        Self::of(Codec::Lz4)
    }

    /// Zstandard, about its level 1.
    #[cfg(feature = "zstd")]
    pub fn zstd() -> Self {
        Self::of(Codec::Zstd)
    }

    #[cfg(any(feature = "zlib", feature = "lz4", feature = "zstd"))]
    fn of(codec: Codec) -> Self {
        Self {
            codec,
            threshold: THRESHOLD,
        }
    }

    /// Bodies of at least so many bytes are compressed. Default 4,096, as with Java clients.
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Whether a body of this size is compressed.
    pub(crate) fn wants(&self, bytes: usize) -> bool {
        bytes >= self.threshold
    }

    /// The body as it travels, and its flags.
    pub(crate) fn deflate(&self, body: &Bytes) -> (Bytes, i32) {
        if self.wants(body.len())
            && let Some((deflated, codec)) = self.codec.deflate(body)
            && deflated.len() < body.len()
        {
            return (deflated.into(), flags::COMPRESSED | codec);
        }
        (body.clone(), 0)
    }
}

impl Codec {
    /// The compressed bytes and the codec's flag. `None`: it could not be done, which writing to memory never meets.
    #[cfg_attr(
        not(any(feature = "zlib", feature = "lz4", feature = "zstd")),
        expect(unused_variables, reason = "there is no codec")
    )]
    fn deflate(self, body: &[u8]) -> Option<(Vec<u8>, i32)> {
        match self {
            #[cfg(feature = "zlib")]
            Self::Zlib => {
                use std::io::Write;

                let level = flate2::Compression::new(ZLIB_LEVEL);
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(body).ok()?;
                Some((encoder.finish().ok()?, flags::COMPRESSION_ZLIB))
            }
            #[cfg(feature = "lz4")]
            Self::Lz4 => {
                use std::io::Write;

                // Java reads frames of independent blocks only.
                let frame = lz4_flex::frame::FrameInfo::new()
                    .block_mode(lz4_flex::frame::BlockMode::Independent);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
                encoder.write_all(body).ok()?;
                Some((encoder.finish().ok()?, flags::COMPRESSION_LZ4))
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => {
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                let deflated = ruzstd::encoding::compress_to_vec(body, level);
                Some((deflated, flags::COMPRESSION_ZSTD))
            }
        }
    }
}

/// The body as its producer gave it.
pub(crate) fn inflate(body: Bytes, sys_flag: i32) -> Result<Bytes, Error> {
    if sys_flag & flags::COMPRESSED == 0 {
        return Ok(body);
    }
    match sys_flag & flags::COMPRESSION_TYPE {
        // Clients before 5.0 write no type.
        0 | flags::COMPRESSION_ZLIB => zlib(&body),
        flags::COMPRESSION_LZ4 => lz4(&body),
        flags::COMPRESSION_ZSTD => zstd(&body),
        other => Err(damaged(&format!(
            "its body is compressed with type {other:#x}; zlib, lz4 and zstd are understood"
        ))),
    }
}

#[cfg(feature = "zlib")]
fn zlib(body: &[u8]) -> Result<Bytes, Error> {
    bounded("zlib", flate2::read::ZlibDecoder::new(body))
}

#[cfg(feature = "lz4")]
fn lz4(body: &[u8]) -> Result<Bytes, Error> {
    bounded("lz4", lz4_flex::frame::FrameDecoder::new(body))
}

#[cfg(feature = "zstd")]
fn zstd(body: &[u8]) -> Result<Bytes, Error> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(body).map_err(|error| {
        damaged("its body is not zstd data").source(std::io::Error::other(error))
    })?;
    bounded("zstd", decoder)
}

#[cfg(not(feature = "zlib"))]
fn zlib(_: &[u8]) -> Result<Bytes, Error> {
    Err(left_out("zlib"))
}

#[cfg(not(feature = "lz4"))]
fn lz4(_: &[u8]) -> Result<Bytes, Error> {
    Err(left_out("lz4"))
}

#[cfg(not(feature = "zstd"))]
fn zstd(_: &[u8]) -> Result<Bytes, Error> {
    Err(left_out("zstd"))
}

#[cfg(not(all(feature = "zlib", feature = "lz4", feature = "zstd")))]
fn left_out(codec: &str) -> Error {
    Error::new(
        crate::error::ErrorKind::Protocol,
        format!("the body is compressed with {codec}, which this program cannot read"),
    )
    .advice(format!("switch on the feature \"{codec}\" of rmq-client"))
}

#[cfg(any(feature = "zlib", feature = "lz4", feature = "zstd"))]
fn bounded(codec: &str, from: impl Read) -> Result<Bytes, Error> {
    let mut inflated = Vec::new();
    from.take(BODY_BYTES_MAX + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| damaged(&format!("its body is not {codec} data")).source(error))?;
    if inflated.len() as u64 > BODY_BYTES_MAX {
        return Err(damaged(&format!(
            "its body inflates to more than {BODY_BYTES_MAX} bytes"
        )));
    }
    Ok(inflated.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each codec that this build has, with its flags.
    fn codecs() -> Vec<(Compression, i32)> {
        vec![
            #[cfg(feature = "zlib")]
            (Compression::zlib(), 0x301),
            #[cfg(feature = "lz4")]
            (Compression::lz4(), 0x101),
            #[cfg(feature = "zstd")]
            (Compression::zstd(), 0x201),
        ]
    }

    #[test]
    fn what_one_codec_writes_is_read_again() {
        for (compression, expected) in codecs() {
            for length in [1, 4_095, 4_096, 100_000, 3 << 20] {
                let body: Bytes = b"hello ".iter().copied().cycle().take(length).collect();
                let (deflated, flags) = compression.deflate(&body);
                if length < THRESHOLD {
                    assert_eq!((&deflated, flags), (&body, 0));
                    continue;
                }
                assert_eq!(flags, expected);
                assert!(deflated.len() < length / 10, "{compression:?} {length}");
                assert_eq!(inflate(deflated, flags).unwrap(), body);
            }
        }
    }

    #[test]
    fn what_does_not_become_smaller_stays() {
        // Bytes without any pattern: each is the low byte of a multiplied counter.
        let random = (0..50_000u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8);
        let body: Bytes = random.collect();
        for (compression, _) in codecs() {
            let (sent, flags) = compression.threshold(1).deflate(&Bytes::from_static(b"x"));
            assert_eq!((&*sent, flags), (b"x".as_slice(), 0), "{compression:?}");
            let (sent, flags) = compression.deflate(&body);
            assert_eq!(inflate(sent, flags).unwrap(), body);
        }
    }

    #[cfg(all(feature = "zlib", feature = "lz4", feature = "zstd"))]
    #[test]
    fn bodies_that_java_compressed_are_inflated() {
        // `hello hello hello` by the compressors of rocketmq-common 5.5.0 (`LZ4FrameOutputStream`, `ZstdOutputStream`).
        for (flags, body) in [
            (0x101, include_bytes!("../testdata/hello.lz4").as_slice()),
            (0x201, include_bytes!("../testdata/hello.zst").as_slice()),
        ] {
            let inflated = inflate(Bytes::from_static(body), flags).unwrap();
            assert_eq!(inflated, "hello hello hello");
        }
    }

    #[test]
    fn what_is_no_data_of_its_codec_is_damaged() {
        for (compression, flags) in codecs() {
            let error = inflate(Bytes::from_static(b"nonsense"), flags).unwrap_err();
            assert!(error.to_string().contains("damaged"), "{error}");
            // Cut off in the middle.
            let (deflated, _) = compression.deflate(&vec![7; 100_000].into());
            let half = deflated.slice(..deflated.len() / 2);
            assert!(inflate(half, flags).is_err(), "{compression:?}");
        }
        assert!(inflate(Bytes::from_static(b"x"), 0x401).is_err());
    }
}
