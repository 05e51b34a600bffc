//! Which messages of a topic a subscription wants.

use crate::error::Error;

/// What expressions of other languages have and no sensible tag has.
const SIGNS: [char; 8] = ['|', '&', '<', '>', '=', '!', '(', ')'];
const OPERATORS: [&str; 7] = ["AND", "OR", "NOT", "IN", "IS", "LIKE", "BETWEEN"];

/// A filter by tags. Consumers and readers refuse one that is an expression with operators.
///
/// ```
/// use rmq_client::Filter;
///
/// assert_eq!(Filter::tags(["paid", "refunded"]), "paid || refunded".into());
/// assert_eq!(Filter::all(), "*".into());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter(String);

impl Filter {
    /// Every message.
    #[must_use]
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Messages with one of these tags.
    pub fn tags<T: AsRef<str>>(tags: impl IntoIterator<Item = T>) -> Self {
        let tags: Vec<String> = tags
            .into_iter()
            .map(|tag| tag.as_ref().to_owned())
            .collect();
        Self::from(tags.join(" || ").as_str())
    }

    /// Whether these are tags. An expression of another language, such as `a > 3 AND b`, would be taken for one strange tag that no
    /// message has.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |part: &str| {
            Err(Error::invalid(format!(
                "the filter \"{}\" is not understood: \"{part}\" is no tag",
                self.0
            ))
            .advice("a filter is *, or tags as A || B; brokers' SQL expressions are not supported"))
        };
        if self.0 == "*" {
            return Ok(());
        }
        for tag in self.0.split("||").map(str::trim) {
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
        &self.0
    }

    /// Whether a message with this tag passes. Brokers filter by the tag's hash, so a client looks at the tag itself too.
    #[must_use]
    pub fn accepts(&self, tag: Option<&str>) -> bool {
        self.0 == "*"
            || tag.is_some_and(|tag| self.0.split("||").any(|wanted| wanted.trim() == tag))
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
        if tags.is_empty() || tags.contains(&"*") {
            Self::all()
        } else {
            Self(tags.join(" || "))
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
    fn expressions_with_operators_are_refused() {
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
}
