//! Two connections as one. Every byte passes unchanged, except in answers that carry addresses of brokers: there the addresses become
//! those of the tunnel.
//!
//! One frame at most is held, and only when it is changed; of all others the header is looked at and the body passes by. A side that
//! does not read stops the other.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rmq_client::protocol::bodies::{BrokerMemberGroupBody, ConsumeStatsList, TopicList};
use rmq_client::protocol::frame::{self, HeaderEncoding, PREFIX_BYTES, Split};
use rmq_client::protocol::header::Header;
use rmq_client::protocol::route::{ClusterInfo, TopicRoute};
use rmq_client::protocol::{FrameLimits, RequestCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// Requests of one connection whose answers are to be changed and have not come.
const ASKED_MAX: usize = 65_536;
/// After the client has ended, what the server still sends is passed on for so long.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(5);

/// Knows the address in the tunnel for a broker's own.
pub(super) trait Addresses: Send + Sync {
    /// The address that a client here uses for `broker`; none when there is no way to it.
    fn local(&self, broker: &str) -> impl Future<Output = Option<String>> + Send;
}

/// Requests of one connection whose answers carry addresses: code by opaque.
#[derive(Default)]
struct Asked(Mutex<HashMap<i32, RequestCode>>);

impl Asked {
    fn map(&self) -> MutexGuard<'_, HashMap<i32, RequestCode>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.map().is_empty()
    }

    fn note(&self, opaque: i32, code: RequestCode) -> io::Result<()> {
        let mut map = self.map();
        if map.len() >= ASKED_MAX {
            let why = format!("{ASKED_MAX} requests without an answer");
            return Err(io::Error::other(why));
        }
        map.insert(opaque, code);
        Ok(())
    }

    fn answered(&self, opaque: i32) -> Option<RequestCode> {
        self.map().remove(&opaque)
    }
}

/// Whether the answer to such a request carries addresses of brokers.
fn is_changed(code: RequestCode) -> bool {
    matches!(
        code,
        RequestCode::GetRouteinfoByTopic
            | RequestCode::GetBrokerClusterInfo
            | RequestCode::GetBrokerMemberGroup
            | RequestCode::GetSystemTopicListFromNs
            | RequestCode::GetSystemTopicListFromBroker
            | RequestCode::GetBrokerConsumeStats
    )
}

/// Relays until one side ends.
pub(super) async fn relay<C, S>(client: C, server: S, addresses: &impl Addresses) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let asked = Asked::default();
    let up = async {
        let mut pipe = Pipe::default();
        pipe.requests(&mut from_client, &mut to_server, &asked)
            .await?;
        to_server.shutdown().await
    };
    let down = async {
        let mut pipe = Pipe::default();
        pipe.answers(&mut from_server, &mut to_client, &asked, addresses)
            .await?;
        to_client.shutdown().await
    };
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut down => ended,
        ended = &mut up => {
            ended?;
            tokio::time::timeout(LAST_WORDS_WITHIN, down).await.unwrap_or(Ok(()))
        }
    }
}

/// What lies at the start of the bytes that were read.
enum Next {
    /// A frame whose header is here, and how long it is in all.
    Frame(usize),
    /// Not even a header.
    More,
}

/// One direction: bytes that were read and not passed on.
#[derive(Default)]
struct Pipe {
    buf: BytesMut,
    /// Bytes at the start of `buf` that pass unchanged.
    passing: usize,
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Pipe {
    async fn requests<R, W>(&mut self, from: &mut R, to: &mut W, asked: &Asked) -> io::Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while let Some(bytes) = self.next(from, to, || true).await? {
            if let Some(header) = self.header()
                && !header.is_response()
                && !header.is_one_way()
                && let Some(code) = RequestCode::from_i32(header.code)
                && is_changed(code)
            {
                asked.note(header.opaque, code)?;
            }
            self.pass(bytes, from, to).await?;
        }
        Ok(())
    }

