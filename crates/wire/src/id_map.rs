//! Which schema id of the source registry is which in the target, and the files that say so.

mod file;
mod lookup;

pub use file::{Guid, MapFile, MapFileError, Registry};
pub use lookup::{IdMap, NotOneToOne};

/// The largest id a registry can give out: ids are Java `int`s.
pub const MAX_ID: u32 = i32::MAX as u32;

/// The name of the feature by which a proxy shows in ApiVersions (KIP-584) that it translates what is
/// written, before the fingerprint of its map: whoever translates too can tell from it.
pub const WRITTEN_FEATURE: &str = "schema_proxy.produce.";
/// The same for what is read.
pub const READ_FEATURE: &str = "schema_proxy.fetch.";

/// The context of schemas that name none.
pub const DEFAULT_CONTEXT: &str = ".";
