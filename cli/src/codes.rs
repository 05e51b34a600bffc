//! The codes of errors: one table, from which messages, `explain` and docs/reference/errors.md are made.

use crate::exit_code::Exit;

/// One kind of error, with what a person needs to know of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Code {
    /// Stable: scripts and pages name it.
    pub(crate) id: &'static str,
    pub(crate) exit: Exit,
    pub(crate) title: &'static str,
    pub(crate) why: &'static str,
    pub(crate) what_to_do: &'static str,
    /// The command that prints this.
    pub(crate) explain: &'static str,
}

macro_rules! codes {
    ($($name:ident $id:literal $exit:ident: $title:literal; $why:literal; $what:literal;)*) => {
        $(pub(crate) const $name: Code = Code { id: $id, exit: Exit::$exit, title: $title, why: $why, what_to_do: $what, explain: concat!("rmq-ctl explain ", $id) };)*
        /// All codes, by number.
        pub(crate) const ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    INVALID "RMQ-E001" Usage: "an argument cannot be used";
        "A name, number, time or expression breaks a rule of the system or cannot be understood.";
        "Read the cause: it names the argument and the rule. `rmq-ctl VERB --help` shows examples.";
    UNCONFIRMED "RMQ-E002" Usage: "a change was not confirmed";
        "The command destroys or overwrites something, and there was no terminal to ask on, or the answer was no.";
        "Look at the preview, then run the command again with --yes.";
    CONFIG "RMQ-E003" Usage: "the configuration of rmq-ctl cannot be used";
        "The file with the contexts cannot be read or written, or names a context that does not exist.";
        "`rmq-ctl config view` shows the file and its place; `rmq-ctl config get-contexts` the names.";
    UNREACHABLE "RMQ-E010" Unreachable: "a server cannot be reached";
        "No connection: nothing listens at the address, a firewall blocks the way, or the address works only inside the cluster's network.";
        "Check the address and that the server runs. From outside of Kubernetes the pods' addresses cannot be dialled: name the cluster with --kube-context, or use `rmq-ctl tunnel`.";
    TIMEOUT "RMQ-E011" Unreachable: "a server did not answer in time";
        "The server is overloaded or stuck, or the network loses packets. A change may have been made anyway.";
        "Try again, with a longer --timeout where the server is slow. Look before you repeat a change.";
    BUSY "RMQ-E012" Unreachable: "a server is too busy";
        "The broker takes no messages now, because its disk is full or has failed, it is about to stop, or too many reads wait for its disk.";
        "Look at `rmq-ctl health`, which gives the reason, and try again. A full disk takes messages again when it has room; a failed one needs a restart of the broker.";
    KUBERNETES "RMQ-E013" Unreachable: "Kubernetes cannot be asked";
        "The API server that the kubeconfig names does not answer, or has an error of its own.";
        "Try `kubectl get pods`. --nameserver ADDR, RMQ_URL or a context of rmq-ctl say where the cluster is without Kubernetes.";
    NO_ROUTE "RMQ-E017" NotFound: "a topic has no route";
        "No broker has registered the topic at this name server: it does not exist, its name is misspelt, its brokers are down, or this name server belongs to another cluster.";
        "`rmq-ctl get topics` lists the topics, `rmq-ctl get brokers` the registered brokers; `rmq-ctl create topic NAME` creates it.";
    NOT_FOUND "RMQ-E018" NotFound: "something does not exist";
        "The server knows no such topic, group, message, broker or client.";
        "`rmq-ctl get` lists what there is.";
    DENIED "RMQ-E020" Refused: "the server does not allow it";
        "The server does not recognise the user of the request, or no rule of the user allows it; or the topic's or broker's permissions, or the group's settings, forbid it.";
        "`rmq-ctl doctor` tells a wrong key from a missing right, and `rmq-ctl can-i` asks the rules. `rmq-ctl describe topic NAME` shows the permissions of a topic; `rmq-ctl set topic NAME perm=rw` changes them.";
    NO_RIGHT "RMQ-E021" Refused: "Kubernetes does not allow it";
        "The user of the kubeconfig lacks a right (RBAC) that the way through the API server needs; the cause names it.";
        "Ask for a Role with that right: the page docs/operate/outside.md has one. `kubectl auth can-i` shows what you may do.";
    OWNED "RMQ-E022" Conflict: "a resource of Kubernetes owns it";
        "A Topic or SubscriptionGroup resource owns these settings; the operator would undo a change at the brokers.";
        "Change the object, or set its annotation rmq.rs/managed to \"false\". --force-unmanaged writes anyway.";
    MASTER "RMQ-E023" Conflict: "the master of a broker group was not changed";
        "The roles of the group are fixed, the member is not in sync, nobody can hand over, or the group has taken the change back; the cause says which.";
        "`rmq-ctl broker replication GROUP` shows the members, who is in sync, and what is wrong. The page docs/operate/failover.md has the rest.";
    IN_USE "RMQ-E024" Conflict: "backups are taken or removed there now";
        "A backup that is being taken counts on parts of older ones, so backups are not removed meanwhile, and the other way round.";
        "Wait until the other command has ended. When it was killed, wait for three minutes, or remove the note that the cause names.";
    NEEDED "RMQ-E025" Conflict: "a member of a broker group is not made anew";
        "The group needs the member: it is the master, another member is not in sync, or too few would be in sync without it; the cause says which.";
        "Do what the cause says, then run the command again. The page docs/operate/failover.md has the rest.";
    SERVER "RMQ-E030" Failed: "the server refused the request";
        "The server answered with an error of its own; the cause quotes its code and text.";
        "Read the cause; the server's log says more.";
    PROTOCOL "RMQ-E031" Failed: "an answer cannot be understood";
        "The other side speaks another protocol or another version, or the data was damaged on the way.";
        "Check that the address is a RocketMQ-compatible server's, and its version.";
    IO "RMQ-E040" Failed: "a file or stream cannot be read or written";
        "The operating system refused it; the cause quotes it.";
        "Check the path, the permissions and the free space.";
    CHECK "RMQ-E050" CheckFailed: "a check found a problem";
        "The command found something that needs attention.";
        "Read what the command printed: each line names what is wrong and where.";
    BACKUP "RMQ-E051" CheckFailed: "a backup is damaged";
        "A file of the backup is missing, or is not what it was when it was written.";
        "`rmq-ctl backup verify PLACE` names all files that are damaged. Remove a damaged part and take another backup, which copies the part again, as long as the broker still has that log; restore an older backup with --backup ID.";
}

/// The code with this id, however it is written.
pub(crate) fn find(text: &str) -> Option<&'static Code> {
    let text = text.trim().to_uppercase();
    let number = text
        .strip_prefix("RMQ-")
        .unwrap_or(&text)
        .trim_start_matches('E')
        .to_owned();
    ALL.iter()
        .copied()
        .find(|code| code.id.trim_start_matches("RMQ-E") == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_however_it_is_written() {
        for text in ["RMQ-E017", "rmq-e017", "E017", "017"] {
            assert_eq!(find(text), Some(&NO_ROUTE), "{text}");
        }
        assert_eq!(find("E999"), None);
    }

    #[test]
    fn codes_are_unique_and_in_order() {
        assert!(ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
    }
}
