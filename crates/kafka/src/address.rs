use std::fmt;
use std::str::FromStr;

/// A host and a port, as `bootstrap.servers` and `advertised.listeners` write them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why| format!("`{text}` is not host:port: {why}");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("there is no port"))?;
        let port = port.parse().map_err(|_| wrong("the port is not a number up to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(wrong("the host is empty, or an IPv6 address without brackets"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were_written() {
        for text in ["kafka:9092", "127.0.0.1:1", "[::1]:9092"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["kafka", "kafka:", "kafka:99999", ":9092", "::1:9092", ""] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
