use std::collections::HashMap;

/// Source id to target id, built once and read for every record.
///
/// Registries count ids up from one, so nearly all of them fall into a dense array and a lookup is
/// one load. Ids past it (one imported at 2^31-1, say) go to a hash map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap {
    dense: Box<[u32]>,
    sparse: HashMap<u32, u32>,
    guids: HashMap<[u8; 16], [u8; 16]>,
    length: usize,
}

/// Two ids that become one, so that no map leads back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("schema ids {} and {} both become {target}", sources.0, sources.1)]
pub struct NotOneToOne {
    /// The two.
    pub sources: (u32, u32),
    /// What they become.
    pub target: u32,
}

/// Marks a hole in the dense part; no registry gives out this id.
const NONE: u32 = u32::MAX;

/// The dense part always reaches this far: 256 KiB.
const ALWAYS_DENSE: u32 = 1 << 16;

impl IdMap {
    /// Builds the map. Later pairs win over earlier ones of the same source id.
    pub fn new(pairs: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let pairs: HashMap<u32, u32> = pairs.into_iter().collect();
        // At most eight slots for each id in use, so that a few high ids can't take gigabytes.
        let reach = ALWAYS_DENSE.max(u32::try_from(pairs.len() * 8).unwrap_or(u32::MAX));
        let size = pairs.keys().filter(|&&id| id < reach).max().map_or(0, |&id| id as usize + 1);
        let mut dense = vec![NONE; size].into_boxed_slice();
        let mut sparse = HashMap::new();
        let length = pairs.len();
        for (source, target) in pairs {
            match dense.get_mut(source as usize) {
                Some(slot) => *slot = target,
                None => _ = sparse.insert(source, target),
            }
        }
        Self { dense, sparse, guids: HashMap::new(), length }
    }

    /// The same with GUIDs that changed.
    #[must_use]
    pub fn with_guids(mut self, pairs: impl IntoIterator<Item = ([u8; 16], [u8; 16])>) -> Self {
        self.guids = pairs.into_iter().collect();
        self
    }

    /// The target's GUID for `source`, where it is another one.
    pub fn guid(&self, source: &[u8; 16]) -> Option<[u8; 16]> {
        self.guids.get(source).copied()
    }

    /// Whether GUIDs have to be looked at.
    #[inline]
    pub fn has_guids(&self) -> bool {
        !self.guids.is_empty()
    }

    /// The target's id for `source`.
    #[inline]
    pub fn target(&self, source: u32) -> Option<u32> {
        match self.dense.get(source as usize) {
            Some(&NONE) => None,
            Some(&target) => Some(target),
            None if self.sparse.is_empty() => None,
            None => self.sparse.get(&source).copied(),
        }
    }

    /// All pairs, by source id.
    pub fn pairs(&self) -> Vec<(u32, u32)> {
        let dense = self.dense.iter().enumerate().filter(|&(_, &target)| target != NONE);
        let mut pairs: Vec<_> = dense.map(|(source, &target)| (source as u32, target)).collect();
        let start = pairs.len();
        pairs.extend(self.sparse.iter().map(|(&source, &target)| (source, target)));
        pairs[start..].sort_unstable();
        pairs
    }

    /// How many ids it knows.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether no id changes, so that there is nothing to translate.
    pub fn is_identity(&self) -> bool {
        self.guids.is_empty() && self.pairs().iter().all(|(source, target)| source == target)
    }

    /// The map back, where no two source ids share a target.
    pub fn inverse(&self) -> Result<Self, NotOneToOne> {
        let mut back = HashMap::with_capacity(self.length);
        for (source, target) in self.pairs() {
            if let Some(first) = back.insert(target, source) {
                return Err(NotOneToOne { sources: (first, source), target });
            }
        }
        let guids = self.guids.iter().map(|(source, target)| (*target, *source));
        Ok(Self::new(back).with_guids(guids))
    }

    /// The same for the same pairs, and most likely another one for others.
    pub fn fingerprint(&self) -> u32 {
        let mut bytes = Vec::with_capacity(8 * self.length);
        for (source, target) in self.pairs() {
            bytes.extend(source.to_be_bytes());
            bytes.extend(target.to_be_bytes());
        }
        let mut guids: Vec<_> = self.guids.iter().collect();
        guids.sort_unstable();
        bytes.extend(guids.into_iter().flat_map(|(source, target)| [source, target]).flatten());
        crate::crc::crc32c(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id_map::MAX_ID;

    #[test]
    fn one_high_id_takes_no_gigabytes() {
        let map = IdMap::new([(1, 2), (MAX_ID, 7)]);
        assert!(map.dense.len() <= 2);
        assert_eq!((map.target(MAX_ID), map.target(MAX_ID - 1)), (Some(7), None));
    }

    proptest! {
        #[test]
        fn it_answers_like_a_plain_map(
            pairs in prop::collection::hash_map(0..=MAX_ID, 0..=MAX_ID, 0..50),
            near in prop::collection::hash_map(0_u32..300, 0_u32..300, 0..50),
            probe: u32,
        ) {
            let all: HashMap<u32, u32> = pairs.into_iter().chain(near).collect();
            let map = IdMap::new(all.clone());
            for id in all.keys().copied().chain([probe]).chain(0..300) {
                prop_assert_eq!(map.target(id), all.get(&id).copied());
            }
            let mut sorted: Vec<_> = all.into_iter().collect();
            sorted.sort_unstable();
            prop_assert_eq!(map.len(), sorted.len());
            prop_assert_eq!(map.pairs(), sorted);
        }
    }
}
