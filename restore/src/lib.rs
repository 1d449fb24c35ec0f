//! Brings an artefact back: registry, id map, topics.
