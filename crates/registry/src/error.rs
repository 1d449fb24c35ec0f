/// Why a registry did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be reached, or the answer broke off.
    #[error("{url} can't be reached: {why}")]
    Unreachable {
        /// The address asked.
        url: String,
        /// The innermost cause.
        why: String,
    },
    /// It refused the credentials, or wants some.
    #[error(
        "{url} refused the credentials (HTTP {status}); \
         check `auth` in the schema_registry section"
    )]
    Unauthorized {
        /// The address asked.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// It answered with an error.
    #[error("{method} {url}: {message} (HTTP {status}, error_code {code})")]
    Answer {
        /// The HTTP method.
        method: &'static str,
        /// The address asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// The registry's own code: the status and two more digits, 0 where it gave none.
        code: u32,
        /// The registry's own words.
        message: String,
        /// What `Retry-After` asks for, in seconds.
        retry_after: Option<u64>,
    },
    /// It answered with something that no registry says.
    #[error("{url} does not answer like a Schema Registry: {why}")]
    NotARegistry {
        /// The address asked.
        url: String,
        /// What does not fit.
        why: String,
    },
    /// The settings can't make a client.
    #[error("{0}")]
    Settings(String),
}

impl Error {
    /// Whether asking again may help: resets, timeouts, 429 and 5xx; never another 4xx.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Answer { status, .. } => *status == 429 || *status >= 500,
            Self::Unauthorized { .. } | Self::NotARegistry { .. } | Self::Settings(_) => false,
        }
    }

    /// The registry's own code, where it answered with one.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Answer { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the answer was 404.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Answer { status: 404, .. })
    }
}

/// The result of asking a registry.
pub type Result<T> = std::result::Result<T, Error>;
