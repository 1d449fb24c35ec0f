//! Which schema id of the source registry is which in the target, and the files that say so.

mod file;
mod lookup;

pub use file::{Guid, MapFile, MapFileError, Registry};
pub use lookup::IdMap;

/// The largest id a registry can give out: ids are Java `int`s.
pub const MAX_ID: u32 = i32::MAX as u32;

/// The context of schemas that name none.
pub const DEFAULT_CONTEXT: &str = ".";
