//! What is translated in which topic.

use std::collections::HashMap;
use std::sync::Arc;

use app::Selection;
use wire::message::Role;
use wire::translate::Parts;

use crate::connection::End;
use crate::metrics::{Metrics, TopicCounters};
use crate::topics::TopicNames;

/// The rules, the first one that names a topic counts.
#[derive(Debug)]
pub struct Rules {
    /// Topics that pass untouched.
    pub exclude: Selection,
    /// Topics and what is done in them.
    pub rules: Vec<(Selection, Treatment)>,
    /// What is done in all others.
    pub otherwise: Treatment,
}

/// What is done in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// Keys, values, both or neither.
    pub parts: Parts,
    /// What happens to ids that the map lacks.
    pub unmapped: Unmapped,
    /// Whose ids they are: a place in [`crate::MapSettings::contexts`].
    pub context: usize,
}

/// What happens to ids that the map lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmapped {
    /// They pass as they are.
    Pass,
    /// What producers send with one is refused.
    Reject,
    /// They are made known; where that fails, they pass or are refused.
    Resolve {
        /// Whether they are refused then.
        or_reject: bool,
    },
}

impl Treatment {
    /// Whether a batch with an id that the map lacks is refused in the end.
    pub(crate) fn rejects(self) -> bool {
        matches!(self.unmapped, Unmapped::Reject | Unmapped::Resolve { or_reject: true })
    }

    /// Whether such ids are looked up first.
    pub(crate) fn resolves(self) -> bool {
        matches!(self.unmapped, Unmapped::Resolve { .. })
    }
}

impl Rules {
    fn of(&self, topic: &str) -> Treatment {
        if self.exclude.selects(topic) {
            let parts = Parts { keys: false, values: false };
            return Treatment { parts, unmapped: Unmapped::Pass, context: 0 };
        }
        let rule = self.rules.iter().find(|(topics, _)| topics.selects(topic));
        rule.map_or(self.otherwise, |(_, treatment)| *treatment)
    }
}

/// Topics that a connection remembers: its client decides what it names.
const MOST: usize = 10_000;

/// Knows what to do with a topic; one for each direction of a connection.
#[derive(Debug)]
pub(crate) struct Treatments<'a> {
    rules: &'a Rules,
    names: &'a TopicNames,
    metrics: &'a Metrics,
    /// Patterns are tried once for each topic that a connection speaks of.
    known: HashMap<Vec<u8>, Known>,
}

/// What a connection knows of a topic.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) name: Arc<str>,
    pub(crate) treatment: Treatment,
    pub(crate) counters: TopicCounters,
}

impl<'a> Treatments<'a> {
    pub(crate) fn new(rules: &'a Rules, names: &'a TopicNames, metrics: &'a Metrics) -> Self {
        Self { rules, names, metrics, known: HashMap::new() }
    }

    /// `topic` is a name or, with `Role::TopicId`, an id.
    pub(crate) fn of(&mut self, role: Role, topic: &[u8]) -> Result<Known, End> {
        if let Some(known) = self.known.get(topic) {
            return Ok(known.clone());
        }
        let name: Arc<str> = if role == Role::TopicId {
            // The broker was asked for it; the client asks again when it connects anew.
            self.names.of(topic).ok_or(End::UnknownTopic)?
        } else {
            String::from_utf8_lossy(topic).into()
        };
        let treatment = self.rules.of(&name);
        if self.known.len() >= MOST {
            self.known.clear();
        }
        let counters = self.metrics.of_topic(&name);
        let known = Known { name, treatment, counters };
        self.known.insert(topic.to_vec(), known.clone());
        Ok(known)
    }
}
