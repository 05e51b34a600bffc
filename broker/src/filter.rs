//! Which messages a consumer wants, as far as the broker decides it: by the hash of the tag. The client compares the tag itself.

use std::sync::Arc;

use rmq_protocol::bodies::SubscriptionData;
use rmq_store::EntryFilter;

use crate::limits::Limits;

/// A consumer's filter, cheap to clone into a waiting pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Everything.
    All,
    /// Tags with one of these hashes; sorted.
    Tags(Arc<[i64]>),
}

/// Why an expression is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    #[error(
        "the filter expression has {bytes} bytes, at most {max} are allowed (expressionBytesMax)"
    )]
    TooLong { bytes: usize, max: usize },
    #[error("the broker does not support filters of type {0} (expressionType); use TAG")]
    Type(String),
}

impl Filter {
    pub(crate) fn of(
        subscription: &SubscriptionData,
        limits: &Limits,
    ) -> Result<Self, FilterError> {
        let bytes = subscription.sub_string.len();
        if bytes > limits.expression_bytes {
            return Err(FilterError::TooLong {
                bytes,
                max: limits.expression_bytes,
            });
        }
        if !subscription.is_tag_type() {
            return Err(FilterError::Type(
                subscription.expression_type.chars().take(32).collect(),
            ));
        }
        if subscription.is_all() {
            return Ok(Self::All);
        }
        let mut hashes: Vec<i64> = subscription
            .code_set
            .iter()
            .map(|code| i64::from(*code))
            .collect();
        hashes.sort_unstable();
        hashes.dedup();
        Ok(Self::Tags(hashes.into()))
    }

    /// From the expression that a pull carries.
    pub(crate) fn parse(
        topic: &str,
        expression: &str,
        kind: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, FilterError> {
        if matches!(kind, None | Some("" | "TAG")) && matches!(expression, "" | "*") {
            return Ok(Self::All);
        }
        let mut subscription = SubscriptionData::tags(topic, expression, 0);
        if let Some(kind) = kind.filter(|kind| !kind.is_empty()) {
            kind.clone_into(&mut subscription.expression_type);
        }
        Self::of(&subscription, limits)
    }
}

impl EntryFilter for Filter {
    fn by_tag(&self, tag_hash: i64) -> bool {
        match self {
            Self::All => true,
            Self::Tags(hashes) => hashes.binary_search(&tag_hash).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rmq_protocol::message::tag_hash;

    use super::*;

    #[test]
    fn tags_pass_by_their_hash() {
        let limits = Limits::of(&rmq_config::BrokerConfig::default());
        let filter = Filter::parse("t", "A || B", Some("TAG"), &limits).expect("valid");
        assert!(filter.by_tag(tag_hash("A")) && filter.by_tag(tag_hash("B")));
        assert!(!filter.by_tag(tag_hash("C")) && !filter.by_tag(0));
        assert_eq!(Filter::parse("t", "*", None, &limits), Ok(Filter::All));
        assert_eq!(
            Filter::parse("t", "a > 1", Some("SQL92"), &limits),
            Err(FilterError::Type("SQL92".to_owned()))
        );
        assert_eq!(
            Filter::parse("t", &"x".repeat(131_073), None, &limits),
            Err(FilterError::TooLong {
                bytes: 131_073,
                max: 131_072
            })
        );
    }
}
