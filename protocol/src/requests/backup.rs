//! Copying the data of a broker to another place: codes 320010 to 320013, of this project.
//!
//! ```text
//! BeginBackup ──► a number, and where the copy ends
//! ReadBackupTables 0, 1, 2 …   chunks of a snapshot, until one is empty
//! ReadBackupLog from P …       whole records of one segment, up to where the copy ends
//! EndBackup
//! ```

use std::borrow::Cow;

use super::field::header_fields;

header_fields! {
    request BeginBackup;
    /// The broker keeps what a copy of its data needs, for as long as somebody asks for it; body of the answer [`crate::bodies::BackupBegun`].
    pub struct BeginBackup {}
}

header_fields! {
    request ReadBackupTables;
    /// A chunk of the tables; the body of the answer has it, and nothing behind the last one. The same chunk may be asked for again until the
    /// next one was.
    pub struct ReadBackupTables<'a> {
        /// [`crate::bodies::BackupBegun::backup`].
        pub backup: Cow<'a, str> = "backup",
        /// The number of the chunk, from 0.
        pub chunk: i64 = "chunk",
    }
}

header_fields! {
    request ReadBackupLog;
    /// Some of the log from a position on: whole records of one segment, and its filler where they end it.
    pub struct ReadBackupLog<'a> {
        /// [`crate::bodies::BackupBegun::backup`].
        pub backup: Cow<'a, str> = "backup",
        /// A position at which a record or a segment begins.
        pub from: i64 = "from",
        /// The copy needs nothing below this position any more.
        pub needed: i64 = "needed",
        /// The longest answer, bytes; a longer record comes alone. The broker gives no more than 4 MiB.
        pub bytes: i32 = "bytes",
    }
}

header_fields! {
    reply;
    /// What was read of the log.
    pub struct ReadBackupLogReply {
        /// The position of what follows the body.
        pub next: i64 = "next",
    }
}

header_fields! {
    request EndBackup;
    /// Nothing more is asked for. One that has ended already is no error.
    pub struct EndBackup<'a> {
        /// [`crate::bodies::BackupBegun::backup`].
        pub backup: Cow<'a, str> = "backup",
    }
}
