//! Ids that the map lacks, made known: looked up in the source registry, registered in the target with
//! what they reference, and taken into the map that is in use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use futures_util::future::join_all;
use registry::Client;
use registry::model::qualify;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::Shared;

/// Both sides of the map.
#[derive(Debug, Clone)]
pub struct Registries {
    /// Where the ids come from.
    pub source: Client,
    /// Where they are to be known.
    pub target: Client,
}

/// Resolves each id once, whoever waits for it.
#[derive(Debug)]
pub(crate) struct Resolver {
    registries: Registries,
    contexts: Vec<String>,
    /// Ids that are being asked for.
    asked: DashMap<Unknown, Arc<OnceCell<Result<u32, String>>>>,
    /// Ids that could not be resolved.
    failed: DashMap<Unknown, Failed>,
}

/// An id and the place of its context.
type Unknown = (usize, u32);

#[derive(Debug, Clone, Copy)]
struct Failed {
    /// When it is tried again.
    until: Instant,
    pause: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Data that only looks framed can have any "id"; past so many failed ones no more are asked for.
const MOST_FAILED: usize = 10_000;
/// References within references, before they are taken for a circle.
const DEEPEST: u32 = 50;

impl Resolver {
    pub(crate) fn new(registries: Registries, contexts: Vec<String>) -> Self {
        let (asked, failed) = Default::default();
        Self { registries, contexts, asked, failed }
    }

    /// The target's ids for those that it can find out, all at the same time.
    async fn resolve(&self, context: usize, ids: &BTreeSet<u32>) -> Vec<(u32, u32)> {
        let each = ids.iter().map(|&id| async move { Some((id, self.one((context, id)).await?)) });
        join_all(each).await.into_iter().flatten().collect()
    }

    async fn one(&self, unknown: Unknown) -> Option<u32> {
        let (_, id) = unknown;
        let failed = self.failed.get(&unknown).map(|it| *it);
        if failed.is_some_and(|it| Instant::now() < it.until) || self.failed.len() >= MOST_FAILED {
            return None;
        }
        let cell = Arc::clone(&self.asked.entry(unknown).or_default());
        let found = cell.get_or_init(|| self.ask(unknown)).await.clone();
        // Whoever comes first takes it off; a later batch asks anew, or finds it in the map.
        let first = self.asked.remove(&unknown).is_some();
        match found {
            Ok(target) => {
                self.failed.remove(&unknown);
                if first {
                    tracing::info!(
                        "schema id {id} was not in the id map; it is {target} in the target"
                    );
                }
                Some(target)
            }
            Err(why) => {
                let pause = failed.map_or(FIRST_PAUSE, |it| (it.pause * 2).min(LONGEST_PAUSE));
                if first {
                    let until = Instant::now() + pause;
                    self.failed.insert(unknown, Failed { until, pause });
                    tracing::warn!("schema id {id} is not in the id map and stays unknown: {why}");
                }
                None
            }
        }
    }

    async fn ask(&self, (context, id): Unknown) -> Result<u32, String> {
        let (source, context) = (&self.registries.source, &self.contexts[context]);
        let users = source.users(id, context).await.map_err(|why| why.to_string())?;
        let Some((subject, version)) = users.first() else {
            return Err(format!("no subject of {} has it", source.url()));
        };
        let subject = qualify(subject, context);
        self.register(subject, *version, DEEPEST).await.map(|(id, _)| id)
    }

    /// Registers a version of the source with what it references; gives its id and its number in the
    /// target. What is there already is found.
    fn register(
        &self,
        subject: String,
        version: u32,
        depth: u32,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(u32, u32), String>> + Send + '_>> {
        Box::pin(async move {
            let Registries { source, target } = &self.registries;
            let name = || format!("{subject} version {version}");
            if depth == 0 {
                return Err(format!("the references of {} have no end", name()));
            }
            let found = source.version(&subject, version, true).await;
            let mut schema = found.map_err(|why| why.to_string())?.schema;
            for reference in &mut schema.references {
                let (of, number) = reference.target(&subject);
                let number =
                    number.ok_or_else(|| format!("{} references a latest version", name()))?;
                let (_, number) = self.register(of, number, depth - 1).await?;
                reference.version = number as i32;
            }
            let id = target.register(&subject, &schema).await;
            let id =
                id.map_err(|why| format!("Schema registration failed for {}: {why}", name()))?;
            let there = target.lookup(&subject, &schema, false).await;
            let there = there.map_err(|why| why.to_string())?;
            Ok((id, there.map_or(version, |it| it.version)))
        })
    }
}

impl Shared {
    /// Makes ids known, as far as it can be done; whoever translates next has them.
    pub(crate) async fn resolve(&self, context: usize, ids: &BTreeSet<u32>) {
        let Some(resolver) = &self.resolver else { return };
        let found = resolver.resolve(context, ids).await;
        self.metrics.resolved.inc_by(found.len() as u64);
        self.metrics.unresolved.inc_by((ids.len() - found.len()) as u64);
        if !found.is_empty() {
            let ids = self.maps.learn(context, &found).await;
            self.metrics.id_map_ids.set(ids as i64);
        }
    }
}
