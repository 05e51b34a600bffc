//! Results in the form that the user asks for: a table for people, the rest for programs.

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::{Value, json};
use serde_json_path::JsonPath;

use crate::codes;
use crate::error::Failure;
use crate::output::Output;

/// Version of the JSON that this program writes.
pub(crate) const API_VERSION: &str = "rmq-ctl/v1";

/// Options of commands that print results.
#[derive(Debug, Clone, Args)]
pub(crate) struct RenderOptions {
    /// table, wide, json, yaml, name, jsonpath=PATH, custom-columns=NAME:PATH,… or schema (JSON schema of an item)
    #[arg(short = 'o', long = "output", value_name = "FORM", default_value = "table", value_parser = parse_form)]
    form: Form,

    /// No line with the columns' names.
    #[arg(long)]
    no_headers: bool,
}

/// A form of output.
#[derive(Debug, Clone)]
enum Form {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
    Schema,
    Path(JsonPath),
    Columns(Vec<(String, JsonPath)>),
}

fn parse_form(text: &str) -> Result<Form, String> {
    if let Some(path) = text.strip_prefix("jsonpath=") {
        return parse_path(path).map(Form::Path);
    }
    if let Some(columns) = text.strip_prefix("custom-columns=") {
        let columns = columns.split(',').map(|column| {
            let (name, path) = column
                .split_once(':')
                .ok_or_else(|| format!("column \"{column}\" is not NAME:PATH"))?;
            Ok((name.to_owned(), parse_path(path)?))
        });
        return columns.collect::<Result<_, String>>().map(Form::Columns);
    }
    match text {
        "table" => Ok(Form::Table),
        "wide" => Ok(Form::Wide),
        "json" => Ok(Form::Json),
        "yaml" => Ok(Form::Yaml),
        "name" => Ok(Form::Name),
        "schema" => Ok(Form::Schema),
        _ => Err(
            "known forms: table, wide, json, yaml, name, schema, jsonpath=PATH, custom-columns=NAME:PATH,…"
                .to_owned(),
        ),
    }
}

/// As kubectl writes them (`{.items[*].name}`, `.name`) or as RFC 9535 does (`$.name`).
fn parse_path(text: &str) -> Result<JsonPath, String> {
    let inner = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or(text);
    let full = if inner.starts_with('$') {
        inner.to_owned()
    } else if inner.starts_with(['.', '[']) {
        format!("${inner}")
    } else {
        format!("$.{inner}")
    };
    JsonPath::parse(&full).map_err(|error| format!("\"{text}\" is not a JSON path: {error}"))
}

/// One result of a list.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// As `-o name` prints it.
    pub(crate) name: String,
    /// As the table prints it; one for each column.
    pub(crate) cells: Vec<String>,
    /// As JSON.
    pub(crate) value: Value,
}

impl Row {
    pub(crate) fn new<T: Serialize>(
        name: impl Into<String>,
        cells: Vec<String>,
        value: &T,
    ) -> Self {
        Self {
            name: name.into(),
            cells,
            value: serde_json::to_value(value).unwrap_or(Value::Null),
        }
    }
}

/// A list of results.
#[derive(Debug)]
pub(crate) struct Listing {
    /// As JSON names it, such as `TopicList`.
    pub(crate) kind: &'static str,
    /// The JSON schema of an item.
    pub(crate) schema: fn() -> Value,
    /// Before the name, such as `topic`.
    pub(crate) noun: &'static str,
    /// Columns of the table, then those that only `wide` has.
    pub(crate) columns: &'static [&'static str],
    pub(crate) wide_columns: &'static [&'static str],
    pub(crate) rows: Vec<Row>,
    /// Said on stderr when there is nothing.
    pub(crate) empty: String,
}

impl RenderOptions {
    /// Whether people want to see more than usual.
    pub(crate) fn is_wide(&self) -> bool {
        matches!(self.form, Form::Wide)
    }

    pub(crate) fn list(&self, listing: &Listing, output: &Output) -> Result<(), Failure> {
        let whole = || {
            json!({
                "apiVersion": API_VERSION,
                "kind": listing.kind,
                "items": listing.rows.iter().map(|row| &row.value).collect::<Vec<_>>(),
            })
        };
        match &self.form {
            Form::Table | Form::Wide => {
                if listing.rows.is_empty() {
                    output.say(&listing.empty);
                    return Ok(());
                }
                let mut headers = listing.columns.to_vec();
                if matches!(self.form, Form::Wide) {
                    headers.extend(listing.wide_columns);
                }
                let rows = listing
                    .rows
                    .iter()
                    .map(|row| row.cells.iter().take(headers.len()).cloned().collect())
                    .collect();
                self.table(&headers, rows, output);
            }
            Form::Json => output.value(&pretty(&whole())),
            Form::Yaml => output.value(crate::yaml::write(&whole()).trim_end()),
            Form::Name => {
                for row in &listing.rows {
                    output.data(&format!("{}/{}", listing.noun, row.name));
                }
            }
            Form::Schema => output.value(&pretty(&(listing.schema)())),
            Form::Path(path) => print_path(path, &whole(), output)?,
            Form::Columns(columns) => {
                let headers: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
                let rows = listing
                    .rows
                    .iter()
                    .map(|row| {
                        let cell = |(_, path): &(String, JsonPath)| {
                            let found = path.query(&row.value).all();
                            if found.is_empty() {
                                "<none>".to_owned()
                            } else {
                                found.into_iter().map(text).collect::<Vec<_>>().join(",")
                            }
                        };
                        columns.iter().map(cell).collect()
                    })
                    .collect();
                self.table(&headers, rows, output);
            }
        }
        Ok(())
    }

