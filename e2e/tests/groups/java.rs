//! One program with the unmodified Java client for all groups: it sends and consumes, and says what happens.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rmq_e2e::foreign;

use crate::load::Notes;

/// Set where the program was built before the test went into its namespaces, which have no way out.
pub(crate) const BUILT: &str = "RMQ_E2E_JAVA";

type Loads = Arc<Mutex<HashMap<String, (String, Arc<Notes>)>>>;

/// The program. It ends with this value.
pub(crate) struct Java {
    child: Mutex<Child>,
    commands: Mutex<ChildStdin>,
    loads: Loads,
}

/// Builds the program; answers the folder with it.
pub(crate) fn build() -> Result<String, String> {
    let built = foreign::build_dir("java")?;
    foreign::maven("java", &built)?;
    Ok(built.display().to_string())
}

impl Java {
    /// Starts it; `name_servers` as the client takes them.
    pub(crate) fn start(name_servers: &str, home: &Path) -> Result<Self, String> {
        let built = std::env::var(BUILT).map_err(|_| "the Java program was not built")?;
        let failed = |error: std::io::Error| format!("java cannot be run: {error}");
        let log = std::fs::File::create(home.join("java.log")).map_err(failed)?;
        let mut child = Command::new("java")
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Duser.home={}", home.display()))
            .arg(format!("-Drocketmq.client.logRoot={}", home.display()))
            .arg("-cp")
            .arg(format!("{built}/compat.jar:{built}/lib/*"))
            .args(["rmq.compat.Main", "chaos", name_servers])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let commands = child.stdin.take().ok_or("stdin is piped")?;
        let lines = BufReader::new(child.stdout.take().ok_or("stdout is piped")?).lines();
        let loads = Loads::default();
        let known = Arc::clone(&loads);
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| note(&known, &line))
        });
        Ok(Self {
            child: Mutex::new(child),
            commands: Mutex::new(commands),
            loads,
        })
    }

    /// What it says of this topic goes there from now on.
    pub(crate) fn watch(&self, topic: &str, broker: &str, notes: &Arc<Notes>) {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.insert(topic.to_owned(), (broker.to_owned(), Arc::clone(notes)));
    }

    /// Gives it a command.
    pub(crate) fn say(&self, command: &str) -> Result<(), String> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(commands, "{command}")
            .map_err(|error| format!("the Java program has ended: {error}"))
    }
}

/// One line of it.
fn note(loads: &Loads, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let Some(topic) = words.get(1) else { return };
    let found = {
        let loads = loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.get(*topic).cloned()
    };
    // What the client prints itself is about no load.
    let Some((broker, notes)) = found else { return };
    if let Err(why) = notes.java_says(&broker, &words) {
        notes.problem(format!("{why}: {line}"));
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended.
        let _ = child.kill();
        let _ = child.wait();
    }
}
