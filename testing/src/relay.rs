//! The network between clients and one broker, or between two members of a group: it can be cut, be slow, and answer in the broker's stead.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rmq_client::protocol::FrameLimits;
use rmq_client::protocol::frame::{HeaderEncoding, Split, encode_frame, split};
use rmq_client::protocol::header::{CommandHead, Header, NoFields};
use rmq_client::protocol::{RequestCode, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// A socket that shares its port with others of these.
fn bound(addr: SocketAddr) -> TcpSocket {
    let bound = TcpSocket::new_v4().and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(addr)?;
        Ok(socket)
    });
    bound.unwrap_or_else(|error| panic!("{addr} cannot be used: {error}"))
}

/// What happens to a kind of request.
#[derive(Debug, Clone)]
struct Rule {
    code: i32,
    act: Act,
    /// How often still; `None`: until it is taken back.
    left: Option<usize>,
}

#[derive(Debug, Clone)]
enum Act {
    /// This is the answer; the broker does not see the request.
    Answer(ResponseCode),
    /// It continues after a pause.
    Wait(Duration),
    /// It is lost: no answer comes.
    Lose,
}

/// What one broker's network is like.
#[derive(Debug, Default)]
struct Weather {
    rules: parking_lot::Mutex<Vec<Rule>>,
    /// Requests so far, by code.
    seen: parking_lot::Mutex<HashMap<i32, usize>>,
    delay: parking_lot::Mutex<Duration>,
}

impl Weather {
    /// What happens to a request with this code.
    fn act(&self, code: i32) -> Option<Act> {
        *self.seen.lock().entry(code).or_default() += 1;
        let mut rules = self.rules.lock();
        let index = rules.iter().position(|rule| rule.code == code)?;
        let act = rules[index].act.clone();
        if let Some(left) = &mut rules[index].left {
            *left -= 1;
            if *left == 0 {
                rules.remove(index);
            }
        }
        Some(act)
    }
}

/// Listens where the broker is advertised.
pub(crate) struct Relay {
    addr: SocketAddr,
    /// Keeps the port while nothing listens there: others could be given it.
    _port: TcpSocket,
    /// Whether requests are understood. Of members that copy only the greeting is.
    has_requests: bool,
    /// Members that nothing passes for.
    cut_off: watch::Sender<BTreeSet<u64>>,
    weather: Arc<Weather>,
    cut: watch::Sender<bool>,
    /// How often connections were forgotten.
    forgotten: watch::Sender<u64>,
    up: Mutex<Option<Up>>,
}

/// While the broker runs.
struct Up {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Relay {
    /// An address for a broker that does not run yet.
    pub(crate) fn reserve() -> Self {
        let port = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Self {
            addr: port.local_addr().expect("a bound socket"),
            _port: port,
            has_requests: true,
            cut_off: watch::Sender::default(),
            weather: Arc::default(),
            cut: watch::Sender::new(false),
            forgotten: watch::Sender::new(0),
            up: Mutex::new(None),
        }
    }

    /// The same for members that copy.
    pub(crate) fn reserve_wire() -> Self {
        Self {
            has_requests: false,
            ..Self::reserve()
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Hands connections on to `upstream`.
    pub(crate) async fn open(&self, upstream: SocketAddr) {
        let listening = bound(self.addr).listen(BACKLOG);
        let listener = listening.unwrap_or_else(|error| panic!("{}: {error}", self.addr));
        let up = Up {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (weather, cut) = (Arc::clone(&self.weather), self.cut.subscribe());
        let (cut_off, forgotten) = (self.cut_off.subscribe(), self.forgotten.subscribe());
        let (stop, tasks, has_requests) = (up.stop.clone(), up.tasks.clone(), self.has_requests);
        up.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.cancelled() => return,
                };
                let Ok((client, _)) = accepted else {
                    continue;
                };
                let link = Link {
                    has_requests,
                    member: Arc::default(),
                    cut_off: cut_off.clone(),
                    weather: Arc::clone(&weather),
                    cut: cut.clone(),
                    born: *forgotten.borrow(),
                    forgotten: forgotten.clone(),
                    stop: stop.clone(),
                };
                tasks.spawn(link.run(client, upstream));
            }
        });
        *self.up.lock().await = Some(up);
    }

