//! How far a long piece of work is.

/// Is told how far a piece of work is.
pub trait Progress {
    /// Something begins that has so many bytes; 0: nobody knows.
    fn begins(&self, what: &'static str, bytes: u64);
    /// So many more bytes are done.
    fn moved(&self, bytes: u64);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begins(&self, _what: &'static str, _bytes: u64) {}
    fn moved(&self, _bytes: u64) {}
}
