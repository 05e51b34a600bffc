//! Figures for `/metrics`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rmq_protocol::{RequestCode, ResponseCode};

use crate::registry::Sizes;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRequest {
    request_code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResponse {
    response_code: &'static str,
}

/// All figures. Labels are closed sets: codes that do not exist share one.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<ByRequest, Counter>,
    refused: Family<ByResponse, Counter>,
    brokers: Gauge,
    topics: Gauge,
    groups: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("rmq_namesrv");
        let requests = Family::<ByRequest, Counter>::default();
        let refused = Family::<ByResponse, Counter>::default();
        let (brokers, topics, groups) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("requests", "Requests received", requests.clone());
        registry.register(
            "refused",
            "Requests answered with an error",
            refused.clone(),
        );
        registry.register("brokers", "Registered broker addresses", brokers.clone());
        registry.register("broker_groups", "Registered broker groups", groups.clone());
        registry.register("topics", "Registered topics", topics.clone());
        Self {
            registry,
            requests,
            refused,
            brokers,
            topics,
            groups,
        }
    }

    pub(crate) fn request(&self, code: Option<RequestCode>) {
        let request_code = code.map_or("unknown", RequestCode::name);
        self.requests
            .get_or_create(&ByRequest { request_code })
            .inc();
    }

    pub(crate) fn refused(&self, code: ResponseCode) {
        self.refused
            .get_or_create(&ByResponse {
                response_code: code.name(),
            })
            .inc();
    }

    /// The text of `/metrics`.
    pub(crate) fn text(&self, sizes: Sizes) -> String {
        for (gauge, value) in [
            (&self.brokers, sizes.brokers),
            (&self.groups, sizes.groups),
            (&self.topics, sizes.topics),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
