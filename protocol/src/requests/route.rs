//! Routes and clusters at the name server: codes 105, 106.

use std::borrow::Cow;

use super::field::header_fields;

header_fields! {
    request GetRouteinfoByTopic;
    /// Asks for a topic's route; body of the answer [`crate::route::TopicRoute`], code 17 when unknown.
    pub struct GetRouteinfoByTopic<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// Whether the client reads standard JSON only.
        pub accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
    }
}

header_fields! {
    request GetBrokerClusterInfo;
    /// Asks for all clusters and brokers; body of the answer [`crate::route::ClusterInfo`].
    pub struct GetBrokerClusterInfo {}
}
