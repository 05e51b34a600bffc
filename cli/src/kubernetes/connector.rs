//! Connections through the API server: an address as brokers tell it becomes a pod, and a port of that pod a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use rmq_client::{ConnectFuture, Connector, Stream, TcpConnector};
use rmq_crds::{BrokerGroup, NameServer};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::problem::Problem;

/// Ports of the operator's pods, whatever the outside is told.
const NAME_SERVER_PORT: u16 = 9876;
const BROKER_PORT: u16 = 10911;
/// Clients with `vipChannelEnabled` send two ports below.
const FAST: u16 = 2;
/// A server that does not serve yet is given this long to refuse the connection: the stream exists before the port was tried.
const REFUSED_WITHIN: Duration = Duration::from_millis(500);
/// Objects of one namespace that an address is looked up in.
const LISTED_MAX: u32 = 500;

/// Opens streams to pods of one namespace, and of others where an address names it.
pub(super) struct PodConnector {
    client: kube::Client,
    namespace: String,
}

/// What an address means.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Pod {
        namespace: String,
        name: String,
        port: u16,
    },
    /// No pod of ours: a broker outside of Kubernetes, perhaps.
    Outside,
}

impl Connector for PodConnector {
    fn connect<'a>(&'a self, addr: &'a str) -> ConnectFuture<'a> {
        Box::pin(self.open(addr))
    }
}

impl PodConnector {
    pub(super) fn new(client: kube::Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    /// Looks the pod up at each attempt, so a replaced one is found again.
    async fn open(&self, addr: &str) -> io::Result<Box<dyn Stream>> {
        match self.target(addr).await? {
            Target::Pod {
                namespace,
                name,
                port,
            } => self.forward(&namespace, &name, port).await,
            Target::Outside => {
                let connected = TcpConnector.connect(addr).await;
                connected.map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!(
                            "no pod of namespace {} has this address, and from here: {error}",
                            self.namespace
                        ),
                    )
                })
            }
        }
    }

    async fn target(&self, addr: &str) -> io::Result<Target> {
        let (host, port) = addr
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)))
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{addr} is not host:port"),
                )
            })?;
        if let Some((name, namespace)) = pod_of_host(host) {
            return Ok(Target::Pod {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                port,
            });
        }
        if let Some((service, namespace)) = service_of_host(host) {
            return Ok(self.any_pod_of(service, namespace, port).await?);
        }
        if let Some((name, port)) = self.advertised(addr, host, port).await? {
            return Ok(Target::Pod {
                namespace: self.namespace.clone(),
                name,
                port,
            });
        }
        if host.parse::<std::net::IpAddr>().is_ok() {
            return Ok(self.pod_with_ip(host, port).await?);
        }
        Ok(Target::Outside)
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The pod behind an address that the operator lets servers tell clients outside.
    async fn advertised(
        &self,
        addr: &str,
        host: &str,
        port: u16,
    ) -> Result<Option<(String, u16)>, Problem> {
        let listed = ListParams::default().limit(LISTED_MAX);
        let groups: Api<BrokerGroup> = Api::namespaced(self.client.clone(), &self.namespace);
        let fast = format!("{host}:{}", u32::from(port) + u32::from(FAST));
        // Without these objects, or the right to see them, the address may still be a pod's.
        for group in groups.list(&listed).await.into_iter().flatten() {
            let Some(status) = &group.status else {
                continue;
            };
            let members = status.members.iter();
            let mut told: Vec<(i64, Option<&str>)> = members
                .map(|member| (member.slot, member.address.as_deref()))
                .collect();
            if told.is_empty() {
                told.push((0, status.address.as_deref()));
            }
            for (slot, told) in told {
                let pod = || format!("{}-broker-{slot}", group.name_any());
                if told == Some(addr) {
                    return Ok(Some((pod(), BROKER_PORT)));
                }
                if told == Some(&fast) {
                    return Ok(Some((pod(), BROKER_PORT - FAST)));
                }
            }
        }
        let servers: Api<NameServer> = Api::namespaced(self.client.clone(), &self.namespace);
        for server in servers.list(&listed).await.into_iter().flatten() {
            let told = server.status.as_ref();
            let told = told.and_then(|status| status.external_addresses.as_deref());
            if told.is_some_and(|told| told.split(';').any(|one| one == addr)) {
                return Ok(Some((
                    format!("{}-namesrv-0", server.name_any()),
                    NAME_SERVER_PORT,
                )));
            }
        }
        Ok(None)
    }

    async fn pod_with_ip(&self, ip: &str, port: u16) -> Result<Target, Problem> {
        let fields = ListParams::default().fields(&format!("status.podIP={ip}"));
        let found = self.pods(&self.namespace).list(&fields).await;
        let found = found.map_err(|error| Problem::of(error, "list", "pods", &self.namespace))?;
        Ok(match found.items.first() {
            Some(pod) => Target::Pod {
                namespace: self.namespace.clone(),
                name: pod.name_any(),
                port,
            },
            None => Target::Outside,
        })
    }

    /// A pod of a StatefulSet that is named as its Service, one that serves where there is one.
    async fn any_pod_of(
        &self,
        service: &str,
        namespace: &str,
        port: u16,
    ) -> Result<Target, Problem> {
        let found = self.pods(namespace).list(&ListParams::default()).await;
        let found = found.map_err(|error| Problem::of(error, "list", "pods", namespace))?;
        let is_of = |pod: &&Pod| {
            let name = pod.name_any();
            let rest = name
                .strip_prefix(service)
                .and_then(|rest| rest.strip_prefix('-'));
            rest.is_some_and(|index| index.parse::<u16>().is_ok())
        };
        let pods = || found.items.iter().filter(is_of);
        match pods().find(|pod| is_ready(pod)).or_else(|| pods().next()) {
            Some(pod) => Ok(Target::Pod {
                namespace: namespace.to_owned(),
                name: pod.name_any(),
                port,
            }),
            None => Err(Problem::NotFound {
                what: format!("there is no pod of service {service} in namespace {namespace}"),
            }),
        }
    }

    async fn forward(&self, namespace: &str, name: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        let pods = self.pods(namespace);
        let is_serving = match pods.get_opt(name).await {
            Ok(Some(pod)) => {
                let phase = pod
                    .status
                    .as_ref()
                    .and_then(|status| status.phase.as_deref());
                let phase = phase.unwrap_or("Pending");
                if phase != "Running" {
                    let what =
                        format!("pod {name} in namespace {namespace} is {phase}, not Running");
                    return Err(io::Error::new(io::ErrorKind::NotConnected, what));
                }
                is_ready(&pod)
            }
            Ok(None) => {
                let what = format!("there is no pod {name} in namespace {namespace} now");
                return Err(Problem::NotFound { what }.into());
            }
            Err(error) => match Problem::of(error, "get", "pods", namespace) {
                // Who may not look may still be allowed to connect.
                Problem::NotAllowed { .. } => true,
                problem => return Err(problem.into()),
            },
        };
        let forwarded = pods.portforward(name, &[port]).await;
        let mut forwarder =
            forwarded.map_err(|error| Problem::of(error, "get", "pods/portforward", namespace))?;
        let (Some(stream), Some(error)) = (forwarder.take_stream(port), forwarder.take_error(port))
        else {
            return Err(io::Error::other("the port-forward has no stream"));
        };
        let mut error: PortError = Box::pin(error);
        if !is_serving && let Ok(Some(why)) = tokio::time::timeout(REFUSED_WITHIN, &mut error).await
        {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, why));
        }
        Ok(Box::new(Forwarded {
            stream,
            error: Some(error),
        }))
    }
}

