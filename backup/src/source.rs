//! The broker that is copied.

use bytes::Bytes;
use rmq_protocol::bodies::BackupBegun;

/// A member of a broker group that gives its data away. The requests are those of `rmq_protocol::requests` from `BeginBackup` on.
pub trait Source {
    /// Why it does not.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Whether the broker has answered, and does not give what was asked: there is no such thing.
    fn is_refusal(error: &Self::Error) -> bool;
    /// Begins a copy.
    fn begin(&mut self) -> impl Future<Output = Result<BackupBegun, Self::Error>>;
    /// A chunk of the tables; empty behind the last one.
    fn tables(&mut self, chunk: u64) -> impl Future<Output = Result<Bytes, Self::Error>>;
    /// At most so many bytes of the log from a position on, and the position of what follows. Nothing below `needed` is asked for any more.
    fn log(
        &mut self,
        from: u64,
        needed: u64,
        bytes: usize,
    ) -> impl Future<Output = Result<(Bytes, u64), Self::Error>>;
    /// Ends the copy.
    fn end(&mut self) -> impl Future<Output = Result<(), Self::Error>>;
}