    /// One thing, described for people by `describe`, or whole for programs.
    pub(crate) fn object(
        &self,
        kind: &str,
        schema: fn() -> Value,
        name: &str,
        value: &Value,
        output: &Output,
        describe: impl FnOnce(&Output),
    ) -> Result<(), Failure> {
        let mut whole = json!({"apiVersion": API_VERSION, "kind": kind});
        if let (Some(whole), Some(fields)) = (whole.as_object_mut(), value.as_object()) {
            whole.extend(fields.clone());
        }
        match &self.form {
            Form::Table | Form::Wide => describe(output),
            Form::Json => output.value(&pretty(&whole)),
            Form::Yaml => output.value(crate::yaml::write(&whole).trim_end()),
            Form::Name => output.data(&format!("{}/{name}", kind.to_lowercase())),
            Form::Schema => output.value(&pretty(&schema())),
            Form::Path(path) => print_path(path, &whole, output)?,
            Form::Columns(_) => {
                return Err(Failure::coded(
                    &codes::INVALID,
                    "custom-columns is for lists, not for one thing",
                ));
            }
        }
        Ok(())
    }

    fn table(&self, headers: &[&str], rows: Vec<Vec<String>>, output: &Output) {
        output.block(&table(headers, rows, self.no_headers, output.width()));
    }
}

/// The JSON schema of a type.
pub(crate) fn schema_of<T: schemars::JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

/// Options of commands that can look again and again.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchOptions {
    /// Repeat: every 2s, or in this interval. Changes are marked.
    #[arg(short, long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s", value_parser = crate::when::parse_length)]
    watch: Option<std::time::Duration>,
}

impl WatchOptions {
    /// How often to look again.
    pub(crate) fn every(&self) -> Option<std::time::Duration> {
        self.watch
    }

    /// Calls `look` once, or again and again until the first signal. A failure that can pass is shown, not the end.
    pub(crate) async fn run(
        &self,
        output: &Output,
        mut look: impl AsyncFnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(every) = self.watch else {
            return look().await;
        };
        let mut stop = crate::stop::listen()?;
        let mut ticks = tokio::time::interval(every.max(std::time::Duration::from_millis(100)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut before: Option<String> = None;
        loop {
            let looked = async {
                ticks.tick().await;
                output.begin_frame();
                look().await
            };
            let looked = tokio::select! {
                looked = looked => looked,
                _ = stop.wait() => return Ok(()),
            };
            before = Some(output.end_frame(before.as_deref()));
            match looked {
                Ok(()) => {}
                Err(failure) if failure.is_passing() || failure.is_finding() => {
                    output.error(&failure)
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn print_path(path: &JsonPath, value: &Value, output: &Output) -> Result<(), Failure> {
    let found = path.query(value).all();
    if found.is_empty() {
        return Err(
            Failure::coded(&codes::NOT_FOUND, format!("nothing lies at {path}"))
                .try_this("-o json shows what there is"),
        );
    }
    let line: Vec<String> = found.into_iter().map(text).collect();
    let line = line.join(" ");
    // Values have line ends of their own only where another program reads them.
    if output.is_terminal() {
        output.data(&line);
    } else {
        output.value(&line);
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Columns apart by spaces; cut to `width` where one is known, never otherwise.
pub(crate) fn table(
    headers: &[&str],
    rows: Vec<Vec<String>>,
    no_headers: bool,
    width: Option<u16>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    if !no_headers {
        table.set_header(headers.to_vec());
    }
    let shown = rows.into_iter().map(|row| {
        let cells = row.into_iter();
        cells.map(|cell| rmq_texts::line(&cell).into_owned())
    });
    table.add_rows(shown);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_long_names_are_whole_in_a_pipe() {
        let long = "x".repeat(300);
        let rows = vec![
            vec!["a".to_owned(), "1".to_owned()],
            vec![long.clone(), "2".to_owned()],
        ];
        let text = table(&["NAME", "N"], rows, false, None);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].starts_with(&long) && lines[2].ends_with('2'));
        assert_eq!(lines[0].find('N'), Some(0));
        assert_eq!(lines[1].rfind('1'), lines[2].rfind('2'));
    }

    #[test]
    fn paths_are_understood_as_kubectl_writes_them() {
        let value = json!({"items": [{"name": "a"}, {"name": "b"}]});
        for path in [
            "{.items[*].name}",
            ".items[*].name",
            "items[*].name",
            "$.items[*].name",
        ] {
            let found = parse_path(path).expect(path);
            assert_eq!(found.query(&value).all().len(), 2, "{path}");
        }
        assert!(parse_path("{.items[").is_err());
        assert!(parse_form("tables").unwrap_err().contains("known forms"));
    }
}
