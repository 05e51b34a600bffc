//! Topics and groups as YAML: the same that `kubectl apply` takes.

use std::path::{Path, PathBuf};

use rmq_crds::API_VERSION;
use rmq_plan::{MANAGED, Resource};
use serde::Deserialize;
use serde_json::Value;

use crate::codes;
use crate::error::Failure;
use crate::input::{self, Input};

/// Kinds that only the operator can do something with.
const OF_THE_OPERATOR: &[&str] = &["NameServer", "BrokerGroup"];
/// All kinds.
const KINDS: &[&str] = &[
    "NameServer",
    "BrokerGroup",
    "Topic",
    "SubscriptionGroup",
    "User",
];

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// Objects, each with its place for messages.
    pub(crate) objects: Vec<(Resource, String)>,
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

fn namespace_of(object: &Resource) -> Option<&str> {
    let metadata = match object {
        Resource::Topic(topic) => &topic.metadata,
        Resource::Group(group) => &group.metadata,
    };
    metadata.namespace.as_deref()
}

fn managed_note(manifest: &Resource, place: &str) -> String {
    let (noun, name) = (manifest.noun(), manifest.name());
    format!("{place}: {noun}/{name} has the annotation {MANAGED}=false: it changes nothing")
}

impl Manifests {
    /// Two objects for one topic or group: each `apply` would flip what the other one wrote. `cluster` says of which cluster an object is.
    pub(crate) fn refuse_rivals<'o>(
        &'o self,
        cluster: impl Fn(&'o Resource) -> &'o str,
    ) -> Result<(), Failure> {
        let objects = self.objects.iter();
        let objects = objects.map(|(object, place)| (object, cluster(object), place.as_str()));
        let Some((object, first, again)) = rmq_plan::rivals(objects) else {
            return Ok(());
        };
        let (noun, name) = (object.noun(), object.name());
        Err(
            Failure::coded(&codes::INVALID, format!("{noun} \"{name}\" is there twice"))
                .fact("first", first)
                .fact("again", again)
                .because("each would undo what the other one says; the operator lets the older one have its way")
                .try_this("remove one of them"),
        )
    }
}

/// Reads files, folders (their .yaml, .yml and .json files) and `-` for stdin. Nothing is returned unless all of it is fine.
pub(crate) fn load(paths: &[String], namespace: Option<&str>) -> Result<Manifests, Failure> {
    input::once(paths)?;
    let mut all = Manifests::default();
    for path in paths {
        for (place, text) in texts(path)? {
            parse(&text, &place, namespace, &mut all)?;
        }
    }
    if all.objects.is_empty() && all.servers.is_empty() && all.skipped.is_empty() {
        return Err(Failure::coded(
            &codes::INVALID,
            format!("there is no object in {}", paths.join(", ")),
        )
        .try_this("rmq-ctl export   (shows what manifests look like)"));
    }
    Ok(all)
}

/// The text that a file has, however it is encoded.
fn text(input: Input) -> Result<(String, String), Failure> {
    let place = input.name.clone();
    let text = rmq_texts::yaml::text(input.bytes()?).map_err(|error| {
        Failure::coded(&codes::INVALID, format!("cannot read \"{place}\"")).cause(&error)
    })?;
    Ok((place, text))
}

fn texts(path: &str) -> Result<Vec<(String, String)>, Failure> {
    if path == input::STDIN {
        return Ok(vec![text(input::open(path)?)?]);
    }
    let mut files = vec![PathBuf::from(path)];
    if Path::new(path).is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| input::unreadable(path, &error))?;
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
    let read = |file: PathBuf| text(input::open(&file.display().to_string())?);
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
    let wrong = &wrong;
    let documents = rmq_texts::yaml::documents(text).map_err(|error| wrong(file).cause(&error))?;
    for (index, document) in documents.into_iter().enumerate() {
        let place = format!("{file}, document {}", index + 1);
        for (place, document) in items(document, place, wrong)? {
            one(document, place, namespace, all, wrong)?;
        }
    }
    Ok(())
}

/// A document, or the items of a list: `kubectl get -o yaml` prints those.
fn items(
    document: Value,
    place: String,
    wrong: impl Fn(&str) -> Failure,
) -> Result<Vec<(String, Value)>, Failure> {
    if document.is_null() {
        return Ok(Vec::new());
    }
    let head = head(&document, &place, &wrong)?;
    let kind = head.kind.strip_suffix("List");
    let is_list = match (head.api_version.as_str(), kind) {
        ("v1", Some("")) => true,
        (API_VERSION, Some(kind)) => KINDS.contains(&kind),
        _ => false,
    };
    if !is_list {
        return Ok(vec![(place, document)]);
    }
    let items = match document.get("items") {
        None => Vec::new(),
        Some(Value::Array(items)) => items.clone(),
        Some(_) => return Err(wrong(&place).because("items: a list has an array of items")),
    };
    let items = items.into_iter().enumerate();
    Ok(items
        .map(|(index, item)| (format!("{place}, item {}", index + 1), item))
        .collect())
}

fn head(document: &Value, place: &str, wrong: impl Fn(&str) -> Failure) -> Result<Head, Failure> {
    crate::yaml::typed(document).map_err(|error| wrong(place).cause(&error))
}

