//! Where the name servers are: `rmq://host:port,host:port`, or the plain list that other clients take (`host:port;host:port`).

use std::fmt;
use std::str::FromStr;

use rmq_texts::NAME_SERVER_SCHEME;

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
    "{text:?} is not the address of a cluster: {reason}; expected rmq://host:port[,host:port] or host:port[;host:port]"
)]
pub struct UrlError {
    text: String,
    reason: String,
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
        let refuse = |reason: String| UrlError {
            text: text.to_owned(),
            reason,
        };
        let name_servers =
            rmq_texts::name_servers(text).map_err(|error| refuse(error.to_string()))?;
        if name_servers.is_empty() {
            return Err(refuse("it names no server".to_owned()));
        }
        Ok(Self { name_servers })
    }
}

impl fmt::Display for ClusterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME_SERVER_SCHEME}{}", self.name_servers.join(","))
    }
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
