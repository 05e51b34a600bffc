//! What recalls a delayed message (`apache/rocketmq common/.../producer/RecallMessageHandle.java`).

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const VERSION: &str = "v1";
/// Handles that clients have cut the padding off are read too.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The handle of a message that waits: `v1 topic brokerName time uniqueKey` in URL-safe Base64, version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallHandle {
    /// The topic that the message is for.
    pub topic: String,
    /// The broker where it waits.
    pub broker_name: String,
    /// When it is due, Unix milliseconds, down to the second, and one more.
    pub time_ms: i64,
    /// The client's id of the message.
    pub unique_key: String,
}

/// Why a text is no handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// It is not Base64 of text.
    #[error("it is not URL-safe Base64 of a text")]
    Encoding,
    /// It is of another version.
    #[error("it is not of version v1")]
    Version,
    /// Its parts are not those of a handle.
    #[error("it does not have the five parts v1, topic, broker, time and unique key")]
    Parts,
}

impl RecallHandle {
    /// As a text.
    #[must_use]
    pub fn encode(&self) -> String {
        let Self {
            topic,
            broker_name,
            time_ms,
            unique_key,
        } = self;
        ENGINE.encode(format!(
            "{VERSION} {topic} {broker_name} {time_ms} {unique_key}"
        ))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// See [`HandleError`].
    pub fn decode(text: &str) -> Result<Self, HandleError> {
        let bytes = ENGINE.decode(text).map_err(|_| HandleError::Encoding)?;
        let text = String::from_utf8(bytes).map_err(|_| HandleError::Encoding)?;
        let mut parts = text.split(' ');
        if parts.next() != Some(VERSION) {
            return Err(HandleError::Version);
        }
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let handle = (|| {
            Some(Self {
                topic: part()?.to_owned(),
                broker_name: part()?.to_owned(),
                time_ms: part()?.parse().ok()?,
                unique_key: part()?.to_owned(),
            })
        })();
        handle
            .filter(|_| parts.next().is_none())
            .ok_or(HandleError::Parts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_handle_is_that_of_the_original() {
        // Recorded from Apache RocketMQ 5.5.0.
        let text = "djEgU3RvcmVCIGJyb2tlci1hIDE3OTUzNTczODQwMDEgQzAwMDAyMDI1QjI1MzA5NDZFMDk2RjNCQUE2QzAwMDk=";
        let handle = RecallHandle {
            topic: "StoreB".to_owned(),
            broker_name: "broker-a".to_owned(),
            time_ms: 1_795_357_384_001,
            unique_key: "C00002025B2530946E096F3BAA6C0009".to_owned(),
        };
        assert_eq!(handle.encode(), text);
        assert_eq!(RecallHandle::decode(text), Ok(handle.clone()));
        assert_eq!(RecallHandle::decode(text.trim_end_matches('=')), Ok(handle));
    }

    #[test]
    fn other_texts_are_none() {
        let of = |text: &str| RecallHandle::decode(&ENGINE.encode(text));
        assert_eq!(RecallHandle::decode("?"), Err(HandleError::Encoding));
        assert_eq!(of(""), Err(HandleError::Version));
        assert_eq!(of("v2 t b 1 k"), Err(HandleError::Version));
        for text in [
            "v1",
            "v1 t b 1",
            "v1 t b x k",
            "v1 t b 1 k more",
            "v1  b 1 k",
        ] {
            assert_eq!(of(text), Err(HandleError::Parts), "{text}");
        }
    }

    proptest! {
        #[test]
        fn hostile_texts_give_an_error_or_a_handle(text in ".*", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = RecallHandle::decode(&text);
            let _ = RecallHandle::decode(&ENGINE.encode(bytes));
        }
    }
}
