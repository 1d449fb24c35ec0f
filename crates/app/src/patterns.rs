//! Names that are meant: as they are, as globs, or as regular expressions after a `~`.

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

/// Which names are meant.
#[derive(Debug)]
pub struct Selection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// A pattern that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("pattern `{pattern}`: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

#[derive(Debug)]
enum Pattern {
    /// No special characters: exactly this name.
    Name(String),
    Glob(GlobMatcher),
    Regex(Regex),
}

impl Selection {
    /// Everything that an `include` names and no `exclude` does.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        let parse = |patterns: &[String]| -> Result<Vec<_>, _> {
            patterns.iter().map(|it| Pattern::new(it)).collect()
        };
        Ok(Self { include: parse(include)?, exclude: parse(exclude)? })
    }

    /// Whether the name is meant.
    pub fn selects(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|it| it.matches(name));
        any(&self.include) && !any(&self.exclude)
    }

    /// Whether the topic is meant.
    ///
    /// Kafka's own topics (`__consumer_offsets`) and a registry's (`_schemas`) are meant only by
    /// their whole name: `*` is not a wish to restore them into another cluster.
    pub fn selects_topic(&self, name: &str, internal: bool) -> bool {
        let own = internal || name.starts_with("__") || name == "_schemas";
        self.selects(name) && (!own || self.exact_names().any(|it| it == name))
    }

    /// The names that are asked for to the letter.
    pub fn exact_names(&self) -> impl Iterator<Item = &str> {
        self.include.iter().filter_map(|it| match it {
            Pattern::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, PatternError> {
        let fail = |why: String| PatternError { pattern: text.to_owned(), why };
        if let Some(regex) = text.strip_prefix('~') {
            // The whole name, as a glob means it too.
            let regex = Regex::new(&format!("^(?:{regex})$"));
            return regex.map(Self::Regex).map_err(|why| fail(why.to_string()));
        }
        if !text.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            return Ok(Self::Name(text.to_owned()));
        }
        let glob = GlobBuilder::new(text).literal_separator(false).build();
        let glob = glob.map_err(|why| fail(why.kind().to_string()))?;
        Ok(Self::Glob(glob.compile_matcher()))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(it) => it == name,
            Self::Glob(it) => it.is_match(name),
            Self::Regex(it) => it.is_match(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        let owned = |it: &[&str]| it.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        Selection::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn globs_names_and_expressions() {
        let some = selection(&["orders-*", "~pay(ments|outs)", "users"], &["*-test"]);
        for name in ["orders-eu", "payments", "payouts", "users"] {
            assert!(some.selects(name), "{name}");
        }
        for name in ["orders-test", "repayments", "users2", "x"] {
            assert!(!some.selects(name), "{name}");
        }
    }

    #[test]
    fn internal_topics_want_their_whole_name() {
        let all = selection(&["*"], &[]);
        assert!(all.selects_topic("_underscore", false));
        assert!(!all.selects_topic("__consumer_offsets", true));
        assert!(!all.selects_topic("_schemas", false));
        assert!(selection(&["_schemas"], &[]).selects_topic("_schemas", false));
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Selection::new(&["~(".to_owned()], &[]).unwrap_err().to_string();
        assert!(error.starts_with("pattern `~(`: "), "{error}");
        assert!(Selection::new(&["a[".to_owned()], &[]).is_err());
    }
}
