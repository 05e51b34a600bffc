//! Which messages a consumer wants, as far as the broker decides it: by the hash of the tag, which the client compares itself, or by an SQL92
//! expression over the properties, which nobody evaluates again.

use std::sync::Arc;

use rmq_filter::Program;
use rmq_protocol::bodies::{EXPRESSION_SQL92, SubscriptionData};
use rmq_protocol::message::{RecordView, properties};
use rmq_store::EntryFilter;

use crate::limits::Limits;

/// A consumer's filter, cheap to clone into a waiting pull.
#[derive(Debug, Clone)]
pub(crate) enum Filter {
    /// Everything.
    All,
    /// Tags with one of these hashes; sorted.
    Tags(Arc<[i64]>),
    /// Messages of whose properties an expression is true.
    Sql(Arc<Program>),
}

/// Why an expression is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    #[error(
        "the filter expression has {bytes} bytes, at most {max} are allowed (expressionBytesMax)"
    )]
    TooLong { bytes: usize, max: usize },
    #[error("the broker does not support filters of type {0} (expressionType); use TAG or SQL92")]
    Type(String),
    #[error(
        "the broker does not support consumer to filter message by SQL92: enablePropertyFilter is off; use tags, or set it to true"
    )]
    Off,
    #[error(
        "the broker does not support class filters, which run code of the consumer in the broker; use an SQL92 expression, or filter in the consumer"
    )]
    Class,
    #[error("the consumer's subscription parse failed: {0}")]
    Syntax(rmq_filter::ParseError),
}

impl Filter {
    pub(crate) fn of(
        subscription: &SubscriptionData,
        limits: &Limits,
    ) -> Result<Self, FilterError> {
        check_size(subscription, limits)?;
        if subscription.class_filter_mode {
            return Err(FilterError::Class);
        }
        if subscription.expression_type == EXPRESSION_SQL92 {
            let limits = limits.property_filter.ok_or(FilterError::Off)?;
            let program = Program::new(&subscription.sub_string, limits);
            return program
                .map(|program| Self::Sql(Arc::new(program)))
                .map_err(FilterError::Syntax);
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

/// Whether a subscription's expression is short enough to be looked at.
pub(crate) fn check_size(
    subscription: &SubscriptionData,
    limits: &Limits,
) -> Result<(), FilterError> {
    let (bytes, max) = (subscription.sub_string.len(), limits.expression_bytes);
    match bytes > max {
        true => Err(FilterError::TooLong { bytes, max }),
        false => Ok(()),
    }
}

impl Filter {
    /// Whether both let the same messages pass, as far as that is known without evaluating them.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::Tags(own), Self::Tags(theirs)) => Arc::ptr_eq(own, theirs) || own == theirs,
            (Self::Sql(own), Self::Sql(theirs)) => Arc::ptr_eq(own, theirs),
            _ => false,
        }
    }
}

impl EntryFilter for Filter {
    fn by_tag(&self, tag_hash: i64) -> bool {
        match self {
            Self::All | Self::Sql(_) => true,
            Self::Tags(hashes) => hashes.binary_search(&tag_hash).is_ok(),
        }
    }

    fn needs_record(&self) -> bool {
        matches!(self, Self::Sql(_))
    }

    fn by_record(&self, record: &RecordView<'_>) -> bool {
        match self {
            Self::All | Self::Tags(_) => true,
            Self::Sql(program) => program.matches(properties::iter(record.properties())),
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
        let all = Filter::parse("t", "*", None, &limits);
        assert!(matches!(all, Ok(Filter::All)));
    }

    #[test]
    fn filters_of_the_same_tags_are_the_same() {
        let limits = Limits::of(&rmq_config::BrokerConfig::default());
        let of =
            |expression: &str, kind| Filter::parse("t", expression, kind, &limits).expect("valid");
        let (all, two) = (of("*", None), of("A || B", None));
        assert!(all.is_same(&of("", Some("TAG"))) && two.is_same(&of("B||A", None)));
        let expression = of("a > 1", Some("SQL92"));
        assert!(expression.is_same(&expression.clone()));
        for (one, other) in [(&all, &two), (&two, &of("A", None)), (&all, &expression)] {
            assert!(!one.is_same(other) && !other.is_same(one));
        }
    }

    #[test]
    fn thousands_of_tags_are_one_filter() {
        let limits = Limits::of(&rmq_config::BrokerConfig::default());
        let tags: Vec<String> = (0..5_000).map(|number| format!("tag-{number}")).collect();
        let filter = Filter::parse("t", &tags.join("||"), None, &limits).expect("valid");
        assert!(tags.iter().all(|tag| filter.by_tag(tag_hash(tag))));
        assert!(!filter.by_tag(tag_hash("tag-5000")));
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_reason() {
        let limits = Limits::of(&rmq_config::BrokerConfig::default());
        let off = Limits {
            property_filter: None,
            ..limits
        };
        let why = |expression: &str, kind, limits: &Limits| match Filter::parse(
            "t", expression, kind, limits,
        ) {
            Ok(filter) => panic!("{expression} is {filter:?}"),
            Err(error) => error,
        };
        let long = "x".repeat(131_073);
        let too_long = FilterError::TooLong {
            bytes: 131_073,
            max: 131_072,
        };
        assert_eq!(why(&long, None, &limits), too_long);
        assert_eq!(why("a > 1", Some("SQL92"), &off), FilterError::Off);
        assert_eq!(
            why("a > 1", Some("JS"), &limits),
            FilterError::Type("JS".to_owned())
        );
        let syntax = why("a > ", Some("SQL92"), &limits);
        assert_eq!(
            syntax.to_string(),
            "the consumer's subscription parse failed: at character 5, the end: expected a value"
        );
        let class = SubscriptionData {
            class_filter_mode: true,
            ..SubscriptionData::default()
        };
        assert_eq!(Filter::of(&class, &limits).err(), Some(FilterError::Class));
    }
}
