//! The least that a server can do and still store messages: borrowed decode, CRC, a full record and a 20-byte queue entry
//! under one mutex, answers gathered into one write for each socket read. Its figures are what the machine allows, so a
//! ratio to it means the same on every machine. It is no broker: it forgets everything, and it holds no pull that finds
//! nothing.

mod connection;
mod log;

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;

pub use log::{Flush, Log};

/// Serves until the future is dropped.
///
/// # Errors
/// When connections cannot be accepted any more.
pub async fn serve(listener: TcpListener, log: Arc<Log>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection::run(stream, Arc::clone(&log)));
    }
}

/// Opens the log: `file_bytes` zeroed in `dir` for the modes that write, `hot_bytes` of warm memory for the one that does not.
///
/// # Errors
/// When the file cannot be prepared.
pub fn open(dir: &Path, flush: Flush, file_bytes: u64, hot_bytes: usize) -> io::Result<Arc<Log>> {
    Log::open(dir, flush, file_bytes, hot_bytes)
}
