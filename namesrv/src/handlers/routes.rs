//! Routes and clusters.

use rmq_protocol::ResponseCode;
use rmq_protocol::bodies::TopicList;
use rmq_protocol::names::validate_topic;
use rmq_protocol::requests::{
    DeleteTopicInNamesrv, GetRouteinfoByTopic, GetTopicsByCluster, RegisterTopicInNamesrv,
};
use rmq_protocol::route::TopicRoute;
use rmq_transport::{Exchange, Reply};

use super::{Handled, Handlers, Refusal, decode};
use crate::audit;
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::registry::{RouteRules, UnitTopics};

impl Handlers {
    pub(crate) fn route(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: GetRouteinfoByTopic<'_> = decode(exchange.header)?;
        let config = self.config.load();
        if config.need_wait_for_service
            && self.clock.monotonic_ms() < self.started_ms + config.wait_seconds_for_service * 1_000
        {
            return Err(Refusal::system("name server not ready"));
        }
        let topic = request.topic.as_ref();
        let rules = || {
            let config = self.config.load();
            let order = config
                .order_message_enable
                .then(|| self.kv.get(ORDER_TOPIC_CONFIG, topic));
            RouteRules {
                order: order.flatten(),
                acting_masters: config.support_acting_master,
            }
        };
        let fields = &exchange.header.fields;
        let zone = fields
            .get("__ZONE_MODE")
            .filter(|mode| mode.eq_str("true"))
            .and_then(|_| fields.get("__ZONE_NAME"))
            .filter(|zone| !zone.is_empty());
        let route = match zone {
            Some(zone) => self.registry.route_in_zone(topic, &zone.to_cow(), rules()),
            None => self.registry.route(topic, rules),
        };
        let Some(route) = route else {
            let remark = format!("No topic route info in name server for the topic: {topic}");
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        };
        exchange.ok_body(&(), &route);
        Ok(())
    }

    pub(crate) fn cluster_info(&self, exchange: &mut Exchange<'_>) -> Handled {
        exchange.ok_body(&(), &self.registry.cluster_info().to_json());
        Ok(())
    }

    pub(crate) fn all_topics(&self, exchange: &mut Exchange<'_>) -> Handled {
        let allowed = self.config.load().enable_all_topic_list;
        list(exchange, allowed, || self.registry.all_topics())
    }

    pub(crate) fn topics_of_cluster(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: GetTopicsByCluster<'_> = decode(exchange.header)?;
        let topics = || self.registry.topics_of_cluster(&request.cluster);
        list(exchange, self.config.load().enable_topic_list, topics)
    }

    pub(crate) fn system_topics(&self, exchange: &mut Exchange<'_>) -> Handled {
        exchange.ok_body(&(), &self.registry.system_topics().to_json());
        Ok(())
    }

    pub(crate) fn unit_topics(&self, exchange: &mut Exchange<'_>) -> Handled {
        self.topics_of_units(exchange, UnitTopics::Unit)
    }

    pub(crate) fn topics_with_unit_subscribers(&self, exchange: &mut Exchange<'_>) -> Handled {
        self.topics_of_units(exchange, UnitTopics::UnitSub)
    }

    pub(crate) fn topics_with_only_unit_subscribers(&self, exchange: &mut Exchange<'_>) -> Handled {
        self.topics_of_units(exchange, UnitTopics::UnitSubOnly)
    }

    fn topics_of_units(&self, exchange: &mut Exchange<'_>, which: UnitTopics) -> Handled {
        list(exchange, self.config.load().enable_topic_list, || {
            self.registry.unit_topics(which)
        })
    }

    pub(crate) fn delete_topic(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: DeleteTopicInNamesrv<'_> = decode(exchange.header)?;
        let cluster = request
            .cluster_name
            .as_deref()
            .filter(|cluster| !cluster.is_empty());
        let before = self.registry.queues_text(&request.topic);
        self.registry.delete_topic(&request.topic, cluster);
        let after = self.registry.queues_text(&request.topic);
        if before != after {
            let what = "topic deleted from the routes";
            audit::asker(exchange).changed(what, &request.topic, before, after);
        }
        exchange.ok(&());
        Ok(())
    }

    pub(crate) fn register_topic(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: RegisterTopicInNamesrv<'_> = decode(exchange.header)?;
        validate_topic(&request.topic)
            .map_err(|error| Refusal::new(ResponseCode::InvalidParameter, error.to_string()))?;
        let route = TopicRoute::from_json(exchange.body).map_err(Refusal::system)?;
        let before = self.registry.queues_text(&request.topic);
        self.registry
            .register_topic(&request.topic, route.queue_datas, self.rules())
            .map_err(Refusal::system)?;
        let after = self.registry.queues_text(&request.topic);
        if before != after {
            let what = "topic put into the routes";
            audit::asker(exchange).changed(what, &request.topic, before, after);
        }
        exchange.ok(&());
        Ok(())
    }
}

fn list(exchange: &mut Exchange<'_>, allowed: bool, topics: impl FnOnce() -> TopicList) -> Handled {
    if !allowed {
        return Err(Refusal::system(
            "this list is disabled (enableTopicList, enableAllTopicList)",
        ));
    }
    exchange.ok_body(&(), &topics().to_json());
    Ok(())
}
