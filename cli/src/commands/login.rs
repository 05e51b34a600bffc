//! `rmq-ctl login`: a context gets a user. Changes only files of this user; the secret is in a file that nobody else reads.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{users, whoami};
use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::config::{Config, CredentialsRef, Source};
use crate::error::Failure;
use crate::output::Output;

/// Options of `login`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes only files of this user: the context, and beside the configuration a file with the keys, with mode 600. The brokers are asked
whether they recognise the user.

Examples:
  rmq-ctl login checkout --password-file checkout.password
  rmq-ctl login root --password-file root.password --into prod"
)]
pub(crate) struct Options {
    /// The user, which is the access key.
    user: String,
    /// The file with the password; - is stdin.
    #[arg(long, value_name = "FILE", default_value = "-")]
    password_file: String,
    /// The context. Default: the current one.
    #[arg(long, value_name = "NAME")]
    into: Option<String>,
    /// Ask no server.
    #[arg(long)]
    no_check: bool,
}

/// Keys as mqadmin has them in `tools.yml`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Keys<'k> {
    access_key: &'k str,
    secret_key: &'k str,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let (mut config, path) = Config::load(Source::User)?;
    let asked = options.into.as_deref().or(cluster.context.as_deref());
    let Some((name, _)) = config.context(asked, &path)? else {
        return Err(
            Failure::coded(&codes::CONFIG, "there is no current context")
                .try_this("rmq-ctl config set-context NAME --nameserver HOST:9876"),
        );
    };
    let name = name.to_owned();
    let password = users::password(&options.password_file)?;
    let keys = crate::yaml::write(&Keys {
        access_key: &options.user,
        secret_key: password.reveal(),
    });
    let file = place(&path, &name);
    write_private(&file, &keys)?;
    if let Some(context) = config.contexts.get_mut(&name) {
        context.credentials = Some(CredentialsRef::ToolsYml(file.clone()));
    }
    config.save(&path)?;
    output.say(&format!(
        "context \"{name}\" signs as \"{}\" with the keys in {}",
        options.user,
        file.display()
    ));
    if options.no_check {
        return Ok(());
    }
    let mut asked = cluster.clone();
    asked.context = Some(name);
    let cluster = Cluster::connect(&asked, output).await?;
    match whoami::recognised(&cluster, &options.user, output).await? {
        true => Ok(()),
        false => Err(whoami::unrecognised(&options.user)),
    }
}

/// Where the keys of a context are.
fn place(config: &Path, context: &str) -> PathBuf {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let name: String = context
        .chars()
        .map(|letter| if is_plain(letter) { letter } else { '_' })
        .collect();
    let folder = config.parent().unwrap_or(Path::new("."));
    folder.join("credentials").join(format!("{name}.yml"))
}

/// Writes a file that only its owner reads, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = (|| {
        std::fs::create_dir_all(folder)?;
        // Made with mode 600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok::<_, std::io::Error>(())
    })();
    written.map_err(|error| {
        Failure::coded(&codes::CONFIG, "the keys cannot be written")
            .fact("file", path.display())
            .cause(&error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_the_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = place(&folder.path().join("config.yaml"), "a/b");
        assert!(path.ends_with("credentials/a_b.yml"));
        write_private(&path, "accessKey: a\n").expect("written");
        write_private(&path, "accessKey: b\n").expect("written again");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, "accessKey: b\n");
    }
}
