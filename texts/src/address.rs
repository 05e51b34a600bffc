//! Addresses of name servers: `HOST:PORT;HOST:PORT`, with commas, or as a URL `rmq://HOST:PORT,HOST:PORT`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Port of a name server when none is given.
pub const NAME_SERVER_PORT: u16 = 9876;

/// Scheme of a URL that names the name servers of a cluster.
pub const NAME_SERVER_SCHEME: &str = "rmq://";

/// Why a text is no list of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what:?}: {reason}")]
pub struct AddressError {
    /// The part that is wrong.
    pub what: String,
    /// Why, and how to write it.
    pub reason: &'static str,
}

fn refuse(what: &str, reason: &'static str) -> AddressError {
    AddressError {
        what: what.to_owned(),
        reason,
    }
}

/// The addresses of a list, each `host:port` and once, in their order. The list may be empty.
///
/// # Errors
/// When a part is no address; the error says which part and how to write it.
pub fn name_servers(text: &str) -> Result<Vec<String>, AddressError> {
    let text = text.trim();
    let list = match text.strip_prefix(NAME_SERVER_SCHEME) {
        Some(rest) => rest.trim_end_matches('/'),
        None => text,
    };
    let mut servers = Vec::new();
    let parts = list.split([',', ';']).map(str::trim);
    for part in parts.filter(|part| !part.is_empty()) {
        let server = with_port(part)?;
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    Ok(servers)
}

fn with_port(part: &str) -> Result<String, AddressError> {
    if let Some(reason) = misread(part) {
        return Err(refuse(part, reason));
    }
    let (name, port) = match part.strip_prefix('[') {
        // An IPv6 address stands in brackets: [::1]:9876.
        Some(rest) => {
            let (address, after) = rest
                .split_once(']')
                .ok_or_else(|| refuse(part, "a [ without its ]"))?;
            // A link-local one names its interface, [fe80::1%eth0].
            let number = address.split('%').next().unwrap_or_default();
            if number.parse::<Ipv6Addr>().is_err() {
                return Err(refuse(part, "what stands in brackets is no IPv6 address"));
            }
            let port = match after.strip_prefix(':') {
                None if !after.is_empty() => {
                    return Err(refuse(
                        part,
                        "a port stands after its ] and a colon, [::1]:9876",
                    ));
                }
                port => port,
            };
            (format!("[{address}]"), port)
        }
        None => match part.split_once(':') {
            Some((_, rest)) if rest.contains(':') => {
                return Err(refuse(part, "an IPv6 address needs brackets, [::1]:9876"));
            }
            Some((name, port)) => (host(name)?.to_owned(), Some(port)),
            None => (host(part)?.to_owned(), None),
        },
    };
    let port = match port {
        None => NAME_SERVER_PORT,
        Some(port) => {
            number(port).ok_or_else(|| refuse(part, "the port is not a number from 1 to 65535"))?
        }
    };
    Ok(format!("{name}:{port}"))
}

/// What people mean with a text that no address has.
fn misread(part: &str) -> Option<&'static str> {
    if part.contains("://") {
        return Some(
            "the scheme is rmq and stands once, before the first address, rmq://HOST:PORT,HOST:PORT; without it write HOST:PORT;HOST:PORT",
        );
    }
    if part.contains(char::is_whitespace) {
        return Some("addresses are separated by ; or by a comma, HOST:PORT;HOST:PORT");
    }
    if part.contains('@') {
        return Some("credentials are not supported in an address");
    }
    if part.contains(['/', '?', '#']) {
        return Some("a path or parameters are not supported in an address");
    }
    None
}

/// Digits only: `+1` is no port.
fn number(port: &str) -> Option<u16> {
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|port| is_number && *port > 0)
}

/// A name of a host, or its IPv4 address; without a port.
///
/// # Errors
/// When it is empty or has other characters than letters, digits, `-`, `_` and `.`.
pub fn host(text: &str) -> Result<&str, AddressError> {
    if text.is_empty() {
        return Err(refuse(text, "the host is empty"));
    }
    let is_fine = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if !text.chars().all(is_fine) {
        return Err(refuse(
            text,
            "a host has letters, digits, '-', '_' and '.'; an address is HOST:PORT",
        ));
    }
    // A dot at the end says that the name is complete.
    let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() > 253 || !labels.clone().all(is_label) {
        return Err(refuse(
            text,
            "a host's parts have 1 to 63 characters, without '-' at either end, and all of them at most 253",
        ));
    }
    // What ends in a number is an IPv4 address or nothing (the URL standard's rule; no top-level domain is a number).
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    if labels.next_back().is_some_and(is_number) && text.parse::<Ipv4Addr>().is_err() {
        return Err(refuse(
            text,
            "a host that ends in a number is an IPv4 address, four numbers from 0 to 255",
        ));
    }
    Ok(text)
}

