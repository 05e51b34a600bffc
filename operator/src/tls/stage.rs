//! How far servers are with TLS, and how far they may go next, so that nobody in a running cluster finds a door closed. Pure.
//!
//! A server is restarted from one stage to the next. Two that talk to each other are never further apart than they understand:
//!
//! | stage | takes | connects |
//! | --- | --- | --- |
//! | `Plain` | plain | plain |
//! | `Accepts` | plain and TLS | plain |
//! | `Connects` | plain and TLS | with TLS |
//! | `Enforces` | TLS | with TLS |

use rmq_crds::ServerTlsMode;

/// How far a server is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    #[default]
    Plain,
    Accepts,
    Connects,
    Enforces,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Plain, Self::Accepts, Self::Connects, Self::Enforces];

    /// As the annotation of a pod has it; a plain one has none.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Accepts => Some("accepts"),
            Self::Connects => Some("connects"),
            Self::Enforces => Some("enforces"),
        }
    }

    /// What the annotation says; without one it is plain.
    pub(crate) fn of(word: Option<&String>) -> Self {
        let all = Self::ALL.into_iter();
        let mut known = all.filter(|stage| stage.word() == word.map(String::as_str));
        known.next().unwrap_or_default()
    }

    fn next(self) -> Self {
        Self::ALL[(self as usize + 1).min(3)]
    }

    fn before(self) -> Self {
        Self::ALL[(self as usize).saturating_sub(1)]
    }

    /// The mode that a client notices.
    pub(crate) fn mode(self) -> ServerTlsMode {
        match self {
            Self::Plain => ServerTlsMode::Disabled,
            Self::Accepts | Self::Connects => ServerTlsMode::Permissive,
            Self::Enforces => ServerTlsMode::Enforcing,
        }
    }
}

/// The pods of one object, and those that Kubernetes would make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) least: Stage,
    pub(crate) most: Stage,
}

impl Span {
    /// None: there are none.
    pub(crate) fn of(stages: impl IntoIterator<Item = Stage>) -> Option<Self> {
        let mut stages = stages.into_iter();
        let first = stages.next()?;
        let one = Self {
            least: first,
            most: first,
        };
        Some(stages.fold(one, |span, stage| Self {
            least: span.least.min(stage),
            most: span.most.max(stage),
        }))
    }
}

/// What name servers depend on.
#[derive(Debug, Default)]
pub(crate) struct OfNameServers<'a> {
    pub(crate) wanted: ServerTlsMode,
    /// The broker groups of the cluster that have brokers, by name.
    pub(crate) groups: &'a [(String, Span)],
}

/// How far name servers go now, and what they wait for. Brokers connect to them, and they to nobody.
pub(crate) fn of_name_servers(of: &OfNameServers<'_>) -> (Stage, Option<String>) {
    let waits = |stage, what: &str, groups: Vec<&str>| {
        let groups = groups.join(", ");
        (stage, Some(format!("{what} (broker group {groups})")))
    };
    let those = |is_one: fn(&Span) -> bool| {
        let groups = of.groups.iter();
        let groups = groups.filter(|(_, span)| is_one(span));
        groups.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    match of.wanted {
        ServerTlsMode::Permissive => (Stage::Accepts, None),
        ServerTlsMode::Enforcing => match those(|span| span.least < Stage::Connects) {
            plain if plain.is_empty() => (Stage::Enforces, None),
            plain => waits(
                Stage::Accepts,
                "enforcing waits until all brokers connect with TLS",
                plain,
            ),
        },
        ServerTlsMode::Disabled => match those(|span| span.most >= Stage::Connects) {
            shaking if shaking.is_empty() => (Stage::Plain, None),
            shaking => waits(
                Stage::Accepts,
                "TLS ends when no broker connects with it any more",
                shaking,
            ),
        },
    }
}

/// What brokers depend on.
#[derive(Debug)]
pub(crate) struct OfBrokers<'a> {
    pub(crate) wanted: ServerTlsMode,
    /// The pods of the group.
    pub(crate) own: Option<Span>,
    /// Whether brokers of the group connect to each other.
    pub(crate) has_replicas: bool,
    /// Why the group cannot connect to the name servers with TLS.
    pub(crate) distrusts: Option<&'a str>,
    pub(crate) name_servers: Span,
    /// The other groups of the cluster that have brokers, by name.
    pub(crate) others: &'a [(String, Span)],
}

