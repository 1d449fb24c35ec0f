//! Names that become others in the target: subjects, contexts, topics.

use std::collections::BTreeMap;

use registry::model::{bare, context, qualify};

/// New names, to the letter or by a pattern with one `*` on both sides.
#[derive(Debug, Clone, Default)]
pub struct Names {
    exact: BTreeMap<String, String>,
    /// Those with more before and after their `*` come first.
    patterns: Vec<Pattern>,
}

/// `orders-*` to `restored-orders-*`: what the star stands for is kept.
#[derive(Debug, Clone)]
struct Pattern {
    before: String,
    after: String,
    new_before: String,
    new_after: String,
}

impl Names {
    /// # Errors
    ///
    /// Says which pair can't be used, and why; `key` is what the settings call the pairs.
    pub fn new(key: &str, pairs: BTreeMap<String, String>) -> Result<Self, String> {
        let mut names = Self::default();
        for (from, to) in pairs {
            match (from.split_once('*'), to.split_once('*')) {
                (None, None) => drop(names.exact.insert(from, to)),
                (Some((before, after)), Some((new_before, new_after)))
                    if !after.contains('*') && !new_after.contains('*') =>
                {
                    let [before, after, new_before, new_after] =
                        [before, after, new_before, new_after].map(str::to_owned);
                    names.patterns.push(Pattern { before, after, new_before, new_after });
                }
                _ => {
                    return Err(format!(
                        "{key}: `{from}: {to}` needs one `*` on both sides, or none"
                    ));
                }
            }
        }
        names.patterns.sort_by_key(|it| std::cmp::Reverse(it.before.len() + it.after.len()));
        Ok(names)
    }

    /// The new name; `None` where it keeps its own.
    pub fn of(&self, name: &str) -> Option<String> {
        if let Some(new) = self.exact.get(name) {
            return Some(new.clone());
        }
        self.patterns.iter().find_map(|it| {
            let kept = name.strip_prefix(&*it.before)?.strip_suffix(&*it.after)?;
            Some(format!("{}{kept}{}", it.new_before, it.new_after))
        })
    }
}

/// `subject_mapping` and `context_mapping`.
#[derive(Debug, Clone, Default)]
pub struct Rename {
    subjects: Names,
    contexts: BTreeMap<String, String>,
}

impl Rename {
    /// Subjects are named with their context. A name that `subjects` gives is final; `contexts`
    /// holds for all others.
    ///
    /// # Errors
    ///
    /// Says which pair can't be used, and why.
    pub fn new(
        subjects: BTreeMap<String, String>,
        contexts: BTreeMap<String, String>,
    ) -> Result<Self, String> {
        for name in contexts.iter().flat_map(|(from, to)| [from, to]) {
            if !name.starts_with('.') || name.contains(':') {
                return Err(format!(
                    "context_mapping: `{name}` is no context, such as `.` or `.eu`"
                ));
            }
        }
        Ok(Self { subjects: Names::new("subject_mapping", subjects)?, contexts })
    }

    /// The subject's name in the target.
    pub fn subject(&self, name: &str) -> String {
        self.subjects.of(name).unwrap_or_else(|| match self.contexts.get(context(name)) {
            Some(new) => qualify(bare(name), new),
            None => name.to_owned(),
        })
    }

    /// The context's name in the target.
    pub fn context<'a>(&'a self, name: &'a str) -> &'a str {
        self.contexts.get(name).map_or(name, String::as_str)
    }
}

/// How a schema in one context names a subject of another: `own` is the schema's context.
pub(crate) fn reference(subject: &str, own: &str) -> String {
    match context(subject) {
        same if same == own => bare(subject).to_owned(),
        "." => format!(":.:{}", bare(subject)),
        _ => subject.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    }

    #[test]
    fn names_patterns_and_contexts() {
        let subjects = [("a", "b"), ("orders-*", "restored-orders-*"), ("orders-eu-*", "eu-*")];
        let contexts = [(".eu", ".prod"), (".", ".main"), (".us", ".")];
        let rename = Rename::new(pairs(&subjects), pairs(&contexts)).unwrap();
        assert_eq!(rename.subject("a"), "b");
        assert_eq!(rename.subject("orders-value"), "restored-orders-value");
        assert_eq!(rename.subject("orders-eu-value"), "eu-value", "the longer pattern");
        assert_eq!(rename.subject("other"), ":.main:other");
        assert_eq!(rename.subject(":.eu:other"), ":.prod:other");
        assert_eq!(rename.subject(":.us:other"), "other");
        assert_eq!(rename.subject(":.asia:other"), ":.asia:other");
        assert_eq!(Rename::default().subject(":.eu:a"), ":.eu:a");
    }

    #[test]
    fn references_are_short_within_a_context() {
        assert_eq!(reference("a", "."), "a");
        assert_eq!(reference(":.eu:a", ".eu"), "a");
        assert_eq!(reference(":.eu:a", "."), ":.eu:a");
        assert_eq!(reference("a", ".eu"), ":.:a");
    }

    #[test]
    fn what_can_not_be_a_mapping_is_refused() {
        for (from, to) in [("a-*", "b"), ("a", "b-*"), ("*-*", "*-*")] {
            let error = Rename::new(pairs(&[(from, to)]), BTreeMap::new()).unwrap_err();
            assert!(error.contains(from), "{error}");
        }
        assert!(Rename::new(BTreeMap::new(), pairs(&[("eu", ".eu")])).is_err());
    }
}
