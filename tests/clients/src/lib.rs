//! Nothing: this package is its tests, kept apart because of what they depend on.
