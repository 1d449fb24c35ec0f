//! How clients come to each broker.

use std::fmt;
use std::str::FromStr;

/// How clients come to each broker.
#[derive(Debug, Clone)]
pub enum Reach {
    /// Each broker has a port here.
    Ports {
        /// The host that clients are told.
        host: String,
        /// Broker n listens on this port + n; 0 takes free ports.
        base: u16,
        /// Clients are told this port + n, where something between them and us changes ports.
        advertised_base: Option<u16>,
    },
    /// One TLS port, where each broker has a server name (RFC 6066).
    Names {
        /// The names that clients are told.
        names: BrokerNames,
        /// The port that clients are told, if not the one that we listen on.
        advertised_port: Option<u16>,
    },
    /// Connections come to us because they are redirected on their way to a broker (Linux's
    /// SO_ORIGINAL_DST). Clients are told the brokers' own addresses.
    Redirected,
}

/// Server names with the broker's node id in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerNames {
    before: String,
    behind: String,
}

const NODE: &str = "{node}";

impl FromStr for BrokerNames {
    type Err = String;

    /// `broker-{node}.kafka.example.com`
    fn from_str(text: &str) -> Result<Self, String> {
        // Names are compared without case, and clients send them in small letters.
        match text.to_ascii_lowercase().split_once(NODE) {
            Some((before, behind)) if !behind.contains(NODE) => {
                Ok(Self { before: before.to_owned(), behind: behind.to_owned() })
            }
            _ => Err(format!("`{text}` needs {NODE} once, where the broker's node id goes")),
        }
    }
}

impl BrokerNames {
    /// The name of a broker.
    pub(crate) fn of(&self, node: i32) -> String {
        format!("{}{node}{}", self.before, self.behind)
    }

    /// The broker that a name stands for; any other name is for whoever bootstraps.
    pub(crate) fn node(&self, name: &str) -> Option<i32> {
        let name = name.to_ascii_lowercase();
        let digits = name.strip_prefix(&self.before)?.strip_suffix(&self.behind)?;
        digits.parse().ok().filter(|node| self.of(*node) == name)
    }
}

impl fmt::Display for BrokerNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{NODE}{}", self.before, self.behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_broker() {
        let names: BrokerNames = "B{node}.Kafka.example".parse().unwrap();
        assert_eq!(names.of(12), "b12.kafka.example");
        assert_eq!(names.node("b12.kafka.EXAMPLE"), Some(12));
        for other in ["kafka.example", "b.kafka.example", "b012.kafka.example", "b-1.kafka.example"]
        {
            assert_eq!(names.node(other).filter(|it| *it >= 0), None, "{other}");
        }
        assert!("kafka.example".parse::<BrokerNames>().is_err());
        assert!("{node}{node}".parse::<BrokerNames>().is_err());
    }
}
