//! The one match from request code to handler.

use std::sync::Arc;

use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_transport::Exchange;

use crate::broker::Broker;
use crate::handlers::admin::{
    config, connections, consumption, groups, maintenance, offsets as admin_offsets, queues, relay,
    runtime, statistics, topics,
};
use crate::handlers::{Batch, clients, locks, offsets, pull, query, send, send_back};
use crate::stats::requests;

/// Has a request handled, and counts it when it is answered in place.
pub(crate) fn route(broker: &Arc<Broker>, batch: &mut Batch, exchange: &mut Exchange<'_>) {
    exchange.begin(
        *batch
            .began_us
            .get_or_insert_with(|| broker.clock.monotonic_us()),
    );
    handle(broker, batch, exchange);
    if let Some(response) = exchange.answered() {
        requests::note(&mut batch.answered, exchange.header.code);
        if requests::is_refusal(response) {
            broker.requests.refused(response, 1);
        }
    }
}

fn handle(broker: &Arc<Broker>, batch: &mut Batch, exchange: &mut Exchange<'_>) {
    use RequestCode as Code;
    let Some(code) = Code::from_i32(exchange.header.code) else {
        let code = exchange.header.code;
        return exchange.fail(
            ResponseCode::RequestCodeNotSupported,
            format!(" request type {code} not supported"),
        );
    };
    match code {
        // The message path.
        Code::SendMessageV2 | Code::SendMessage | Code::SendBatchMessage => {
            send::handle(broker, batch, exchange, code)
        }
        Code::PullMessage | Code::LitePullMessage => pull::handle(broker, exchange),
        Code::ConsumerSendMsgBack => send_back::handle(broker, exchange),

        // Consumers and producers.
        Code::HeartBeat => clients::heartbeat(broker, batch, exchange),
        Code::UnregisterClient => clients::unregister(broker, exchange),
        Code::GetConsumerListByGroup => clients::consumer_list(broker, exchange),
        Code::CheckClientConfig => clients::check_config(broker, exchange),
        Code::LockBatchMq => locks::lock(broker, exchange),
        Code::UnlockBatchMq => locks::unlock(broker, exchange),
        Code::QueryConsumerOffset => offsets::query(broker, exchange),
        Code::UpdateConsumerOffset => offsets::update(broker, exchange),
        Code::GetMaxOffset => offsets::max(broker, exchange),
        Code::GetMinOffset => offsets::min(broker, exchange),
        Code::SearchOffsetByTimestamp => offsets::by_time(broker, exchange),
        Code::GetEarliestMsgStoretime => offsets::earliest(broker, exchange),

        // Looking messages up.
        Code::QueryMessage => query::by_key(broker, exchange),
        Code::ViewMessageById => query::by_position(broker, exchange),

        // Topics.
        Code::UpdateAndCreateTopic => topics::put(broker, exchange),
        Code::UpdateAndCreateTopicList => topics::put_list(broker, exchange),
        Code::DeleteTopicInBroker => topics::delete(broker, exchange),
        Code::GetAllTopicConfig => topics::all(broker, exchange),
        Code::GetTopicConfig => topics::one(broker, exchange),
        Code::GetTopicStatsInfo => topics::stats(broker, exchange),
        Code::GetSystemTopicListFromBroker => topics::system(broker, exchange),
        Code::QueryConsumeQueue => queues::entries(broker, exchange),

        // Groups.
        Code::UpdateAndCreateSubscriptiongroup => groups::put(broker, exchange),
        Code::UpdateAndCreateSubscriptiongroupList => groups::put_list(broker, exchange),
        Code::DeleteSubscriptiongroup => groups::delete(broker, exchange),
        Code::GetAllSubscriptiongroupConfig => groups::all(broker, exchange),
        Code::GetSubscriptiongroupConfig => groups::one(broker, exchange),
        Code::UpdateAndGetGroupForbidden => groups::forbidden(broker, exchange),
        Code::GetConsumerConnectionList => connections::consumers(broker, exchange),
        Code::GetProducerConnectionList => connections::producers(broker, exchange),
        Code::GetAllProducerInfo => connections::all_producers(broker, exchange),
        Code::GetConsumeStats => consumption::of_group(broker, exchange),
        Code::GetBrokerConsumeStats => consumption::of_broker(broker, exchange),
        Code::QueryConsumeTimeSpan => consumption::time_span(broker, exchange),
        Code::QueryTopicConsumeByWho => consumption::groups_of_topic(broker, exchange),
        Code::QueryTopicsByConsumer => consumption::topics_of_group(broker, exchange),
        Code::QuerySubscriptionByConsumer => consumption::subscription(broker, exchange),
        Code::CloneGroupOffset => admin_offsets::clone(broker, exchange),
        Code::InvokeBrokerToResetOffset => admin_offsets::reset(broker, exchange),
        Code::GetAllConsumerOffset => admin_offsets::all(broker, exchange),
        Code::GetAllDelayOffset => admin_offsets::delays(broker, exchange),
        Code::InvokeBrokerToGetConsumerStatus => relay::consumer_status(broker, exchange),
        Code::GetConsumerRunningInfo => relay::running_info(broker, exchange),
        Code::ConsumeMessageDirectly => relay::consume_directly(broker, exchange),

        // The broker itself.
        Code::GetBrokerRuntimeInfo => runtime::info(broker, exchange),
        Code::ViewBrokerStatsData => statistics::view(broker, exchange),
        Code::GetBrokerHaStatus => runtime::replication(broker, exchange),
        Code::GetBrokerConfig => config::get(broker, exchange),
        Code::UpdateBrokerConfig => config::update(broker, exchange),
        Code::CleanExpiredConsumequeue | Code::CleanUnusedTopic => {
            maintenance::nothing_to_do(exchange)
        }
        Code::DeleteExpiredCommitlog => maintenance::remove_expired(broker, exchange),

        // Known, and not served by this version.
        _ => exchange.fail(
            ResponseCode::RequestCodeNotSupported,
            format!(
                " request type {} ({}) not supported by this version of the broker",
                code.as_i32(),
                code.name()
            ),
        ),
    }
}
