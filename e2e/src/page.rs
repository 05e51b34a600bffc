//! Pages of the documentation, in parts that a test can use.

use std::path::Path;

/// A fenced block: its info string and its lines.
#[derive(Debug)]
pub struct Block {
    /// What stands behind the fence, such as `yaml path=/etc/rmq/broker.yaml`.
    pub info: String,
    /// The lines.
    pub text: String,
}

/// The text of a page below `docs/`.
///
/// # Errors
/// When there is none.
pub fn text_of(page: &str) -> Result<String, String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    std::fs::read_to_string(docs.join(page)).map_err(|error| format!("{page}: {error}"))
}

/// All blocks of a text.
#[must_use]
pub fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block {
                    info: info.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// The files that a page shows: their paths and texts.
#[must_use]
pub fn files(text: &str) -> Vec<(String, String)> {
    let blocks = blocks(text).into_iter();
    let file = |block: Block| {
        let (_, path) = block.info.split_once("path=")?;
        Some((path.to_owned(), block.text))
    };
    blocks.filter_map(file).collect()
}
