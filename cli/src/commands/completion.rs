//! `rmq-ctl completion` and `rmq-ctl manual`: for shells and for `man`. Ask no server.

use clap::{Args, Command, ValueEnum};

use crate::codes;
use crate::error::Failure;
use crate::output::Output;

/// Options of `completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "Asks no server. Names of topics, groups, brokers and contexts are completed too: the shell asks rmq-ctl, and rmq-ctl asks the cluster, for 2 s at most.

Examples:
  source <(rmq-ctl completion bash)
  rmq-ctl completion zsh > ~/.zfunc/_rmq-ctl
  rmq-ctl completion fish > ~/.config/fish/completions/rmq-ctl.fish"
)]
pub(crate) struct CompletionOptions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
    /// Verbs and options only.
    Nushell,
}

pub(crate) fn completion(
    options: &CompletionOptions,
    mut command: Command,
    output: &Output,
) -> Result<(), Failure> {
    let mut script = Vec::new();
    let name = match options.shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
        Shell::Powershell => "powershell",
        Shell::Elvish => "elvish",
        Shell::Nushell => {
            clap_complete::generate(
                clap_complete_nushell::Nushell,
                &mut command,
                "rmq-ctl",
                &mut script,
            );
            output.bytes(&script);
            return Ok(());
        }
    };
    let shells = clap_complete::env::Shells::builtins();
    let written = shells.completer(name).map(|shell| {
        shell.write_registration("COMPLETE", "rmq-ctl", "rmq-ctl", "rmq-ctl", &mut script)
    });
    match written {
        Some(Ok(())) => {
            output.bytes(&script);
            Ok(())
        }
        Some(Err(error)) => {
            Err(Failure::coded(&codes::IO, "the script cannot be written").cause(&error))
        }
        None => Err(Failure::coded(
            &codes::INVALID,
            format!("{name} is not supported"),
        )),
    }
}

/// Options of `manual`.
#[derive(Debug, Args)]
#[command(after_help = "Asks no server.

Examples:
  rmq-ctl manual | man -l -
  rmq-ctl manual --dir ~/.local/share/man/man1")]
pub(crate) struct ManualOptions {
    /// Write a page for each verb into this folder, instead of the first page to stdout.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<std::path::PathBuf>,
}

pub(crate) fn manual(
    options: &ManualOptions,
    mut command: Command,
    output: &Output,
) -> Result<(), Failure> {
    command.build();
    let failed = |error: std::io::Error| {
        Failure::coded(&codes::IO, "the manual cannot be written").cause(&error)
    };
    let Some(dir) = &options.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(failed)?;
        output.bytes(&page);
        return Ok(());
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let pages = pages(&command, "rmq-ctl", dir).map_err(failed)?;
    output.say(&format!("wrote {pages} pages into {}", dir.display()));
    Ok(())
}

fn pages(command: &Command, name: &str, dir: &std::path::Path) -> std::io::Result<usize> {
    let mut page = Vec::new();
    let titled = command.clone().name(name.to_owned());
    clap_mangen::Man::new(titled).render(&mut page)?;
    std::fs::write(dir.join(format!("{name}.1")), page)?;
    let mut written = 1;
    for inner in command.get_subcommands() {
        if inner.get_name() != "help" && !inner.is_hide_set() {
            written += pages(inner, &format!("{name}-{}", inner.get_name()), dir)?;
        }
    }
    Ok(written)
}
