//! TLS 1.2 and 1.3 for both ends of a connection, with rustls.
//!
//! ```text
//! server:  files ─► TlsServer ─► impl Handshake ─┐
//!            ▲ read again when they change       ├─► TlsSocket ─► connection
//! client:  files ─► TlsClient ─► TlsConnector  ──┘
//! ```
//! | file | has |
//! | --- | --- |
//! | `files.rs` | certificates and keys in PEM files, and what is wrong with them |
//! | `certificate.rs` | what a certificate says: names, identity, until when |
//! | `server.rs` | the handshake of a port, and its certificate, which changes while connections run |
//! | `client.rs` | the handshake towards a server, and a [`Connector`](crate::Connector) with it |
//! | `explain.rs` | failed handshakes in words: what is wrong, and what to do |
//! | `socket.rs` | the stream after a handshake |
//!
//! There is no renegotiation, no early data and no ALPN: clients of the original send none. Sessions are resumed.

mod certificate;
mod client;
mod explain;
mod files;
mod server;
mod socket;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{TlsClient, TlsClientSettings, TlsConnector, TlsTexts};
pub use files::{TlsFile, TlsProblem};
pub use server::{ClientCertificates, Reloaded, TlsServer, TlsServerSettings, TlsStatus};
pub use socket::TlsSocket;

/// The algorithms. Programs may have another default for the whole process, which nothing here reads or sets.
fn algorithms() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
