//! Ports for servers that start later, or again: nobody else is given them meanwhile.
//!
//! A port that is looked up and let go may be another test's a moment later, or the near end of any connection. A [`Port`] keeps a socket bound
//! to it that never listens. Linux lets a server with `SO_REUSEADDR` listen beside such a socket, and gives the port to nobody who asks for
//! any (`man 7 socket`). Our servers, tokio, Go, Java and Netty set that option.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// How often the system is asked for a port whose neighbours are free too.
const TRIES: u32 = 100;

/// A port of 127.0.0.1, kept while this lives. Elsewhere than on Linux it is only looked up.
#[derive(Debug)]
pub struct Port {
    addr: SocketAddr,
    /// Of the port and its neighbours.
    _sockets: Vec<Socket>,
}

impl Port {
    /// Keeps a port of the system's choice.
    ///
    /// # Errors
    /// When the system has none.
    pub fn hold() -> io::Result<Self> {
        Self::hold_with(&[])
    }

    /// The same with the ports at these distances from it: a broker takes the second below its own too.
    ///
    /// # Errors
    /// When the system has none, or none with free neighbours.
    pub fn hold_with(neighbours: &[i16]) -> io::Result<Self> {
        let mut tried = Vec::new();
        for _ in 0..TRIES {
            let socket = bound(0)?;
            let addr = socket.local_addr()?;
            let addr = addr.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
            let others: Option<Vec<Socket>> = neighbours
                .iter()
                .map(|distance| {
                    let port = addr.port().checked_add_signed(*distance)?;
                    // 0 would be any port.
                    (port != 0).then(|| bound(port).ok()).flatten()
                })
                .collect();
            if let Some(mut sockets) = others {
                sockets.push(socket);
                if cfg!(not(target_os = "linux")) {
                    sockets.clear();
                }
                return Ok(Self {
                    addr,
                    _sockets: sockets,
                });
            }
            // Kept for now, so that the system does not choose it again.
            tried.push(socket);
        }
        Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            format!("no port with free ones at the distances {neighbours:?}"),
        ))
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.addr.port()
    }

    /// Where a server listens on it.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn bound(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_server_listens_on_a_held_port_again_and_again_and_nobody_else_is_given_it() {
        let ports: Vec<Port> = (0..50)
            .map(|_| Port::hold_with(&[-2]).expect("a port"))
            .collect();
        for _ in 0..2 {
            for port in &ports {
                TcpListener::bind(port.addr()).expect("the port");
                TcpListener::bind(("0.0.0.0", port.number() - 2)).expect("its neighbour");
            }
        }
        let held: Vec<u16> = ports
            .iter()
            .flat_map(|port| [port.number(), port.number() - 2])
            .collect();
        for _ in 0..20_000 {
            let given = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = given.local_addr().expect("bound").port();
            assert!(!held.contains(&port), "{port}");
        }
    }

    #[test]
    fn ports_that_cannot_be_are_refused() {
        let error = Port::hold_with(&[i16::MIN, i16::MAX]).expect_err("no such ports");
        assert!(error.to_string().contains("distances"), "{error}");
    }
}
