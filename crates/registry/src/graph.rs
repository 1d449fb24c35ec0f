//! The order in which schemas can be registered: each after those that it references.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

/// Why no order exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphError<K> {
    /// These depend on each other, each on the next and the last on the first.
    Cycle(Vec<K>),
    /// `from` depends on `to`, which is not there.
    Missing {
        /// The one with the dependency.
        from: K,
        /// The one that is missing.
        to: K,
    },
}

impl<K: Display> Display for GraphError<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { from, to } => write!(f, "{from} references {to}, which is not there"),
            Self::Cycle(nodes) => {
                f.write_str("schemas reference each other in a circle: ")?;
                for node in nodes {
                    write!(f, "{node} -> ")?;
                }
                nodes.first().map_or(Ok(()), |first| write!(f, "{first}"))
            }
        }
    }
}

impl<K: fmt::Debug + Display> std::error::Error for GraphError<K> {}

/// Puts every node after its dependencies (Kahn's algorithm). Where several could come next the
/// smallest does, so the order is the same in every run. No recursion, however long a chain is.
pub fn dependency_order<K: Ord + Clone>(
    dependencies: &BTreeMap<K, Vec<K>>,
) -> Result<Vec<K>, GraphError<K>> {
    let mut dependents: BTreeMap<&K, Vec<&K>> = BTreeMap::new();
    let mut waits_for: BTreeMap<&K, usize> = BTreeMap::new();
    for (node, needed) in dependencies {
        let needed: BTreeSet<&K> = needed.iter().collect();
        waits_for.insert(node, needed.len());
        for dependency in needed {
            if !dependencies.contains_key(dependency) {
                return Err(GraphError::Missing { from: node.clone(), to: dependency.clone() });
            }
            dependents.entry(dependency).or_default().push(node);
        }
    }
    let mut ready: BTreeSet<&K> =
        waits_for.iter().filter(|&(_, &count)| count == 0).map(|(&node, _)| node).collect();
    let mut order = Vec::with_capacity(dependencies.len());
    while let Some(node) = ready.pop_first() {
        order.push(node.clone());
        waits_for.remove(node);
        for dependent in dependents.remove(node).unwrap_or_default() {
            let count = waits_for.get_mut(dependent).expect("it waits for `node` still");
            *count -= 1;
            if *count == 0 {
                ready.insert(dependent);
            }
        }
    }
    match waits_for.keys().next() {
        None => Ok(order),
        Some(first) => Err(GraphError::Cycle(cycle(first, dependencies, &waits_for))),
    }
}

/// Follows unmet dependencies until a node comes again; every node left has one.
fn cycle<K: Ord + Clone>(
    first: &K,
    dependencies: &BTreeMap<K, Vec<K>>,
    left: &BTreeMap<&K, usize>,
) -> Vec<K> {
    let mut path: Vec<&K> = Vec::new();
    let mut place: BTreeMap<&K, usize> = BTreeMap::new();
    let mut node = first;
    while place.insert(node, path.len()).is_none() {
        path.push(node);
        node = dependencies[node]
            .iter()
            .filter(|it| left.contains_key(it))
            .min()
            .expect("a node that is left waits for another that is left");
    }
    let start = path.iter().position(|&it| it == node).expect("the walk came back to it");
    path[start..].iter().map(|&it| it.clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn graph(
        edges: &[(&'static str, &[&'static str])],
    ) -> BTreeMap<&'static str, Vec<&'static str>> {
        edges.iter().map(|(node, needed)| (*node, needed.to_vec())).collect()
    }

    #[test]
    fn the_order_is_stable() {
        let graph = graph(&[("z", &[]), ("a", &["z", "z"]), ("b", &[]), ("c", &["a", "b"])]);
        assert_eq!(dependency_order(&graph), Ok(vec!["b", "z", "a", "c"]));
    }

    #[test]
    fn a_cycle_and_a_missing_node_are_named() {
        let circle = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
        let error = dependency_order(&circle).unwrap_err();
        assert_eq!(error, GraphError::Cycle(vec!["b", "c"]));
        let text = "schemas reference each other in a circle: b -> c -> b";
        assert_eq!(error.to_string(), text);
        let itself = dependency_order(&graph(&[("a", &["a"])])).unwrap_err();
        assert_eq!(itself, GraphError::Cycle(vec!["a"]));
        let missing = dependency_order(&graph(&[("a", &["b"])])).unwrap_err();
        assert_eq!(missing.to_string(), "a references b, which is not there");
    }

    #[test]
    fn ten_thousand_in_a_chain_or_a_fan_are_no_matter() {
        let chain: BTreeMap<u32, Vec<u32>> =
            (0..10_000).map(|it| (it, if it == 9_999 { vec![] } else { vec![it + 1] })).collect();
        assert_eq!(dependency_order(&chain), Ok((0..10_000).rev().collect()));
        let fan: BTreeMap<u32, Vec<u32>> = (0..10_000)
            .map(|it| (it, if it == 0 { (1..10_000).collect() } else { vec![] }))
            .collect();
        assert_eq!(dependency_order(&fan).unwrap().last(), Some(&0));
    }

    proptest! {
        #[test]
        fn every_node_follows_its_dependencies(
            edges in prop::collection::btree_map(0_u8..40, prop::collection::vec(0_u8..40, 0..4), 0..40),
        ) {
            let graph: BTreeMap<u8, Vec<u8>> = (0..40)
                .map(|node| (node, edges.get(&node).cloned().unwrap_or_default()))
                .collect();
            match dependency_order(&graph) {
                Ok(order) => {
                    prop_assert_eq!(order.len(), graph.len());
                    for (index, node) in order.iter().enumerate() {
                        for needed in &graph[node] {
                            prop_assert!(order[..index].contains(needed));
                        }
                    }
                }
                Err(GraphError::Cycle(nodes)) => {
                    for (index, node) in nodes.iter().enumerate() {
                        prop_assert!(graph[node].contains(&nodes[(index + 1) % nodes.len()]));
                    }
                }
                Err(GraphError::Missing { .. }) => prop_assert!(false, "all nodes are there"),
            }
        }
    }
}
