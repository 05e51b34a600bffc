//! Where the name servers are: `rmq://host:port,host:port`, or the plain list that other clients take (`host:port;host:port`).

use std::fmt;
use std::str::FromStr;

/// Port of a name server when none is given.
pub(crate) const NAME_SERVER_PORT: u16 = 9876;

const SCHEME: &str = "rmq://";

/// Addresses of the name servers of one cluster: at least one, each `host:port`.
///
/// ```
/// use rmq_client::ClusterUrl;
///
/// let url: ClusterUrl = "rmq://ns-0.example,ns-1.example:9877".parse()?;
/// assert_eq!(url.name_servers(), ["ns-0.example:9876", "ns-1.example:9877"]);
/// // The form of NAMESRV_ADDR.
/// let same: ClusterUrl = "ns-0.example:9876;ns-1.example:9877".parse()?;
/// assert_eq!(url, same);
/// # Ok::<(), rmq_client::UrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterUrl {
    name_servers: Vec<String>,
}

/// Why a text is not the address of a cluster.
///
/// ```
/// use rmq_client::ClusterUrl;
///
/// let error = "http://x".parse::<ClusterUrl>().unwrap_err();
/// assert!(error.to_string().contains("rmq://"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not the address of a cluster: {reason}; expected rmq://host:port[,host:port] or host:port[;host:port]"
)]
pub struct UrlError {
    text: String,
    reason: &'static str,
}

impl ClusterUrl {
    /// The name servers as `host:port`.
    #[must_use]
    pub fn name_servers(&self) -> &[String] {
        &self.name_servers
    }
}

impl FromStr for ClusterUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let refuse = |reason| UrlError {
            text: text.to_owned(),
            reason,
        };
        let list = match text.trim().strip_prefix(SCHEME) {
            Some(rest) => rest.trim_end_matches('/'),
            None if text.contains("://") => {
                return Err(refuse(
                    "the scheme is not rmq; name servers do not speak it",
                ));
            }
            None => text.trim(),
        };
        if list.contains("://") {
            return Err(refuse("the scheme stands once, before the first address"));
        }
        if list.contains('@') {
            return Err(refuse("credentials are not supported yet"));
        }
        if list.contains(['/', '?']) {
            return Err(refuse("a path or parameters are not supported"));
        }
        let name_servers = list
            .split([',', ';'])
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .map(|server| with_port(server).map_err(refuse))
            .collect::<Result<Vec<_>, _>>()?;
        if name_servers.is_empty() {
            return Err(refuse("it names no server"));
        }
        Ok(Self { name_servers })
    }
}

impl fmt::Display for ClusterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.name_servers.join(","))
    }
}

fn with_port(server: &str) -> Result<String, &'static str> {
    if server.contains(char::is_whitespace) {
        return Err("an address has a blank; addresses are separated by , or ;");
    }
    // An IPv6 address stands in brackets: [::1]:9876.
    let (host, port) = match server.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or("a [ without its ]")?;
            if !after.is_empty() && !after.starts_with(':') {
                return Err("a port stands after its ] and a colon");
            }
            (format!("[{address}]"), after.strip_prefix(':'))
        }
        None => match server.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address needs brackets: [::1]:9876");
            }
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (server.to_owned(), None),
        },
    };
    if host.is_empty() {
        return Err("a host is empty");
    }
    if host.starts_with('[') {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        // A link-local one names its interface: [fe80::1%eth0].
        let address = address.split('%').next().unwrap_or_default();
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("what stands in brackets is no IPv6 address");
        }
    } else if !host.chars().all(is_of_a_host) {
        return Err("a host has letters, digits, dots, hyphens and underscores");
    }
    let port = match port {
        Some(port) => port
            .parse::<u16>()
            .ok()
            .filter(|number| *number != 0 && port.bytes().all(|digit| digit.is_ascii_digit()))
            .ok_or("a port is not a number from 1 to 65535")?,
        None => NAME_SERVER_PORT,
    };
    Ok(format!("{host}:{port}"))
}

/// Of names and of IPv4 addresses; names beyond ASCII are left to the resolver.
fn is_of_a_host(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_says_why() {
        for (text, reason) in [
            ("", "names no server"),
            ("rmq://", "names no server"),
            ("http://a:1", "scheme"),
            ("a:0", "port"),
            ("a:70000", "port"),
            ("::1", "brackets"),
            ("[::1", "without"),
            (":9876", "empty"),
            ("rmq://user@a", "credentials"),
            ("rmq://a/x", "path"),
            ("a:1 b:2", "separated by"),
            ("rmq://a:1 b:2", "separated by"),
            ("rmq://a:1\tb:2", "separated by"),
            ("a:1,b:2 c:3", "separated by"),
            ("a:1;b c:3", "separated by"),
            ("rmq://a:1,rmq://b:2", "stands once"),
            ("rmq://a:1;http://b:2", "stands once"),
            ("tcp://a:1", "scheme"),
            ("a:1:2", "brackets"),
            ("a:", "port"),
            ("a:+1", "port"),
            ("a: 1", "separated by"),
            ("a:1,b|c", "letters"),
            ("[a]:1", "IPv6"),
            ("[::1]9876", "after its ]"),
            ("a?b", "parameters"),
        ] {
            let error = text.parse::<ClusterUrl>().expect_err(text);
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn brackets_and_the_trailing_slash_are_understood() {
        let spaced: ClusterUrl = " rmq://a:1, b:2 ; c ".parse().expect("valid");
        assert_eq!(spaced.name_servers(), ["a:1", "b:2", "c:9876"]);
        let url: ClusterUrl = "rmq://[::1]:1,b/".parse().expect("valid");
        assert_eq!(url.name_servers(), ["[::1]:1", "b:9876"]);
        assert_eq!(url.to_string().parse::<ClusterUrl>().expect("valid"), url);
    }
}
