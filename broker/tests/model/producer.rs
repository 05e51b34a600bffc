//! A member of the producer group, which is asked how transactions ended.

use std::sync::Arc;

use rmq_protocol::bodies::{HeartbeatData, ProducerData};
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::{RecordView, property};
use rmq_protocol::requests::{CheckTransactionState, Request as _};
use rmq_transport::{Caller, CallerConfig, Exchange, IncomingRequests, TcpConnector};
use tokio::sync::mpsc;

use crate::halves::Question;
use crate::support::{Client, remark};

/// What was asked, or why it cannot be understood.
type Asked = Result<(Question, String), String>;

struct Questions(mpsc::UnboundedSender<Asked>);

impl IncomingRequests for Questions {
    fn request(&self, exchange: &mut Exchange<'_>) {
        // The producer may be gone.
        let _ = self.0.send(read(exchange));
    }
}

fn read(exchange: &Exchange<'_>) -> Asked {
    let code = exchange.header.code;
    if code != RequestCode::CheckTransactionState.as_i32() {
        return Err(format!("asked: a producer got request {code}"));
    }
    let fields = CheckTransactionState::decode(&exchange.header.fields);
    let fields = fields.map_err(|error| format!("asked: {error}"))?;
    let record = RecordView::parse(exchange.body).map_err(|error| format!("asked: {error}"))?;
    let text = |name| record.property(name).unwrap_or_default();
    let id = text(property::UNIQ_KEY).strip_prefix('u');
    let id = id.and_then(|id| id.parse().ok());
    let number = text(property::TRANSACTION_CHECK_TIMES).parse().ok();
    let (Some(id), Some(number)) = (id, number) else {
        return Err(format!("asked: of no transaction: {fields:?}"));
    };
    let question = Question {
        id,
        offset: fields.tran_state_table_offset,
        position: fields.commit_log_offset,
        number,
        queue: record.queue_id().0,
    };
    let body = String::from_utf8_lossy(record.body()).into_owned();
    Ok((question, body))
}

pub(crate) struct Producer {
    /// Its connection: it is a member as long as this lives.
    client: Client,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Producer {
    /// Joins a group at a broker.
    pub(crate) async fn join(address: &str, group: &str) -> Result<Self, String> {
        let (questions, asked) = mpsc::unbounded_channel();
        let client = Client(Caller::new(
            address,
            Arc::new(TcpConnector),
            CallerConfig::default(),
            Arc::new(Questions(questions)),
        ));
        let data = HeartbeatData {
            client_id: "producer".to_owned(),
            producer_data_set: vec![ProducerData {
                group_name: group.to_owned(),
            }],
            ..HeartbeatData::default()
        };
        let data = data.to_json();
        let beat = client.try_call(RequestCode::HeartBeat, &(), &data);
        let answer = beat.await.map_err(|error| format!("unheard: {error}"))?;
        match answer.code() {
            0 => Ok(Self { client, asked }),
            code => Err(format!("unheard: a heartbeat: {code} {}", remark(&answer))),
        }
    }

    /// Lets what was asked before arrive.
    pub(crate) async fn listen(&self) -> Result<(), String> {
        let code = RequestCode::GetBrokerRuntimeInfo;
        let answer = self.client.try_call(code, &(), &[]).await;
        answer
            .map(|_| ())
            .map_err(|error| format!("unheard: {error}"))
    }

    /// The next question that has arrived.
    pub(crate) fn question(&mut self) -> Option<Asked> {
        self.asked.try_recv().ok()
    }
}
