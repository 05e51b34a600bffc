//! Which messages of a topic a subscription wants.

use rmq_protocol::bodies::{EXPRESSION_SQL92, EXPRESSION_TAG, SUB_ALL, SubscriptionData};

use crate::error::Error;

/// What expressions of other languages have and no sensible tag has.
const SIGNS: [char; 8] = ['|', '&', '<', '>', '=', '!', '(', ')'];
const OPERATORS: [&str; 7] = ["AND", "OR", "NOT", "IN", "IS", "LIKE", "BETWEEN"];

/// A filter by tags, or by properties with an SQL92 expression, which the broker evaluates.
///
/// Consumers and readers refuse tags that are an expression with operators. A broker refuses an expression that it does not understand, and
/// names the place.
///
/// ```
/// use rmq_client::Filter;
///
/// assert_eq!(Filter::tags(["paid", "refunded"]), "paid || refunded".into());
/// assert_eq!(Filter::all(), "*".into());
/// let large = Filter::sql("amount > 100 AND region IN ('eu', 'us')");
/// assert_ne!(large, Filter::from(large.expression()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    expression: String,
    is_sql: bool,
}

impl Filter {
    /// Every message.
    #[must_use]
    pub fn all() -> Self {
        Self::of_tags(SUB_ALL.to_owned())
    }

    fn of_tags(expression: String) -> Self {
        Self {
            expression,
            is_sql: false,
        }
    }

    /// Messages with one of these tags.
    pub fn tags<T: AsRef<str>>(tags: impl IntoIterator<Item = T>) -> Self {
        let tags: Vec<String> = tags
            .into_iter()
            .map(|tag| tag.as_ref().to_owned())
            .collect();
        Self::from(tags.join(" || ").as_str())
    }

    /// Messages of whose properties an SQL92 expression is true. Properties are texts: `amount > 100` reads `amount` as a whole number, and
    /// passes over a message where it is none. The broker needs `enablePropertyFilter`, which is on by default in rmq.
    pub fn sql(expression: impl Into<String>) -> Self {
        Self {
            expression: expression.into(),
            is_sql: true,
        }
    }

    /// Whether a broker can be asked for it. Tags must be tags: an expression of another language, such as `a > 3 AND b`, would be taken for
    /// one strange tag that no message has. What is right in SQL92 is known to the broker.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |part: &str| {
            Err(Error::invalid(format!(
                "the filter \"{}\" is not understood: \"{part}\" is no tag",
                self.expression
            ))
            .advice(
                "a filter is *, or tags as A || B; an SQL92 expression is given as Filter::sql",
            ))
        };
        if self.is_sql || self.expression == SUB_ALL {
            return Ok(());
        }
        for tag in self.expression.split("||").map(str::trim) {
            let is_operator = |word: &str| {
                let word = word.to_ascii_uppercase();
                OPERATORS.contains(&word.as_str())
            };
            let mut words = tag.split_whitespace();
            if tag.is_empty() || tag.contains(SIGNS) || words.any(is_operator) {
                return refuse(tag);
            }
        }
        Ok(())
    }

    /// As brokers take it.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Whether the broker decides by the properties of messages.
    #[must_use]
    pub const fn is_sql(&self) -> bool {
        self.is_sql
    }

    /// The expression's type as brokers take it: `TAG` or `SQL92`.
    pub(crate) const fn expression_type(&self) -> &'static str {
        if self.is_sql {
            EXPRESSION_SQL92
        } else {
            EXPRESSION_TAG
        }
    }

    /// As heartbeats tell it.
    pub(crate) fn subscription(&self, topic: impl Into<String>, version: i64) -> SubscriptionData {
        if !self.is_sql {
            return SubscriptionData::tags(topic, &self.expression, version);
        }
        SubscriptionData {
            topic: topic.into(),
            sub_string: self.expression.clone(),
            expression_type: EXPRESSION_SQL92.to_owned(),
            sub_version: version,
            ..SubscriptionData::default()
        }
    }

    /// Whether a message with this tag passes. Brokers filter by the tag's hash, so a client looks at the tag itself too. Of an SQL92
    /// expression the broker has decided.
    #[must_use]
    pub fn accepts(&self, tag: Option<&str>) -> bool {
        let is_wanted = |tag| {
            self.expression
                .split("||")
                .any(|wanted| wanted.trim() == tag)
        };
        self.is_sql || self.expression == SUB_ALL || tag.is_some_and(is_wanted)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::all()
    }
}

impl From<&str> for Filter {
    /// `*`, or tags as `A || B`; nothing is everything.
    fn from(expression: &str) -> Self {
        let tags: Vec<&str> = expression
            .split("||")
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .collect();
        if tags.is_empty() || tags.contains(&SUB_ALL) {
            Self::all()
        } else {
            Self::of_tags(tags.join(" || "))
        }
    }
}

impl From<String> for Filter {
    fn from(expression: String) -> Self {
        expression.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_as_text() {
        // Both have the same hash.
        let filter = Filter::from(" Aa||B ");
        filter.check().unwrap();
        assert!(filter.accepts(Some("Aa")) && filter.accepts(Some("B")));
        assert!(!filter.accepts(Some("BB")) && !filter.accepts(None));
        assert!(Filter::from("").accepts(None) && Filter::from("a || *").accepts(Some("x")));
    }

    #[test]
    fn expressions_with_operators_are_refused_as_tags() {
        for expression in [
            "a > 3 AND b",
            "a and b",
            "a | b",
            "a && b",
            "TAGS = 'x'",
            "not x",
            "x is null",
            "a in (1)",
            "a || b > 1",
            "a between 1 and 2",
            "!a",
        ] {
            let error = Filter::from(expression).check().unwrap_err();
            assert!(error.to_string().contains(expression), "{error}");
            Filter::sql(expression).check().unwrap();
        }
        assert!(Filter::tags(["a || b > 1"]).check().is_err());
        for tags in [
            "*",
            "",
            "paid",
            "paid || refunded",
            "eu-west.1",
            "a b",
            "order:new",
            "android",
        ] {
            Filter::from(tags).check().unwrap();
        }
    }

    #[test]
    fn an_expression_is_told_as_it_is_and_the_broker_decides() {
        let filter = Filter::sql("a = '||' OR b > 1");
        let told = filter.subscription("t", 7);
        assert_eq!(
            (told.expression_type.as_str(), told.sub_string.as_str()),
            ("SQL92", "a = '||' OR b > 1")
        );
        assert!(told.code_set.is_empty() && filter.accepts(None));
    }
}
