//! Failed handshakes in words.

use std::io;
use std::time::Duration;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Why there is no connection to the server at `addr`, and what to do. The kind of the error stays.
pub(super) fn server(addr: &str, error: io::Error) -> io::Error {
    let kind = error.kind();
    let Some(tls) = of(&error) else {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let text = match kind {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => format!(
                "TLS: {addr} closed the connection during the handshake: a port for plain connections does that, and one that does not take this client's TLS; its log says which"
            ),
            _ => format!("TLS: the handshake with {addr} broke: {error}"),
        };
        return io::Error::new(kind, text);
    };
    let text = match tls {
        Error::InvalidCertificate(wrong) => certificate(addr, wrong),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => format!(
            "{addr} answers, and not with TLS: its port takes plain connections; leave TLS out, or give the server a certificate"
        ),
        Error::AlertReceived(alert) => refusal(*alert),
        Error::PeerIncompatible(why) => {
            format!(
                "{addr} has no version or algorithm in common with this program ({why:?}): TLS 1.2 or 1.3 is needed"
            )
        }
        other => format!("the handshake with {addr} failed: {other}"),
    };
    io::Error::new(kind, format!("TLS: {text}"))
}

/// Why a client's handshake failed, for the log of a server.
pub(super) fn client(error: io::Error) -> io::Error {
    let kind = error.kind();
    let text = match of(&error) {
        None if kind == io::ErrorKind::UnexpectedEof => {
            "the client closed the connection before the end".to_owned()
        }
        None => return error,
        Some(Error::NoCertificatesPresented) => {
            "the client shows no certificate, and this port requires one".to_owned()
        }
        Some(Error::InvalidCertificate(wrong)) => certificate("the client", wrong),
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown => format!(
                "the client does not accept this server's certificate ({alert:?}): it does not trust the authority, or expects another name"
            ),
            AlertDescription::CertificateExpired => {
                "the client says that this server's certificate has expired".to_owned()
            }
            alert => format!("the client gave up ({alert:?})"),
        },
        Some(other) => other.to_string(),
    };
    io::Error::new(kind, text)
}

/// Why a connection that had its handshake broke: in TLS 1.3 a server refuses the client's certificate only then.
pub(super) fn broken(error: io::Error) -> io::Error {
    match of(&error) {
        Some(Error::AlertReceived(alert)) => {
            io::Error::new(error.kind(), format!("TLS: {}", refusal(*alert)))
        }
        Some(other) => io::Error::new(error.kind(), format!("TLS: {other}")),
        None => error,
    }
}

fn of(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What the other side means by an alert.
fn refusal(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the other side requires a client certificate, and none was shown: give this program a certificate and its key".to_owned()
        }
        AlertDescription::UnknownCA => {
            "the other side does not trust the authority that signed this program's certificate".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "the other side says that this program's certificate has expired".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => format!(
            "the other side does not accept this program's certificate ({alert:?}); its log says why"
        ),
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => format!(
            "the other side has no version or algorithm in common with this program ({alert:?}): TLS 1.2 or 1.3 is needed"
        ),
        alert => format!("the other side ended the connection ({alert:?})"),
    }
}

/// What is wrong with the certificate of `whose`.
fn certificate(whose: &str, error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => format!(
            "the certificate of {whose} is signed by an authority that is not trusted here (unknown CA): trust the CA that signed it"
        ),
        CertificateError::BadSignature => format!(
            "the certificate of {whose} is signed by an authority with a name that is trusted here, and with another key (unknown CA): trust the CA that signed it"
        ),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<String> = presented.iter().map(|name| shown(name)).collect();
            let names = match names.as_slice() {
                [] => "for no name at all".to_owned(),
                names => format!("for {}", names.join(", ")),
            };
            format!(
                "the certificate of {whose} is {names}, and not for {}: use one of its names, say which name is expected, or have a certificate made with this one",
                asked(expected)
            )
        }
        CertificateError::NotValidForName => {
            format!("the certificate of {whose} is not for this name")
        }
        CertificateError::Expired => format!("the certificate of {whose} has expired"),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate of {whose} has expired {} ago: it needs a new one, unless the clock of this machine is wrong",
            since(*time, *not_after)
        ),
        CertificateError::NotValidYet => {
            format!("the certificate of {whose} is not valid yet")
        }
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the certificate of {whose} becomes valid in {}: the clock of this machine may be wrong",
            since(*not_before, *time)
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("the certificate of {whose} was made for another purpose (extended key usage)")
        }
        other => format!("the certificate of {whose} is not valid: {other}"),
    }
}

/// A name of a certificate, which rustls shows as `DnsName("a")`.
fn shown(name: &str) -> String {
    match name.split_once('(') {
        Some((_, rest)) => rest.trim_end_matches(')').trim_matches('"').to_owned(),
        None => name.to_owned(),
    }
}

fn asked(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

/// The time between two moments, in the largest unit that says something.
fn since(later: UnixTime, earlier: UnixTime) -> String {
    let length = Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()));
    let seconds = length.as_secs();
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
