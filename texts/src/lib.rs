//! Texts that people write and read, with one way to understand each: addresses of servers, YAML as `kubectl` takes it, and texts of others
//! that are shown on terminals and in logs. Knows no sockets, files or clocks.

mod address;
mod shown;
#[cfg(feature = "yaml")]
pub mod yaml;

pub use address::{
    AddressError, NAME_SERVER_PORT, NAME_SERVER_SCHEME, host, name_servers, reachable_host, server,
};
pub use shown::{is_shown_as_it_is, line, lines};