/// How far the brokers of a group go now, and what they wait for.
pub(crate) fn of_brokers(of: &OfBrokers<'_>) -> (Stage, Option<String>) {
    let mut waits = None;
    let mut stage = match of.wanted {
        ServerTlsMode::Disabled => Stage::Plain,
        ServerTlsMode::Permissive => Stage::Connects,
        ServerTlsMode::Enforcing => Stage::Enforces,
    };
    let mut limit = |stage: &mut Stage, most: Stage, why: String| {
        if *stage > most {
            *stage = most;
            waits = Some(why);
        }
    };
    if of.name_servers.least < Stage::Accepts {
        let why = "brokers connect with TLS when all name servers take it";
        limit(&mut stage, Stage::Accepts, why.to_owned());
    }
    if let Some(why) = of.distrusts {
        limit(&mut stage, Stage::Accepts, why.to_owned());
    }
    let plain = of.others.iter();
    let mut plain = plain.filter(|(_, span)| span.least < Stage::Accepts);
    if let Some((name, _)) = plain.next() {
        // A client has TLS to all servers or to none.
        let why = format!("enforcing waits until the brokers of broker group {name} take TLS");
        limit(&mut stage, Stage::Connects, why);
    }
    let mut keep = |least: Stage, why: &str| {
        if stage < least {
            stage = least;
            waits = Some(why.to_owned());
        }
    };
    if of
        .others
        .iter()
        .any(|(_, span)| span.most == Stage::Enforces)
    {
        keep(
            Stage::Accepts,
            "TLS ends when no other broker group takes only TLS",
        );
    }
    if of.name_servers.most == Stage::Enforces {
        let why = "brokers connect plain when no name server takes only TLS";
        keep(Stage::Connects, why);
    }
    let stage = match of.own.filter(|_| of.has_replicas) {
        // A broker that is alone connects to name servers only.
        None => stage,
        Some(own) => stage.clamp(own.most.before().min(own.least.next()), own.least.next()),
    };
    (stage, waits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two servers that are at these stages can connect to each other, in both directions.
    fn understand(one: Stage, other: Stage) -> bool {
        let reaches = |from: Stage, to: Stage| match from >= Stage::Connects {
            true => to >= Stage::Accepts,
            false => to < Stage::Enforces,
        };
        reaches(one, other) && reaches(other, one)
    }

    /// A cluster: name servers, a group of three, and a broker alone. Pods are restarted one by one, in any order that a seed says.
    struct Cluster {
        name_servers: (ServerTlsMode, Stage, Vec<Stage>),
        groups: Vec<(ServerTlsMode, Stage, Vec<Stage>)>,
        seed: u64,
    }

    impl Cluster {
        fn random(&mut self, below: usize) -> usize {
            self.seed = self
                .seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.seed >> 33) as usize % below
        }

        fn span(of: &(ServerTlsMode, Stage, Vec<Stage>)) -> Span {
            Span::of(of.2.iter().copied().chain([of.1])).expect("there are some")
        }

        fn spans(&self, but: Option<usize>) -> Vec<(String, Span)> {
            let groups = self.groups.iter().enumerate();
            let groups = groups.filter(|(index, _)| Some(*index) != but);
            groups
                .map(|(index, group)| (index.to_string(), Self::span(group)))
                .collect()
        }

        /// One look at an object, or the restart of one pod.
        fn step(&mut self) {
            let what = self.random(6);
            match what {
                0 => {
                    let groups = self.spans(None);
                    let of = OfNameServers {
                        wanted: self.name_servers.0,
                        groups: &groups,
                    };
                    self.name_servers.1 = of_name_servers(&of).0;
                }
                1 | 2 => {
                    let index = what - 1;
                    let others = self.spans(Some(index));
                    let group = &self.groups[index];
                    let of = OfBrokers {
                        wanted: group.0,
                        own: Some(Self::span(group)),
                        has_replicas: group.2.len() > 1,
                        distrusts: None,
                        name_servers: Self::span(&self.name_servers),
                        others: &others,
                    };
                    self.groups[index].1 = of_brokers(&of).0;
                }
                3 => {
                    let pod = self.random(self.name_servers.2.len());
                    self.name_servers.2[pod] = self.name_servers.1;
                }
                _ => {
                    let group = what - 4;
                    let pod = self.random(self.groups[group].2.len());
                    self.groups[group].2[pod] = self.groups[group].1;
                }
            }
        }

        fn check(&self) {
            for name_server in &self.name_servers.2 {
                for broker in self.groups.iter().flat_map(|group| &group.2) {
                    let takes = match *broker >= Stage::Connects {
                        true => *name_server >= Stage::Accepts,
                        false => *name_server < Stage::Enforces,
                    };
                    assert!(
                        takes,
                        "{broker:?} cannot register with {name_server:?}: {}",
                        self.seed
                    );
                }
            }
            for group in &self.groups {
                for one in &group.2 {
                    assert!(
                        group.2.iter().all(|other| understand(*one, *other)),
                        "{group:?}"
                    );
                }
            }
            // A client that has TLS, or one that has none, reaches everybody.
            let all = || {
                self.groups
                    .iter()
                    .flat_map(|group| &group.2)
                    .chain(&self.name_servers.2)
            };
            let plain = all().all(|stage| *stage < Stage::Enforces);
            assert!(
                plain || all().all(|stage| *stage >= Stage::Accepts),
                "{}",
                self.seed
            );
        }
    }

    #[test]
    fn nobody_finds_a_door_closed_on_any_way_between_two_modes() {
        use ServerTlsMode::{Disabled, Enforcing, Permissive};
        let modes = [Disabled, Permissive, Enforcing];
        for seed in 0..60 {
            let mut cluster = Cluster {
                name_servers: (Disabled, Stage::Plain, vec![Stage::Plain; 2]),
                groups: vec![
                    (Disabled, Stage::Plain, vec![Stage::Plain; 3]),
                    (Disabled, Stage::Plain, vec![Stage::Plain; 1]),
                ],
                seed,
            };
            // People change their minds, also half-way.
            for _ in 0..30 {
                cluster.name_servers.0 = modes[cluster.random(3)];
                for group in 0..2 {
                    cluster.groups[group].0 = modes[cluster.random(3)];
                }
                for _ in 0..cluster.random(60) {
                    cluster.step();
                    cluster.check();
                }
            }
            // And each wish that goes for all is fulfilled.
            for (mode, stage) in [(Enforcing, Stage::Enforces), (Disabled, Stage::Plain)] {
                cluster.name_servers.0 = mode;
                cluster.groups.iter_mut().for_each(|group| group.0 = mode);
                for _ in 0..800 {
                    cluster.step();
                    cluster.check();
                }
                let mut all = cluster
                    .groups
                    .iter()
                    .flat_map(|group| &group.2)
                    .chain(&cluster.name_servers.2);
                assert!(all.all(|is| *is == stage), "{mode:?} {seed}");
            }
        }
    }

    #[test]
    fn who_waits_says_for_whom() {
        let plain = Span {
            least: Stage::Plain,
            most: Stage::Plain,
        };
        let groups = [("b".to_owned(), plain)];
        let of = OfNameServers {
            wanted: ServerTlsMode::Enforcing,
            groups: &groups,
        };
        let (stage, waits) = of_name_servers(&of);
        assert_eq!(stage, Stage::Accepts);
        assert_eq!(
            waits.as_deref(),
            Some("enforcing waits until all brokers connect with TLS (broker group b)")
        );
        let mut of = OfBrokers {
            wanted: ServerTlsMode::Enforcing,
            own: None,
            has_replicas: true,
            distrusts: None,
            name_servers: plain,
            others: &groups,
        };
        let (stage, waits) = of_brokers(&of);
        assert_eq!(stage, Stage::Accepts);
        assert!(waits.is_some_and(|waits| waits.contains("all name servers take it")));
        of.name_servers = Span {
            least: Stage::Accepts,
            most: Stage::Accepts,
        };
        let (stage, waits) = of_brokers(&of);
        assert_eq!(stage, Stage::Connects);
        assert!(waits.is_some_and(|waits| waits.contains("broker group b")));
        of.distrusts = Some("no trust");
        assert_eq!(
            of_brokers(&of),
            (Stage::Accepts, Some("no trust".to_owned()))
        );
    }

    #[test]
    fn words_are_read_again() {
        for stage in Stage::ALL {
            assert_eq!(Stage::of(stage.word().map(str::to_owned).as_ref()), stage);
        }
    }
}
