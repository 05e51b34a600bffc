//! When a CA and the certificates of servers are made, and when others follow. Pure, but for the keys that are drawn.
//!
//! A certificate of servers is followed by another when two thirds of its time are over. A CA has three parts of its life:
//!
//! ```text
//! 0 ─────────────── 2/3 ─────────────── 5/6 ─────────────── end
//! │ signs           │ the next CA is    │ the next CA signs │ it leaves the
//! │                 │ trusted too       │                   │ bundle
//! ```
//! So whoever reads the bundle once in a sixth of a CA's life (half a year) always trusts who signs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::ByteString;

use super::certificates::{self, Bundle, Pair};

/// Keys of a Secret, as cert-manager has them: the certificate, its key, and whom to trust.
pub(crate) const CERTIFICATE: &str = "tls.crt";
/// See [`CERTIFICATE`].
pub(crate) const KEY: &str = "tls.key";
/// See [`CERTIFICATE`].
pub(crate) const BUNDLE: &str = "ca.crt";
/// The CA that signs next, and its key.
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";

/// What a Secret has.
pub(crate) type Data = BTreeMap<String, ByteString>;

fn part<'a>(data: &'a Data, name: &str) -> Result<&'a [u8], String> {
    let part = data.get(name).map(|bytes| &*bytes.0);
    part.filter(|bytes| !bytes.is_empty())
        .ok_or_else(|| format!("it has no {name}"))
}

/// The certificate of servers, and whom they trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certified {
    pub(crate) own: Pair,
    pub(crate) trusted: Bundle,
}

impl Certified {
    /// # Errors
    /// Which key of the Secret cannot be used, and why.
    pub(crate) fn read(data: &Data) -> Result<Self, String> {
        let own = Pair::read(part(data, CERTIFICATE)?, part(data, KEY)?);
        let trusted = Bundle::read(part(data, BUNDLE)?);
        Ok(Self {
            own: own.map_err(|error| format!("{CERTIFICATE} and {KEY} cannot be used: {error}"))?,
            trusted: trusted.map_err(|error| format!("{BUNDLE} cannot be used: {error}"))?,
        })
    }

    pub(crate) fn data(&self) -> Data {
        let pair = pair([CERTIFICATE, KEY], &self.own);
        let bundle = (BUNDLE.to_owned(), ByteString(self.trusted.pem().into()));
        pair.into_iter().chain([bundle]).collect()
    }
}

fn pair(names: [&str; 2], pair: &Pair) -> [(String, ByteString); 2] {
    [
        (
            names[0].to_owned(),
            ByteString(pair.certificate.clone().into()),
        ),
        (names[1].to_owned(), ByteString(pair.key.clone().into())),
    ]
}

/// A CA of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// Who signs.
    pub(crate) signs: Pair,
    /// Who will sign.
    pub(crate) next: Option<Pair>,
    /// Who is trusted: who signs, who will, and who did as long as they are good.
    pub(crate) trusted: Bundle,
}

impl Authority {
    /// # Errors
    /// Which key of the Secret cannot be used, and why.
    pub(crate) fn read(data: &Data) -> Result<Self, String> {
        let Certified { own, trusted } = Certified::read(data)?;
        let next = match data.contains_key(NEXT_CERTIFICATE) || data.contains_key(NEXT_KEY) {
            false => None,
            true => {
                let next = Pair::read(part(data, NEXT_CERTIFICATE)?, part(data, NEXT_KEY)?);
                Some(next.map_err(|error| {
                    format!("{NEXT_CERTIFICATE} and {NEXT_KEY} cannot be used: {error}")
                })?)
            }
        };
        Ok(Self {
            signs: own,
            next,
            trusted,
        })
    }

    pub(crate) fn data(&self) -> Data {
        let certified = Certified {
            own: self.signs.clone(),
            trusted: self.trusted.clone(),
        };
        let mut data = certified.data();
        if let Some(next) = &self.next {
            data.extend(pair([NEXT_CERTIFICATE, NEXT_KEY], next));
        }
        data
    }
}

/// What happens to a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfAuthority {
    /// It is made. One that ended before anybody looked is trusted no more.
    Make,
    /// The CA that follows is made, and trusted from now on.
    Announce,
    /// The one that follows signs from now on.
    Succeed,
    /// CAs whose time is over are trusted no more.
    Forget,
}

