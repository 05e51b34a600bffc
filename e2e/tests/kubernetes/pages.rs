//! The pages about Kubernetes: their commands run as a reader would run them.

use std::path::Path;
use std::process::Command;

use rmq_e2e::process::binary;
use rmq_lab::Lab;

use crate::world::{World, demand};

/// In the order in which a reader comes to them.
const PAGES: [&str; 9] = [
    "docs/operate/install.md",
    "docs/operate/kubernetes.md",
    "docs/operate/outside.md",
    "docs/operate/topics.md",
    "docs/operate/scale.md",
    "docs/operate/roll.md",
    "docs/operate/volumes.md",
    "docs/operate/drain.md",
    "docs/operate/delete.md",
];
/// Its commands that install the operator are what this cluster begins with.
const START: &str = "docs/start/kubernetes.md";

/// Installs the operator as the page says it.
pub(crate) fn install(lab: &Lab) -> Result<(), String> {
    run_page(lab, START, "console install")
}

/// The commands of the pages, as a reader would run them.
pub(crate) fn run(world: &World) -> Result<(), String> {
    run_page(&world.lab, START, "console")?;
    PAGES
        .iter()
        .try_for_each(|page| run_page(&world.lab, page, "console"))
}

/// Runs what stands in the blocks of this kind.
fn run_page(lab: &Lab, page: &str, kind: &str) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let kubectl = lab.tool("kubectl");
    let tools = Path::new(kubectl.get_program())
        .parent()
        .unwrap_or(Path::new("/"));
    let programs = binary("rmq-ctl");
    let path = format!(
        "{}:{}:{}",
        tools.display(),
        programs.parent().unwrap_or(Path::new("/")).display(),
        std::env::var("PATH").unwrap_or_default()
    );
    // A reader's own contexts are not the test's matter.
    let config = tempfile::tempdir().map_err(|error| error.to_string())?;
    let text =
        std::fs::read_to_string(root.join(page)).map_err(|error| format!("{page}: {error}"))?;
    let mut commands = 0;
    for block in text.split("\n```").skip(1).step_by(2) {
        let (head, block) = block.split_once('\n').unwrap_or_default();
        if head != kind {
            continue;
        }
        for command in block
            .split("\n$ ")
            .map(|command| command.trim_start_matches("$ "))
        {
            // Lines that go on end with a backslash; what follows is what it prints.
            let mut lines = Vec::new();
            for line in command.lines() {
                lines.push(line);
                if !line.ends_with('\\') {
                    break;
                }
            }
            let command = lines.join("\n");
            let output = Command::new("bash")
                .args(["-c", &command])
                .current_dir(&root)
                .env("KUBECONFIG", lab.kubeconfig())
                .env("PATH", &path)
                .env("XDG_CONFIG_HOME", config.path())
                .env_remove("NAMESRV_ADDR")
                .env_remove("RMQ_URL")
                .output()
                .map_err(|error| format!("bash: {error}"))?;
            let said = String::from_utf8_lossy(&output.stderr);
            demand(
                output.status.success(),
                format!("{page}: {command}: {said}"),
            )?;
            commands += 1;
        }
    }
    demand(commands > 0, format!("{page} has no {kind} commands"))
}
