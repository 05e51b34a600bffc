//! Bits of a message's system flag (`apache/rocketmq common/.../sysflag/MessageSysFlag.java`).

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// The tag property holds several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// A prepared (half) message.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// A committed transaction.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// A rolled-back transaction; also the mask of the transaction bits.
pub const TRANSACTION_ROLLBACK: i32 = 0xc;
/// The born host is an IPv6 address.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is an IPv6 address.
pub const STORE_HOST_V6: i32 = 0x20;
/// The body is a batch that the client must take apart.
pub const NEED_UNWRAP: i32 = 0x40;
/// The record is an inner batch.
pub const INNER_BATCH: i32 = 0x80;
/// Mask of the compression type.
pub const COMPRESSION_TYPE: i32 = 0x700;
/// LZ4 in its frame format.
pub const COMPRESSION_LZ4: i32 = 0x100;
/// Zstandard.
pub const COMPRESSION_ZSTD: i32 = 0x200;
/// zlib; the type 0 means zlib too.
pub const COMPRESSION_ZLIB: i32 = 0x300;

/// The transaction bits of a flag.
#[must_use]
pub const fn transaction(sys_flag: i32) -> i32 {
    sys_flag & TRANSACTION_ROLLBACK
}
