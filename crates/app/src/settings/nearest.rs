/// The known key that was most likely meant, where one is near enough.
pub(super) fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|it| (distance(key, it), *it));
    let (distance, nearest) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + key.len() / 4).then_some(nearest)
}

/// Insertions, deletions, replacements and swaps of neighbours that make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_near_and_other_words_are_not() {
        let known = ["bootstrap_servers", "topics", "security"];
        assert_eq!(nearest("bootstrap_server", &known), Some("bootstrap_servers"));
        assert_eq!(nearest("tpoics", &known), Some("topics"));
        assert_eq!(nearest("xyzzy", &known), None);
    }
}