    async fn answers<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        asked: &Asked,
        addresses: &impl Addresses,
    ) -> io::Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            // Asked after each read: a request is noted before the server sees it.
            let Some(bytes) = self.next(from, to, || !asked.is_empty()).await? else {
                return Ok(());
            };
            let code = match asked.is_empty() {
                true => None,
                false => self
                    .header()
                    .filter(Header::is_response)
                    .and_then(|header| asked.answered(header.opaque)),
            };
            match code {
                None => self.pass(bytes, from, to).await?,
                Some(code) => {
                    let frame = self.take(bytes, from, to).await?;
                    to.write_all(&changed(&frame, code, addresses).await)
                        .await?;
                }
            }
        }
    }

    /// The header at the front; none when it cannot be understood: the server will say so itself.
    fn header(&self) -> Option<Header<'_>> {
        let bytes = &self.buf[self.passing..];
        let encoding = match bytes.get(4)? {
            0 => HeaderEncoding::Json,
            _ => HeaderEncoding::Binary,
        };
        let header = bytes.get(PREFIX_BYTES..PREFIX_BYTES + header_bytes(bytes)?)?;
        Header::decode(encoding, header, &FrameLimits::default()).ok()
    }

    /// The length of the next frame, when its header is here (with `whole_header`) or at least its beginning; none at the end.
    async fn next<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        whole_header: impl Fn() -> bool,
    ) -> io::Result<Option<usize>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if let Next::Frame(bytes) = look(&self.buf[self.passing..], whole_header())? {
                return Ok(Some(bytes));
            }
            // Nothing waits here for what is not there yet.
            self.flush(to).await?;
            self.buf.reserve(READ_BYTES);
            if from.read_buf(&mut self.buf).await? == 0 {
                return match self.buf.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Lets a frame of this many bytes pass unchanged.
    async fn pass<R, W>(&mut self, bytes: usize, from: &mut R, to: &mut W) -> io::Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let end = self.passing + bytes;
        if end <= self.buf.len() {
            self.passing = end;
            return Ok(());
        }
        let missing = (end - self.buf.len()) as u64;
        self.passing = self.buf.len();
        self.flush(to).await?;
        let copied = tokio::io::copy(&mut from.take(missing), to).await?;
        if copied < missing {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The whole frame of so many bytes; what is before it has been passed on.
    async fn take<R, W>(&mut self, bytes: usize, from: &mut R, to: &mut W) -> io::Result<BytesMut>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        self.flush(to).await?;
        while self.buf.len() < bytes {
            self.buf.reserve(READ_BYTES);
            if from.read_buf(&mut self.buf).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buf.split_to(bytes))
    }

    async fn flush<W: AsyncWrite + Unpin>(&mut self, to: &mut W) -> io::Result<()> {
        if self.passing > 0 {
            to.write_all(&self.buf[..self.passing]).await?;
            self.buf.advance(self.passing);
            self.passing = 0;
        }
        to.flush().await
    }
}

fn header_bytes(frame: &[u8]) -> Option<usize> {
    let mark = frame.get(4..PREFIX_BYTES)?;
    Some(usize::from(mark[1]) << 16 | usize::from(mark[2]) << 8 | usize::from(mark[3]))
}

/// Lengths are checked before their bytes arrive.
fn look(bytes: &[u8], whole_header: bool) -> io::Result<Next> {
    let total = match frame::split(bytes, &FrameLimits::default()).map_err(broken)? {
        Split::Frame { consumed, .. } => consumed,
        Split::Need {
            frame_bytes: Some(total),
        } if !whole_header => total,
        Split::Need {
            frame_bytes: Some(total),
        } => match header_bytes(bytes) {
            Some(header) if bytes.len() >= PREFIX_BYTES + header => total,
            _ => return Ok(Next::More),
        },
        Split::Need { frame_bytes: None } => return Ok(Next::More),
    };
    Ok(Next::Frame(total))
}

