//! What no Rust file may contain, or only one.

/// The one file that may contain `unsafe`.
const UNSAFE: &str = "store/src/fs/map.rs";
/// The only parts of the protocol that the store may know.
const STORE_MAY_USE: &[&str] = &["message", "names", "Incarnation"];
/// Where the servers are linked into the command line.
const SERVERS_IN_CLI: &str = "cli/src/commands/dev/servers.rs";
/// The broker's tables: fed by the log alone.
const TABLES: &str = "broker/src/tables/";
/// The broker's operations: any front calls them.
const OPERATIONS: [&str; 4] = ["admin", "clients", "messages", "progress"];

/// What one file breaks.
pub(super) fn check(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.trim_start().starts_with("//!") {
        problems.push(format!(
            "{name}: does not begin with a //! line that says what it is for"
        ));
    }
    if name.starts_with(TABLES) {
        problems.extend(above_tables(text).into_iter().map(|path| {
            format!("{name}: a table must not know {path}: operations and fronts are above it")
        }));
    }
    let operations = name.strip_prefix("broker/src/");
    let folder = operations.and_then(|file| file.split_once('/'));
    if folder.is_some_and(|(folder, _)| OPERATIONS.contains(&folder)) {
        problems.extend(above_operations(text).into_iter().map(|path| {
            format!("{name}: an operation must not know {path}: another front has other ones")
        }));
    }
    if !name.starts_with("xtask/") {
        problems.extend(reserved_fields(text).into_iter().map(|field| {
            format!("{name}: a log field called {field} is there twice in JSON; say what it is of")
        }));
    }
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let at = format!("{name}:{}", number + 1);
        let has_unsafe = ["unsafe {", "unsafe fn", "unsafe impl"]
            .iter()
            .any(|word| code.contains(word));
        if has_unsafe && name != UNSAFE && !name.starts_with("xtask/") {
            problems.push(format!("{at}: unsafe belongs into {UNSAFE} only"));
        }
        if name.starts_with("store/src/")
            && let Some((_, rest)) = code.split_once("rmq_protocol::")
            && !rest.starts_with('{')
            && !STORE_MAY_USE.iter().any(|module| rest.starts_with(module))
        {
            problems.push(format!(
                "{at}: the store knows the protocol's message, names and Incarnation only"
            ));
        }
        if names_message_as_field(code) && !name.starts_with("xtask/") {
            problems.push(format!(
                "{at}: a log field called message takes the place of the text; call it message_id or what it is"
            ));
        }
        let names_server = code.contains("rmq_broker::") || code.contains("rmq_namesrv::");
        if name.starts_with("cli/src/") && names_server && name != SERVERS_IN_CLI {
            problems.push(format!(
                "{at}: the servers are linked in {SERVERS_IN_CLI} only"
            ));
        }
    }
    problems
}

/// Whether a line gives a field of a log line the name that its text has.
fn names_message_as_field(code: &str) -> bool {
    const FIELDS: [&str; 3] = ["message =", "%message,", "?message,"];
    let line = code.trim();
    FIELDS.iter().any(|field| {
        let first_of_its_line = line.starts_with(field) && line.ends_with(',');
        first_of_its_line || line.contains(&format!("!({field}"))
    })
}

/// Fields of log lines with a name that each line in JSON has already, beside its fields.
fn reserved_fields(text: &str) -> Vec<&'static str> {
    const NAMES: [&str; 3] = ["level", "timestamp", "target"];
    let mut found = Vec::new();
    for log in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
        for call in text.split(&format!("tracing::{log}")).skip(1) {
            // The fields stand before the text.
            let fields = call.split('"').next().unwrap_or_default();
            let names = fields.split(',').map(|field| {
                let field = field.trim().trim_start_matches(['%', '?']);
                field.split([' ', '=']).next().unwrap_or_default()
            });
            found.extend(names.filter_map(|name| NAMES.into_iter().find(|known| *known == name)));
        }
    }
    found
}

/// Imports of a broker's table that lead to what stands above tables.
fn above_tables(text: &str) -> Vec<String> {
    let is_above = |path: &str| leads_to(path, &["rmq_transport", "crate::handlers"]);
    let mut paths = super::paths::of(text);
    paths.retain(|path| is_above(path));
    paths
}

/// Imports of a broker's operation that lead to the wire: a second front has another one.
fn above_operations(text: &str) -> Vec<String> {
    const WIRE: [&str; 5] = [
        "crate::handlers",
        "crate::reply",
        "rmq_protocol::code",
        "rmq_protocol::header",
        "rmq_protocol::requests",
    ];
    let mut paths = super::paths::of(text);
    paths.retain(|path| leads_to(path, &WIRE));
    paths
}

fn leads_to(path: &str, modules: &[&str]) -> bool {
    let is_in = |module: &&str| {
        let rest = path.strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    modules.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_what_breaks_it() {
        assert_eq!(
            check("broker/src/x.rs", "//! Doc.\nfn a() {}\n"),
            Vec::<String>::new()
        );
        assert_eq!(check("broker/src/x.rs", "fn a() {}\n").len(), 1);
        assert_eq!(
            check("broker/src/x.rs", "//! Doc.\nunsafe { a() }\n").len(),
            1
        );
        assert_eq!(check(UNSAFE, "//! Doc.\nunsafe { a() }\n").len(), 0);
        assert_eq!(
            check(
                "store/src/x.rs",
                "//! Doc.\nuse rmq_protocol::frame::split;\n"
            )
            .len(),
            1
        );
        assert_eq!(
            check(
                "store/src/x.rs",
                "//! Doc.\nuse rmq_protocol::message::tag_hash;\n"
            )
            .len(),
            0
        );
        assert_eq!(
            check("cli/src/x.rs", "//! Doc.\nuse rmq_broker::Deps;\n").len(),
            1
        );
        for code in [
            "            message = self.id(),",
            // In two, as these rules read this file too.
            concat!("    tracing::warn!", "(message = id, \"text\");"),
            "        %message,",
        ] {
            let text = format!("//! Doc.\n{code}\n");
            assert_eq!(check("client/src/x.rs", &text).len(), 1, "{code}");
        }
        let logged =
            "//! Doc.\n    tracing::warn!(\n        topic,\n        level = 3, \"x\"\n    );\n";
        assert_eq!(check("broker/src/x.rs", logged).len(), 1);
        let target = "//! Doc.\n    tracing::info!(target: AUDIT, after_ms, \"the level\");\n";
        assert_eq!(check("broker/src/x.rs", target), Vec::<String>::new());
        let assigned = "//! Doc.\nfn a() {\n    message = message.key(key);\n}\n";
        assert_eq!(check("client/src/x.rs", assigned), Vec::<String>::new());
        let table = |code: &str| check("broker/src/tables/x.rs", &format!("//! Doc.\n{code}\n"));
        assert_eq!(table("use crate::{handlers::pull, stats};").len(), 1);
        assert_eq!(table("use rmq_transport::Peer;").len(), 1);
        assert_eq!(table("fn a() { crate::handlers::send::b() }").len(), 1);
        assert_eq!(table("use crate::stats::Stats;"), Vec::<String>::new());
        let operation =
            |code: &str| check("broker/src/progress/x.rs", &format!("//! Doc.\n{code}\n"));
        assert_eq!(operation("use crate::reply::Answer;").len(), 1);
        let code = "use rmq_protocol::{code::ResponseCode, bodies};";
        assert_eq!(operation(code).len(), 1);
        let body = "use rmq_protocol::bodies::TopicConfig;";
        assert_eq!(operation(body), Vec::<String>::new());
    }
}