/// `POD.SERVICE.NAMESPACE.svc…`.
fn pod_of_host(host: &str) -> Option<(&str, &str)> {
    let mut parts = host.split('.');
    let (pod, _service, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next() == Some("svc")).then_some((pod, namespace))
}

/// `SERVICE.NAMESPACE.svc…`.
fn service_of_host(host: &str) -> Option<(&str, &str)> {
    let mut parts = host.split('.');
    let (service, namespace) = (parts.next()?, parts.next()?);
    (parts.next() == Some("svc")).then_some((service, namespace))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

type PortError = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// A port of a pod. When it ends, it ends with the reason that the node gave, if it gave one.
struct Forwarded {
    stream: DuplexStream,
    error: Option<PortError>,
}

impl AsyncRead for Forwarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before
            && buf.remaining() > 0
            && let Some(error) = &mut self.error
            && let Poll::Ready(why) = error.as_mut().poll(cx)
        {
            self.error = None;
            if let Some(why) = why {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, why)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pods_and_services() {
        let pod = Some(("a-broker-0", "shop"));
        assert_eq!(pod_of_host("a-broker-0.a-broker.shop.svc"), pod);
        assert_eq!(
            pod_of_host("a-broker-0.a-broker.shop.svc.cluster.local"),
            pod
        );
        assert_eq!(pod_of_host("main-namesrv.shop.svc"), None);
        assert_eq!(
            service_of_host("main-namesrv.shop.svc"),
            Some(("main-namesrv", "shop"))
        );
        for other in ["10.0.0.7", "broker.example.com", "localhost"] {
            assert_eq!(pod_of_host(other), None, "{other}");
            assert_eq!(service_of_host(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_reason_of_the_node() {
        let (stream, other) = tokio::io::duplex(16);
        drop(other);
        let mut forwarded = Forwarded {
            stream,
            error: Some(Box::pin(async { Some("connection refused".to_owned()) })),
        };
        let error = tokio::io::AsyncReadExt::read_u8(&mut forwarded).await;
        assert_eq!(
            error.expect_err("it ended").to_string(),
            "connection refused"
        );
    }
}
