//! Who speaks: the sender's programming language, a name in JSON headers and one byte in binary ones
//! (`apache/rocketmq remoting/.../protocol/LanguageCode.java`).

/// Language of the sender of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Language {
    /// `JAVA`.
    #[default]
    Java = 0,
    /// `CPP`.
    Cpp = 1,
    /// `DOTNET`.
    Dotnet = 2,
    /// `PYTHON`.
    Python = 3,
    /// `DELPHI`.
    Delphi = 4,
    /// `ERLANG`.
    Erlang = 5,
    /// `RUBY`.
    Ruby = 6,
    /// `OTHER`, also whatever is not in this list.
    Other = 7,
    /// `HTTP`.
    Http = 8,
    /// `GO`.
    Go = 9,
    /// `PHP`.
    Php = 10,
    /// `OMS`.
    Oms = 11,
    /// `RUST`.
    Rust = 12,
    /// `NODE_JS`.
    NodeJs = 13,
}

/// What our servers say they are. `JAVA`, because clients read this field with tables of their own
/// (the Go and C++ ones know only a few names) and every client knows the original's. Our client says [`Language::Rust`]: brokers
/// only show that, and one that does not know the name shows none.
pub const SERVER_LANGUAGE: Language = Language::Java;

/// The version that our frames carry: `V5_5_0`. Clients switch features on by it.
pub const SERVER_VERSION: i32 = 513;

impl Language {
    /// Every language, by its code.
    pub const ALL: [Self; 14] = [
        Self::Java,
        Self::Cpp,
        Self::Dotnet,
        Self::Python,
        Self::Delphi,
        Self::Erlang,
        Self::Ruby,
        Self::Other,
        Self::Http,
        Self::Go,
        Self::Php,
        Self::Oms,
        Self::Rust,
        Self::NodeJs,
    ];

    /// The language of a binary header's byte; unknown bytes are [`Language::Other`].
    #[must_use]
    pub fn from_u8(code: u8) -> Self {
        Self::ALL
            .get(usize::from(code))
            .copied()
            .unwrap_or(Self::Other)
    }

    /// The byte of a binary header.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The language of a JSON header's name; unknown names are [`Language::Other`].
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        if name == "JAVA" {
            return Self::Java;
        }
        Self::ALL
            .into_iter()
            .find(|language| language.name() == name)
            .unwrap_or(Self::Other)
    }

    /// The name of a JSON header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Java => "JAVA",
            Self::Cpp => "CPP",
            Self::Dotnet => "DOTNET",
            Self::Python => "PYTHON",
            Self::Delphi => "DELPHI",
            Self::Erlang => "ERLANG",
            Self::Ruby => "RUBY",
            Self::Other => "OTHER",
            Self::Http => "HTTP",
            Self::Go => "GO",
            Self::Php => "PHP",
            Self::Oms => "OMS",
            Self::Rust => "RUST",
            Self::NodeJs => "NODE_JS",
        }
    }
}