/// A host that others can be told: no address that stands for "every address of this machine".
///
/// # Errors
/// As [`host`], and for `0.0.0.0` and `::`. An IPv6 address stands without brackets.
pub fn reachable_host(text: &str) -> Result<&str, AddressError> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Err(refuse(
            text,
            "it stands for every address of a machine; others need one of them, or a name",
        )),
        Ok(_) => Ok(text),
        Err(_) => host(text),
    }
}

/// The address of one server, `host:port`, with its port.
///
/// # Errors
/// When it is none; the error says how to write it.
pub fn server(text: &str) -> Result<String, AddressError> {
    let text = text.trim();
    if text.contains([',', ';']) {
        return Err(refuse(text, "one address is wanted, HOST:PORT"));
    }
    let has_port = match text.rsplit_once(']') {
        Some((_, after)) => after.starts_with(':'),
        None => text.contains(':'),
    };
    let server = with_port(text)?;
    if !has_port {
        return Err(refuse(text, "the port is missing, HOST:PORT"));
    }
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_people_write_them() {
        for (text, servers) in [
            ("", &[][..]),
            (" ; ,", &[]),
            ("rmq://", &[]),
            ("a:1;b:2", &["a:1", "b:2"]),
            ("a:1,b:2;", &["a:1", "b:2"]),
            (" a:1 ; b:2 \n", &["a:1", "b:2"]),
            ("a;b", &["a:9876", "b:9876"]),
            ("a:1;a:1;a:01", &["a:1"]),
            ("rmq://a:1,b/", &["a:1", "b:9876"]),
            (
                "[::1]:1;[2001:db8::0:1]",
                &["[::1]:1", "[2001:db8::0:1]:9876"],
            ),
            ("[fe80::1%eth0]:1", &["[fe80::1%eth0]:1"]),
            ("10.0.0.1:65535", &["10.0.0.1:65535"]),
            (
                "ns_0.shop.svc.cluster.local:1",
                &["ns_0.shop.svc.cluster.local:1"],
            ),
        ] {
            let read = name_servers(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(read, servers, "{text:?}");
        }
    }

    #[test]
    fn one_server_has_its_port() {
        for (text, address) in [
            ("h:1", "h:1"),
            ("h.shop.:1", "h.shop.:1"),
            ("[::1]:10911", "[::1]:10911"),
            (" 10.0.0.1:10911 ", "10.0.0.1:10911"),
        ] {
            assert_eq!(server(text).as_deref(), Ok(address));
        }
        for (text, reason) in [
            ("", "empty"),
            ("h", "port is missing"),
            ("[::1]", "port is missing"),
            ("h:1,g:1", "one address"),
            ("http://h:1", "scheme"),
            ("h:0", "port"),
        ] {
            let error = server(text).expect_err(text);
            assert!(error.to_string().contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_host_that_others_are_told_is_one_host() {
        for text in ["h", "h.shop.svc", "10.0.0.1", "::1", "fe80::1"] {
            assert_eq!(reachable_host(text), Ok(text));
        }
        for (text, reason) in [
            ("0.0.0.0", "every address"),
            ("::", "every address"),
            ("h:1", "letters"),
            ("a:b:c", "letters"),
            ("[::1]", "letters"),
            ("10.0.0.256", "IPv4"),
            ("..", "parts"),
            ("", "empty"),
        ] {
            let error = reachable_host(text).expect_err(text);
            assert!(error.to_string().contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_is_meant() {
        for (text, reason) in [
            ("a:1 b:2", "separated by ;"),
            ("a:1\tb:2", "separated by ;"),
            ("a:1\nb:2", "separated by ;"),
            ("http://h:1", "the scheme is rmq"),
            ("h:1;rmq://g:1", "the scheme is rmq"),
            ("tcp://h:1", "the scheme is rmq"),
            ("rmq://user:secret@h", "credentials"),
            ("h:1/x", "a path"),
            ("h:1?x=y", "a path"),
            ("h:", "port"),
            ("h:0", "port"),
            ("h:70000", "port"),
            ("h:-1", "port"),
            ("h:+1", "port"),
            ("h:port", "port"),
            (":9876", "empty"),
            ("::1", "brackets"),
            ("::1:9876", "brackets"),
            ("[::1", "without its ]"),
            ("[h]:1", "no IPv6 address"),
            ("[::1]9876", "after its ]"),
            ("a|b:1", "letters"),
            ("10.0.0.300:1", "IPv4"),
            ("10.0.0:1", "IPv4"),
            ("9876", "IPv4"),
            ("ns.1:1", "IPv4"),
            ("a..b:1", "parts"),
            (".a:1", "parts"),
            ("-a:1", "parts"),
            ("a-.b:1", "parts"),
            ("'a:1'", "letters"),
        ] {
            let error = name_servers(text).expect_err(text);
            assert!(error.to_string().contains(reason), "{text:?}: {error}");
        }
    }
}