fn one(
    document: Value,
    place: String,
    namespace: Option<&str>,
    all: &mut Manifests,
    wrong: impl Fn(&str) -> Failure,
) -> Result<(), Failure> {
    let head = head(&document, &place, &wrong)?;
    if head.api_version != API_VERSION {
        return Err(wrong(&place).because(format!(
            "its apiVersion is \"{}\", not \"{API_VERSION}\"",
            head.api_version
        )));
    }
    let manifest = match head.kind.as_str() {
        "Topic" => Resource::Topic(object(&document, &place)?),
        "SubscriptionGroup" => Resource::Group(object(&document, &place)?),
        kind if OF_THE_OPERATOR.contains(&kind) => {
            let kind = kind.to_owned();
            all.servers.push(Server {
                kind,
                document,
                place,
            });
            return Ok(());
        }
        // Their passwords are in Secrets.
        "User" => {
            all.skipped.push(format!(
                "{place}: the operator makes users; without it, rmq-ctl create user and set acl do"
            ));
            return Ok(());
        }
        kind => {
            return Err(wrong(&place).because(format!(
                "there is no kind \"{kind}\"; known kinds: {}",
                KINDS.join(", ")
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
        return Ok(());
    }
    check(&manifest).map_err(|why| wrong(&place).because(why))?;
    if manifest.is_managed() {
        all.objects.push((manifest, place));
    } else {
        all.skipped.push(managed_note(&manifest, &place));
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
    let object = read.map_err(|error: serde_json::Error| {
        // The same again, with the name of the field.
        match crate::yaml::typed::<T>(document) {
            Err(named) => wrong().cause(&named),
            Ok(_) => wrong().cause(&error),
        }
    })?;
    // The head was read before.
    unknown.retain(|field| field != "apiVersion" && field != "kind");
    match unknown.first() {
        Some(field) => Err(wrong().because(format!("there is no field \"{field}\""))),
        None => Ok(object),
    }
}

/// What the schema's rules say of one object alone.
fn check(manifest: &Resource) -> Result<(), String> {
    use rmq_client::protocol::names::{validate_group, validate_topic};
    match manifest {
        Resource::Topic(topic) => {
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
        Resource::Group(group) => {
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
    fn what_kubectl_takes_is_taken() {
        let topic = "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: a, labels: null}\nspec: {queues: null, permission: ~}\n";
        let json = r#"{"apiVersion": "rmq.rs/v1alpha1", "kind": "Topic", "metadata": {"name": "a"}, "spec": {}}"#;
        let list = format!(
            "apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems: [{json}, {json}]\n"
        );
        for (text, objects) in [
            (topic.to_owned(), 1),
            (format!("\u{feff}{topic}"), 1),
            (topic.replace('\n', "\r\n"), 1),
            (format!("# a comment\n---\n{topic}---\n"), 1),
            (format!("{topic}---\n\u{feff}{topic}..."), 2),
            (json.to_owned(), 1),
            (list.replace("kind: List", "kind: List "), 2),
            (
                list.replace(
                    "apiVersion: v1\nkind: List",
                    "apiVersion: rmq.rs/v1alpha1\nkind: TopicList",
                ),
                2,
            ),
            (list.replace(&format!("[{json}, {json}]"), "null"), 0),
            ("# nothing\n".to_owned(), 0),
        ] {
            let all = read(&text).unwrap_or_else(|failure| panic!("{text}: {failure:?}"));
            assert_eq!(all.objects.len(), objects, "{text}");
            for (object, _) in &all.objects {
                let Resource::Topic(topic) = object else {
                    panic!("{text}: no topic");
                };
                assert_eq!(topic.spec.queues, 8, "null is absent: {text}");
            }
        }
    }

    #[test]
    fn two_objects_for_one_topic_are_refused_with_both_places() {
        let topic = |object: &str, more: &str| {
            format!(
                "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {{name: {object}, namespace: shop{more}}}\nspec: {{topicName: orders}}\n"
            )
        };
        let refused = |text: &str| {
            let all = read(text).unwrap();
            all.refuse_rivals(|_| "")
                .map_err(|failure| format!("{failure:?}"))
        };
        let twice = format!("{}---\n{}", topic("a", ""), topic("b", ""));
        let why = refused(&twice).expect_err("twice");
        assert!(
            why.contains("f, document 1") && why.contains("f, document 2"),
            "{why}"
        );
        let let_go = topic("b", ", annotations: {rmq.rs/managed: 'false'}");
        let one = format!("{}---\n{let_go}", topic("a", ""));
        assert_eq!(refused(&one), Ok(()));
        assert_eq!(read(&one).unwrap().skipped.len(), 1);
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
                "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: a}\nspec: {queues: \"8\"}",
                "spec.queues: invalid type: string \"8\"",
            ),
            (
                "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: a}\nspec: {attributes: {x: 1}}",
                "spec.attributes.x: invalid type",
            ),
            (
                "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: a}\nspec: {brokerGroups: [b, 1]}",
                "spec.brokerGroups[1]: invalid type",
            ),
            (
                "apiVersion: rmq.rs/v1alpha1\nkind: SubscriptionGroup\nmetadata: {name: a}\nspec: {retry: {maxAttempts: many}}",
                "spec.retry.maxAttempts: invalid type",
            ),
            (
                "apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: a}\nspec: {queues: 4, queues: 8}",
                "spec.queues is there twice",
            ),
            (
                "apiVersion: v1\nkind: List\nitems: {a: b}",
                "array of items",
            ),
            (
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod",
                "its apiVersion is \"v1\"",
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
