//! The pages about Kubernetes: their commands run as a reader would run them.

use std::path::Path;
use std::process::Command;

use crate::world::{World, demand};

/// The commands of the pages, as a reader would run them, on an operator that is installed already.
pub(crate) fn run(world: &World) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let kubectl = world.lab.tool("kubectl");
    let tools = Path::new(kubectl.get_program())
        .parent()
        .unwrap_or(Path::new("/"));
    let path = format!(
        "{}:{}",
        tools.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    for page in ["docs/start/kubernetes.md", "docs/operate/kubernetes.md"] {
        let text =
            std::fs::read_to_string(root.join(page)).map_err(|error| format!("{page}: {error}"))?;
        let mut commands = 0;
        for block in text.split("```console").skip(1) {
            let (head, rest) = block.split_once('\n').unwrap_or_default();
            if head.contains("no-run") {
                continue;
            }
            let block = rest.split("```").next().unwrap_or_default();
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
                    .env("KUBECONFIG", world.lab.kubeconfig())
                    .env("PATH", &path)
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
        demand(commands > 0, format!("{page} has no commands"))?;
    }
    Ok(())
}