/// What is due for a CA. None: nothing.
pub(crate) fn of_authority(authority: Option<&Authority>, now: Timestamp) -> Option<OfAuthority> {
    let Some(authority) = authority else {
        return Some(OfAuthority::Make);
    };
    let says = &authority.signs.says;
    let is_over = |parts, whole| says.is_over(parts, whole, now);
    match &authority.next {
        Some(next) if is_over(5, 6) && !next.says.is_over(1, 1, now) => Some(OfAuthority::Succeed),
        _ if is_over(1, 1) => Some(OfAuthority::Make),
        None if is_over(2, 3) => Some(OfAuthority::Announce),
        _ if authority.trusted.clone().at(now) != authority.trusted => Some(OfAuthority::Forget),
        _ => None,
    }
}

/// The CA after that.
///
/// # Errors
/// No key can be drawn.
pub(crate) fn follow(
    what: OfAuthority,
    authority: Option<&Authority>,
    name: &str,
    now: Timestamp,
) -> Result<Authority, String> {
    let made = || certificates::authority(name, now);
    let trusts = |pair: &Pair| Bundle::read(pair.certificate.as_bytes());
    let Some(before) = authority.filter(|_| what != OfAuthority::Make) else {
        let signs = made()?;
        let trusted = trusts(&signs)?;
        return Ok(Authority {
            signs,
            next: None,
            trusted,
        });
    };
    let mut after = before.clone();
    after.trusted = after.trusted.at(now);
    match what {
        OfAuthority::Make | OfAuthority::Forget => {}
        OfAuthority::Announce => {
            let next = made()?;
            after.trusted = after.trusted.with(&trusts(&next)?);
            after.next = Some(next);
        }
        OfAuthority::Succeed => {
            if let Some(next) = after.next.take() {
                after.signs = next;
            }
        }
    }
    Ok(after)
}

/// Why servers get another certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfServers {
    /// They have none that can be used.
    Missing,
    /// The CA did not sign it.
    Foreign,
    /// They have a name that the certificate lacks.
    Names,
    /// Two thirds of its time are over.
    Due,
    /// The certificate stays; whom they trust has changed.
    Trust,
}

impl fmt::Display for OfServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there was none",
            Self::Foreign => "the CA is another one",
            Self::Names => "the servers have more names",
            Self::Due => "two thirds of the time of the one before are over",
            Self::Trust => "the trusted CAs are others",
        })
    }
}

/// What is due for the certificate of servers with these names, who trust `trusted`. None: nothing.
pub(crate) fn of_servers(
    has: Option<&Certified>,
    authority: &Authority,
    trusted: &Bundle,
    names: &BTreeSet<String>,
    now: Timestamp,
) -> Option<OfServers> {
    let Some(has) = has else {
        return Some(OfServers::Missing);
    };
    let own = &has.own;
    if own.says.is_over(2, 3, now) {
        return Some(OfServers::Due);
    }
    if !names.is_subset(&own.says.names) {
        return Some(OfServers::Names);
    }
    let host = names.iter().find(|name| !name.starts_with('*'));
    if host.is_some_and(|host| authority.trusted.verifies(own, host, now).is_err()) {
        return Some(OfServers::Foreign);
    }
    (has.trusted != *trusted).then_some(OfServers::Trust)
}

