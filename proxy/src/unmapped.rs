use dashmap::DashSet;

/// Ids that the map lacks, as they are met, so that each is told of once.
#[derive(Debug, Default)]
pub(crate) struct Unmapped {
    ids: DashSet<u32>,
}

/// Payloads that only look framed can have any "id"; past this many nobody reads the log anyway.
const MOST: usize = 1000;

impl Unmapped {
    /// Whether the id is new, and few enough are known to tell of it.
    pub(crate) fn first_time(&self, id: u32) -> bool {
        self.ids.len() < MOST && self.ids.insert(id)
    }

    /// Another map may lack others.
    pub(crate) fn forget(&self) {
        self.ids.clear();
    }
}
