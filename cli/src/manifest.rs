//! Topics and groups as YAML: the same that `kubectl apply` takes.

use std::io::Read;
use std::path::{Path, PathBuf};

use rmq_crds::API_VERSION;
use serde::Deserialize;
use serde_json::Value;

pub(crate) use rmq_plan::Settings as Manifest;

use crate::codes;
use crate::error::Failure;

/// Kinds that only the operator can do something with.
const OF_THE_OPERATOR: &[&str] = &["NameServer", "BrokerGroup"];

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// Objects, each with its place for messages.
    pub(crate) objects: Vec<(Manifest, String)>,
    /// Servers that the operator makes, not read yet.
    pub(crate) servers: Vec<Server>,
    /// What was passed over, and why.
    pub(crate) skipped: Vec<String>,
}

/// A NameServer or BrokerGroup.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: String,
    pub(crate) document: Value,
    pub(crate) place: String,
}

fn namespace_of(object: &Manifest) -> Option<&str> {
    let metadata = match object {
        Manifest::Topic(topic) => &topic.metadata,
        Manifest::Group(group) => &group.metadata,
    };
    metadata.namespace.as_deref()
}

/// Reads files, folders (their .yaml, .yml and .json files) and `-` for stdin. Nothing is returned unless all of it is fine.
pub(crate) fn load(paths: &[String], namespace: Option<&str>) -> Result<Manifests, Failure> {
    let mut all = Manifests::default();
    for path in paths {
        for (place, text) in texts(path)? {
            parse(&text, &place, namespace, &mut all)?;
        }
    }
    Ok(all)
}

fn unreadable(path: &str, error: &std::io::Error) -> Failure {
    Failure::coded(&codes::IO, format!("cannot read \"{path}\"")).cause(error)
}

fn texts(path: &str) -> Result<Vec<(String, String)>, Failure> {
    if path == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| unreadable("stdin", &error))?;
        return Ok(vec![("stdin".to_owned(), text)]);
    }
    let mut files = vec![PathBuf::from(path)];
    if Path::new(path).is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
        files = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|file| {
                let kind = file.extension().and_then(|kind| kind.to_str());
                matches!(kind, Some("yaml" | "yml" | "json"))
            })
            .collect();
        files.sort();
        if files.is_empty() {
            return Err(Failure::coded(
                &codes::INVALID,
                format!("folder \"{path}\" has no .yaml, .yml or .json file"),
            ));
        }
    }
    let read = |file: PathBuf| {
        let place = file.display().to_string();
        let failed = |error: &std::io::Error| unreadable(&place, error);
        let size = file.metadata().map_err(|error| failed(&error))?.len();
        if size > FILE_BYTES_MAX {
            return Err(Failure::coded(
                &codes::INVALID,
                format!("\"{place}\" has {size} bytes, more than {FILE_BYTES_MAX}"),
            ));
        }
        let text = std::fs::read_to_string(&file).map_err(|error| failed(&error))?;
        Ok((place, text))
    };
    files.into_iter().map(read).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

fn parse(
    text: &str,
    file: &str,
    namespace: Option<&str>,
    all: &mut Manifests,
) -> Result<(), Failure> {
    let wrong = |place: &str| {
        Failure::coded(&codes::INVALID, format!("{place} is no manifest"))
            .try_this("rmq-ctl export   (shows what manifests look like)")
    };
    let documents = crate::yaml::documents(text).map_err(|error| wrong(file).cause(&error))?;
    for (index, document) in documents.into_iter().enumerate() {
        if document.is_null() {
            continue;
        }
        let place = format!("{file}, document {}", index + 1);
        let head = Head::deserialize(&document).map_err(|error| wrong(&place).cause(&error))?;
        if head.api_version != API_VERSION {
            return Err(wrong(&place).because(format!(
                "its apiVersion is \"{}\", not \"{API_VERSION}\"",
                head.api_version
            )));
        }
        let manifest = match head.kind.as_str() {
            "Topic" => Manifest::Topic(object(&document, &place)?),
            "SubscriptionGroup" => Manifest::Group(object(&document, &place)?),
            kind if OF_THE_OPERATOR.contains(&kind) => {
                let kind = kind.to_owned();
                all.servers.push(Server {
                    kind,
                    document,
                    place,
                });
                continue;
            }
            kind => {
                return Err(wrong(&place).because(format!(
                    "there is no kind \"{kind}\"; known kinds: NameServer, BrokerGroup, Topic, SubscriptionGroup"
                )));
            }
        };
        if let (Some(wanted), Some(has)) = (namespace, namespace_of(&manifest))
            && wanted != has
        {
            all.skipped.push(format!(
                "{place}: {}/{} is of namespace {has}",
                manifest.noun(),
                manifest.name()
            ));
            continue;
        }
        check(&manifest).map_err(|why| wrong(&place).because(why))?;
        all.objects.push((manifest, place));
    }
    Ok(())
}