/// The certificate after that.
///
/// # Errors
/// Why the CA cannot sign it.
pub(crate) fn renew(
    what: OfServers,
    has: Option<&Certified>,
    authority: &Authority,
    trusted: &Bundle,
    common_name: &str,
    names: &BTreeSet<String>,
    now: Timestamp,
) -> Result<Certified, String> {
    let own = match has {
        Some(has) if what == OfServers::Trust => has.own.clone(),
        _ => certificates::sign(&authority.signs, common_name, names, now)?,
    };
    Ok(Certified {
        own,
        trusted: trusted.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Everything that looks at these times do: the CA, the certificate of servers, and what was due.
    struct Life {
        authority: Option<Authority>,
        servers: Option<Certified>,
        names: BTreeSet<String>,
        happened: Vec<(i64, String)>,
    }

    impl Life {
        fn new() -> Self {
            Self {
                authority: None,
                servers: None,
                names: names(&["main.shop.svc", "*.main.shop.svc"]),
                happened: Vec::new(),
            }
        }

        fn look(&mut self, second: i64) {
            let now = at(second);
            let day = (second - NOW) / DAY;
            while let Some(due) = of_authority(self.authority.as_ref(), now) {
                self.happened.push((day, format!("{due:?}")));
                let after = follow(due, self.authority.as_ref(), "main", now).expect("a CA");
                // As it is stored and read again.
                self.authority = Some(Authority::read(&after.data()).expect("it can be read"));
            }
            let authority = self.authority.as_ref().expect("a CA");
            let trusted = &authority.trusted;
            let due = of_servers(self.servers.as_ref(), authority, trusted, &self.names, now);
            if let Some(due) = due {
                self.happened.push((day, format!("{due:?}")));
                let has = self.servers.as_ref();
                let after = renew(due, has, authority, trusted, "main", &self.names, now);
                let after = after.expect("signed");
                self.servers = Some(Certified::read(&after.data()).expect("it can be read"));
            }
            let again = of_servers(self.servers.as_ref(), authority, trusted, &self.names, now);
            assert_eq!(again, None, "one renewal is enough");
        }
    }

    #[test]
    fn for_nine_years_clients_trust_who_signs() {
        let mut life = Life::new();
        life.look(NOW);
        // A client that takes the bundle every five months and never trusts anybody else.
        let mut client = life.servers.as_ref().expect("servers").trusted.clone();
        for day in 1..9 * 365 {
            let second = NOW + day * DAY;
            life.look(second);
            let servers = life.servers.as_ref().expect("servers");
            client
                .verifies(&servers.own, "main-0.main.shop.svc", at(second))
                .unwrap_or_else(|error| panic!("day {day}: {error}"));
            servers
                .trusted
                .verifies(&servers.own, "main.shop.svc", at(second))
                .unwrap_or_else(|error| panic!("day {day}: {error}"));
            assert!(servers.trusted.pem().matches("BEGIN").count() <= 3);
            if day % 150 == 0 {
                client = servers.trusted.clone();
            }
        }
        let of = |what: &str| -> Vec<i64> {
            let all = life.happened.iter();
            let days = all.filter(|(_, happened)| happened == what);
            days.map(|(day, _)| *day).collect()
        };
        assert_eq!(of("Make"), [0]);
        assert_eq!(of("Missing"), [0]);
        assert_eq!(of("Foreign"), Vec::<i64>::new());
        // 2/3 and 5/6 of three years; the next one is made at the first of the two.
        assert_eq!(of("Announce"), [730, 1_460, 2_190, 2_920]);
        assert_eq!(of("Succeed"), [913, 1_643, 2_373, 3_103]);
        assert_eq!(of("Due")[..3], [60, 120, 180]);
        assert!(of("Due").len() >= 9 * 365 / 61);
    }

    #[test]
    fn what_was_not_looked_at_for_too_long_begins_again() {
        let mut life = Life::new();
        life.look(NOW);
        let before = life.servers.clone().expect("servers");
        life.look(NOW + 4 * 365 * DAY);
        let after = life.servers.expect("servers");
        let now = at(NOW + 4 * 365 * DAY);
        after
            .trusted
            .verifies(&after.own, "main.shop.svc", now)
            .expect("good again");
        assert!(
            !after.trusted.has(&before.trusted),
            "an expired CA is not trusted"
        );
        assert_eq!(life.happened[2].1, "Make");
    }

    #[test]
    fn more_names_and_another_authority_make_another_certificate_and_fewer_names_do_not() {
        let mut life = Life::new();
        life.look(NOW);
        life.names.insert("10.0.0.1".to_owned());
        life.look(NOW + DAY);
        life.names.remove("10.0.0.1");
        life.look(NOW + 2 * DAY);
        life.authority = None;
        life.look(NOW + 3 * DAY);
        life.servers = None;
        life.look(NOW + 4 * DAY);
        let happened: Vec<_> = life
            .happened
            .iter()
            .map(|(day, what)| (*day, &**what))
            .collect();
        assert_eq!(
            happened,
            [
                (0, "Make"),
                (0, "Missing"),
                (1, "Names"),
                (3, "Make"),
                (3, "Foreign"),
                (4, "Missing")
            ]
        );
    }

    #[test]
    fn a_secret_that_cannot_be_used_names_its_key() {
        let mut life = Life::new();
        life.look(NOW);
        let good = life.servers.expect("servers").data();
        let without = |name: &str| {
            let mut data = good.clone();
            data.remove(name);
            Certified::read(&data).expect_err("not whole")
        };
        assert_eq!(without(BUNDLE), "it has no ca.crt");
        assert_eq!(without(KEY), "it has no tls.key");
        let mut broken = good.clone();
        broken.insert(CERTIFICATE.to_owned(), ByteString(b"no".to_vec()));
        let error = Certified::read(&broken).expect_err("broken");
        assert!(
            error.starts_with("tls.crt and tls.key cannot be used"),
            "{error}"
        );
        let mut half = life.authority.expect("a CA").data();
        half.insert(NEXT_CERTIFICATE.to_owned(), half[CERTIFICATE].clone());
        assert_eq!(
            Authority::read(&half).expect_err("half"),
            "it has no next.key"
        );
    }
}