/// The frame with the tunnel's addresses. The header stays as it is, byte for byte, and so does everything else of the body.
async fn changed(frame: &[u8], code: RequestCode, addresses: &impl Addresses) -> Vec<u8> {
    let body_at = PREFIX_BYTES + header_bytes(frame).unwrap_or(0);
    let (head, body) = frame.split_at(body_at.min(frame.len()));
    let mut local = HashMap::new();
    for broker in brokers(code, body) {
        if let Some(addr) = addresses.local(&broker).await {
            local.insert(broker, addr);
        }
    }
    if local.is_empty() {
        return frame.to_vec();
    }
    let mut out = Vec::with_capacity(frame.len() + 64);
    out.extend_from_slice(head);
    replace(body, &local, &mut out);
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// Addresses of brokers in an answer's body; none when it has another form, such as that of an error.
fn brokers(code: RequestCode, body: &[u8]) -> Vec<String> {
    let of_groups = |groups: Vec<rmq_client::protocol::route::BrokerData>| {
        let addresses = groups
            .into_iter()
            .flat_map(|group| group.broker_addrs.into_values());
        addresses.collect::<Vec<_>>()
    };
    match code {
        RequestCode::GetRouteinfoByTopic => TopicRoute::from_json(body).map(|route| {
            let mut all = of_groups(route.broker_datas);
            all.extend(route.filter_server_table.into_keys());
            all
        }),
        RequestCode::GetBrokerClusterInfo => ClusterInfo::from_json(body)
            .map(|info| of_groups(info.broker_addr_table.into_values().collect())),
        RequestCode::GetBrokerMemberGroup => BrokerMemberGroupBody::from_json(body).map(|group| {
            group
                .broker_member_group
                .broker_addrs
                .into_values()
                .collect()
        }),
        RequestCode::GetBrokerConsumeStats => {
            ConsumeStatsList::from_json(body).map(|stats| vec![stats.broker_addr])
        }
        _ => TopicList::from_json(body).map(|list| list.broker_addr.into_iter().collect()),
    }
    .unwrap_or_default()
}

/// Copies JSON, with texts that are keys of `local` replaced. What is not quite JSON (unquoted numbers as keys) stays as it is.
fn replace(json: &[u8], local: &HashMap<String, String>, out: &mut Vec<u8>) {
    let mut rest = json;
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        let (before, text) = rest.split_at(start + 1);
        out.extend_from_slice(before);
        let mut end = 0;
        while end < text.len() && text[end] != b'"' {
            end += if text[end] == b'\\' { 2 } else { 1 };
        }
        let (text, after) = text.split_at(end.min(text.len()));
        match std::str::from_utf8(text)
            .ok()
            .and_then(|text| local.get(text))
        {
            Some(addr) => out.extend_from_slice(addr.as_bytes()),
            None => out.extend_from_slice(text),
        }
        let quote = after.len().min(1);
        out.extend_from_slice(&after[..quote]);
        rest = &after[quote..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use rmq_client::protocol::frame::encode_frame;
    use rmq_client::protocol::header::{CommandHead, NoFields};

    struct Here;

    impl Addresses for Here {
        async fn local(&self, broker: &str) -> Option<String> {
            (broker != "unknown:1").then(|| format!("127.0.0.1:{}", broker.len()))
        }
    }

    const ROUTE: &str = r#"{"brokerDatas":[{"brokerAddrs":{0:"a.shop.svc:10911","1":"unknown:1"},"brokerName":"a","cluster":"say \"a.shop.svc:10911\""}],"filterServerTable":{"a.shop.svc:10911":[]},"queueDatas":[]}"#;
    const CHANGED: &str = r#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:16","1":"unknown:1"},"brokerName":"a","cluster":"say \"a.shop.svc:10911\""}],"filterServerTable":{"127.0.0.1:16":[]},"queueDatas":[]}"#;

    fn frame(head: &CommandHead, body: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode_frame(&mut out, HeaderEncoding::Json, head, &NoFields, body);
        out.to_vec()
    }

    /// What each side gets when the client sends `requests` and the server then `answers`.
    async fn through(requests: &[u8], answers: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>) {
        let (client, near) = tokio::io::duplex(piece);
        let (far, server) = tokio::io::duplex(piece);
        let relayed = async { relay(near, far, &Here).await };
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let mut asked = vec![0; requests.len()];
        let serve = async {
            from_server
                .read_exact(&mut asked)
                .await
                .expect("all requests");
            to_server.write_all(answers).await.expect("it goes on");
            to_server.shutdown().await.expect("it goes on");
        };
        let mut answered = Vec::new();
        let ask = async {
            to_client.write_all(requests).await.expect("it goes on");
            from_client
                .read_to_end(&mut answered)
                .await
                .expect("it ends");
        };
        let (relayed, (), ()) = tokio::join!(relayed, serve, ask);
        relayed.expect("it ended well");
        (asked, answered)
    }

    #[tokio::test]
    async fn addresses_change_and_nothing_else() {
        let route = RequestCode::GetRouteinfoByTopic.as_i32();
        let big = vec![7; 300_000];
        let requests = [
            frame(&CommandHead::request(route, 1), b""),
            frame(&CommandHead::request(10, 2), &big),
            frame(&CommandHead::request(route, 3), b""),
        ]
        .concat();
        let answer = |opaque, body: &[u8]| frame(&CommandHead::response(0, opaque), body);
        // Out of order; the second carries the same text, and no request asked for a route there.
        let answers = [
            answer(2, ROUTE.as_bytes()),
            answer(3, ROUTE.as_bytes()),
            answer(1, &big),
        ];
        let wanted = [
            answer(2, ROUTE.as_bytes()),
            answer(3, CHANGED.as_bytes()),
            answer(1, &big),
        ];
        for piece in [1, 7, 64, 1 << 20] {
            let (asked, answered) = through(&requests, &answers.concat(), piece).await;
            assert!(
                asked == requests,
                "requests pass as they are, {piece} bytes at once"
            );
            assert!(answered == wanted.concat(), "{piece} bytes at once");
        }
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_connection() {
        let (mut client, near) = tokio::io::duplex(64);
        let (far, _server) = tokio::io::duplex(64);
        client
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("it goes on");
        let ended = relay(near, far, &Here).await.expect_err("it is no frame");
        assert!(ended.to_string().contains("frame of"), "{ended}");
    }

    #[test]
    fn every_answer_with_addresses_is_known() {
        let group = r#"{"brokerMemberGroup":{"brokerAddrs":{"0":"x:1"},"brokerName":"a"}}"#;
        let info = r#"{"brokerAddrTable":{"a":{"brokerAddrs":{"0":"x:1"},"brokerName":"a","cluster":"c"}},"clusterAddrTable":{}}"#;
        for (code, body) in [
            (RequestCode::GetBrokerMemberGroup, group),
            (RequestCode::GetBrokerClusterInfo, info),
            (
                RequestCode::GetSystemTopicListFromNs,
                r#"{"brokerAddr":"x:1","topicList":[]}"#,
            ),
            (
                RequestCode::GetBrokerConsumeStats,
                r#"{"brokerAddr":"x:1"}"#,
            ),
        ] {
            assert!(is_changed(code));
            assert_eq!(brokers(code, body.as_bytes()), ["x:1"], "{code:?}");
        }
        assert!(!is_changed(RequestCode::PullMessage));
    }
}
