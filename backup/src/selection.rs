use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

/// Which names are meant: globs, or regular expressions after a `~`.
#[derive(Debug)]
pub struct Selection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// A pattern that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("pattern `{pattern}`: {why}")]
pub struct SelectionError {
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
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, SelectionError> {
        let parse = |patterns: &[String]| -> Result<Vec<_>, _> {
            patterns.iter().map(|it| Pattern::new(it)).collect()
        };
        Ok(Self { include: parse(include)?, exclude: parse(exclude)? })
    }

    /// Whether the name is meant.
    ///
    /// Kafka's own topics (`__consumer_offsets`) and a registry's (`_schemas`) are meant only by
    /// their whole name: `*` is not a wish to restore them into another cluster.
    pub fn selects(&self, name: &str, internal: bool) -> bool {
        let own = internal || name.starts_with("__") || name == "_schemas";
        let included = |it: &Pattern| it.matches(name) && (!own || matches!(it, Pattern::Name(_)));
        self.include.iter().any(included) && !self.exclude.iter().any(|it| it.matches(name))
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
    fn new(text: &str) -> Result<Self, SelectionError> {
        let fail = |why: String| SelectionError { pattern: text.to_owned(), why };
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
            assert!(some.selects(name, false), "{name}");
        }
        for name in ["orders-test", "repayments", "users2", "x"] {
            assert!(!some.selects(name, false), "{name}");
        }
    }

    #[test]
    fn internal_topics_want_their_whole_name() {
        let all = selection(&["*"], &[]);
        assert!(all.selects("_underscore", false));
        assert!(!all.selects("__consumer_offsets", true));
        assert!(!all.selects("_schemas", false));
        assert!(selection(&["_schemas"], &[]).selects("_schemas", false));
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Selection::new(&["~(".to_owned()], &[]).unwrap_err().to_string();
        assert!(error.starts_with("pattern `~(`: "), "{error}");
        assert!(Selection::new(&["a[".to_owned()], &[]).is_err());
    }
}
