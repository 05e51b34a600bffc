//! How clients and name servers know a broker.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use rmq_config::BrokerConfig;

/// Addresses of a broker.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// `host:port` as advertised.
    pub(crate) addr: String,
    /// Address in records and message ids.
    pub(crate) store_host: SocketAddr,
}

impl Identity {
    /// The host as advertised.
    pub(crate) fn host(&self) -> &str {
        self.addr.rsplit_once(':').map_or("", |(host, _)| host)
    }

    /// The host as advertised, with another port.
    pub(crate) fn with_port(&self, port: u16) -> String {
        format!("{}:{port}", self.host())
    }

    /// The identity of a broker that listens on `addr`. May ask DNS for the advertised host.
    pub(crate) async fn of(config: &BrokerConfig, addr: SocketAddr) -> Self {
        let member = config.own_member();
        let member = member.as_ref().and_then(|member| {
            let (host, port) = member.client.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some((host.to_owned(), port.parse().ok()?))
        });
        let port = match (config.advertise_port, &member) {
            (_, Some((_, port))) => *port,
            (0, None) => addr.port(),
            (port, None) => port,
        };
        let host = if let Some((host, _)) = member {
            host
        } else if !config.advertise.is_empty() {
            config.advertise.clone()
        } else if addr.ip().is_unspecified() {
            outward_address(config)
                .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
                .to_string()
        } else {
            addr.ip().to_string()
        };
        let ip = match host.parse::<IpAddr>() {
            Ok(ip) => ip,
            Err(_) => match tokio::net::lookup_host((host.as_str(), port))
                .await
                .map(|mut found| found.next())
            {
                Ok(Some(found)) => found.ip(),
                _ => {
                    tracing::warn!(
                        host,
                        "the advertised host cannot be resolved here; message ids carry the loopback address"
                    );
                    IpAddr::V4(Ipv4Addr::LOCALHOST)
                }
            },
        };
        let addr_text = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        Self {
            addr: addr_text,
            store_host: SocketAddr::new(ip, port),
        }
    }
}

/// The address of the interface towards the first name server; nothing is sent.
fn outward_address(config: &BrokerConfig) -> Option<IpAddr> {
    let server = config.name_server_list().into_iter().next()?;
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(server).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}
