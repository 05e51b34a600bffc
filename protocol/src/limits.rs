//! What a frame may at most be. A peer that goes beyond is refused before memory is spent on it.

/// Bytes of a whole frame, its four length bytes among them, that every peer takes: the original's decoder closes the connection beyond
/// (apache/rocketmq `NettyDecoder.FRAME_MAX_LENGTH`).
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Limits of one frame and of its header. All sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Whole frame without its four length bytes. Upstream's decoder stops at 16 MiB.
    pub frame_bytes_max: usize,
    /// Encoded header. Properties (at most 32,767 bytes, up to six times that when escaped as JSON) travel in it.
    pub header_bytes_max: usize,
    /// Number of header fields (`extFields`).
    pub fields_max: usize,
    /// Name of one header field.
    pub key_bytes_max: usize,
    /// Value of one header field, as it lies in the frame.
    pub value_bytes_max: usize,
    /// Nesting of a JSON header; a well-formed one needs two.
    pub json_depth_max: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
            header_bytes_max: 256 * 1024,
            fields_max: 256,
            key_bytes_max: 128,
            value_bytes_max: 200 * 1024,
            json_depth_max: 32,
        }
    }
}