/// The object; a field that it does not have is an error, as with `kubectl apply`.
pub(crate) fn object<T: serde::de::DeserializeOwned>(
    document: &Value,
    place: &str,
) -> Result<T, Failure> {
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize(document, |path| unknown.push(path.to_string()));
    let wrong = || Failure::coded(&codes::INVALID, format!("{place} is not as it should be"));
    let object = read.map_err(|error: serde_json::Error| wrong().cause(&error))?;
    // The head was read before.
    unknown.retain(|field| field != "apiVersion" && field != "kind");
    match unknown.first() {
        Some(field) => Err(wrong().because(format!("there is no field \"{field}\""))),
        None => Ok(object),
    }
}

/// What the schema's rules say of one object alone.
fn check(manifest: &Manifest) -> Result<(), String> {
    use rmq_client::protocol::names::{validate_group, validate_topic};
    match manifest {
        Manifest::Topic(topic) => {
            validate_topic(topic.topic_name()).map_err(|error| error.to_string())?;
            let spec = &topic.spec;
            let read = spec.read_queues.unwrap_or(spec.queues);
            if !(1..=1024).contains(&spec.queues) || !(1..=1024).contains(&read) {
                return Err("queues and readQueues lie between 1 and 1024".to_owned());
            }
            if read < spec.queues {
                return Err(
                    "readQueues must not be less than queues: messages of the queues that are left out could not be read"
                        .to_owned(),
                );
            }
            Ok(())
        }
        Manifest::Group(group) => {
            validate_group(group.group_name()).map_err(|error| error.to_string())?;
            let retry = &group.spec.retry;
            if !(0..=1000).contains(&retry.max_attempts) {
                return Err("retry.maxAttempts lies between 0 and 1000".to_owned());
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Manifests, Failure> {
        let mut all = Manifests::default();
        parse(text, "f", Some("shop"), &mut all).map(|()| all)
    }

    #[test]
    fn documents_are_read_and_others_passed_over() {
        let all = read(
            "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: orders, namespace: shop}\nspec: {queues: 4}\n---\n\
             apiVersion: rmq.rs/v1alpha1\nkind: SubscriptionGroup\nmetadata: {name: b, namespace: shop}\nspec: {groupName: Billing}\n---\n\
             apiVersion: rmq.rs/v1alpha1\nkind: NameServer\nmetadata: {name: n}\nspec: {replicas: 2}\n---\n\
             apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: other, namespace: elsewhere}\nspec: {}\n",
        )
        .unwrap();
        let names: Vec<_> = all
            .objects
            .iter()
            .map(|(object, _)| (object.noun(), object.name().to_owned()))
            .collect();
        assert_eq!(
            names,
            [
                ("topic", "orders".to_owned()),
                ("group", "Billing".to_owned())
            ]
        );
        assert_eq!(all.skipped.len(), 1, "{:?}", all.skipped);
        assert_eq!(all.servers[0].kind, "NameServer");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("apiVersion: v1\nkind: Pod", "its apiVersion is \"v1\""),
            (
                "apiVersion: rmq.rs/v1alpha1\nkind: Tropic",
                "no kind \"Tropic\"",
            ),
            (
                "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: a}\nspec: {queus: 4}",
                "spec.queus",
            ),
            (
                "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: a}\nspec: {queues: many}",
                "invalid type",
            ),
            (
                "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: 'a b'}\nspec: {}",
                "a b",
            ),
            (
                "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: a}\nspec: {queues: 4, readQueues: 2}",
                "readQueues",
            ),
            ("a: [", "did not find"),
        ] {
            let failure = read(text).expect_err(text);
            let details = failure.details();
            assert!(
                details.iter().any(|(_, line)| line.contains(why)),
                "{text}: {details:?}"
            );
        }
    }
}
