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
    /// The context of the ids in the records; `.` is the default one.
    pub context: String,
    /// How often the source is read again.
    pub period: Duration,
    /// Whether the map has to lead back too.
    pub both_ways: bool,
}

/// A map in use.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) ids: IdMap,
    /// The way back, where it is wanted.
    pub(crate) back: IdMap,
    /// Tells this map from others, for proxies in a row.
    pub(crate) fingerprint: u32,
}

impl Loaded {
    fn new(file: &MapFile, settings: &MapSettings) -> Result<Self, String> {
        let ids = file.id_map(&settings.context);
        let back = match settings.both_ways.then(|| ids.inverse()) {
            None => IdMap::default(),
            Some(back) => back.map_err(|why| {
                format!("{why}, so `fetch: reverse` could not tell which of them was meant")
            })?,
        };
        let fingerprint = ids.fingerprint();
        Ok(Self { ids, back, fingerprint })
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
    text: String,
    /// With what was learned since.
    file: MapFile,
    /// What no file had: a new one that lacks it does not take it away.
    learned: BTreeMap<u32, u32>,
}

impl Maps {
    pub(crate) async fn load(settings: MapSettings) -> Result<Self, String> {
        let text = settings.source.text().await?;
        let file = MapFile::parse(&text).map_err(|why| why.to_string())?;
        let loaded = ArcSwap::from_pointee(Loaded::new(&file, &settings)?);
        let state = Mutex::new(State { text, file, learned: BTreeMap::new() });
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
        if text == state.text {
            return Ok(None);
        }
        let mut file = MapFile::parse(&text).map_err(|why| why.to_string())?;
        let pairs = self.pairs(&mut file);
        for (&source, &target) in &state.learned {
            pairs.entry(source).or_insert(target);
        }
        let loaded = Loaded::new(&file, &self.settings)?;
        let ids = loaded.ids.len();
        (state.text, state.file) = (text, file);
        self.loaded.store(Arc::new(loaded));
        Ok(Some(ids))
    }

    /// Takes pairs into the map in use that it lacks; gives how many ids it has then.
    pub(crate) async fn learn(&self, found: &[(u32, u32)]) -> usize {
        let mut state = self.state.lock().await;
        let mut file = state.file.clone();
        let pairs = self.pairs(&mut file);
        for &(source, target) in found {
            pairs.entry(source).or_insert(target);
        }
        match Loaded::new(&file, &self.settings) {
            Ok(loaded) => {
                let ids = loaded.ids.len();
                state.learned.extend(found.iter().copied());
                state.file = file;
                self.loaded.store(Arc::new(loaded));
                ids
            }
            // Two ids that become one, and a way back is wanted.
            Err(why) => {
                tracing::error!("what was resolved does not fit into the id map: {why}");
                self.current().ids.len()
            }
        }
    }

    /// The pairs of the context in use.
    fn pairs<'a>(&self, file: &'a mut MapFile) -> &'a mut BTreeMap<u32, u32> {
        if self.settings.context == DEFAULT_CONTEXT {
            &mut file.mapping
        } else {
            file.contexts.entry(self.settings.context.clone()).or_default()
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