    /// The broker is gone: connections break, and nothing listens.
    pub(crate) async fn close(&self) {
        if let Some(up) = self.up.lock().await.take() {
            up.stop.cancel();
            up.tasks.close();
            up.tasks.wait().await;
        }
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    /// Connections that are there pass nothing any more.
    pub(crate) fn forget(&self) {
        self.forgotten.send_modify(|times| *times += 1);
    }

    /// Lets nothing pass for a member, or everything again.
    pub(crate) fn set_cut_off(&self, member: u64, is_cut_off: bool) {
        self.cut_off.send_modify(|members| {
            match is_cut_off {
                true => members.insert(member),
                false => members.remove(&member),
            };
        });
    }

    pub(crate) fn requests(&self, code: RequestCode) -> usize {
        let seen = self.weather.seen.lock();
        seen.get(&code.as_i32()).copied().unwrap_or_default()
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.weather.delay.lock() = delay;
    }

    pub(crate) fn answer(&self, code: RequestCode, with: ResponseCode, times: Option<usize>) {
        self.rule(code, Act::Answer(with), times);
    }

    pub(crate) fn throttle(&self, code: RequestCode, pause: Duration) {
        self.rule(code, Act::Wait(pause), None);
    }

    pub(crate) fn lose(&self, code: RequestCode, times: Option<usize>) {
        self.rule(code, Act::Lose, times);
    }

    fn rule(&self, code: RequestCode, act: Act, left: Option<usize>) {
        if left == Some(0) {
            return;
        }
        let code = code.as_i32();
        let mut rules = self.weather.rules.lock();
        rules.retain(|rule| rule.code != code);
        rules.push(Rule { code, act, left });
    }

    pub(crate) fn calm(&self) {
        self.weather.rules.lock().clear();
        self.set_delay(Duration::ZERO);
        self.set_cut(false);
    }
}

/// One connection.
#[derive(Clone)]
struct Link {
    has_requests: bool,
    /// Who connected, once it has greeted.
    member: Arc<OnceLock<u64>>,
    cut_off: watch::Receiver<BTreeSet<u64>>,
    weather: Arc<Weather>,
    cut: watch::Receiver<bool>,
    /// How often connections had been forgotten when this one began.
    born: u64,
    forgotten: watch::Receiver<u64>,
    stop: CancellationToken,
}

impl Link {
    async fn run(self, client: TcpStream, upstream: SocketAddr) {
        let stop = self.stop.clone();
        tokio::select! {
            () = self.carry(client, upstream) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn carry(mut self, client: TcpStream, upstream: SocketAddr) {
        self.passable().await;
        let Ok(broker) = TcpStream::connect(upstream).await else {
            return;
        };
        // Small frames must not wait for more.
        let _ = (client.set_nodelay(true), broker.set_nodelay(true));
        let (client_in, client_out) = client.into_split();
        let (broker_in, broker_out) = broker.into_split();
        let client_out = Arc::new(Mutex::new(client_out));
        let mut back = self.clone();
        tokio::select! {
            () = self.requests(client_in, broker_out, &client_out) => {}
            () = back.answers(broker_in, &client_out) => {}
        }
    }

    /// Ready when the network is not cut.
    async fn passable(&mut self) {
        if *self.forgotten.borrow() > self.born {
            return std::future::pending().await;
        }
        // The sender lives as long as the cluster.
        let _ = self.cut.wait_for(|cut| !*cut).await;
        if let Some(member) = self.member.get() {
            let is_whole = |members: &BTreeSet<u64>| !members.contains(member);
            let _ = self.cut_off.wait_for(is_whole).await;
        }
        let delay = *self.weather.delay.lock();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    async fn requests(
        &mut self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        back: &Mutex<OwnedWriteHalf>,
    ) {
        let limits = FrameLimits::default();
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        loop {
            match from.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            self.passable().await;
            if !self.has_requests {
                if self.member.get().is_none() {
                    let Some(member) = greets(&buffer) else {
                        continue;
                    };
                    // The first one counts.
                    let _ = self.member.set(member);
                    self.passable().await;
                }
                if to.write_all(&buffer.split()).await.is_err() {
                    return;
                }
                continue;
            }
            loop {
                let (consumed, act, encoding, opaque) = match split(&buffer, &limits) {
                    Ok(Split::Frame { frame, consumed }) => {
                        let header = Header::decode(frame.encoding, frame.header, &limits);
                        match header {
                            Ok(header) if !header.is_response() => (
                                consumed,
                                self.weather.act(header.code),
                                frame.encoding,
                                header.opaque,
                            ),
                            _ => (consumed, None, frame.encoding, 0),
                        }
                    }
                    Ok(Split::Need { .. }) => break,
                    // Not ours to judge: the broker says what it thinks of it.
                    Err(_) => (buffer.len(), None, HeaderEncoding::Json, 0),
                };
                let sent = match act {
                    Some(Act::Answer(code)) => {
                        buffer.advance(consumed);
                        let head = CommandHead::response(code.as_i32(), opaque)
                            .with_remark("rmq-testing: planned failure");
                        let mut answer = BytesMut::new();
                        encode_frame(&mut answer, encoding, &head, &NoFields, b"");
                        back.lock().await.write_all(&answer).await
                    }
                    Some(Act::Lose) => {
                        buffer.advance(consumed);
                        Ok(())
                    }
                    Some(Act::Wait(pause)) => {
                        tokio::time::sleep(pause).await;
                        let frame = buffer.split_to(consumed);
                        to.write_all(&frame).await
                    }
                    None => {
                        let frame = buffer.split_to(consumed);
                        to.write_all(&frame).await
                    }
                };
                if sent.is_err() {
                    return;
                }
            }
        }
    }

    async fn answers(&mut self, mut from: OwnedReadHalf, to: &Mutex<OwnedWriteHalf>) {
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        loop {
            match from.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            self.passable().await;
            // Whole frames only: an answer of the relay's own must not come between.
            let whole = match self.has_requests {
                true => whole_frames(&buffer),
                false => buffer.len(),
            };
            let frames = buffer.split_to(whole);
            if !frames.is_empty() && to.lock().await.write_all(&frames).await.is_err() {
                return;
            }
        }
    }
}

/// The member that greets with these bytes; `None`: there are to be more. `replication/src/wire.rs` draws the frame.
fn greets(bytes: &[u8]) -> Option<u64> {
    const NAMES_AT: usize = 18;
    let mut at = NAMES_AT;
    for _cluster_and_group in 0..2 {
        let (length, _) = bytes.get(at..)?.split_first_chunk()?;
        at += 2 + usize::from(u16::from_be_bytes(*length));
    }
    let (member, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u64::from_be_bytes(*member))
}

/// Bytes of the complete frames at the start of a buffer; all of it when it cannot be understood.
fn whole_frames(buffer: &[u8]) -> usize {
    let limits = FrameLimits::default();
    let mut whole = 0;
    loop {
        match split(&buffer[whole..], &limits) {
            Ok(Split::Frame { consumed, .. }) => whole += consumed,
            Ok(Split::Need { .. }) => return whole,
            Err(_) => return buffer.len(),
        }
    }
}
