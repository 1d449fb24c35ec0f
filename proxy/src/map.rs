//! The id map while the proxy runs: where it comes from, and how a new one takes over.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use async_trait::async_trait;
use tokio::sync::Mutex;
use wire::IdMap;
use wire::id_map::{DEFAULT_CONTEXT, MapFile};

use crate::Shared;

/// Where the map lies.
#[async_trait]
pub trait MapSource: fmt::Debug + Send + Sync {
    /// Its text as it is now, or why it can't be read.
    async fn text(&self) -> Result<String, String>;
}

/// A map that stays as it is.
#[async_trait]
impl MapSource for MapFile {
    async fn text(&self) -> Result<String, String> {
        Ok(self.to_json())
    }
}

/// Which map, and how often to look for a new one.
#[derive(Debug, Clone)]
pub struct MapSettings {
    /// Where it lies.
    pub source: Arc<dyn MapSource>,
    /// What was read there.
    pub first: MapFile,
    /// The contexts of the ids in the records; `.` is the default one. [`crate::Treatment::context`]
    /// is a place in this list, which is never empty.
    pub contexts: Vec<String>,
    /// How often the source is read again.
    pub period: Duration,
    /// Whether the map has to lead back too.
    pub both_ways: bool,
}

/// A map in use.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// In the order of [`MapSettings::contexts`].
    pub(crate) contexts: Vec<BothWays>,
    /// Tells this map from others, for proxies in a row.
    pub(crate) fingerprint: u32,
}

/// The ids of one context.
#[derive(Debug)]
pub(crate) struct BothWays {
    pub(crate) ids: IdMap,
    /// The way back, where it is wanted.
    pub(crate) back: IdMap,
}

impl Loaded {
    fn new(file: &MapFile, settings: &MapSettings) -> Result<Self, String> {
        let contexts = settings.contexts.iter().map(|context| {
            let ids = file.id_map(context);
            let back = match settings.both_ways.then(|| ids.inverse()) {
                None => IdMap::default(),
                Some(back) => back.map_err(|why| {
                    format!("{why}, so `fetch: reverse` could not tell which of them was meant")
                })?,
            };
            Ok(BothWays { ids, back })
        });
        let contexts = contexts.collect::<Result<Vec<_>, String>>()?;
        let fingerprint = contexts.first().map_or(0, |it| it.ids.fingerprint());
        Ok(Self { contexts, fingerprint })
    }

    /// How many ids it has.
    pub(crate) fn len(&self) -> usize {
        self.contexts.iter().map(|it| it.ids.len()).sum()
    }
}

/// The map in use, and the one that was refused after it.
#[derive(Debug)]
pub(crate) struct Maps {
    settings: MapSettings,
    loaded: ArcSwap<Loaded>,
    state: Mutex<State>,
    /// Why the source can't be used now; the map in use stays.
    refused: ArcSwap<Option<String>>,
}

#[derive(Debug)]
struct State {
    /// What was read last.
    read: MapFile,
    /// The same with what was learned since.
    file: MapFile,
    /// What no file had, by context: a new one that lacks it does not take it away.
    learned: BTreeMap<(usize, u32), u32>,
}

impl Maps {
    pub(crate) fn new(settings: MapSettings) -> Result<Self, String> {
        let file = settings.first.clone();
        let loaded = ArcSwap::from_pointee(Loaded::new(&file, &settings)?);
        let state = Mutex::new(State { read: file.clone(), file, learned: BTreeMap::new() });
        Ok(Self { settings, loaded, state, refused: ArcSwap::default() })
    }

    /// The map in use. Whoever holds it keeps it, even if it is replaced meanwhile.
    pub(crate) fn current(&self) -> Guard<Arc<Loaded>> {
        self.loaded.load()
    }

    pub(crate) fn refused(&self) -> Option<String> {
        Option::clone(&self.refused.load())
    }

    /// The map in use as a file would have it.
    pub(crate) async fn json(&self) -> String {
        self.state.lock().await.file.to_json()
    }

    /// Reads the source; gives the new number of ids where it has another map.
    async fn reload(&self) -> Result<Option<usize>, String> {
        let mut state = self.state.lock().await;
        let text = self.settings.source.text().await?;
        let read = MapFile::parse(&text).map_err(|why| why.to_string())?;
        if read == state.read {
            return Ok(None);
        }
        let mut file = read.clone();
        for (&(context, source), &target) in &state.learned {
            self.pairs(&mut file, context).entry(source).or_insert(target);
        }
        let loaded = Loaded::new(&file, &self.settings)?;
        let ids = loaded.len();
        (state.read, state.file) = (read, file);
        self.loaded.store(Arc::new(loaded));
        Ok(Some(ids))
    }

    /// Takes pairs into the map in use that it lacks; gives how many ids it has then.
    pub(crate) async fn learn(&self, context: usize, found: &[(u32, u32)]) -> usize {
        let mut state = self.state.lock().await;
        let mut file = state.file.clone();
        let pairs = self.pairs(&mut file, context);
        for &(source, target) in found {
            pairs.entry(source).or_insert(target);
        }
        match Loaded::new(&file, &self.settings) {
            Ok(loaded) => {
                let ids = loaded.len();
                let found = found.iter().map(|&(source, target)| ((context, source), target));
                state.learned.extend(found);
                state.file = file;
                self.loaded.store(Arc::new(loaded));
                ids
            }
            // Two ids that become one, and a way back is wanted.
            Err(why) => {
                tracing::error!("what was resolved does not fit into the id map: {why}");
                self.current().len()
            }
        }
    }

    /// The pairs of one context in use.
    fn pairs<'a>(&self, file: &'a mut MapFile, context: usize) -> &'a mut BTreeMap<u32, u32> {
        match self.settings.contexts[context].as_str() {
            DEFAULT_CONTEXT => &mut file.mapping,
            name => file.contexts.entry(name.to_owned()).or_default(),
        }
    }
}

impl Shared {
    /// Takes up a new map, if there is one; a bad one is told, and the old one stays.
    pub(crate) async fn reload_map(&self) -> Result<String, String> {
        let count = |result: &str| self.metrics.id_map_reloads.with_label_values(&[result]).inc();
        let before = self.maps.refused();
        match self.maps.reload().await {
            Ok(None) => {
                self.maps.refused.store(Arc::new(None));
                Ok("the id map is as it was".to_owned())
            }
            Ok(Some(ids)) => {
                self.maps.refused.store(Arc::new(None));
                self.unmapped.forget();
                self.metrics.id_map_ids.set(ids as i64);
                self.metrics.id_map_version.inc();
                count("taken");
                let said = format!("the id map was loaded again and has {ids} ids");
                tracing::info!("{said}");
                Ok(said)
            }
            Err(why) => {
                let why = format!("the id map stays the old one: {why}");
                // The same complaint every few seconds helps nobody.
                if before.as_ref() != Some(&why) {
                    count("refused");
                    tracing::error!("{why}");
                }
                self.maps.refused.store(Arc::new(Some(why.clone())));
                Err(why)
            }
        }
    }
}

/// Looks for a new map every period.
pub(crate) async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.maps.settings.period).await;
        // What it says was logged.
        let _ = shared.reload_map().await;
    }
}
